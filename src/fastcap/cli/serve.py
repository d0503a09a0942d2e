"""`fastcap serve`: captions over HTTP."""

from __future__ import annotations

import argparse
import os
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from fastcap.cli.options import add_memory, add_model, add_number, add_root_path, add_usual, usual_of
from fastcap.errors import ConfigError
from fastcap.runtime.cores import usable_cores
from fastcap.serve.limits import Limits

__all__ = ["add_arguments", "run"]

_TOKEN = "FASTCAP_TOKEN"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    limits, number = Limits(), partial(add_number, parser)
    add_model(parser)
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on")
    number("--port", 0, 65535, 8000, "port to listen on, 0 for any free one")
    number("--threads", 1, 64, min(usable_cores(), 64), "pictures captioned at the same time")
    number("--queue", 1, 10_000, limits.queue, "pictures under way or waiting, beyond which requests get a 503")
    number("--max-bytes", 1024, 2**30, limits.body_bytes, "bytes of a request")
    number("--max-pixels", 1024, 128_000_000, limits.pixels, "pixels of a picture")
    number("--max-images", 1, 1000, limits.images, "pictures of a request")
    number("--timeout", 1, 600, int(limits.seconds), "seconds a request may take")
    number("--keep", 0, 1024, limits.keep, "pictures of which what was computed is kept for the next question")
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help=f"demand the token in this file on every route (default: that in {_TOKEN}, if set, else none)",
    )
    parser.add_argument(
        "--fetch-from",
        action="append",
        default=[],
        metavar="HOST[:PORT]",
        help="allow pictures by URL from this host; may be repeated (default: none)",
    )
    parser.add_argument(
        "--origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="allow web pages of this origin, e.g. https://a.org; may be repeated (default: none)",
    )
    add_memory(parser)
    parser.add_argument("--compat", action="store_true", help="answer Ollama's and OpenAI's chat with captions, too")
    add_usual(parser)
    add_root_path(parser)


def run(args: argparse.Namespace) -> int:
    """Load, listen, print the address, answer until SIGTERM or Ctrl-C."""
    if args.max_images > args.queue:
        raise ConfigError(f"--max-images is {args.max_images}; allowed are at most --queue, {args.queue}")
    token = _token(args)
    from fastcap.runtime.captioner import Captioner
    from fastcap.serve.address import listen
    from fastcap.serve.app import create_app
    from fastcap.serve.page import PageError, WebPage
    from fastcap.serve.server import serve

    limits = Limits(args.max_bytes, args.max_pixels, args.max_images, args.queue, args.timeout, args.keep)
    captioner, page, lack = Captioner.open(args.model, memory=args.memory, keep=limits.keep), None, ""
    try:
        page = WebPage(captioner.bundle)
    except PageError as error:
        lack = str(error)
    app = create_app(
        captioner,
        limits,
        threads=args.threads,
        token=token,
        fetch_from=args.fetch_from,
        origins=args.origin,
        page=page,
        prefix=args.root_path,
        compat=args.compat,
        usual=usual_of(args),
    )
    if not any(map(find_spec, ("python_multipart", "multipart"))):  # the second was its name before 0.0.13
        raise ModuleNotFoundError(name="python_multipart")  # Starlette misses it only once a form has come
    with listen(args.host, args.port) as (listener, address):
        print(f"{captioner.bundle.name} on {address}")
        print(f"web page on {address}/demo/" if page else f"no web page: {lack}", flush=True)
        serve(app, listener)
    return 0


def _token(args: argparse.Namespace) -> str | None:
    """The token. It is no argument, as other users of the machine can read command lines."""
    token = args.token_file.read_text("utf-8", "replace").strip() if args.token_file else os.environ.get(_TOKEN)
    if token is not None and not (token.isascii() and token.isprintable() and len(token) >= 16 and " " not in token):
        raise ConfigError("the token is too short or holds unusual letters; allowed are 16 or more of ASCII, no spaces")
    return token
