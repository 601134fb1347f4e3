"""What calls raise. The exception of each code is generated, in _tables.py."""

from __future__ import annotations

import uuid
from typing import Any


class TallyError(Exception):
    """A call was not `ok`.

    `detail` is for people. `op_id` is the operation's: repeat the call with it, and it counts once.
    """

    #: The code's number; of a library newer than this package it may have no name here.
    code: int = 0
    #: The code's name, as in `insufficient_credits`.
    name: str = "unknown"

    def __init__(
        self,
        detail: str = "",
        *,
        index: int | None = None,
        op_id: uuid.UUID | None = None,
        code: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        #: Of a batch that was refused: which of its operations, from 0.
        self.index = index
        self.op_id = op_id
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return f"{self.name}: {self.detail}" if self.detail else self.name

    def __reduce__(self) -> tuple[Any, ...]:
        """So that it crosses from a worker process to its parent whole."""
        code = self.__dict__.get("code")
        return (_rebuilt, (type(self), self.detail, self.index, self.op_id, code, self.name))


def _rebuilt(
    kind: type[TallyError],
    detail: str,
    index: int | None,
    op_id: uuid.UUID | None,
    code: int | None,
    name: str,
) -> TallyError:
    error = kind(detail, index=index, op_id=op_id, code=code)
    if error.name != name:  # A code that this package has no name for.
        error.name = name
    return error


class Refusal(TallyError):
    """An everyday answer: the ledger's rules say no, and nothing changed."""


class Failure(TallyError):
    """The world's trouble: a full disk, a lock, a server. Trying again may help."""
