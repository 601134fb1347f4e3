#!/usr/bin/env python3
"""Counts the instructions of the engine's hot operations under callgrind and compares them with the
baseline in instructions.json. Unlike times they are the same on a busy machine and an idle one.

usage: instructions.py [--check | --update] PROGRAM [OPERATION ...]

--check (what it does unless told) fails where an operation takes more than the baseline and the
tolerance; --update makes what is counted now the baseline. Exit status: 0 fine, 1 more than the
baseline, 77 not comparable (ctest calls that skipped; the output says why).
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile

BASELINE = pathlib.Path(__file__).resolve().with_name("instructions.json")
TOLERANCE_PERCENT = 5
FINE, MORE, NOT_COMPARABLE = 0, 1, 77
AT_ONCE = 2  # The test's PROCESSORS in CMakeLists.txt.
# With another one of these the counts differ, but by less than what is looked for, or justly: they
# are compared, and a failure mentions it.
ONLY_TOLD = {"compiler_version", "sqlite_version", "libc", "valgrind"}

# The same from run to run and from machine to machine. Valgrind shows the program a processor of its
# own, but AVX and AVX2 on it only where the machine has them; libc, OpenSSL and the dynamic linker
# choose by that.
ENVIRONMENT = {
    "PATH": os.environ.get("PATH", os.defpath),
    "LC_ALL": "C",
    "LD_BIND_NOW": "1",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX_Fast_Unaligned_Load,-BMI1,-BMI2,-LZCNT,-MOVBE",
    "OPENSSL_ia32cap": "~0x1000000000000000:~0x128",  # AVX; BMI1, AVX2, BMI2.
    **{name: os.environ[name] for name in ("LD_LIBRARY_PATH", "VALGRIND_LIB") if name in os.environ},
}


class Trouble(Exception):
    pass


def output_of(*command, **more):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=280, **more)
    if done.returncode != 0:
        raise Trouble(f"{' '.join(map(str, command))}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def build_of(program):
    """What the program's counts hold for."""
    build = dict(line.split(": ", 1) for line in output_of(program, "--build").splitlines())
    build = {name: " ".join(value.split()) for name, value in build.items()}
    build["compiler_version"] = build["compiler"]
    for compiler in ("compiler", "c_compiler"):  # The family and its major version.
        build[compiler] = build[compiler].split(".")[0]
    build["libc"] = " ".join(platform.libc_ver())
    build["valgrind"] = output_of("valgrind", "--version").strip()
    return build


def count(program, operation):
    """The operation's instructions, each time it is done."""
    with tempfile.TemporaryDirectory(prefix="tally-instructions-") as folder:
        profile = pathlib.Path(folder) / "profile"
        times = output_of("valgrind", "--quiet", "--tool=callgrind", "--collect-atstart=no",
                          "--toggle-collect=tally_measured", f"--callgrind-out-file={profile}",
                          program, operation, cwd=folder, env=ENVIRONMENT)
        total = re.search(r"^totals: (\d+)$", profile.read_text(), re.MULTILINE)
    # Nothing counted would be below any baseline.
    if total is None or int(total[1]) == 0:
        raise Trouble(f"{operation}: callgrind counted nothing in tally_measured")
    return round(int(total[1]) / int(times), 1)


def count_all(program, operations):
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(operations, pool.map(lambda operation: count(program, operation), operations)))


def change_percent(before, now):
    return (now / before - 1) * 100


def print_table(before, now):
    print(f"{'operation':16} {'baseline':>12} {'now':>12} {'change':>9}")
    for operation, counted in now.items():
        known = before.get(operation)
        change = "new" if known is None else f"{change_percent(known, counted):+.2f} %"
        print(f"{operation:16} {'' if known is None else f'{known:,.1f}':>12} {counted:>12,.1f} {change:>9}")


def differences(before, now, names):
    return [f"{name}: the baseline's is '{before.get(name)}', this one's '{now.get(name)}'"
            for name in names if before.get(name) != now.get(name)]


def check(baseline, build, counts):
    """What is wrong, as lines; tells what is better than the baseline."""
    wrong = []
    for operation, now in counts.items():
        before = baseline["instructions"].get(operation)
        if before is None:
            wrong.append(f"{operation}: no baseline; instructions.py --update makes it")
            continue
        change = change_percent(before, now)
        if change > TOLERANCE_PERCENT:
            wrong.append(f"{operation}: {change:+.1f} %, more than {TOLERANCE_PERCENT} % above the baseline")
        elif change < -TOLERANCE_PERCENT:
            print(f"lower the baseline (./dev bench instructions --update): {operation} takes {change:+.1f} %")
    if wrong:
        wrong += [f"({line})" for line in differences(baseline["build"], build, sorted(ONLY_TOLD))]
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--check", action="store_true")
    how.add_argument("--update", action="store_true")
    parser.add_argument("program", type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("operations", nargs="*", metavar="OPERATION")
    arguments = parser.parse_intermixed_args()

    if shutil.which("valgrind") is None:
        print("not compared: valgrind is not installed")
        return NOT_COMPARABLE
    build = build_of(arguments.program)
    baseline = json.loads(BASELINE.read_text()) if BASELINE.exists() else {"build": {}, "instructions": {}}
    other = differences(baseline["build"], build, sorted(build.keys() - ONLY_TOLD))
    if other and not arguments.update:
        print("not compared: the baseline is of another build", *other, sep="\n  ")
        return NOT_COMPARABLE
    known = output_of(arguments.program, "--list").split()
    operations = arguments.operations or known
    if unknown := set(operations) - set(known):
        raise Trouble(f"no operation {', '.join(sorted(unknown))}; there are: {' '.join(known)}")
    if arguments.update and arguments.operations and other:
        raise Trouble("the baseline is of another build: update all of it")

    counts = count_all(arguments.program, operations)
    print_table(baseline["instructions"], counts)
    if arguments.update:
        all_counts = {**baseline["instructions"], **counts}
        in_order = {name: all_counts[name] for name in known if name in all_counts}
        BASELINE.write_text(json.dumps({"build": build, "instructions": in_order}, indent=2) + "\n")
        print("the baseline is what was counted now")
        return FINE
    wrong = check(baseline, build, counts)
    if not arguments.operations:
        wrong += [f"{name}: in the baseline, but the program does not count it"
                  for name in baseline["instructions"] if name not in known]
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return MORE if wrong else FINE


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Trouble as trouble:
        print(f"instructions.py: {trouble}", file=sys.stderr)
        sys.exit(MORE)
