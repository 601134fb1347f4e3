"""Tallystick: a credit ledger and job state machine inside of your program.

    import tally

    with tally.open("mirror.db") as engine:
        ada = tally.new_uuid()
        engine.create_user(user_id=ada)                  # comes with 10 trial credits
        film = tally.new_uuid()
        engine.create_project(project_id=film, user_id=ada, title="Film",
                              prompt_text="A lighthouse at dawn",
                              niche_preset="history", target_minutes=1)
        with engine.job(user_id=ada, project_id=film, amount=8) as job:
            job.advance("RENDERING")
            job.final_cost = 5
        print(engine.balance(ada))                       # 5

Amounts are int; a bool or a float is a TypeError. Times are aware datetimes, ids uuid.UUID (their
texts are taken, too). A call that is not ok raises its code's exception: a Refusal changed nothing,
a Failure is the world's. `tally.aio` has the awaitable forms.
"""

from . import _tables, _types
from ._account import Account
from ._batch import Batch
from ._engine import Engine
from ._errors import Failure, Refusal, TallyError
from ._job import Job
from ._library import library_version, new_uuid, sqlite_version
from ._syncer import Syncer
from ._tables import *  # noqa: F403
from ._types import *  # noqa: F403
from ._values import UNCHANGED, Id, Json, Unchanged

#: Opens, and by default makes, a mirror: Engine by another name.
open = Engine

__all__ = [
    "Account",
    "Batch",
    "Engine",
    "Failure",
    "Id",
    "Job",
    "Json",
    "library_version",
    "new_uuid",
    "open",
    "Refusal",
    "sqlite_version",
    "Syncer",
    "TallyError",
    "UNCHANGED",
    "Unchanged",
]
__all__ += _tables.__all__ + _types.__all__
