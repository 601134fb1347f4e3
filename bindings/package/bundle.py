#!/usr/bin/env python3
"""Copies a shared library and everything it needs but glibc into a folder, so that it runs on
machines that have none of it.

usage: bundle.py LIBRARY OUT_FOLDER

Each copy of a dependency gets a name of its own, with a hash of its content, and looks for the
others beside itself only: whatever the host program has loaded (its OpenSSL, its libpq) is neither
used nor disturbed. Debian's copyright files of what was copied go into OUT_FOLDER/licenses. Prints
one line of JSON: the files, and the least glibc that they need.

Needs patchelf, ldd, readelf and strip.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

# What glibc is made of; every machine has its own, which cannot be replaced within a process.
GLIBC = re.compile(
    r"(ld-linux[\w-]*|libc|libm|libmvec|libdl|librt|libpthread|libresolv|libutil|libanl|"
    r"libnsl|libnss_\w+|libBrokenLocale|libthread_db|linux-vdso)\.so\b"
)
MACHINES = {"Advanced Micro Devices X86-64": "x86_64", "AArch64": "aarch64"}


def run(*command: str | pathlib.Path) -> str:
    """A command's output; its own words where it fails."""
    try:
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    except FileNotFoundError:
        sys.exit(f"bundle.py: {command[0]} is needed and not installed")
    if done.returncode:
        sys.exit(f"bundle.py: {' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout


def needed_by(library: pathlib.Path) -> list[str]:
    """The sonames that it names itself, without glibc's."""
    names = run("patchelf", "--print-needed", library).split()
    return [name for name in names if not GLIBC.match(name)]


def resolved(library: pathlib.Path) -> dict[str, pathlib.Path]:
    """Every soname that loading it takes, and the file that this machine has for it."""
    found = {}
    for line in run("ldd", library).splitlines():
        match = re.match(r"\s*(\S+) => (.+?) \(0x", line)
        if match:
            found[match[1]] = pathlib.Path(match[2]).resolve()
        elif "not found" in line:
            sys.exit(f"bundle.py: {library}: {line.strip()}")
    return {name: path for name, path in found.items() if not GLIBC.match(name)}


def unique_name(soname: str, path: pathlib.Path) -> str:
    """`libpq.so.5` to `libpq-1a2b3c4d.so.5`."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    stem, dot, rest = soname.partition(".so")
    return f"{stem}-{digest}{dot}{rest}"


def place(source: pathlib.Path, out: pathlib.Path, name: str, renamed: dict[str, str]) -> None:
    """One copy: stripped, under its name, with its dependencies' new names."""
    copy = out / name
    shutil.copyfile(source, copy)
    copy.chmod(0o755)
    run("strip", "--strip-unneeded", copy)  # Before patchelf: what that wrote, strip may break.
    changes: list[str] = []
    for soname in needed_by(copy):
        changes += ["--replace-needed", soname, renamed[soname]]
    # One kind of change a call: patchelf 0.14 (Debian 12) forgets the first of two kinds. RPATH
    # rather than RUNPATH, so that LD_LIBRARY_PATH does not come before it.
    if changes:
        run("patchelf", *changes, copy)
    run("patchelf", "--set-soname", name, copy)
    run("patchelf", "--force-rpath", "--set-rpath", "$ORIGIN", copy)


def add_licenses(sources: list[pathlib.Path], out: pathlib.Path) -> None:
    """The copyright files of the Debian packages that the copied files are from."""
    # dpkg may know a file of /usr/lib as one of /lib; what it does not know at all it only warns of.
    paths = [*sources, *(pathlib.Path("/", *source.parts[2:]) for source in sources)]
    if shutil.which("dpkg-query") is None:
        return
    done = subprocess.run(["dpkg-query", "-S", *paths], capture_output=True, text=True)
    for package in {line.split(":", 1)[0] for line in done.stdout.splitlines()}:
        text = pathlib.Path("/usr/share/doc", package, "copyright")
        if text.exists():
            (out / "licenses").mkdir(exist_ok=True)
            shutil.copyfile(text, out / "licenses" / f"{package}.txt")


def glibc_needed(files: list[pathlib.Path]) -> tuple[int, int]:
    """The newest version of glibc's symbols that any of them asks for."""
    text = run("readelf", "--version-info", "--wide", *files)
    found = {(int(a), int(b)) for a, b in re.findall(r"\bGLIBC_(\d+)\.(\d+)", text)}
    found.add((2, 36) if "GLIBC_ABI_DT_RELR" in text else (2, 17))  # manylinux has no older.
    return max(found)


def machine_of(library: pathlib.Path) -> str:
    """As platform tags name it."""
    header = run("readelf", "--file-header", library)
    name = re.search(r"Machine:\s+(.+)", header)
    return MACHINES.get(name[1].strip(), "unknown") if name else "unknown"


class Made(NamedTuple):
    """What a bundle is: its files, the least glibc that they need, and the machine."""

    files: list[str]
    glibc: tuple[int, int]
    machine: str


def bundle(library: pathlib.Path, out: pathlib.Path) -> Made:
    """Fills the folder; answers what is in it."""
    out.mkdir(parents=True, exist_ok=True)
    found = resolved(library)
    renamed = {soname: unique_name(soname, path) for soname, path in found.items()}
    main = re.sub(r"\.so[.\d]*$", ".so", library.name)
    copies = [(library, main), *((path, renamed[soname]) for soname, path in found.items())]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Each waits for programs, many times over.
        for _ in pool.map(lambda copy: place(copy[0], out, copy[1], renamed), copies):
            pass
    add_licenses(list(found.values()), out)
    files = sorted([main, *renamed.values()])
    glibc = glibc_needed([out / name for name in files])
    check(out / main, out)
    return Made(files, glibc, machine_of(out / main))


def check(main: pathlib.Path, out: pathlib.Path) -> None:
    """What the loader now finds is in the folder, all of it."""
    with tempfile.TemporaryDirectory() as elsewhere:
        moved = pathlib.Path(elsewhere, "moved")
        shutil.copytree(out, moved)  # Its old place must not matter.
        for name, path in resolved(moved / main.name).items():
            if path.parent != moved.resolve():
                sys.exit(f"bundle.py: {name} still comes from {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("library", type=pathlib.Path)
    parser.add_argument("out_folder", type=pathlib.Path)
    arguments = parser.parse_args()
    print(json.dumps(bundle(arguments.library.resolve(), arguments.out_folder)._asdict()))


if __name__ == "__main__":
    main()
