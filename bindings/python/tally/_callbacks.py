"""Callbacks from C: its arguments to Python's, and what may be done inside of one."""

from __future__ import annotations

import ctypes
import threading
import uuid
from typing import Any, Callable, Sequence, Tuple

#: A callback's type in C, what makes its arguments Python's, and the host's function or None.
Given = Tuple[Any, Callable[..., Sequence[Any]], Any]

_inside = threading.local()


def inside_callback() -> bool:
    """Whether this thread is in a callback."""
    return bool(getattr(_inside, "depth", 0))


def fields_of(**given: Given) -> dict[str, Any]:
    """The fields of a struct of callbacks; those that were not given stay NULL."""
    return {
        name: kind(_called(convert, function))
        for name, (kind, convert, function) in given.items()
        if function is not None
    }


def _called(convert: Callable[..., Sequence[Any]], function: Any) -> Callable[..., None]:
    """What C calls. It marks the thread while it runs, so that what would wait for this very
    callback can refuse instead. What it raises goes to sys.unraisablehook, by ctypes."""

    def call(_context: Any, *arguments: Any) -> None:
        depth = getattr(_inside, "depth", 0)
        _inside.depth = depth + 1
        try:
            function(*convert(*arguments))
        finally:
            _inside.depth = depth

    call.__qualname__ = getattr(function, "__qualname__", repr(function))
    return call


def uuid_at(pointer: Any) -> uuid.UUID:
    """The id at an address, which is gone when the callback returns."""
    return uuid.UUID(bytes=bytes(pointer.contents))


def text_at(text: Any, length: int) -> str:
    """The text at an address."""
    return ctypes.string_at(text, length).decode("utf-8", "replace") if length else ""
