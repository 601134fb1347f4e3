#!/usr/bin/env python3
"""Compares libtally's ABI with the baseline beside this file, by abidiff.

  compare.py --check LIBRARY   ends with 1 and the difference where there is one
  compare.py --update LIBRARY  makes the library's ABI the baseline

LIBRARY is the build's libtally_abi.so: a table of all that tally.h declares, each function and
enumeration by its type. libtally itself holds a hundred times as many types, none of which a caller
sees, and its functions are compiled against the same header.

The baseline is renewed when a release has added something: a function, a field at the end of a
struct, a code. Anything else that abidiff reports changes what callers were built with, and then
TALLY_ABI_VERSION goes up with it:

  ./dev build --preset dev tally_abi
  bindings/c/abi/compare.py --update build/dev/bindings/c/abi/libtally_abi.so
"""

import argparse
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

BASELINE = Path(__file__).resolve().parent / "libtally.abi"
SKIPPED = 77


def skip(why):
    print(f"skipped: {why}")
    sys.exit(SKIPPED)


def update(library):
    # Without places, which differ from build to build.
    subprocess.run(
        ["abidw", "--no-show-locs", "--no-corpus-path", "--no-comp-dir-path", "--out-file", BASELINE, library],
        check=True,
    )
    BASELINE.write_text(re.sub(r" path='[^']*/table.cpp'", " path='table.cpp'", BASELINE.read_text()))
    print(f"{BASELINE.name}: {len(BASELINE.read_text().splitlines())} lines")


def check(library):
    if platform.machine() != "x86_64":
        skip("the baseline is of x86_64")
    compared = subprocess.run(
        ["abidiff", "--no-show-locs", "--harmless", BASELINE, library],
        capture_output=True, text=True,
    )
    print(compared.stdout + compared.stderr, end="")
    if compared.returncode != 0:
        sys.exit("the ABI is another than the baseline's; compare.py says when that may be")
    print("the ABI is the baseline's")


def main():
    parser = argparse.ArgumentParser()
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--check", action="store_true")
    how.add_argument("--update", action="store_true")
    parser.add_argument("library")
    arguments = parser.parse_args()
    if shutil.which("abidiff") is None:
        skip("no abidiff (Debian's abigail-tools) here")
    (update if arguments.update else check)(arguments.library)


if __name__ == "__main__":
    main()
