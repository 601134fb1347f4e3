#!/usr/bin/env python3
"""Changes the money code a little at a time, and sees that a test fails each time.

C++: the mutants of a file are compiled into it at once, and an environment variable chooses one (cpp.py). SQL: a
function of canonical's is replaced in a copy of a database (sql.py). A mutant that no test kills is a survivor; one
that means the same as the original is listed, with its reason, in equivalent.txt. Any other survivor fails the run.

`./dev mutate` builds what this needs and runs a sample: --sample N, --seed S choose it, --all takes everything.
"""

import argparse
import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import cpp
import sql

ROOT = Path(__file__).resolve().parents[2]
CPP_FILES = ["engine/src/credits.cpp", "engine/src/leases.cpp", "engine/src/claims.cpp", "engine/src/jobs.cpp"]
# What is quickest to kill comes first; the rest of the program follows.
TESTS = ["operations_test", "device_test", "i1_conservation_test", "i2_no_overdraft_test", "i5_one_hold_test",
         "i6_exactly_once_test", "i7_atomic_test", "model_trace_test", "undo_test", "callbacks_test", "regressions_test"]
SECONDS_MAX = 120


def equivalents():
    """Names of mutants, each under the comment that is its reason."""
    known = {}
    reason = ""
    for line in (Path(__file__).parent / "equivalent.txt").read_text().splitlines():
        if line.startswith("#"):
            reason = line[1:].strip()
        elif line.strip():
            known[line.strip()] = reason
    return known


def words_of(source):
    """Codes and kinds of entries: any that the file names may be swapped for the next."""
    codes = list(dict.fromkeys(re.findall(r"Code::\w+", source)))
    kinds = list(dict.fromkeys(re.findall(r"EntryKind::\w+", source)))
    return [codes, kinds]


class Run(contextlib.AbstractContextManager):
    def __exit__(self, *_):
        pass


class CppRun(Run):
    def __init__(self, build, folder):
        self.files = []
        number = 1
        objects = []
        for name in CPP_FILES:
            mutated = cpp.MutatedFile(ROOT, name, words_of((ROOT / name).read_text()), number)
            number = mutated.next_number
            objects.append(mutated.compile(cpp.compile_command(build, ROOT, name), folder))
            self.files.append(mutated)
            print(f"{name}: {len(mutated.mutants)} mutants compiled", flush=True)
        self.program = folder / "engine_tests"
        cpp.link(build, "tests/engine_tests", objects, self.program)
        for test in TESTS:
            if self.fails(test, 0):
                raise SystemExit(f"{test} fails without a mutant")

    @property
    def mutants(self):
        return [mutant for file in self.files for mutant in file.mutants]

    def fails(self, test, number):
        try:
            done = subprocess.run([self.program, f"--source-file=*/{test}.cpp", "--abort-after=1"], timeout=SECONDS_MAX,
                                  env=os.environ | {"TALLY_MUTANT": str(number)}, capture_output=True)
        except subprocess.TimeoutExpired:
            return True
        return done.returncode != 0

    def verdict(self, mutant):
        return next((test for test in TESTS if self.fails(test, mutant.number)), None)


class SqlRun(Run):
    def __init__(self, build, folder):
        trace = folder / "trace.jsonl"
        with open(trace, "wb") as out:
            subprocess.run([build / "tests/c/write_trace", "7", "1500", "clean"], check=True, stdout=out)
            out.write((ROOT / "tests/traces/demo.jsonl").read_bytes())
        self.canonical = sql.Canonical(ROOT, trace)
        self.mutants = sql.mutants(ROOT)

    def __exit__(self, *_):
        self.canonical.close()

    def verdict(self, mutant):
        return self.canonical.verdict(mutant)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, required=True, help="the build that has engine_tests and write_trace")
    parser.add_argument("--only", choices=["cpp", "sql"])
    parser.add_argument("--sample", type=int, default=150, help="so many mutants of each half (150)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--all", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # So that what was started is closed.
    build = options.build.resolve()
    known = equivalents()
    survivors, stale, lines = [], [], []
    with tempfile.TemporaryDirectory(prefix="tally-mutation-") as folder, contextlib.ExitStack() as stack:
        for half, make in (("cpp", CppRun), ("sql", SqlRun)):
            if options.only not in (None, half):
                continue
            run = stack.enter_context(make(build, Path(folder)))
            mutants = run.mutants
            if not options.all and len(mutants) > options.sample:
                mutants = sorted(random.Random(options.seed).sample(mutants, options.sample), key=mutants.index)
            killed = Counter()
            began = time.monotonic()
            for mutant in mutants:
                by = run.verdict(mutant)
                if by is None and mutant.name in known:
                    by = "equivalent"
                elif by is None:
                    survivors.append(mutant)
                    print(f"SURVIVES {mutant.file}:{mutant.line}: {mutant.name}", flush=True)
                elif mutant.name in known and by != "no SQL":
                    # Of the same words in several places one may be killed: it says nothing of the others.
                    stale.append(mutant.name)
                killed[by] += 1
                lines.append(f"{by or 'SURVIVES'}\t{mutant.file}:{mutant.line}\t{mutant.name}")
            counts = ", ".join(f"{count} {by or 'survive'}" for by, count in killed.most_common())
            summary = f"{half}: {len(mutants)} of {len(run.mutants)} mutants in {time.monotonic() - began:.0f} s: {counts}"
            print(summary, flush=True)
            lines.append(summary)
    report = build / "mutation.txt"
    report.write_text("\n".join(lines) + "\n")
    print(f"the report is {report}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
