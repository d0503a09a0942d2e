"""Download a pretrained part: `scripts/download_model.py --model NAME --output DIR`; the same as `fastcap download`."""

import argparse
import sys
from pathlib import Path

from fastcap.errors import FastcapError
from fastcap.parts import download_part


def main() -> int:
    """Download, check, print the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="a name of `fastcap download --list`, or OWNER/NAME@REVISION")
    parser.add_argument("--output", type=Path, default=Path("parts"), help="folder of parts (%(default)s)")
    args = parser.parse_args()
    try:
        print(download_part(args.model, args.output))
    except FastcapError as error:
        print(f"download_model: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
