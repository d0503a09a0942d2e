"""Convert a model for phones: `scripts/convert_to_mobile.py --model_path DIR --platform ios android --output_dir DIR`;
the same as `fastcap convert`."""

import argparse
import sys

from fastcap.cli import main as fastcap


def main() -> int:
    """Pass the options on under the names that `fastcap convert` has for them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model_path", default="fastcap-base", help="bundled model, model or checkpoint directory")
    parser.add_argument("--platform", nargs="+", required=True, help="platforms, as `fastcap convert --help` has them")
    parser.add_argument("--output_dir", default="mobile", help="folder to write into (%(default)s)")
    args = parser.parse_args()
    return fastcap(["convert", "--model", args.model_path, "--platform", *args.platform, "--out", args.output_dir])


if __name__ == "__main__":
    sys.exit(main())
