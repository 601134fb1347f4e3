"""Python's values to the ABI's and back: ids, times, whole numbers, JSON.

JSON loses nothing on the way: whole numbers are int, all others decimal.Decimal, however many
digits they have. What goes in may also be float.
"""

from __future__ import annotations

import enum
import json
import math
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Callable, Union

#: An id: given as either, answered as uuid.UUID.
Id = Union[uuid.UUID, str]
#: What a JSON column holds: None, bool, int, Decimal, str, list or dict; or, going in, float.
Json = Any

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


class Unchanged(enum.Enum):
    """The type of UNCHANGED."""

    UNCHANGED = enum.auto()

    def __repr__(self) -> str:
        return "UNCHANGED"


#: The default of an update's field: it stays as it is, where None clears it.
UNCHANGED = Unchanged.UNCHANGED


def id_bytes(value: Id) -> bytes:
    """The sixteen bytes of an id."""
    if isinstance(value, uuid.UUID):
        return value.bytes
    return as_uuid(value).bytes


def as_uuid(value: Id) -> uuid.UUID:
    """An id that was given either way. A text is 8-4-4-4-12 hex digits, in any case."""
    if isinstance(value, uuid.UUID):
        return value
    if not isinstance(value, str):
        raise TypeError(f"an id is a uuid.UUID or its text, not {type(value).__name__}")
    # uuid.UUID() also takes braces, "urn:uuid:" and hyphens anywhere, which are nobody's ids here.
    found = uuid.UUID(value)
    if str(found) != value.lower():
        raise ValueError("badly formed hexadecimal UUID string")
    return found


def whole(value: object, what: str = "credits") -> int:
    """A whole number. A bool or a float is a mistake of the program's, so no code but a TypeError;
    one out of range is answered by the engine."""
    if type(value) is int:
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what}: an int is needed, not {type(value).__name__}")
    return int(value)


def int64(value: object, what: str) -> int:
    """A number that crosses whole; ctypes would cut it silently."""
    number = whole(value, what)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{what} is beyond 64 bits")
    return number


def utc(value: datetime) -> datetime:
    """An aware datetime, in UTC."""
    if not isinstance(value, datetime):
        raise TypeError(f"a time is an aware datetime, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise ValueError("a naive datetime says no time; give it a tzinfo, as in timezone.utc")
    return value.astimezone(timezone.utc)


def time_text(value: datetime) -> str:
    """As traces have it: 2026-01-18T00:00:00.000000Z."""
    return utc(value).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def time_us(value: datetime) -> int:
    """Microseconds since 1970, without a float on the way."""
    return (utc(value) - EPOCH) // _MICROSECOND


def parse_time(text: str) -> datetime:
    """From a row's text, in UTC."""
    # Python before 3.11 knows neither the Z nor fractions of other than three or six digits.
    moment = text[:-1] if text.endswith("Z") else text
    return datetime.fromisoformat(moment).replace(tzinfo=timezone.utc)


def parse_json(text: str | bytes) -> Any:
    """JSON to Python, every digit kept."""
    return json.loads(text, parse_float=Decimal)


_quoted = json.JSONEncoder(ensure_ascii=False).encode

# The engine takes 32 levels; this is far beyond, and below Python's own limit.
_LEVELS_MAX = 200


def json_text(value: object, level: int = 0) -> str:
    """Python to JSON; the standard library's encoder knows no Decimal."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quoted(str.__str__(value))
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, (float, Decimal)):
        if not math.isfinite(value):
            raise ValueError(f"JSON has no number {value}")
        return float.__repr__(value) if isinstance(value, float) else str(value)
    if level > _LEVELS_MAX:
        raise ValueError("a JSON value is nested without end")
    if isinstance(value, Mapping):
        members = (_member_text(key, member, level) for key, member in value.items())
        return "{" + ",".join(members) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(json_text(member, level + 1) for member in value) + "]"
    raise TypeError(f"JSON has no {type(value).__name__}")


def _member_text(key: object, value: object, level: int) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a JSON object's keys are str, not {type(key).__name__}")
    return json_text(key) + ":" + json_text(value, level + 1)


def text_of(value: object, what: str) -> str:
    """A text, or the word of an enumeration, which is a str, too."""
    if not isinstance(value, str):
        raise TypeError(f"{what}: a str is needed, not {type(value).__name__}")
    return str.__str__(value)


def _id_json(value: Any, what: str) -> str:
    return '"' + str(as_uuid(value)) + '"'


_FIELD_TEXT: dict[str, Callable[[Any, str], str]] = {
    "id": _id_json,
    "text": lambda value, what: json_text(text_of(value, what)),
    "integer": lambda value, what: int.__repr__(whole(value, what)),
    "json": lambda value, what: json_text(value),
}


def operation_text(
    operation: str,
    kinds: Mapping[str, str],
    fields: Mapping[str, Any],
    op_id: Id | None,
    at: datetime | None,
) -> str:
    """One operation as a trace's JSON; without op_id or at, the engine makes them."""
    parts = ['{"op":"' + operation + '"']
    if op_id is not None:
        parts.append('"op_id":' + _id_json(op_id, "op_id"))
    if at is not None:
        parts.append('"at":"' + time_text(at) + '"')
    for name, value in fields.items():
        if value is UNCHANGED:
            continue
        text = "null" if value is None else _FIELD_TEXT[kinds[name]](value, name)
        parts.append('"' + name + '":' + text)
    return ",".join(parts) + "}"
