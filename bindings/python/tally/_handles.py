"""Who frees what, and when: handles, and the ends of the interpreter and of a fork.

A handle frees what it holds when its last reference goes. A call passes the handle itself to
ctypes, which keeps it until the call returns; so `close()` only drops the engine's own reference,
and is safe while other threads are inside of a call, without a lock on the way of any.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
import time
import weakref
from typing import Any, Protocol

from ._library import lib

#: Longest that the interpreter's end waits for calls that may still call back.
_EXIT_WAIT_S = 15.0


class _Handle(ctypes.c_void_p):
    """What C made. `kept` are the callbacks, which must live as long as C may call them."""

    kept: Any = None
    _free: Any

    def __del__(self) -> None:
        if self.value:
            self._free(self.value)
            self.value = None


class EngineHandle(_Handle):
    """An open engine."""

    _free = staticmethod(lib.tally_engine_free)


class SyncerHandle(_Handle):
    """A syncer, and the engine that has to outlive it. Freeing stops it and waits for its thread,
    which may be waiting for the GIL; ctypes lets go of that meanwhile."""

    engine: EngineHandle | None = None
    _free = staticmethod(lib.tally_syncer_free)


class Owner(Protocol):
    """An engine or a syncer: has a handle, or a reason why it has none any more."""

    _handle: Any
    _gone: str

    def _close_at_exit(self) -> None: ...


_owners: weakref.WeakSet[Any] = weakref.WeakSet()
_owners_lock = threading.Lock()


def register(owner: Owner) -> None:
    """Has the owner closed at exit, and disarmed in a child of fork()."""
    with _owners_lock:
        _owners.add(owner)


def closed(owner: Owner) -> ValueError:
    """What a call on an owner without a handle raises."""
    return ValueError(owner._gone)


def wait_until_gone(handle: weakref.ref[Any]) -> None:
    """Waits until the calls that are still inside of it have returned."""
    deadline = time.monotonic() + _EXIT_WAIT_S
    while handle() is not None and time.monotonic() < deadline:
        time.sleep(0.001)


@atexit.register
def _close_all() -> None:
    """Before the interpreter goes: afterwards a callback would find none, and end the process."""
    with _owners_lock:
        owners = list(_owners)
    for owner in sorted(owners, key=_syncers_first):
        owner._close_at_exit()


def _syncers_first(owner: Owner) -> bool:
    return isinstance(owner._handle, EngineHandle)


def _disarm() -> None:
    """In a child of fork(): its copies of the handles are the parent's, and are left alone."""
    global _owners_lock
    _owners_lock = threading.Lock()  # Another thread of the parent may have had it.
    for owner in list(_owners):
        handle, owner._handle = owner._handle, None
        if handle is not None:
            handle.value = None
            owner._gone = (
                f"opened by process {os.getppid()}, from which this one was forked, and whose it is:"
                " fork before a mirror is opened, or spawn"
            )
    _owners.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disarm)

