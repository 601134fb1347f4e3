"""A job: what it is at, and the block that reserves, works, and settles or releases."""

from __future__ import annotations

import logging
import uuid
from types import TracebackType
from typing import TYPE_CHECKING

from ._errors import TallyError
from ._library import new_uuid
from ._tables import JobNotFound, JobStatus
from ._types import Asset, JobRow, JobState, Receipt, Step
from ._values import Id, Json, as_uuid

if TYPE_CHECKING:
    from ._batch import Batch
    from ._engine import Engine

_log = logging.getLogger("tally")

#: From PENDING to READY, in the order in which a job passes them.
_PATH: list[JobStatus] = [status for status in JobStatus if status is not JobStatus.FAILED]
_ERROR_CODE_MAX = 255
_ERROR_MESSAGE_MAX = 65_536


class Job:
    """One job in an engine. Each property reads anew. Thread-safe, as the engine is.

    As a context manager it is one run of the job:

        with engine.job(user_id=ada, project_id=film, amount=8) as job:
            job.advance("RENDERING")
            job.report_progress("RENDERING", 50)
            job.final_cost = 5

    Entering makes the job if there is none yet, reserves `amount` and queues it, all in one commit
    or nothing; of a FAILED one it is the retry; one that waits or was left in a stage is taken as
    it is. With `claim_ttl_s` the job is claimed, too. Leaving in good order completes the job at
    `final_cost`, else at what it reserved, through the stages that are left, in one commit. An
    exception, KeyboardInterrupt among them, fails the job, which releases the credits, and goes on.
    What the block did itself (complete, fail) stays as it is. Where completing is refused, that is
    raised, and the job stays where it was: complete it at another cost, or fail it.

    A process that dies inside of the block loses nothing: a job that is in a stage is failed by the
    next `engine.sweep(grace=...)` once nothing was heard of it for so long, which releases its
    credits; one still QUEUED keeps them, for whoever takes it next: enter it again by its job_id.
    """

    def __init__(
        self,
        engine: Engine,
        job_id: Id | None,
        user_id: Id | None = None,
        project_id: Id | None = None,
        amount: int | None = None,
        final_cost: int | None = None,
        claim_ttl_s: int | None = None,
    ) -> None:
        self._engine = engine
        self._user_id = user_id
        self._project_id = project_id
        self._amount = amount
        self._claim_ttl_s = claim_ttl_s
        self._ended = False  # By this object.
        self.job_id: uuid.UUID = new_uuid() if job_id is None else as_uuid(job_id)
        #: What the block's end settles the job at; None: at what it reserved.
        self.final_cost = final_cost

    # ---- reading ----------------------------------------------------------------------------

    def state(self) -> JobState:
        """Row, steps and assets in one consistent read. Raises JobNotFound."""
        return self._engine.job_state(self.job_id)

    @property
    def row(self) -> JobRow:
        """The job's row."""
        return self.state().job

    @property
    def status(self) -> JobStatus:
        """Where it is."""
        return self.row.status

    @property
    def steps(self) -> tuple[Step, ...]:
        """Its eight steps, in order."""
        return self.state().steps

    @property
    def assets(self) -> tuple[Asset, ...]:
        """What it made."""
        return self.state().assets

    def __repr__(self) -> str:
        return f"<tally.Job {self.job_id}>"

    # ---- work -------------------------------------------------------------------------------

    def advance(self, to: JobStatus | str, *, status_message: str | None = None) -> Receipt:
        """Takes the job on to that status, through those before it, in one commit; the message is
        the last one's. Raises IllegalTransition, ReservationRequired."""
        word = JobStatus(to)
        moves = _moves(self.state(), word) or [word]
        if len(moves) == 1:
            return self._engine.advance_job(
                job_id=self.job_id, to=word, status_message=status_message
            )
        with self._engine.batch() as batch:
            for move in moves[:-1]:
                batch.advance_job(job_id=self.job_id, to=move)
            batch.advance_job(job_id=self.job_id, to=word, status_message=status_message)
        return _applied(batch)

    def report_progress(
        self,
        step_name: JobStatus | str,
        progress_pct: int,
        *,
        status_message: str | None = None,
        logs_url: str | None = None,
        artifacts_json: Json | None = None,
    ) -> Receipt:
        """How far the started step is. Raises StepNotFound, IllegalTransition."""
        return self._engine.report_progress(
            job_id=self.job_id,
            step_name=step_name,
            progress_pct=progress_pct,
            status_message=status_message,
            logs_url=logs_url,
            artifacts_json=artifacts_json,
        )

    progress = report_progress

    def complete(
        self,
        final_cost: int | None = None,
        *,
        output_url: str | None = None,
        manifest_json: Json | None = None,
    ) -> Receipt:
        """Settles the job at `final_cost`, else at what it reserved, and takes it to READY through
        the stages that are left, in one commit. One that was settled before (finalize_job_credits)
        only moves. Raises InsufficientCredits (it costs more than was
        reserved, and the balance does not cover that), IllegalTransition, NoReservation."""
        state = self.state()
        cost = self.final_cost if final_cost is None else final_cost
        if cost is None:
            cost = state.job.cost_credits_reserved or 0
        with self._engine.batch() as batch:
            for move in _moves(state, JobStatus.PACKAGING):
                batch.advance_job(job_id=self.job_id, to=move)
            if state.job.cost_credits_final is not None:
                batch.advance_job(job_id=self.job_id, to=JobStatus.READY)
            else:
                batch.complete_job(
                    job_id=self.job_id,
                    final_cost=cost,
                    output_url=output_url,
                    manifest_json=manifest_json,
                )
        self._ended = True
        return _applied(batch)

    def fail(self, error_code: str, error_message: str | None = None) -> Receipt:
        """Fails the job and releases what it held. Raises IllegalTransition."""
        receipt = self._engine.fail_job(
            job_id=self.job_id, error_code=error_code, error_message=error_message
        )
        self._ended = True
        return receipt

    # ---- the block --------------------------------------------------------------------------

    def __enter__(self) -> Job:
        self._ended = False
        batch = self._opening()
        try:
            if len(batch):
                batch.apply()
        except TallyError:
            raise
        except BaseException as error:  # Ctrl-C behind the commit: the block's end will not come.
            self._fail_by(error)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._fail_by(error)
        elif not self._ended and self.row.status is not JobStatus.READY:
            self.complete()

    def begin(self) -> None:
        """What entering the block does, for a host whose work is no block: call complete() or fail()
        when it ends."""
        batch = self._opening()
        if len(batch):
            batch.apply()

    def _opening(self) -> Batch:
        """What entering has to apply, empty where that is nothing. Changes nothing itself."""
        try:
            row = self.row
        except JobNotFound:
            if self._project_id is None or self._user_id is None:
                raise
            user_id, status, holds = as_uuid(self._user_id), None, False
        else:
            user_id, status = row.user_id, row.status
            holds = any(
                hold.job_id == self.job_id for hold in self._engine.account(user_id).holds
            )
        batch = self._engine.batch()
        if status is None and self._project_id is not None:
            batch.create_job(job_id=self.job_id, project_id=self._project_id, user_id=user_id)
        if status is JobStatus.FAILED:
            batch.retry_job(job_id=self.job_id, amount=self._credits())
        elif not holds and status in (None, JobStatus.PENDING, JobStatus.READY):
            # Of a READY one the engine says what it thinks of that.
            batch.reserve_credits(user_id=user_id, job_id=self.job_id, amount=self._credits())
        if status in (None, JobStatus.PENDING):
            batch.advance_job(job_id=self.job_id, to=JobStatus.QUEUED)
        if self._claim_ttl_s is not None:
            batch.claim_job(job_id=self.job_id, ttl=self._claim_ttl_s)
        return batch

    def _credits(self) -> int:
        if self._amount is None:
            raise TypeError("amount: how many credits to reserve")
        return self._amount

    def _fail_by(self, error: BaseException) -> None:
        """Fails the job with what was raised. That goes on whatever happens here: what kept the job
        from being failed is added to it and logged, and sweep() will find the job."""
        try:
            if self.row.status not in (JobStatus.READY, JobStatus.FAILED):
                name = error.name if isinstance(error, TallyError) else type(error).__name__
                self.fail(_cut(name, _ERROR_CODE_MAX), _cut(str(error), _ERROR_MESSAGE_MAX))
        except JobNotFound:
            pass  # It was not made yet.
        except (TallyError, ValueError) as why:
            _log.error("job %s could not be failed: %s", self.job_id, why)
            if hasattr(error, "add_note"):
                error.add_note(f"job {self.job_id} could not be failed: {why}")


def _moves(state: JobState, to: JobStatus) -> list[JobStatus]:
    """The moves of advance_job from where the job is to there; empty where that is not ahead."""
    status = state.job.status
    if JobStatus.FAILED in (status, to) or _PATH.index(to) <= _PATH.index(status):
        return []
    first = _PATH.index(status) + 1
    queued = [JobStatus.QUEUED] if status is JobStatus.PENDING else []
    if status in (JobStatus.PENDING, JobStatus.QUEUED):
        # Work starts at the first step that has not succeeded: of a retry not always the first.
        undone = [step.step_order for step in state.steps if step.state != "succeeded"]
        first = _PATH.index(JobStatus.QUEUED) + min(undone)
    return queued + _PATH[first : _PATH.index(to) + 1]


def _applied(batch: Batch) -> Receipt:
    assert batch.receipt is not None
    return batch.receipt


def _cut(text: str, size: int) -> str:
    """A text of at most so many bytes that is whole UTF-8 without a zero, and is not empty."""
    clean = text.replace("\0", "\\0").encode("utf-8", "backslashreplace")[:size]
    return clean.decode("utf-8", "ignore") or "unknown"
