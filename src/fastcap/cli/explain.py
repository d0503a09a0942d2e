"""`fastcap explain`: the attention of a model to parts of a picture for each word of its caption."""

from __future__ import annotations

import argparse
from pathlib import Path

from fastcap.cli.options import add_number, check_checkpoint, check_folder
from fastcap.errors import ConfigError
from fastcap.runtime.options import MAX_BEAMS

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("image", type=Path, metavar="IMAGE", help="picture file")
    parser.add_argument(
        "--model",
        required=True,
        metavar="CHECKPOINT",
        help="checkpoint directory; an exported model gives no attention weights",
    )
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.png", help="picture to write")
    add_number(parser, "--beams", 1, MAX_BEAMS, 3, "hypotheses")


def run(args: argparse.Namespace) -> int:
    """Caption from left to right, draw a panel for each word, print the caption."""
    if args.out.suffix.lower() != ".png":
        raise ConfigError(f"--out is {args.out}; allowed: a file that ends in .png")
    check_folder("--out", args.out)
    checkpoint = check_checkpoint(args.model)
    import torch

    from fastcap.checkpoint import load_checkpoint
    from fastcap.evaluation.attention import attention_maps, draw_attention, kept_tokens, words_of
    from fastcap.runtime.encoding import decode
    from fastcap.runtime.images import load_image

    model, tokenizer = load_checkpoint(checkpoint)
    size = model.config.image_size
    pixels = load_image(args.image, (size, size))
    with torch.no_grad():
        image = model.encode(torch.from_numpy(pixels)[None])
    token_ids = model.search(image, beams=args.beams)[0][0].token_ids
    maps = attention_maps(model, image, token_ids).numpy()
    draw_attention(pixels, words_of(tokenizer, token_ids), maps, args.out, kept=kept_tokens(model, image))
    print(decode(tokenizer, token_ids))
    return 0
