#!/usr/bin/env python3
"""Changes the money code a little at a time, and sees that a test fails each time.

C++: the mutants of a file are compiled into it at once, and an environment variable chooses one (cpp.py). SQL: a
function of canonical's is replaced in a copy of a database (sql.py). A mutant that no test kills is a survivor; one
that means the same as the original is listed, with its reason, in equivalent.txt, and one that does not in
survivors.txt, with what a test would have to show. Any other survivor fails the run, and so does a listed one that is
killed.

`./dev mutate` builds what this needs and runs a sample: --sample N, --seed S choose it, --all takes everything, and
--matching TEXT those mutants in whose name the text is.
"""

import argparse
import concurrent.futures
import contextlib
import os
import random
import re
import shutil
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
CPP_FILES = [f"engine/src/{name}.cpp" for name in ("users", "credits", "leases", "claims", "jobs", "store", "work")]
# The files of engine_tests, what is quickest to kill first. Not here: what only reads, and what takes half a minute.
TESTS = ["device_test", "taken_id_test", "online_test", "i1_conservation_test", "i2_no_overdraft_test", "i5_one_hold_test",
         "regressions_test", "model_trace_test", "commit_test", "callbacks_test", "typed_test", "i3_append_only_test", "i4_running_balance_test",
         "i6_exactly_once_test", "limits_test", "memory_test", "operations_test", "bad_input_test", "rows_test",
         "job_machine_test", "i7_atomic_test", "opening_test", "undo_test"]
# Last the simulator: what is fed, taken back and applied again, with disks and processes that fail.
SEEDS = 50


def listed(file):
    """Names of mutants; the comments above them are the reasons."""
    lines = (Path(__file__).parent / file).read_text().splitlines()
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


def words_of(source):
    """Codes and kinds of entries: any that the file names may be swapped for the next."""
    codes = list(dict.fromkeys(re.findall(r"Code::\w+", source)))
    kinds = list(dict.fromkeys(re.findall(r"EntryKind::\w+", source)))
    return [codes, kinds]


class Run(contextlib.AbstractContextManager):
    def __exit__(self, *_):
        pass


def memory_folder():
    """Where files are in memory, if there is room: most of these tests' time is the disk's."""
    folder = "/dev/shm"
    return folder if os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > 1 << 30 else None


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
        self.tests, self.simulator = folder / "engine_tests", folder / "tally_sim"
        self.mirrors = tempfile.TemporaryDirectory(prefix="tally-mutation-", dir=memory_folder())
        os.chmod(self.mirrors.name, 0o755)  # Some tests go on as another user.
        cpp.link(build, "tests/engine_tests", objects, self.tests)
        cpp.link(build, "tests/sim/tally_sim", objects, self.simulator)
        self.commands = {test: [self.tests, f"--source-file=*/{test}.cpp", "--abort-after=1"] for test in TESTS}
        self.commands["sim"] = [self.simulator, "--seeds", str(SEEDS), "--operations", "60"]
        self.seconds_max = {}
        for test in self.commands:
            began = time.monotonic()
            if self.fails(test, 0):
                raise SystemExit(f"{test} fails without a mutant")
            self.seconds_max[test] = 20 + 10 * (time.monotonic() - began)
        self.last_to_kill = None

    def __exit__(self, *_):
        self.mirrors.cleanup()

    @property
    def mutants(self):
        return [mutant for file in self.files for mutant in file.mutants]

    def fails(self, test, number):
        # A mutant may ask for memory without end.
        command = ["prlimit", "--data=2000000000", *self.commands[test]]
        done = subprocess.run(command, timeout=self.seconds_max.get(test), capture_output=True,
                              env=os.environ | {"TALLY_MUTANT": str(number), "TMPDIR": self.mirrors.name})
        return done.returncode != 0

    def verdict(self, mutant):
        # Of neighbours one and the same test often kills the next one, too.
        for test in sorted(self.commands, key=lambda test: test != self.last_to_kill):
            try:
                if self.fails(test, mutant.number):
                    self.last_to_kill = test
                    return test
            except subprocess.TimeoutExpired:
                return test + ", which did not end"
        return None


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


class Report:
    """What became of the mutants, as it is printed and kept."""

    def __init__(self):
        self.known = {name: "equivalent" for name in listed("equivalent.txt")}
        self.known |= {name: "survives, as listed" for name in listed("survivors.txt")}
        self.used, self.survivors, self.lines = set(), [], []

    def add(self, mutant, by):
        if by is None and mutant.name in self.known:
            by = self.known[mutant.name]
            self.used.add(mutant.name)
        elif by is None:
            by = "SURVIVES"
            self.survivors.append(mutant)
            print(f"SURVIVES line {mutant.line} of {mutant.name}", flush=True)
        self.lines.append(f"{by}\t{mutant.line}\t{mutant.name}")
        return by

    def sum_up(self, half, mutants, verdicts, of, seconds):
        for file in dict.fromkeys(mutant.file for mutant in mutants):
            mine = [by for mutant, by in zip(mutants, verdicts) if mutant.file == file and by != "no SQL"]
            equivalent = mine.count("equivalent")
            survive = mine.count("SURVIVES") + mine.count("survives, as listed")
            self.say(f"{file}: {len(mine)} mutants, {len(mine) - survive - equivalent} killed, "
                     f"{equivalent} equivalent, {survive} survive")
        killers = ", ".join(f"{count} {by}" for by, count in Counter(verdicts).most_common())
        self.say(f"{half}: {len(mutants)} of {of} in {seconds:.0f} s: {killers}")

    def say(self, line):
        print(line, flush=True)
        self.lines.append(line)

    def stale(self, mutants):
        """What is listed and was not needed: it is killed, or there is no such mutant any more."""
        files = {mutant.file for mutant in mutants}
        return [name for name in self.known if name not in self.used and name.split(" ")[0] in files]


def chosen(mutants, options):
    found = [mutant for mutant in mutants if options.matching in mutant.name]
    if options.all or len(found) <= options.sample:
        return found
    return sorted(random.Random(options.seed).sample(found, options.sample), key=found.index)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, required=True, help="the build that has the tests")
    parser.add_argument("--only", choices=["cpp", "sql"])
    parser.add_argument("--matching", default="", help="only mutants in whose name this is: file, function and change")
    parser.add_argument("--sample", type=int, default=150, help="so many mutants of each half (150)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="so many at once (as many as there are cores)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # So that what was started is closed.
    build = options.build.resolve()
    report = Report()
    stale = []
    with tempfile.TemporaryDirectory(prefix="tally-mutation-") as folder, contextlib.ExitStack() as stack:
        for half, make in (("cpp", CppRun), ("sql", SqlRun)):
            if options.only not in (None, half):
                continue
            run = stack.enter_context(make(build, Path(folder)))
            mutants = chosen(run.mutants, options)
            began = time.monotonic()
            with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
                verdicts = [report.add(*one) for one in zip(mutants, pool.map(run.verdict, mutants))]
            report.sum_up(half, mutants, verdicts, len(run.mutants), time.monotonic() - began)
            if len(mutants) == len(run.mutants):
                stale += report.stale(mutants)
    for name in stale:
        report.say(f"listed, and killed or gone: {name}")
    kept = build / "mutation.txt"
    kept.write_text("\n".join(report.lines) + "\n")
    print(f"the report is {kept}")
    return 1 if report.survivors or stale else 0


if __name__ == "__main__":
    sys.exit(main())
