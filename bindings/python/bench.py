#!/usr/bin/env python3
"""What Python costs over the library: balance and durable reservation, beside bare C in the same run,
and the time from `import` to the first balance.

usage: bench.py [--tiny] [--json]

Bare C is a small program, built here with the system's compiler against the same library and run by
turns with Python. Medians; the library's path is printed, since a build with assertions is slower.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable

import tally
from tally import _abi, _library

HERE = pathlib.Path(__file__).resolve().parent

# balance: nanoseconds a call. reserve: each call's, durable, of jobs that wait for it in the mirror.
C_PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "tally.h"

static double now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}

static int by_size(const void* a, const void* b) {
  const double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

int main(int argc, char** argv) {
  tally_engine* engine = NULL;
  tally_uuid user, job;
  const int calls = atoi(argv[4]);
  (void)argc;
  if (tally_engine_open(argv[2], strlen(argv[2]), NULL, &engine, NULL) != TALLY_OK) return 1;
  if (tally_uuid_parse(argv[3], 36, &user) != TALLY_OK) return 1;
  double* each = calloc((size_t)calls, sizeof *each);
  int64_t sum = 0;
  if (strcmp(argv[1], "balance") == 0) {
    const double began = now_ns();
    for (int i = 0; i < calls; ++i) sum += tally_engine_balance_value(engine, &user);
    each[calls / 2] = (now_ns() - began) / calls;
  } else {
    for (int i = 0; i < calls; ++i) {
      if (scanf("%*[ \n]") < 0) return 2;
      char text[37];
      if (scanf("%36s", text) != 1) return 2;
      if (tally_uuid_parse(text, 36, &job) != TALLY_OK) return 2;
      tally_receipt receipt = TALLY_RECEIPT_INIT;
      const double began = now_ns();
      if (tally_reserve_credits(engine, &user, &job, 1, NULL, &receipt, NULL) != TALLY_OK) return 3;
      each[i] = now_ns() - began;
    }
    qsort(each, (size_t)calls, sizeof *each, by_size);
  }
  printf("%f\n", each[calls / 2]);
  tally_engine_free(engine);
  return sum == 42 ? 4 : 0;
}
"""


class Bench:
    """A mirror with a user who can pay for everything, and the C program."""

    def __init__(self, folder: pathlib.Path, reservations: int) -> None:
        self.path = folder / "mirror.db"
        self.engine = tally.open(self.path)
        self.user, self.project = tally.new_uuid(), tally.new_uuid()
        self.reservations = reservations
        self.engine.create_user(user_id=self.user)
        self.engine.add_credits(user_id=self.user, amount=10_000_000, type="grant")
        self.engine.create_project(
            project_id=self.project,
            user_id=self.user,
            title="t",
            prompt_text="p",
            niche_preset="facts",
            target_minutes=1,
        )
        self.program = self.compiled(folder)

    @staticmethod
    def compiled(folder: pathlib.Path) -> pathlib.Path:
        source, program = folder / "bench.c", folder / "bench"
        source.write_text(C_PROGRAM)
        library = pathlib.Path(_library.lib._name).resolve()
        command = [os.environ.get("TALLY_CC", "cc"), "-O2", f"-I{HERE.parent / 'c'}", str(source)]
        (folder / f"libtally.so.{_abi.ABI_VERSION}").symlink_to(library)  # Its soname.
        rpath = f"-Wl,-rpath,{folder}"
        subprocess.run([*command, str(library), rpath, "-o", str(program)], check=True)
        return program

    def c(self, what: str, calls: int, stdin: str = "") -> float:
        arguments = [self.program, what, self.path, str(self.user), str(calls)]
        done = subprocess.run(
            [str(a) for a in arguments], input=stdin, capture_output=True, text=True, check=True
        )
        return float(done.stdout)

    def jobs(self) -> list[Any]:
        """New jobs that wait for a reservation."""
        ids = [tally.new_uuid() for _ in range(self.reservations)]
        for start in range(0, len(ids), 500):
            with self.engine.batch() as batch:
                for job_id in ids[start : start + 500]:
                    batch.create_job(job_id=job_id, project_id=self.project, user_id=self.user)
        return ids

    def python_balance(self, calls: int) -> float:
        balance, user = self.engine.balance, self.user
        began = time.perf_counter_ns()
        for _ in range(calls):
            balance(user)
        return (time.perf_counter_ns() - began) / calls

    def python_reserve(self) -> float:
        reserve, user, took = self.engine.reserve_credits, self.user, []
        for job_id in self.jobs():
            began = time.perf_counter_ns()
            reserve(user_id=user, job_id=job_id, amount=1)
            took.append(time.perf_counter_ns() - began)
        return statistics.median(took)

    def c_reserve(self) -> float:
        ids = "\n".join(map(str, self.jobs()))
        return self.c("reserve", self.reservations, ids + "\n")


def first_balance(bench: Bench) -> float:
    """From before `import tally` to a balance from that mirror, in a new interpreter, in ms."""
    code = (
        "import time; t = time.perf_counter_ns()\n"
        "import sys, tally\n"
        "tally.open(sys.argv[1]).balance(sys.argv[2])\n"
        "print((time.perf_counter_ns() - t) / 1e6)"
    )
    # Compiled before, as an installed package is; but not into the source tree.
    env = {**os.environ, "PYTHONPYCACHEPREFIX": str(bench.path.parent / "compiled")}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", code, str(bench.path), str(bench.user)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    return float(done.stdout)


def by_turns(rounds: int, *measures: Callable[[], float]) -> list[float]:
    """The medians of measures that are taken by turns, so that all see the same machine."""
    taken: list[list[float]] = [[] for _ in measures]
    for _ in range(rounds):
        for measure, values in zip(measures, taken):
            values.append(measure())
    return [statistics.median(values) for values in taken]


def run(tiny: bool) -> dict[str, float]:
    rounds, calls, reservations = (1, 200, 10) if tiny else (7, 200_000, 400)
    with tempfile.TemporaryDirectory(prefix="tally-bench-") as folder:
        bench = Bench(pathlib.Path(folder), reservations)
        c_balance, balance = by_turns(
            rounds, lambda: bench.c("balance", calls), lambda: bench.python_balance(calls)
        )
        c_reserve, reserve = by_turns(rounds, bench.c_reserve, bench.python_reserve)
        first_balance(bench)
        (first,) = by_turns(rounds, lambda: first_balance(bench))
        bench.engine.close()
    return {
        "c_balance_ns": c_balance,
        "python_balance_ns": balance,
        "balance_over_c_ns": balance - c_balance,
        "c_reserve_durable_us": c_reserve / 1e3,
        "python_reserve_durable_us": reserve / 1e3,
        "reserve_times_c": reserve / c_reserve,
        "import_to_first_balance_ms": first,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else "")
    parser.add_argument("--tiny", action="store_true", help="to see that it runs")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    arguments = parser.parse_args()
    found = run(arguments.tiny)
    if arguments.json:
        print(json.dumps(found))
        return
    print(f"{_library.lib._name}, Python {sys.version.split()[0]}")
    for name, value in found.items():
        print(f"{name:28} {value:12.2f}")


if __name__ == "__main__":
    main()
