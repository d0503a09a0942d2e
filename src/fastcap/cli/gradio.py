"""`fastcap gradio`: the captioner as a Gradio page."""

from __future__ import annotations

import argparse
import os
import tempfile

from fastcap.cli.options import add_model, add_number, add_root_path
from fastcap.runtime.cores import usable_cores

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add_model(parser)
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on")
    add_number(parser, "--port", 0, 65535, 7860, "port to listen on, 0 for any free one")
    add_number(parser, "--threads", 1, 64, min(usable_cores(), 64), "visitors served at the same time")
    add_root_path(parser)


def run(args: argparse.Namespace) -> int:
    """Load, listen, print the address, answer until SIGTERM or Ctrl-C; uploads are deleted then."""
    from fastcap.runtime.captioner import Captioner

    captioner = Captioner.open(args.model)
    with tempfile.TemporaryDirectory(prefix="fastcap-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # before Gradio is imported
        from fastcap.serve.address import listen
        from fastcap.serve.gradio import create_app
        from fastcap.serve.server import serve

        app = create_app(captioner, threads=args.threads, prefix=args.root_path)
        with listen(args.host, args.port) as (listener, address):
            print(f"{captioner.bundle.name} on {address}", flush=True)
            serve(app, listener)
    return 0
