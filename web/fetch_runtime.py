"""Fetch ONNX Runtime Web into vendor/, beside this file: the one part of the page that is not kept in the repository.

    python web/fetch_runtime.py      # or `make web`; needs npm, and is done once

`npm pack` gets the pinned package from whatever registry npm is set up with; each file is compared with its sha256
before it is kept. The WebAssembly file is kept gzipped (3.7 MB instead of 14), and fastcap.js unpacks it: so it is
small on every server, whether that compresses or not.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "onnxruntime-web@1.30.0"
SHA256 = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
VENDOR = Path(__file__).resolve().parent / "vendor"


def fetch(folder: Path = VENDOR) -> None:
    """Fill `folder`, or leave it as it was and exit with a message."""
    npm = shutil.which("npm")
    if npm is None:
        sys.exit(f"npm is not installed; it fetches {PACKAGE}. Install Node.js, then run this again")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        # The options are stated since `npm pack` in this folder comes here as well, and hands its own down.
        command = [npm, "pack", PACKAGE, "--silent", "--dry-run=false", "--pack-destination=."]
        packed = subprocess.run(command, cwd=temporary, stdout=subprocess.PIPE, text=True, check=False)
        if packed.returncode:
            sys.exit(f"npm pack {PACKAGE} failed with status {packed.returncode}")
        ready = Path(temporary) / "vendor"
        ready.mkdir()
        with tarfile.open(Path(temporary) / packed.stdout.split()[-1]) as archive:
            for name, expected in SHA256.items():
                member = archive.extractfile(f"package/dist/{name}")
                data = member.read() if member else b""
                found = hashlib.sha256(data).hexdigest()
                if found != expected:
                    sys.exit(f"{name} of {PACKAGE}: sha256 is {found}; expected {expected}")
                if name.endswith(".wasm"):
                    name, data = f"{name}.gz", gzip.compress(data, 9, mtime=0)
                (ready / name).write_bytes(data)
        shutil.rmtree(folder, ignore_errors=True)
        ready.rename(folder)
    print(f"{PACKAGE} is in {folder}")


if __name__ == "__main__":
    fetch()
