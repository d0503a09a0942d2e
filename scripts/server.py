"""Serve captions on port 5000: `python scripts/server.py [options of fastcap serve]`."""

import sys

from fastcap.cli import main

if __name__ == "__main__":
    sys.exit(main(["serve", "--port", "5000", *sys.argv[1:]]))
