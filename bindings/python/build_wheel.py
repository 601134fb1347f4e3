#!/usr/bin/env python3
"""Makes the wheel: the package, the shared library, and what that needs.

usage: build_wheel.py --library LIBTALLY [MORE FILES] --out FOLDER [--platform TAG]

A library of Linux is bundled with all that it needs but glibc (bindings/package/bundle.py), and the
platform's tag says the glibc that the result needs. Of another system the library and the files
behind it go in as they are, under the tag that is given. The same inputs make the same bytes.
Prints the wheel's path.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import pathlib
import sys
import tempfile
import zipfile
from typing import Iterable

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "package"))

import bundle  # noqa: E402
import strict_versions  # noqa: E402

METADATA = """\
Metadata-Version: 2.1
Name: tally
Version: {version}
Summary: A credit ledger and job state machine inside of your program, with Postgres as the other half
Requires-Python: >=3.8
Classifier: Typing :: Typed
Description-Content-Type: text/markdown

{readme}"""

WHEEL = """\
Wheel-Version: 1.0
Generator: tallystick build_wheel.py
Root-Is-Purelib: false
Tag: py3-none-{platform}
"""


def version() -> str:
    """The one of the file VERSION."""
    return (ROOT / "VERSION").read_text().split()[0]


def package_files() -> dict[str, bytes]:
    """The package's own, by their names in the wheel."""
    files = (path for path in (HERE / "tally").rglob("*") if path.suffix in (".py", ".typed"))
    return {path.relative_to(HERE).as_posix(): path.read_bytes() for path in files}


def is_elf(path: pathlib.Path) -> bool:
    return path.read_bytes()[:4] == b"\x7fELF"


def library_files(libraries: list[pathlib.Path], info: str) -> tuple[dict[str, bytes], str]:
    """What goes into tally/_lib, the licenses, and the platform's tag where it can be seen."""
    if not is_elf(libraries[0]):
        return {f"tally/_lib/{path.name}": path.read_bytes() for path in libraries}, ""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder)
        made = bundle.bundle(libraries[0].resolve(), out)
        strict_versions.make_strict(out)  # Whatever Blender or another host exports.
        names = [path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()]
        files = {
            (f"{info}/{name}" if name.startswith("licenses/") else f"tally/_lib/{name}"): (
                out / name
            ).read_bytes()
            for name in names
        }
    return files, f"manylinux_{made.glibc[0]}_{made.glibc[1]}_{made.machine}"


def hashed(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
    return f"sha256={digest.decode()},{len(content)}"


def write(wheel: pathlib.Path, files: dict[str, bytes], info: str) -> None:
    """The wheel, with RECORD last, as installers like it."""
    record = "".join(f"{name},{hashed(content)}\n" for name, content in sorted(files.items()))
    last = (f"{info}/RECORD", f"{record}{info}/RECORD,,\n".encode())
    write_zip(wheel, [*sorted(files.items()), last])


def write_zip(target: pathlib.Path, entries: Iterable[tuple[str, bytes]]) -> None:
    """A zip of these files, in their order; the same ones make the same bytes."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in entries:
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            mode = 0o755 if ".so" in name else 0o644
            entry.external_attr = (0o100000 | mode) << 16
            archive.writestr(entry, content)


def build(libraries: list[pathlib.Path], out: pathlib.Path, platform: str = "") -> pathlib.Path:
    """Makes the wheel, and answers its path."""
    info = f"tally-{version()}.dist-info"
    files, seen = library_files(libraries, info)
    platform = platform or seen
    if not platform:
        sys.exit("build_wheel.py: the platform of this library cannot be seen; give --platform")
    files.update(package_files())
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    files[f"{info}/METADATA"] = METADATA.format(version=version(), readme=readme).encode()
    files[f"{info}/WHEEL"] = WHEEL.format(platform=platform).encode()
    out.mkdir(parents=True, exist_ok=True)
    wheel = out / f"tally-{version()}-py3-none-{platform}.whl"
    write(wheel, files, info)
    return wheel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--library", type=pathlib.Path, nargs="+", required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--platform", default="")
    arguments = parser.parse_args()
    print(build(arguments.library, arguments.out, arguments.platform))


if __name__ == "__main__":
    main()
