"""Operations that apply together or not at all."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from ._tables import FIELDS, Operations
from ._types import Receipt
from ._values import Id, as_uuid, operation_text, time_text

if TYPE_CHECKING:
    from ._engine import Engine


class Batch(Operations[None]):
    """Collects operations, each with its own op_id if it is to have one; all take the batch's `at`.

        with engine.batch() as batch:
            batch.create_job(job_id=job, project_id=film, user_id=ada)
            batch.reserve_credits(user_id=ada, job_id=job, amount=8)
        print(batch.receipt.balance)

    When the block ends all are applied in one commit, or none: the exception's `index` says which
    was refused. A block that raises applies nothing. For one thread at a time.
    """

    def __init__(self, engine: Engine, op_id: Id | None, at: datetime | None) -> None:
        self._engine = engine
        self._op_id = op_id
        self._at = at
        self._texts: list[str] = []
        #: What the batch answered, once it was applied.
        self.receipt: Receipt | None = None

    def _apply(
        self, operation: str, fields: dict[str, Any], op_id: Id | None, at: datetime | None
    ) -> None:
        if at is not None:
            raise TypeError("a batch's operations take its `at`: give it to batch()")
        self._refuse_if_applied()
        self._texts.append(operation_text(operation, FIELDS[operation], fields, op_id, None))

    def __len__(self) -> int:
        return len(self._texts)

    def apply(self) -> Receipt:
        """Applies what was collected, once; the block's end does so by itself."""
        self._refuse_if_applied()
        head = '{"op":"batch"'
        if self._op_id is not None:
            head += f',"op_id":"{as_uuid(self._op_id)}"'
        if self._at is not None:
            head += f',"at":"{time_text(self._at)}"'
        text = head + ',"ops":[' + ",".join(self._texts) + "]}"
        self.receipt = self._engine._apply_text(text, self._op_id)
        return self.receipt

    def _refuse_if_applied(self) -> None:
        """Else what came later would be lost, or what came before would count again."""
        if self.receipt is not None:
            raise RuntimeError("the batch was applied; make another one")

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None and self.receipt is None:
            self.apply()
