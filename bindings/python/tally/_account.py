"""A user's account, to be read from."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ._types import AccountState, Draft, Entry, Hold, JobRow, Lease

if TYPE_CHECKING:
    from ._engine import Engine


class Account:
    """One user's account in an engine. Each property reads anew; `state()` is one consistent read.
    Thread-safe, as the engine is."""

    __slots__ = ("_engine", "user_id")

    def __init__(self, engine: Engine, user_id: uuid.UUID) -> None:
        self._engine = engine
        self.user_id = user_id

    @property
    def balance(self) -> int:
        """Credits that can be spent."""
        return self._engine.balance(self.user_id)

    @property
    def held(self) -> int:
        """The open holds, and what is unspent in leases, this device's and others'."""
        return self._engine.check(self.user_id).held

    @property
    def holds(self) -> tuple[Hold, ...]:
        """The open holds."""
        return self.state().holds

    @property
    def leases(self) -> tuple[Lease, ...]:
        """The leases that this device has for the user."""
        return self.state().leases

    @property
    def pending_operations(self) -> int:
        """Operations not yet confirmed by canonical."""
        return self._engine.check(self.user_id).pending_operations

    def state(self) -> AccountState:
        """All of these, in one consistent read."""
        return self._engine.account_state(self.user_id)

    def entries(self, *, limit: int | None = None, before_seq: int = 0) -> Iterator[Entry]:
        """The ledger's entries, newest first, read a page at a time."""
        return self._engine.history(self.user_id, limit=limit, before_seq=before_seq)

    def jobs(self) -> list[JobRow]:
        """The user's jobs."""
        return self._engine.jobs(self.user_id)

    def drafts(self) -> list[Draft]:
        """The user's drafts."""
        return self._engine.drafts(self.user_id)

    def __repr__(self) -> str:
        return f"<tally.Account {self.user_id}>"
