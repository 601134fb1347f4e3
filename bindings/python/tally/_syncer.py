"""The syncer: keeps a mirror equal to canonical."""

from __future__ import annotations

import ctypes
import threading
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Callable

from . import _abi, _handles
from ._callbacks import fields_of, inside_callback, text_at, uuid_at
from ._calls import text_arguments
from ._library import exception_of, give_back, lend, lib
from ._tables import EXCEPTIONS, Code, SyncErrorClass, SyncState
from ._types import Rejected, Wait, row_of
from ._values import Id, id_bytes, int64, parse_json

if TYPE_CHECKING:
    from ._engine import Engine

_byref = ctypes.byref

#: A syncer that has a thread lives until it is stopped, whoever still refers to it.
_running: set[Syncer] = set()
_STATES = list(SyncState)
_ERROR_CLASSES = list(SyncErrorClass)


class Syncer:
    """Pushes what the mirror has pending and takes what canonical answers.

    `run()` once, `start()` a thread, or `step()` from a loop of one's own. Thread-safe: one call at
    a time, others wait; `stop()` is free at any time. A context manager: leaving the block closes
    it. Callbacks come on the thread that steps; they may call the engine and `stop()`, nothing else
    of the syncer (RuntimeError), and what they raise goes to sys.unraisablehook.

    One process syncs a mirror; another takes over when it goes.
    """

    def __init__(
        self,
        engine: Engine,
        conninfo: str = "",
        *,
        token: str,
        schema: str | None = None,
        device_id: Id | None = None,
        operations_max: int = 1_000,
        bytes_max: int = 4_194_304,
        rows_max: int = 20_000,
        poll_interval_ms: int = 2_000,
        call_timeout_ms: int = 60_000,
        backoff_base_ms: int = 250,
        backoff_cap_ms: int = 60_000,
        digest_every: int = 100,
        lease_size: int = 0,
        lease_low_water: int = 0,
        lease_ttl_s: int = 0,
        on_rejected: Callable[[Rejected], object] | None = None,
        on_verdict: Callable[[int, uuid.UUID, str], object] | None = None,
        on_progress: Callable[[int, int], object] | None = None,
        on_state: Callable[[SyncState, SyncErrorClass, str], object] | None = None,
        on_changed: Callable[[list[uuid.UUID]], object] | None = None,
        on_diverged: Callable[[uuid.UUID], object] | None = None,
    ) -> None:
        """`conninfo` is a URI, a conninfo string, or empty for libpq's PG* environment; `token` the
        device's. A device's leases are kept at `lease_size` credits, refilled below
        `lease_low_water`; 0: none are. `on_verdict` gets the operation's number, its op_id and its
        code's name, `on_progress` acked and pending, `on_state` also what is wrong. Raises
        InvalidArgument.
        """
        self._handle: _handles.SyncerHandle | None = None
        self._gone = "the syncer is closed"
        self._lock = threading.Lock()
        self._engine = engine
        options = _abi.SyncOptions(
            operations_max=int64(operations_max, "operations_max"),
            bytes_max=int64(bytes_max, "bytes_max"),
            rows_max=int64(rows_max, "rows_max"),
            poll_interval_ms=int64(poll_interval_ms, "poll_interval_ms"),
            call_timeout_ms=int64(call_timeout_ms, "call_timeout_ms"),
            backoff_base_ms=int64(backoff_base_ms, "backoff_base_ms"),
            backoff_cap_ms=int64(backoff_cap_ms, "backoff_cap_ms"),
            digest_every=int64(digest_every, "digest_every"),
            lease_size=int64(lease_size, "lease_size"),
            lease_low_water=int64(lease_low_water, "lease_low_water"),
            lease_ttl_s=int64(lease_ttl_s, "lease_ttl_s"),
        )
        options.conninfo, options.conninfo_length = text_arguments(conninfo or None, "conninfo")
        options.token, options.token_length = text_arguments(token, "token")
        options.schema, options.schema_length = text_arguments(schema, "schema")
        if device_id is not None:
            options.flags = _abi.SYNC_DEVICE_ID
            ctypes.memmove(options.device_id, id_bytes(device_id), 16)
        callbacks = _abi.SyncCallbacks(
            **fields_of(
                rejected=(_abi.Json, _rejected, on_rejected),
                verdict=(_abi.Verdict, _verdict, on_verdict),
                progress=(_abi.Progress, _progress, on_progress),
                state=(_abi.State, _state, on_state),
                changed=(_abi.Users, _changed, on_changed),
                diverged=(_abi.User, _diverged, on_diverged),
            )
        )
        options.callbacks = ctypes.pointer(callbacks)
        handle = _handles.SyncerHandle()
        handle.kept = callbacks
        handle.engine = engine._handle  # Before: another thread may close the engine meanwhile.
        try:
            engine._call(lib.tally_syncer_new, _byref(options), _byref(handle))
        except BaseException:
            handle.engine = None  # The traceback has this frame.
            raise
        self._handle = handle
        engine._syncers.add(self)
        _handles.register(self)

    # ---- its life ---------------------------------------------------------------------------

    def close(self) -> None:
        """Stops it, waits for its thread, and ends it. Closing again does nothing."""
        if self._handle is None:
            return
        _refuse_in_callback("close()")
        self.stop()
        with self._lock:
            self._handle = None
        _running.discard(self)

    def __enter__(self) -> Syncer:
        if self._handle is None:
            raise _handles.closed(self)
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    _close_at_exit = close

    def __reduce__(self) -> Any:
        raise TypeError("a syncer is of one process")

    def __repr__(self) -> str:
        return f"<tally.Syncer of {self._engine.path!r}{' closed' if self._handle is None else ''}>"

    def _do(self, function: Any, *arguments: Any) -> None:
        """One call on the syncer; raises what it answers."""
        if self._handle is None:
            raise _handles.closed(self)
        _refuse_in_callback(function.__name__)
        with self._lock:
            scratch = lend()
            try:
                code = function(self._handle, *arguments, scratch.error_ref)
                if code == Code.invalid_argument and self._handle is None:
                    raise _handles.closed(self)
                if code:
                    raise exception_of(code, scratch)
            finally:
                give_back(scratch)

    # ---- syncing ----------------------------------------------------------------------------

    def run(self, timeout_ms: int = 30_000) -> SyncState:
        """Steps until everything is pushed and pulled, or the time is over: answers `synced`, or
        `idle` where something is rejected. Raises Busy (another process syncs this mirror),
        Unreachable (the time was over), Unauthorized, DeviceForked, HistoryLost, Protocol, and the
        mirror's own. Ctrl-C is seen when it returns; a program that is to be stopped sooner takes
        shorter times, or start()."""
        state = ctypes.c_int32()
        self._do(lib.tally_syncer_run, int64(timeout_ms, "timeout_ms"), _byref(state))
        return _STATES[state.value]

    def start(self) -> None:
        """Syncs on a thread of its own until stop() or close()."""
        self._do(lib.tally_syncer_start)
        _running.add(self)

    def stop(self) -> None:
        """Has the thread stop, and does not wait for it. From any thread, and from a callback."""
        if self._handle is not None:
            lib.tally_syncer_stop(self._handle)

    def step(self) -> Wait:
        """Does what can be done without waiting for the network, and says what to wait for."""
        wait = _abi.Wait()
        self._do(lib.tally_syncer_step, _byref(wait))
        return Wait(
            _STATES[wait.state],
            wait.socket if wait.socket >= 0 else None,
            bool(wait.readable),
            bool(wait.writable),
            wait.timeout_ms,
        )

    def resume(self, token: str) -> None:
        """After an authentication error: another token, and on."""
        self._do(lib.tally_syncer_resume, *text_arguments(token, "token"))

    def enrol_anew(self, timeout_ms: int = 30_000) -> None:
        """A mirror that is forked becomes another device, whose token this has; what it has not
        pushed is kept as rejected, to be retried. Raises as run()."""
        self._do(lib.tally_syncer_enrol_anew, int64(timeout_ms, "timeout_ms"))

    def claim_next(self, ttl_s: int, timeout_ms: int = 30_000) -> uuid.UUID | None:
        """The next job for a worker, claimed for so many seconds; None where there is none. Raises
        as run()."""
        job, found = ctypes.create_string_buffer(16), ctypes.c_int32()
        self._do(
            lib.tally_syncer_claim_next,
            int64(ttl_s, "ttl_s"),
            int64(timeout_ms, "timeout_ms"),
            job,
            _byref(found),
        )
        return uuid.UUID(bytes=job.raw) if found.value else None

    def verify(self, user_id: Id, timeout_ms: int = 30_000) -> bool:
        """Whether the user's digest is canonical's, once everything is pushed and pulled. Raises as
        run()."""
        equal = ctypes.c_int32()
        self._do(
            lib.tally_syncer_verify,
            id_bytes(user_id),
            int64(timeout_ms, "timeout_ms"),
            _byref(equal),
        )
        return bool(equal.value)


def _refuse_in_callback(what: str) -> None:
    if inside_callback():
        raise RuntimeError(f"{what} in a callback: it may call the engine and stop(), no more")


# ---- callbacks: C's arguments to Python's -----------------------------------------------------


def _rejected(json: Any, length: int) -> Sequence[Any]:
    return (row_of(Rejected, parse_json(text_at(json, length))),)


def _verdict(number: int, op_id: Any, code: int) -> Sequence[Any]:
    known = EXCEPTIONS.get(code)
    name = "ok" if code == 0 else known.name if known else lib.tally_code_name(code).decode()
    return number, uuid_at(op_id), name


def _progress(acked: int, pending: int) -> Sequence[Any]:
    return acked, pending


def _state(state: int, error_class: int, error: Any, length: int) -> Sequence[Any]:
    return _STATES[state], _ERROR_CLASSES[error_class], text_at(error, length)


def _changed(user_ids: Any, count: int) -> Sequence[Any]:
    return ([uuid.UUID(bytes=bytes(user_ids[i])) for i in range(count)],)


def _diverged(user_id: Any) -> Sequence[Any]:
    return (uuid_at(user_id),)
