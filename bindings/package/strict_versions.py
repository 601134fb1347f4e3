#!/usr/bin/env python3
"""Has the libraries in a folder bind to each other, whatever the program exports.

usage: strict_versions.py FOLDER

A reference to EVP_sha256@OPENSSL_3.0.0 is also satisfied by an EVP_sha256 without a version, as
Node and Electron export from the OpenSSL or BoringSSL inside them, and the program's come first.
RTLD_DEEPBIND would turn that around, but for malloc, too: where the host has an allocator of its own
(Electron's, a preloaded jemalloc), what libc allocated with that one would be freed with another.
So the references themselves are made strict: the hidden bit of a needed version (vna_other) tells
glibc's loader that a symbol without a version will not do. glibc's own versions stay as they are.
What a library refers to and has itself it takes from itself (DF_SYMBOLIC).
"""

from __future__ import annotations

import pathlib
import struct
import sys

PT_LOAD, PT_DYNAMIC = 1, 2
DT_NULL, DT_STRTAB, DT_SYMBOLIC, DT_FLAGS = 0, 5, 16, 30
DT_VERNEED, DT_VERNEEDNUM = 0x6FFFFFFE, 0x6FFFFFFF
DF_SYMBOLIC = 2
HIDDEN = 0x8000
OF_THE_SYSTEM = (b"GLIBC_", b"GCC_", b"GLIBCXX_", b"CXXABI_")


class Elf:
    """A 64-bit little-endian file, as far as needed versions go."""

    def __init__(self, data: bytearray):
        self.data = data
        self.spare = 0  # Bytes behind the end of the dynamic section's entries.
        if data[:6] != b"\x7fELF\x02\x01":
            sys.exit("strict_versions.py: only 64-bit little-endian ELF files are known here")
        (start,) = struct.unpack_from("<Q", data, 32)
        size, count = struct.unpack_from("<HH", data, 54)
        self.segments = [struct.unpack_from("<IIQQQQQQ", data, start + i * size) for i in range(count)]

    def offset(self, address: int) -> int:
        for kind, _, offset, virtual, _, file_size, _, _ in self.segments:
            if kind == PT_LOAD and virtual <= address < virtual + file_size:
                return int(offset + address - virtual)
        sys.exit(f"strict_versions.py: no segment holds address {address:#x}")

    def dynamic(self) -> dict[int, tuple[int, int]]:
        """Each tag's value and the offset of its entry; of several the first."""
        found: dict[int, tuple[int, int]] = {}
        for kind, _, offset, _, _, size, _, _ in self.segments:
            if kind == PT_DYNAMIC:
                for at in range(offset, offset + size, 16):
                    tag, value = struct.unpack_from("<QQ", self.data, at)
                    found.setdefault(tag, (value, at))
                    if tag == DT_NULL:
                        self.spare = offset + size - at - 16
                        break
        return found

    def make_symbolic(self) -> None:
        entries = self.dynamic()
        if DT_FLAGS in entries:
            flags, at = entries[DT_FLAGS]
            struct.pack_into("<QQ", self.data, at, DT_FLAGS, flags | DF_SYMBOLIC)
        elif DT_SYMBOLIC not in entries:
            if self.spare < 16:
                sys.exit("strict_versions.py: the dynamic section has no room")
            struct.pack_into("<QQ", self.data, entries[DT_NULL][1], DT_SYMBOLIC, 0)

    def make_strict(self) -> list[str]:
        """The versions that are strict now."""
        entries = self.dynamic()
        if DT_VERNEED not in entries:
            return []
        names = self.offset(entries[DT_STRTAB][0])
        strict = []
        at = self.offset(entries[DT_VERNEED][0])
        for _ in range(entries[DT_VERNEEDNUM][0]):
            _, count, _, first, following = struct.unpack_from("<HHIII", self.data, at)
            version = at + first
            for _ in range(count):
                _, _, other, name, next_version = struct.unpack_from("<IHHII", self.data, version)
                text = bytes(self.data[names + name : self.data.index(0, names + name)])
                if not text.startswith(OF_THE_SYSTEM):
                    struct.pack_into("<H", self.data, version + 6, other | HIDDEN)
                    strict.append(text.decode())
                version += next_version
            at += following
        return strict


def make_strict(folder: pathlib.Path) -> dict[str, list[str]]:
    """The versions that each library in the folder now insists on."""
    strict = {}
    for path in sorted(folder.iterdir()):
        if path.is_file():
            data = bytearray(path.read_bytes())
            elf = Elf(data)
            elf.make_symbolic()
            strict[path.name] = elf.make_strict()
            path.write_bytes(data)
    return strict


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for name, versions in make_strict(pathlib.Path(sys.argv[1])).items():
        print(f"{name}: {' '.join(versions) or '-'}")


if __name__ == "__main__":
    main()
