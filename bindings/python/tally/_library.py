"""Finds and loads the shared library, and turns its answers into values and exceptions."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import sys
import uuid
from pathlib import Path
from typing import Any

from . import _abi
from ._errors import Failure, Refusal, TallyError
from ._tables import EXCEPTIONS, Code
from ._types import Receipt

_NAMES = {"win32": ("tally.dll", "libtally.dll"), "darwin": ("libtally.dylib",)}


def _candidates() -> list[str]:
    """Where to look, in order: what a wheel brought, what the environment names, else the system."""
    names = _NAMES.get(sys.platform, ("libtally.so", f"libtally.so.{_abi.ABI_VERSION}"))
    beside = (Path(__file__).parent / "_lib" / name for name in names)
    found = [str(path) for path in beside if path.exists()]
    named = os.environ.get("TALLY_LIBRARY")
    return [*found, named] if named else [*found, *reversed(names)]


def _load() -> ctypes.CDLL:
    tried = []
    for name in _candidates():
        try:
            library = ctypes.CDLL(name)
            version = library.tally_abi_version()
        except (OSError, AttributeError) as error:
            tried.append(f"  {error}")
            continue
        if version != _abi.ABI_VERSION:
            raise ImportError(
                f"{name} speaks version {version} of the ABI and this package version"
                f" {_abi.ABI_VERSION}: install a package and a library of one release"
            )
        return library
    raise ImportError(
        "the library of Tallystick was not found. Install a wheel that brings it, or let the"
        " environment variable TALLY_LIBRARY name libtally.so. Tried:\n" + "\n".join(tried)
    )


lib: Any = _load()
for _name, (_result, _arguments) in _abi.FUNCTIONS.items():
    try:
        _function = getattr(lib, _name)
    except AttributeError:
        raise ImportError(f"{lib._name} lacks {_name}: it is older than this package") from None
    _function.restype = _result
    _function.argtypes = _arguments


_NO_ID = bytes(16)
_NONE = _abi.Uuid()


class Scratch:
    """What one call writes its answer into. Kept and lent out again, because to make one costs as
    much as the call; lent, not thread-local, because a callback may call the engine, too."""

    __slots__ = ("receipt", "error", "receipt_ref", "error_ref")

    def __init__(self) -> None:
        self.receipt = _abi.Receipt()
        self.error = _abi.Error()
        self.receipt_ref = ctypes.byref(self.receipt)
        self.error_ref = ctypes.byref(self.error)

    def forget_receipt(self) -> None:
        """So that a call that leaves the receipt alone is not taken for the one before it."""
        self.receipt.op_id = _NONE


_idle: list[Scratch] = []


def lend() -> Scratch:
    """A Scratch for one call; give_back() it whatever the call answers."""
    try:
        return _idle.pop()
    except IndexError:
        return Scratch()


#: list.append is atomic; so is list.pop above.
give_back = _idle.append


def receipt_of(scratch: Scratch) -> Receipt:
    """What an operation that is ok answered."""
    raw = scratch.receipt
    flags = raw.flags
    return Receipt(
        bytes(raw.op_id),
        raw.balance if flags & _abi.RECEIPT_BALANCE else None,
        bytes(raw.id) if flags & _abi.RECEIPT_ID else None,
    )


def op_id_of(scratch: Scratch) -> uuid.UUID | None:
    """The op_id in the receipt, if the call wrote one."""
    raw = bytes(scratch.receipt.op_id)
    return uuid.UUID(bytes=raw) if raw != _NO_ID else None


def exception_of(code: int, scratch: Scratch) -> TallyError:
    """The exception of a code; of one that this package does not know, by its class."""
    detail = scratch.error.detail.decode("utf-8", "replace")
    index = scratch.error.index if scratch.error.index >= 0 else None
    known = EXCEPTIONS.get(code)
    if known is not None:
        return known(detail, index=index)
    refusal = lib.tally_code_class(code) == 1
    unknown = (Refusal if refusal else Failure)(detail, index=index, code=code)
    unknown.name = lib.tally_code_name(code).decode()
    return unknown


def take_text(text: ctypes.c_void_p) -> bytes:
    """The bytes of a tally_text, which ends with it."""
    try:
        return ctypes.string_at(lib.tally_text_data(text), lib.tally_text_length(text))
    finally:
        lib.tally_text_free(text)


def new_uuid() -> uuid.UUID:
    """A UUID of version 7: ordered by time, and increasing within the process."""
    raw = ctypes.create_string_buffer(16)
    code = lib.tally_uuid_new(raw)
    if code != Code.ok:
        raise EXCEPTIONS[code]("no random bytes from the system")
    return uuid.UUID(bytes=raw.raw)


def library_version() -> str:
    """`major.minor.patch` of the library in use."""
    version: bytes = lib.tally_version()
    return version.decode()


def sqlite_version() -> str:
    """That of the SQLite inside it."""
    version: bytes = lib.tally_sqlite_version()
    return version.decode()
