"""The typed functions of the ABI, each with how an operation's fields become its arguments: a
worker's day without JSON."""

from __future__ import annotations

import ctypes
import enum
from datetime import datetime
from typing import Any, Callable, Mapping

from . import _abi
from ._library import lib
from ._tables import FIELDS, EntryType, JobStatus
from ._values import Id, id_bytes, text_of, time_us, whole

CREDITS_MAX = 2**31 - 1


def call_of(op_id: Id | None, at: datetime | None) -> Any:
    """A tally_call, or None where neither is given."""
    if op_id is None and at is None:
        return None
    call = _abi.Call()
    if op_id is not None:
        call.flags |= _abi.CALL_OP_ID
        ctypes.memmove(call.op_id, id_bytes(op_id), 16)
    if at is not None:
        call.flags |= _abi.CALL_AT
        call.at_us = time_us(at)
    return ctypes.byref(call)


# A field's value to its arguments; None where the typed function cannot say it (a word that is
# none, a number beyond 64 bits): then the JSON way gives the engine's own answer.
_Convert = Callable[[Any, str], "tuple[Any, ...] | None"]


def _id(value: Any, what: str) -> tuple[bytes]:
    return (id_bytes(value),)


def _credits(value: Any, what: str) -> tuple[int] | None:
    number = whole(value, what)
    return (number,) if 0 <= number <= CREDITS_MAX else None


def text_arguments(value: Any, what: str) -> tuple[bytes | None, int]:
    """A text and its length; None is an absent one."""
    if value is None:
        return None, 0
    text = text_of(value, what).encode()
    return text, len(text)


def _word_of(words: type[enum.Enum], stages_only: bool = False) -> _Convert:
    names: list[str] = [word.value for word in words]
    taken = [name for name in names if not (stages_only and name in _NO_STAGES)]
    numbers = {name: (names.index(name),) for name in taken}
    return lambda value, what: numbers.get(text_of(value, what))


_NO_STAGES = ("PENDING", "QUEUED", "READY", "FAILED")

# In the order of the functions' arguments.
_ARGUMENTS: dict[str, dict[str, _Convert]] = {
    "add_credits": {
        "user_id": _id,
        "amount": _credits,
        "type": _word_of(EntryType),
        "note": text_arguments,
    },
    "create_job": {"job_id": _id, "project_id": _id, "user_id": _id},
    "reserve_credits": {"user_id": _id, "job_id": _id, "amount": _credits},
    "advance_job": {"job_id": _id, "to": _word_of(JobStatus), "status_message": text_arguments},
    "report_progress": {
        "job_id": _id,
        "step_name": _word_of(JobStatus, stages_only=True),
        "progress_pct": _credits,
        "status_message": text_arguments,
    },
    "finalize_job_credits": {"job_id": _id, "final_cost": _credits},
    "release_job_credits": {"job_id": _id},
    "complete_job": {"job_id": _id, "final_cost": _credits, "output_url": text_arguments},
    "fail_job": {"job_id": _id, "error_code": text_arguments, "error_message": text_arguments},
    "claim_job": {"job_id": _id, "ttl": _credits},
}

#: The operations that have a typed function: it, its arguments, and the fields that it lacks.
TYPED: dict[str, tuple[Any, dict[str, _Convert], tuple[str, ...]]] = {
    name: (
        getattr(lib, "tally_" + name),
        arguments,
        tuple(field for field in FIELDS[name] if field not in arguments),
    )
    for name, arguments in _ARGUMENTS.items()
}


def typed_arguments(
    arguments: dict[str, _Convert], lacks: tuple[str, ...], fields: Mapping[str, Any]
) -> list[Any] | None:
    """The arguments of a typed function, or None where it cannot say these fields."""
    converted: list[Any] = []
    for name, convert in arguments.items():
        more = convert(fields[name], name)
        if more is None:
            return None
        converted += more
    return converted if all(fields[name] is None for name in lacks) else None
