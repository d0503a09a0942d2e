"""`fastcap train`: train a model by a recipe."""

from __future__ import annotations

import argparse

from fastcap.cli.options import add_bad_share
from fastcap.cli.parser import one_of, print_wrapped

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    recipe = parser.add_mutually_exclusive_group(required=True)
    recipe.add_argument(
        "--config", metavar="NAME|FILE", help="recipe: a name that --list shows, or a YAML file (required)"
    )
    recipe.add_argument("--list", action="store_true", help="list the recipes that come with fastcap")
    parser.add_argument(
        "--accept-changes",
        action="store_true",
        help="resume from the last checkpoint although the recipe has changed since",
    )
    parser.add_argument(
        "--debug-activations",
        action="store_true",
        help="log statistics, dead units and gradient norms of every layer, and name the first tensor that is not "
        "finite; a few times slower",
    )
    parser.add_argument(
        "--on-bad-data",
        **one_of(("raise", "skip", "quarantine")),
        help="rows that cannot be used: stop at the first, leave them out, or also write them to bad_*.jsonl in the "
        "cache (default: the recipe's data.on_bad_data)",
    )
    add_bad_share(parser, None)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that replace those of the recipe")


def run(args: argparse.Namespace) -> int:
    """Train; running the same command again resumes. A request to terminate saves the state, as Ctrl-C does."""
    import signal

    from fastcap.config import load_config, recipes

    if args.list:
        for name, path in recipes().items():
            comment, _, _ = path.read_text(encoding="utf-8").partition("\n")
            print_wrapped(f"{name:16}", comment.lstrip("# "), 16)
        return 0
    policy = [f"data.on_bad_data={args.on_bad_data}"] if args.on_bad_data else []
    policy += [] if args.max_bad_share is None else [f"data.max_bad_share={args.max_bad_share}"]
    config = load_config(args.config, [*args.overrides, *policy])
    from fastcap.training.trainer import train

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    best = train(config, accept_changes=args.accept_changes, debug_activations=args.debug_activations)
    print(best)
    return 0
