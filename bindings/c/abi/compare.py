#!/usr/bin/env python3
"""Compares libtally's ABI with the baseline beside this file, by abidiff.

  compare.py --check LIBRARY HEADERS   ends with 1 and the difference where there is one
  compare.py --update LIBRARY HEADERS  makes the library's ABI the baseline

LIBRARY needs debug information: the preset dev has it. The baseline is renewed when a release has
added something: a function, a field at the end of a struct, a code. Anything else that abidiff
reports changes what callers were built with, and then TALLY_ABI_VERSION goes up with it:

  ./dev build --preset dev tally_c_shared
  bindings/c/abi/compare.py --update build/dev/bindings/c/libtally.so bindings/c
"""

import argparse
import platform
import shutil
import subprocess
import sys
from pathlib import Path

BASELINE = Path(__file__).resolve().parent / "libtally.abi"
SKIPPED = 77


def skip(why):
    print(f"skipped: {why}")
    sys.exit(SKIPPED)


def sections_of(library):
    return subprocess.run(
        ["readelf", "--section-headers", "--wide", library], capture_output=True, text=True, check=True
    ).stdout


def update(library, headers):
    # Without places and what lies behind the opaque handles, which are no caller's business.
    subprocess.run(
        ["abidw", "--headers-dir", headers, "--drop-private-types", "--no-show-locs",
         "--no-corpus-path", "--no-comp-dir-path", "--no-write-default-sizes",
         "--out-file", BASELINE, library],
        check=True,
    )
    print(f"{BASELINE.name}: {len(BASELINE.read_text().splitlines())} lines")


def check(library, headers):
    if platform.machine() != "x86_64":
        skip("the baseline is of x86_64")
    compared = subprocess.run(
        ["abidiff", "--headers-dir2", headers, "--drop-private-types", "--no-show-locs",
         BASELINE, library],
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
    parser.add_argument("headers")
    arguments = parser.parse_args()
    if shutil.which("abidiff") is None:
        skip("no abidiff (Debian's abigail-tools) here")
    if ".debug_info" not in sections_of(arguments.library):
        skip(f"{arguments.library} has no debug information")
    (update if arguments.update else check)(arguments.library, arguments.headers)


if __name__ == "__main__":
    main()
