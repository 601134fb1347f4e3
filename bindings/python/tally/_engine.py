"""The engine: one mirror file, open."""

from __future__ import annotations

import ctypes
import enum
import os
import uuid
import warnings
import weakref
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Callable

from . import _abi, _handles
from ._account import Account
from ._batch import Batch
from ._callbacks import fields_of, text_at, uuid_at
from ._calls import CREDITS_MAX, TYPED, call_of, text_arguments, typed_arguments
from ._errors import TallyError
from ._library import (
    Scratch,
    exception_of,
    give_back,
    lend,
    lib,
    op_id_of,
    receipt_of,
    take_text,
)
from ._job import Job
from ._metrics import Totals, measured
from ._tables import FIELDS, Code, Durability, LogLevel, Operations, SpendPolicy, SyncErrorClass
from ._types import (
    AccountState,
    Audit,
    Backup,
    Check,
    Draft,
    Entry,
    Finding,
    Hold,
    JobRow,
    JobState,
    Lease,
    Metric,
    Project,
    Receipt,
    Rejected,
    Result,
    Asset,
    Step,
    SyncStatus,
    TableDigest,
    row_of,
    rows_of,
)
from ._values import Id, Json, as_uuid, id_bytes, int64, operation_text, parse_json

if TYPE_CHECKING:
    from ._syncer import Syncer

# Without argtypes: to convert a handle and bytes by them takes as long as the rest of the call.
_balance_value = lib["tally_engine_balance_value"]
_balance_value.restype = ctypes.c_int64
_UUID = uuid.UUID
_reserve_credits = lib.tally_reserve_credits
_byref = ctypes.byref

_LOG_LEVELS = list(LogLevel)

#: Entries that history() reads at a time.
PAGE = 1_000


class Engine(Operations[Receipt]):
    """One mirror file, open: every operation is a method, and so is what can be read.

    Thread-safe, and the interpreter's lock is not held while a call is under way: threads that wait
    for their commits share them. Any number of engines, in any number of processes, may have one
    file open. An engine is of the process that opened it: a child of fork() can use none of its
    parent's (ValueError), and cannot open a mirror that its parent had open (InvalidArgument), for
    SQLite has locks that a child does not inherit. Fork before it is opened, or spawn.

    A context manager: leaving the block closes it. Callbacks come on the thread whose call made the
    commit, after it; what they raise goes to sys.unraisablehook.
    """

    def __init__(
        self,
        path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
        *,
        durability: Durability | str = Durability.full,
        spend_policy: SpendPolicy | str = SpendPolicy.optimistic,
        must_exist: bool = False,
        busy_timeout_ms: int = 10_000,
        verdict_timeout_ms: int = 10_000,
        low_credits: int = 5,
        cache_kib: int = 8_192,
        on_job_complete: Callable[[uuid.UUID, uuid.UUID], object] | None = None,
        on_job_failed: Callable[[uuid.UUID, uuid.UUID], object] | None = None,
        on_low_credits: Callable[[uuid.UUID, int], object] | None = None,
        on_log: Callable[[LogLevel, str], object] | None = None,
        on_metric: Callable[[str, float, dict[str, str]], object] | None = None,
        measure: bool = False,
    ) -> None:
        """Opens, and by default makes, the mirror at `path`.

        `durability` full: what returned is on disk; normal: it survives the end of the process, not
        a power cut. `on_job_complete` and `on_job_failed` get user_id and job_id, `on_low_credits`
        user_id and the balance, once it fell below `low_credits`. `on_metric` gets a metric's name,
        a value in its unit and its attributes; with it, or with `measure`, metrics() says what all
        came to, and else nothing is measured, for that takes time. Raises InvalidArgument, NotFound
        (with `must_exist`), Corrupt, SchemaTooNew, SqliteUnsafe, ReadOnly, Busy, Io, Full.
        """
        self._handle: _handles.EngineHandle | None = None
        self._gone = "the engine was not opened"
        self._syncers: weakref.WeakSet[Syncer] = weakref.WeakSet()
        self.path = os.fsdecode(path)
        options = _abi.Options(
            durability=_number_of(Durability, durability),
            spend_policy=_number_of(SpendPolicy, spend_policy),
            must_exist=bool(must_exist),
            busy_timeout_ms=int64(busy_timeout_ms, "busy_timeout_ms"),
            verdict_timeout_ms=int64(verdict_timeout_ms, "verdict_timeout_ms"),
            low_credits=int64(low_credits, "low_credits"),
            cache_kib=int64(cache_kib, "cache_kib"),
        )
        self._totals = Totals(on_metric) if measure or on_metric is not None else None
        callbacks = fields_of(
            job_complete=(_abi.UserJob, _user_and_job, on_job_complete),
            job_failed=(_abi.UserJob, _user_and_job, on_job_failed),
            low_credits=(_abi.UserCredits, _user_and_balance, on_low_credits),
            log=(_abi.LogLine, _level_and_line, on_log),
            metric=(_abi.Measurement, measured, self._totals and self._totals.add),
        )
        handle = _handles.EngineHandle()
        if callbacks:
            handle.kept = _abi.Callbacks(**callbacks)
            options.callbacks = ctypes.pointer(handle.kept)
        raw = os.fsencode(path)
        scratch = lend()
        try:
            code = lib.tally_engine_open(
                raw, len(raw), _byref(options), _byref(handle), scratch.error_ref
            )
            if code:
                raise exception_of(code, scratch)
        finally:
            give_back(scratch)
        self._handle = handle
        _handles.register(self)

    # ---- its life ---------------------------------------------------------------------------

    def close(self) -> None:
        """Closes the engine and its syncers. Calls that other threads are inside of end as they
        would have, and the file is let go when the last has. Closing again does nothing."""
        for syncer in list(self._syncers):
            syncer.close()
        self._gone = "the engine is closed"
        self._handle = None

    @property
    def closed(self) -> bool:
        """Whether it can be used no more."""
        return self._handle is None

    def __enter__(self) -> Engine:
        if self._handle is None:
            raise _handles.closed(self)
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)

    def _close_at_exit(self) -> None:
        # One without callbacks can stay: other threads, and other atexit functions, may use it on.
        if self._handle is None or self._handle.kept is None:
            return
        self._gone = "the interpreter is about to end"
        handle, self._handle = weakref.ref(self._handle), None
        _handles.wait_until_gone(handle)

    def __repr__(self) -> str:
        return f"<tally.Engine {self.path!r}{' closed' if self._handle is None else ''}>"

    def __reduce__(self) -> Any:
        raise TypeError("an engine is of one process; open the mirror anew in the other")

    # ---- calling the library ----------------------------------------------------------------
    # No frame here keeps the handle in a variable: an exception's traceback would keep the engine
    # open past close().

    def _call(self, function: Any, *arguments: Any) -> None:
        """One call on this engine that ends with a tally_error; raises what it answers."""
        scratch = lend()
        try:
            code = function(self._handle, *arguments, scratch.error_ref)
            if code:
                raise self._refused(code, scratch)
        finally:
            give_back(scratch)

    def _json(self, function: Any, *arguments: Any) -> Any:
        """One reading call on this engine, and the JSON that it answers."""
        text = ctypes.c_void_p()
        self._call(function, *arguments, _byref(text))
        return parse_json(take_text(text))

    def _refused(self, code: int, scratch: Scratch) -> Exception:
        if code == Code.invalid_argument and self._handle is None:
            return _handles.closed(self)
        return exception_of(code, scratch)

    def _refused_operation(self, code: int, scratch: Scratch, op_id: Id | None) -> Exception:
        error = self._refused(code, scratch)
        if isinstance(error, TallyError):
            error.op_id = op_id_of(scratch) if op_id is None else as_uuid(op_id)
        return error

    def _apply(
        self, operation: str, fields: dict[str, Any], op_id: Id | None, at: datetime | None
    ) -> Receipt:
        if operation in TYPED:
            function, plan, lacks = TYPED[operation]
            arguments = typed_arguments(plan, lacks, fields)
            if arguments is not None:
                return self._receipt(function, arguments, op_id, call_of(op_id, at))
        text = operation_text(operation, FIELDS[operation], fields, op_id, at)
        return self._apply_text(text, op_id)

    def _apply_text(self, text: str, op_id: Id | None) -> Receipt:
        raw = text.encode()
        return self._receipt(lib.tally_apply, (raw, len(raw)), op_id)

    def _receipt(
        self, function: Any, arguments: Sequence[Any], op_id: Id | None, *call: Any
    ) -> Receipt:
        """One call that changes something."""
        scratch = lend()
        scratch.forget_receipt()
        try:
            code = function(
                self._handle, *arguments, *call, scratch.receipt_ref, scratch.error_ref
            )
            if code:
                raise self._refused_operation(code, scratch, op_id)
            return receipt_of(scratch)
        finally:
            give_back(scratch)

    def reserve_credits(
        self,
        *,
        user_id: Id,
        job_id: Id,
        amount: int,
        op_id: Id | None = None,
        at: datetime | None = None,
    ) -> Receipt:
        # The same as the generated one, by the shortest way: it is what a host waits for.
        if type(amount) is not int or not 0 <= amount <= CREDITS_MAX:
            return super().reserve_credits(
                user_id=user_id, job_id=job_id, amount=amount, op_id=op_id, at=at
            )
        user, job = id_bytes(user_id), id_bytes(job_id)
        call = None if op_id is None and at is None else call_of(op_id, at)
        scratch = lend()
        scratch.forget_receipt()
        try:
            code = _reserve_credits(
                self._handle, user, job, amount, call, scratch.receipt_ref, scratch.error_ref
            )
            if code:
                raise self._refused_operation(code, scratch, op_id)
            return receipt_of(scratch)
        finally:
            give_back(scratch)

    reserve_credits.__doc__ = Operations.reserve_credits.__doc__

    def batch(self, *, op_id: Id | None = None, at: datetime | None = None) -> Batch:
        """A context manager that collects 1 to 1,000 operations of one user and applies them when
        the block ends, all or none, in one commit; a block that raises applies nothing."""
        return Batch(self, op_id, at)

    def submit(self, lines: str | bytes | Iterable[str | bytes]) -> list[Result]:
        """Applies a trace, a line an operation with its op_id and at, each whole or not at all, in
        one commit; refusals are results. Raises failures: then nothing of it happened."""
        results = self.submit_text(lines).splitlines()
        return [row_of(Result, parse_json(line)) for line in results]

    def submit_text(self, lines: str | bytes | Iterable[str | bytes]) -> str:
        """The same, answering the result lines as they are."""
        if not isinstance(lines, (str, bytes)):
            lines = b"\n".join(_line_bytes(line) for line in lines)
        raw = lines.encode() if isinstance(lines, str) else lines
        text = ctypes.c_void_p()
        self._call(lib.tally_submit, raw, len(raw), _byref(text))
        return take_text(text).decode()

    # ---- reading ----------------------------------------------------------------------------

    def balance(self, user_id: Id) -> int:
        """The user's credits, from memory, in well under a microsecond. Raises UserNotFound."""
        # Written out, because here a function call more is a tenth of the whole.
        key = user_id.int.to_bytes(16, "big") if type(user_id) is _UUID else id_bytes(user_id)
        value: int = _balance_value(self._handle, key)
        if value < _abi.BALANCE_NONE:
            return self._balance(key)
        return value

    def _balance(self, key: bytes) -> int:
        """The same, raising what it answers; unless another thread has made the user meanwhile."""
        out = ctypes.c_int64()
        self._call(lib.tally_engine_balance, key, _byref(out))
        return out.value

    def check(self, user_id: Id) -> Check:
        """The account in numbers, from memory. Raises UserNotFound."""
        check = _abi.Check()
        self._call(lib.tally_engine_check, id_bytes(user_id), _byref(check))
        return Check(check.balance, check.held, check.entries, check.pending_operations)

    def account(self, user_id: Id) -> Account:
        """The user's account, to be read from. Raises UserNotFound."""
        self.balance(user_id)
        return Account(self, as_uuid(user_id))

    def account_state(self, user_id: Id) -> AccountState:
        """Balance, open holds and leases, in one consistent read. Raises UserNotFound."""
        state = self._json(lib.tally_engine_account_state, id_bytes(user_id))
        state["holds"] = tuple(rows_of(Hold, state["holds"]))
        state["leases"] = tuple(rows_of(Lease, state["leases"]))
        return AccountState(**state)

    def history(
        self, user_id: Id, *, limit: int | None = None, before_seq: int = 0
    ) -> Iterator[Entry]:
        """The ledger's entries, newest first, read a page at a time; with `before_seq` those below
        it. Raises UserNotFound."""
        self.balance(user_id)  # Here, not when the first is asked for.
        return self._pages(id_bytes(user_id), limit, int64(before_seq, "before_seq"))

    def _pages(self, user: bytes, left: int | None, before: int) -> Iterator[Entry]:
        user_id = str(uuid.UUID(bytes=user))  # Whose they are need not be said in each.
        while left is None or left > 0:
            size = PAGE if left is None else min(left, PAGE)
            rows = self._json(lib.tally_engine_history, user, size, before)
            page = [row_of(Entry, {"user_id": user_id, **row}) for row in rows]
            yield from page
            if len(page) < size:
                return
            before = page[-1].seq
            left = None if left is None else left - size

    def project(self, project_id: Id) -> Project:
        """A project's row. Raises ProjectNotFound."""
        return row_of(Project, self._json(lib.tally_engine_project, id_bytes(project_id)))

    def job_state(self, job_id: Id) -> JobState:
        """A job with its steps and assets. Raises JobNotFound."""
        state = self._json(lib.tally_engine_job, id_bytes(job_id))
        return JobState(
            row_of(JobRow, state["job"]),
            tuple(rows_of(Step, state["steps"])),
            tuple(rows_of(Asset, state["assets"])),
        )

    def job(
        self,
        job_id: Id | None = None,
        *,
        user_id: Id | None = None,
        project_id: Id | None = None,
        amount: int | None = None,
        final_cost: int | None = None,
        claim_ttl_s: int | None = None,
    ) -> Job:
        """A job, to be read from and worked on.

        `with engine.job(user_id=..., project_id=..., amount=8) as job:` makes it, reserves the
        credits and queues it, in one commit; see Job for what the block's end does. With a `job_id`
        that exists that job is taken, whatever it lacks of these.
        """
        if job_id is None and (user_id is None or project_id is None):
            raise TypeError("a job is named by its job_id, or made for a user_id and a project_id")
        return Job(self, job_id, user_id, project_id, amount, final_cost, claim_ttl_s)

    def jobs(self, user_id: Id) -> list[JobRow]:
        """The user's jobs; none where there is no such user."""
        return rows_of(JobRow, self._json(lib.tally_engine_jobs, id_bytes(user_id)))

    def drafts(self, user_id: Id) -> list[Draft]:
        """The user's drafts; none where there is no such user."""
        return rows_of(Draft, self._json(lib.tally_engine_drafts, id_bytes(user_id)))

    def users(self) -> list[uuid.UUID]:
        """The users known here, in order."""
        return [uuid.UUID(user) for user in self._json(lib.tally_engine_users)]

    def rows(self, table: str, user_id: Id | None = None) -> list[dict[str, Json]]:
        """All rows of one of the tables, as JSON has them; of one user, where given. Raises
        NotFound (no such table)."""
        user = None if user_id is None else id_bytes(user_id)
        found: list[dict[str, Json]] = self._json(
            lib.tally_engine_rows, *text_arguments(table, "table"), user
        )
        return found

    def digest(self, user_id: Id) -> list[TableDigest]:
        """What canonical computes of the user's rows, too. Raises UserNotFound."""
        return rows_of(TableDigest, self._json(lib.tally_engine_digest, id_bytes(user_id)))

    def audit(self) -> Audit:
        """Computes the invariants anew from every entry."""
        report = self._json(lib.tally_engine_audit)
        findings = tuple(rows_of(Finding, report.pop("findings")))
        return Audit(**report, findings=findings)

    def backup(
        self, path: str | bytes | os.PathLike[str] | os.PathLike[bytes], *, replace: bool = False
    ) -> Backup:
        """Copies the mirror as it is now into the file at `path`, while others write; what is there
        stays until the copy was compared with the mirror, audited and synced, and unless `replace`
        it stays for good. A copy of a device is that device, too: where both go on, the second to
        sync is device_forked. Raises AlreadyExists, InvalidArgument (the mirror itself), Busy (what
        is to be replaced is open, or has a WAL beside it), NotFound (no such folder), Corrupt, Io,
        Full."""
        raw = os.fsencode(path)
        report = self._json(lib.tally_engine_backup, raw, len(raw), bool(replace))
        return row_of(Backup, report)

    def metrics(self) -> list[Metric]:
        """What was measured since the engine was opened, with the syncers of it: of each metric and
        set of attributes what its values came to. Raises ValueError where it was opened without
        `measure` and `on_metric`."""
        if self._totals is None:
            raise ValueError("nothing is measured: open the engine with measure=True")
        return self._totals.read()

    def pending_operations(self) -> int:
        """How many operations wait to be pushed."""
        count = ctypes.c_int64()
        self._call(lib.tally_engine_pending_operations, _byref(count))
        return count.value

    # ---- sync -------------------------------------------------------------------------------

    def syncer(self, conninfo: str = "", **options: Any) -> Syncer:
        """A Syncer for this mirror, with its options; connects to nothing yet."""
        from ._syncer import Syncer

        return Syncer(self, conninfo, **options)

    def sync_status(self) -> SyncStatus | None:
        """How far this mirror and canonical have come; None where it never was a device."""
        status = self._json(lib.tally_engine_sync_status)
        if status is None:
            return None
        status["error_class"] = status["error_class"] or SyncErrorClass.none
        return row_of(SyncStatus, status)

    def leases(self) -> list[Lease]:
        """The leases of this device, as canonical last showed them, less what was drawn since."""
        return rows_of(Lease, self._json(lib.tally_engine_leases))

    def rejected(self) -> list[Rejected]:
        """What canonical did not apply."""
        return rows_of(Rejected, self._json(lib.tally_engine_rejected))

    def dismiss(self, number: int) -> None:
        """Forgets a rejected operation. Raises NotFound."""
        self._call(lib.tally_engine_dismiss, int64(number, "number"))

    def retry(self, number: int) -> Receipt:
        """Applies a rejected operation anew, under its op_id; then it is pending again. Raises
        NotFound, and what the operation is refused with: then it stays rejected."""
        return self._receipt(lib.tally_engine_retry, (int64(number, "number"),), None)

    def subscribe(self, user_ids: Iterable[Id] | None) -> None:
        """Has a device over all users fed these alone from its next call on; None: all. Raises
        InvalidArgument (a device of one user), IllegalTransition (an operation of one who would go
        is still pending)."""
        users = None if user_ids is None else [id_bytes(user) for user in user_ids]
        raw = None if users is None else b"".join(users)
        self._call(lib.tally_engine_subscribe, raw, len(users or ()))


def _number_of(words: type[enum.Enum], word: str) -> int:
    names: list[str] = [each.value for each in words]
    return names.index(words(word).value)


def _line_bytes(line: str | bytes) -> bytes:
    raw = line.encode() if isinstance(line, str) else line
    return raw[:-1] if raw.endswith(b"\n") else raw


def _user_and_job(user_id: Any, job_id: Any) -> Sequence[Any]:
    return uuid_at(user_id), uuid_at(job_id)


def _user_and_balance(user_id: Any, balance: int) -> Sequence[Any]:
    return uuid_at(user_id), balance


def _level_and_line(level: int, line: Any, length: int) -> Sequence[Any]:
    return _LOG_LEVELS[level], text_at(line, length)
