"""What the engine answers: receipts, and rows as frozen dataclasses with the tables' columns."""

from __future__ import annotations

import dataclasses
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from ._tables import JobStatus, SyncErrorClass, SyncState
from ._values import Json, parse_time

#: What the package shows of this.
__all__ = [
    "AccountState",
    "Asset",
    "Audit",
    "Backup",
    "Check",
    "Draft",
    "Entry",
    "Finding",
    "Hold",
    "JobRow",
    "JobState",
    "Lease",
    "Metric",
    "Project",
    "Receipt",
    "Rejected",
    "Result",
    "Step",
    "SyncStatus",
    "TableDigest",
    "Wait",
]

Row = TypeVar("Row")


class Receipt:
    """What an operation that is `ok` answers.

    Its ids are made when they are looked at: most callers never do, and a UUID costs more than the
    call.
    """

    __slots__ = ("_op_id", "balance", "_id")

    #: Of the user whom it concerns, after it.
    balance: int | None

    def __init__(self, op_id: bytes, balance: int | None, id: bytes | None) -> None:
        self._op_id = op_id
        self.balance = balance
        self._id = id

    @property
    def op_id(self) -> uuid.UUID:
        """The operation's, whether it was given or made."""
        return uuid.UUID(bytes=self._op_id)

    @property
    def id(self) -> uuid.UUID | None:
        """The draft that claim_draft found."""
        return uuid.UUID(bytes=self._id) if self._id is not None else None

    def _key(self) -> tuple[Any, ...]:
        return (self._op_id, self.balance, self._id)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Receipt):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"Receipt(op_id={self.op_id}, balance={self.balance}, id={self.id})"


@dataclass(frozen=True)
class Result:
    """What became of one line of a trace."""

    #: None where the line is no operation.
    op_id: uuid.UUID | None
    #: `ok`, or a code's name.
    result: str
    #: Of the user whom it concerns, after it, also when it was refused.
    balance: int | None
    #: The draft that claim_draft found.
    id: uuid.UUID | None = None
    #: Of a batch that was refused: which of its operations, from 0.
    index: int | None = None
    #: Where the line is no operation: its number, from 1.
    line: int | None = None


@dataclass(frozen=True)
class Check:
    """A user's account in numbers, from memory."""

    balance: int
    #: The open holds, and what is unspent in leases, this device's and others'.
    held: int
    #: How many ledger entries there are.
    entries: int
    #: Not yet confirmed by canonical.
    pending_operations: int


@dataclass(frozen=True)
class Hold:
    """Credits that a job holds."""

    job_id: uuid.UUID
    #: The op_id of the operation that opened it; None of one that has no name.
    reservation: uuid.UUID | None
    amount: int


@dataclass(frozen=True)
class Lease:
    """Credits that canonical set aside for this device."""

    user_id: uuid.UUID
    lease_id: uuid.UUID
    unspent: int
    expires_at: datetime
    #: return_lease was called; nothing more is drawn on it.
    returning: bool


@dataclass(frozen=True)
class AccountState:
    """A user's account, in one consistent read."""

    balance: int
    held: int
    entries: int
    pending_operations: int
    holds: tuple[Hold, ...]
    leases: tuple[Lease, ...]


@dataclass(frozen=True)
class Entry:
    """A ledger entry."""

    id: uuid.UUID
    user_id: uuid.UUID
    type: str
    amount: int
    note: str | None
    created_at: datetime
    job_id: uuid.UUID | None
    stripe_payment_id: str | None
    balance_after: int
    #: Its number in the user's account: 1, 2, 3, ...
    seq: int


@dataclass(frozen=True)
class Project:
    """A project."""

    id: uuid.UUID
    user_id: uuid.UUID
    title: str
    prompt_text: str
    niche_preset: str
    target_minutes: int
    voice_profile_id: uuid.UUID | None
    transcript_mode: str
    transcript_text: str | None
    settings: Json
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class JobRow:
    """A job's row."""

    id: uuid.UUID
    project_id: uuid.UUID
    user_id: uuid.UUID
    status: JobStatus
    progress: int
    status_message: str | None
    cost_credits_reserved: int | None
    cost_credits_final: int | None
    failed_step: str | None
    error_code: str | None
    error_message: str | None
    output_url: str | None
    manifest_json: Json
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True)
class Step:
    """One of a job's eight steps."""

    id: uuid.UUID
    job_id: uuid.UUID
    step_name: str
    step_order: int
    state: str
    progress_pct: int
    status_message: str | None
    error_message: str | None
    logs_url: str | None
    artifacts_json: Json
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True)
class Asset:
    """Something that a job made."""

    id: uuid.UUID
    job_id: uuid.UUID
    type: str
    url: str
    storage_path: str
    size_bytes: int | None
    mime_type: str | None
    metadata_json: Json
    created_at: datetime


@dataclass(frozen=True)
class Draft:
    """A prompt that is not a project yet."""

    id: uuid.UUID
    session_token: str
    user_id: uuid.UUID | None
    prompt_text: str
    template_id: str | None
    options: Json
    created_at: datetime
    updated_at: datetime
    expires_at: datetime


@dataclass(frozen=True)
class JobState:
    """A job with its steps, in their order, and its assets; in one consistent read."""

    job: JobRow
    steps: tuple[Step, ...]
    assets: tuple[Asset, ...]


@dataclass(frozen=True)
class Finding:
    """A broken invariant, I1 to I6."""

    invariant: str
    user_id: uuid.UUID | None
    detail: str


@dataclass(frozen=True)
class Audit:
    """The invariants, computed anew from every entry."""

    users: int
    entries: int
    jobs: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Backup:
    """What a backup holds, which was compared with the mirror and audited."""

    #: Of the file.
    bytes: int
    users: int
    entries: int
    jobs: int


@dataclass(frozen=True)
class Metric:
    """What one metric with one set of attributes has come to since the engine was opened."""

    #: OpenTelemetry's name; engine/reference/telemetry.md says what each is.
    metric: str
    #: `counter`, `histogram` or `gauge`.
    kind: str
    #: In UCUM: `s`, `{operation}`.
    unit: str
    attributes: dict[str, str]
    #: How many values came.
    count: int
    #: Their sum; of a gauge the latest.
    value: float
    least: float
    greatest: float


@dataclass(frozen=True)
class TableDigest:
    """What both halves compute alike from a user's rows in one table."""

    table: str
    rows: int
    digest: str


@dataclass(frozen=True)
class SyncStatus:
    """How far a mirror and canonical have come."""

    device_id: uuid.UUID
    #: The one user whose device it is; None: it is for all.
    scope: uuid.UUID | None
    capabilities: tuple[str, ...]
    acked: int
    pending: int
    blocked: int
    rejected: int
    synced_at: datetime | None
    attempts: int
    error_class: SyncErrorClass
    error: str | None
    next_attempt_at: datetime | None


@dataclass(frozen=True)
class Rejected:
    """An operation that canonical did not apply: dismiss or retry it by its number."""

    number: int
    #: The code's name.
    result: str
    #: Of a batch: which of its operations, from 0.
    index: int | None
    rejected_at: datetime | None
    #: As in a trace.
    operation: dict[str, Json]


@dataclass(frozen=True)
class Wait:
    """What a syncer's step leaves to wait for."""

    state: SyncState
    #: None: only the time.
    socket: int | None
    readable: bool
    writable: bool
    timeout_ms: int


_CONVERT: dict[str, Any] = {
    "uuid.UUID": uuid.UUID,
    "datetime": parse_time,
    "JobStatus": JobStatus,
    "SyncErrorClass": SyncErrorClass,
    "tuple[str, ...]": tuple,
}


_columns_of: dict[Any, list[tuple[str, Any]]] = {}


def _columns(kind: Any) -> list[tuple[str, Any]]:
    """The fields of a row's dataclass, each with what makes it from JSON, or None."""
    if kind not in _columns_of:
        _columns_of[kind] = [
            (field.name, _CONVERT.get(str(field.type).split(" | ", 1)[0]))
            for field in dataclasses.fields(kind)
        ]
    return _columns_of[kind]


def row_of(kind: type[Row], row: dict[str, Any]) -> Row:
    """A row's dataclass from its JSON, by the types that its fields are declared with."""
    values = {}
    for name, convert in _columns(kind):
        value = row.get(name)
        values[name] = value if value is None or convert is None else convert(value)
    return kind(**values)


def rows_of(kind: type[Row], rows: list[dict[str, Any]]) -> list[Row]:
    """The same of each."""
    return [row_of(kind, row) for row in rows]
