#!/usr/bin/env python3
"""corpus.py FOLDER TRACE…: a file for each line of the traces, for fuzz_apply to start from."""

import hashlib
import sys
from pathlib import Path


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for trace in sys.argv[2:]:
        for line in Path(trace).read_bytes().splitlines():
            (folder / hashlib.sha256(line).hexdigest()[:16]).write_bytes(line)
    print(f"{sum(1 for _ in folder.iterdir())} files in {folder}")


if __name__ == "__main__":
    main()
