#!/usr/bin/env python3
"""Makes the add-on's zip, which Blender installs: the folder tallystick/ with a wheel's package in it.

usage: build_addon.py --wheel WHEEL --out FOLDER

The same inputs make the same bytes. Prints the zip's path.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import build_wheel  # noqa: E402


def addon_files(version: str) -> dict[str, bytes]:
    """The add-on's own, with the release's number in bl_info."""
    numbers = ", ".join(version.split("."))
    files = {}
    for path in (HERE / "tallystick").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        text = text.replace('"version": (0, 0, 0)', f'"version": ({numbers})')
        files[f"tallystick/{path.name}"] = text.encode()
    return files


def vendored_files(wheel: pathlib.Path) -> dict[str, bytes]:
    """The wheel's package, under a name that no other copy of it has; and the licenses."""
    with zipfile.ZipFile(wheel) as archive:
        names = [n for n in archive.namelist() if n.startswith("tally/") or "/licenses/" in n]
        files = {f"tallystick/vendor/{name}": archive.read(name) for name in names}
    return {"tallystick/vendor/__init__.py": b"", **files}


def build(wheel: pathlib.Path, out: pathlib.Path) -> pathlib.Path:
    """Makes the zip, and answers its path."""
    _, version, *_, platform = wheel.stem.split("-")
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"tallystick-blender-{version}-{platform}.zip"
    files = {**addon_files(version), **vendored_files(wheel)}
    build_wheel.write_zip(target, sorted(files.items()))
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--wheel", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    print(build(arguments.wheel, arguments.out))


if __name__ == "__main__":
    main()
