"""`fastcap gradio`: the captioner as a Gradio page."""

from __future__ import annotations

import argparse
import os
import socket
import tempfile

from fastcap.cli.options import whole_number
from fastcap.errors import ConfigError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    cores = os.cpu_count() or 1
    parser.add_argument(
        "--model", default="fastcap-base", metavar="NAME|DIR", help="bundled model or model directory (%(default)s)"
    )
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port",
        type=whole_number(0, 65535),
        default=7860,
        metavar="N",
        help="port to listen on, 0 to 65535, 0 for any free one (%(default)s)",
    )
    parser.add_argument(
        "--threads",
        type=whole_number(1, 64),
        default=min(cores, 64),
        metavar="N",
        help="visitors served at the same time, 1 to 64 (%(default)s)",
    )
    parser.set_defaults(usage_error=parser.error)


def run(args: argparse.Namespace) -> int:
    """Load, listen, print the address, answer until SIGTERM or Ctrl-C; uploads are deleted then."""
    from fastcap.runtime.captioner import Captioner

    try:
        captioner = Captioner.open(args.model)
    except ConfigError as error:
        args.usage_error(str(error))
    with tempfile.TemporaryDirectory(prefix="fastcap-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # before Gradio is imported
        from fastcap.serve.gradio import create_app
        from fastcap.serve.server import serve

        app = create_app(captioner, threads=args.threads)
        family = socket.AF_INET6 if ":" in args.host else socket.AF_INET
        with socket.create_server((args.host, args.port), family=family) as listener:
            host = f"[{args.host}]" if ":" in args.host else args.host
            print(f"{captioner.bundle.name} on http://{host}:{listener.getsockname()[1]}", flush=True)
            serve(app, listener)
    return 0
