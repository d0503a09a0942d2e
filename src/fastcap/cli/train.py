"""`fastcap train`: train a model by a recipe."""

from __future__ import annotations

import argparse
from typing import Any

from fastcap.cli.options import add_bad_share
from fastcap.cli.parser import Number, one_of, print_wrapped

__all__ = ["add_arguments", "run"]


SHORT: dict[str, tuple[Any, str, str]] = {
    "lora-r": (Number(int, 0), "model.decoder.rank", "rank of a language model's adapters, 0 for none"),
    "lora-alpha": (Number(int, 1), "model.decoder.alpha", "their scale is alpha / rank"),
    "projection-lr": (Number(float, 0), "stages.0.learning_rate", "learning rate of the first stage"),
    "lora-lr": (Number(float, 0), "stages.0.adapter_rate", "learning rate of adapters in it"),
    "clip-loss-weight": (Number(float, 0), "stages.0.clip_loss", "weight of the CLIP loss in it"),
    "clip-model": (str, "stages.0.clip_model", "a CLIP of transformers that judges"),
}
"""Options that are short for a setting."""


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
    told = "data set, such as flickr8k, coco or all (default: the recipe's)"
    parser.add_argument("--dataset", metavar="NAME", help=told)
    told = "length of the first stage (default: its steps in the recipe)"
    parser.add_argument("--epochs", type=Number(float, 0.01), metavar="N", help=told)
    for name, (kind, _, told) in SHORT.items():
        parser.add_argument(
            f"--{name}",
            type=kind,
            metavar="X" if isinstance(kind, Number) else "NAME",
            help=f"{told} (default: the recipe's)",
        )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that replace those of the recipe")


def run(args: argparse.Namespace) -> int:
    """Train; running the same command again resumes. A request to terminate saves the state, as Ctrl-C does."""
    import signal

    from fastcap.config import load_config, recipes

    if args.list:
        for name, path in recipes().items():
            comment, _, _ = path.read_text(encoding="utf-8").partition("\n")
            print_wrapped(f"{name:18}", comment.lstrip("# "), 18)
        return 0
    policy = [f"data.on_bad_data={args.on_bad_data}"] if args.on_bad_data else []
    policy += [] if args.max_bad_share is None else [f"data.max_bad_share={args.max_bad_share}"]
    short = [
        f"{key}={value}"
        for name, (_, key, _) in SHORT.items()
        if (value := getattr(args, name.replace("-", "_"))) is not None
    ]
    if args.lora_lr is not None:  # a recipe states it as a factor of the rate of all else
        rates = [text for text in short if not text.startswith("stages.0.adapter_rate")]
        rate = load_config(args.config, [*args.overrides, *rates], args.dataset or "").stages[0].learning_rate
        short = [*rates, f"stages.0.adapter_rate={args.lora_lr / rate}"]
    overrides = [*args.overrides, *policy, *short]
    config = load_config(args.config, overrides, args.dataset or "")
    if args.epochs is not None:
        from fastcap.training.pools import steps_of

        steps = steps_of(config.data, config.stages[0].images, args.epochs)
        config = load_config(args.config, [*overrides, f"stages.0.steps={steps}"], args.dataset or "")
    from fastcap.training.trainer import train

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    best = train(config, accept_changes=args.accept_changes, debug_activations=args.debug_activations)
    print(best)
    return 0
