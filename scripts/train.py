"""Train a model by a recipe: `python scripts/train.py --config configs/model/fastcap_base.yaml [key=value ...]`.

With a data set in place of a recipe, distilvit: `python scripts/train.py --dataset flickr --lora-r 32`.

With a checkpoint in place of a recipe, on questions and answers: `python scripts/train.py --model_path DIR --train_data
train.json --val_data val.json --output_dir DIR --num_epochs 5 --batch_size 16 --learning_rate 5e-5`.
"""

import signal
import sys

from fastcap.cli import main
from fastcap.cli.parser import Number, Parser, print_error
from fastcap.errors import ConfigError, FastcapError

PATHS = {
    "model_path": "checkpoint directory to begin with",
    "train_data": "questions and answers: .json, .jsonl, .csv or .tsv (docs/questions.md)",
    "val_data": "the same, to validate on",
    "output_dir": "folder of the run; the best checkpoint is its 'best'",
}


def tune(words: list[str]) -> int:
    """Go on training a checkpoint on conversations; running the same command again resumes."""
    parser = Parser("train.py", "Go on training a checkpoint on conversations.", "")
    for name in PATHS:
        parser.add_argument(f"--{name}", required=True, metavar="PATH", help=PATHS[name])
    parser.add_argument("--num_epochs", type=Number(float, 0), default=5, metavar="N")
    parser.add_argument("--batch_size", type=Number(int, 1), default=16, metavar="N", help="of all processes together")
    parser.add_argument("--learning_rate", type=Number(float, 0), default=5e-5, metavar="X")
    parser.add_argument("--gradient_accumulation_steps", type=Number(int, 1), default=1, metavar="N")
    parser.add_argument("--patience", type=Number(int, 0), default=0, metavar="N", help="validations without gain")
    parser.add_argument("--distributed", action="store_true", help="nothing more: torchrun says how many processes")
    try:
        args = parser.parse_args(words)
        from fastcap.training.finetune import finetuning
        from fastcap.training.trainer import train

        signal.signal(signal.SIGTERM, signal.default_int_handler)
        paths = [getattr(args, name) for name in PATHS]
        numbers = {name: getattr(args, name) for name in ("num_epochs", "batch_size", "learning_rate", "patience")}
        print(train(finetuning(*paths, **numbers, accumulate=args.gradient_accumulation_steps)))
    except FastcapError as error:
        print_error(str(error))
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    given = {word.partition("=")[0] for word in sys.argv[1:]}
    if "--model_path" in given:
        sys.exit(tune(sys.argv[1:]))
    default = ["--config", "distilvit"] if "--dataset" in given and not given & {"--config", "--list"} else []
    sys.exit(main(["train", *default, *sys.argv[1:]]))
