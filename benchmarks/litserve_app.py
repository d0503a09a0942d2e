"""The bundled model behind LitServe, written as LitServe's documentation has it: what `fastcap serve` is compared with.

`python benchmarks/litserve_app.py MODEL WORKERS PORT`
"""

# No `from __future__ import annotations`: LitServe reads them.

import sys

import litserve

from fastcap.runtime.captioner import Captioner


class Caption(litserve.LitAPI):
    """A form with a file `image` in, `{"caption": ...}` out."""

    def setup(self, device: str) -> None:
        self.captioner = Captioner.open(sys.argv[1])

    def decode_request(self, request: litserve.Request) -> bytes:
        return request["image"].file.read()

    def predict(self, picture: bytes) -> str:
        return self.captioner.caption(picture).text

    def encode_response(self, caption: str) -> dict[str, str]:
        return {"caption": caption}


if __name__ == "__main__":
    server = litserve.LitServer(Caption(), accelerator="cpu", workers_per_device=int(sys.argv[2]))
    server.run(
        host="127.0.0.1", port=int(sys.argv[3]), num_api_servers=1, generate_client_file=False, log_level="error"
    )
