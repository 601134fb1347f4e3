"""Awaitable forms: the same engine from asyncio.

    async with tally.aio.open("mirror.db") as engine:
        async with engine.job(user_id=ada, project_id=film, amount=8) as job:
            await job.advance("RENDERING")

Calls run on a few threads, so that awaits that wait at the same time share a commit. A cancelled
await gives up waiting, no more: an operation that was under way may still happen. Give it an
`op_id`, and repeat it with that: it counts once.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from types import TracebackType
from typing import Any, Callable, Coroutine, TypeVar

from ._batch import Batch
from ._engine import PAGE, Engine
from ._job import Job
from ._syncer import Syncer
from ._tables import JobStatus, Operations, SyncState
from ._types import (
    AccountState,
    Audit,
    Backup,
    Check,
    Draft,
    Entry,
    JobRow,
    JobState,
    Lease,
    Metric,
    Project,
    Receipt,
    Rejected,
    Result,
    SyncStatus,
    TableDigest,
)
from ._values import Id, Json

__all__ = ["AsyncEngine", "AsyncJob", "AsyncSyncer", "open"]

T = TypeVar("T")

#: As many calls wait for a commit together; more would only wait in the engine's queue.
_THREADS = 8


class AsyncEngine(Operations[Coroutine[Any, Any, Receipt]]):
    """An Engine whose calls are awaited. `engine` is the engine itself, for what needs no await."""

    def __init__(self, engine: Engine, *, threads: int = _THREADS) -> None:
        self.engine = engine
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="tally")

    async def __aenter__(self) -> AsyncEngine:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Waits for the calls that are under way, and closes the engine."""
        await asyncio.get_running_loop().run_in_executor(None, self._close)

    def _close(self) -> None:
        self._pool.shutdown()
        self.engine.close()  # Here, for it may wait for a syncer's thread.

    def _run(self, function: Callable[..., T], *arguments: Any, **named: Any) -> asyncio.Future[T]:
        call = functools.partial(function, *arguments, **named)
        return asyncio.get_running_loop().run_in_executor(self._pool, call)

    async def _apply(
        self, operation: str, fields: dict[str, Any], op_id: Id | None, at: datetime | None
    ) -> Receipt:
        return await self._run(self.engine._apply, operation, fields, op_id, at)

    def batch(self, *, op_id: Id | None = None, at: datetime | None = None) -> AsyncBatch:
        """As Engine.batch(): operations are collected at once, and applied when the block ends."""
        return AsyncBatch(self, Batch(self.engine, op_id, at))

    async def submit(self, lines: str | bytes | Iterable[str | bytes]) -> list[Result]:
        """As Engine.submit()."""
        return await self._run(self.engine.submit, lines)

    async def balance(self, user_id: Id) -> int:
        """As Engine.balance(): from memory, so without a thread."""
        return self.engine.balance(user_id)

    async def check(self, user_id: Id) -> Check:
        """As Engine.check(): from memory, so without a thread."""
        return self.engine.check(user_id)

    async def account_state(self, user_id: Id) -> AccountState:
        """As Engine.account_state()."""
        return await self._run(self.engine.account_state, user_id)

    async def history(
        self, user_id: Id, *, limit: int | None = None, before_seq: int = 0
    ) -> AsyncIterator[Entry]:
        """As Engine.history(), for `async for`."""
        entries = self.engine.history(user_id, limit=limit, before_seq=before_seq)
        while page := await self._run(_next_page, entries):
            for entry in page:
                yield entry

    async def project(self, project_id: Id) -> Project:
        """As Engine.project()."""
        return await self._run(self.engine.project, project_id)

    async def job_state(self, job_id: Id) -> JobState:
        """As Engine.job_state()."""
        return await self._run(self.engine.job_state, job_id)

    def job(self, job_id: Id | None = None, **options: Any) -> AsyncJob:
        """As Engine.job(), for `async with`."""
        return AsyncJob(self, self.engine.job(job_id, **options))

    async def jobs(self, user_id: Id) -> list[JobRow]:
        """As Engine.jobs()."""
        return await self._run(self.engine.jobs, user_id)

    async def drafts(self, user_id: Id) -> list[Draft]:
        """As Engine.drafts()."""
        return await self._run(self.engine.drafts, user_id)

    async def users(self) -> list[uuid.UUID]:
        """As Engine.users()."""
        return await self._run(self.engine.users)

    async def rows(self, table: str, user_id: Id | None = None) -> list[dict[str, Json]]:
        """As Engine.rows()."""
        return await self._run(self.engine.rows, table, user_id)

    async def digest(self, user_id: Id) -> list[TableDigest]:
        """As Engine.digest()."""
        return await self._run(self.engine.digest, user_id)

    async def audit(self) -> Audit:
        """As Engine.audit()."""
        return await self._run(self.engine.audit)

    async def backup(
        self, path: str | bytes | os.PathLike[str] | os.PathLike[bytes], *, replace: bool = False
    ) -> Backup:
        """As Engine.backup()."""
        return await self._run(self.engine.backup, path, replace=replace)

    async def metrics(self) -> list[Metric]:
        """As Engine.metrics(): from memory, so without a thread."""
        return self.engine.metrics()

    async def pending_operations(self) -> int:
        """As Engine.pending_operations()."""
        return await self._run(self.engine.pending_operations)

    def syncer(self, conninfo: str = "", **options: Any) -> AsyncSyncer:
        """As Engine.syncer(), for `async with`."""
        return AsyncSyncer(self, self.engine.syncer(conninfo, **options))

    async def sync_status(self) -> SyncStatus | None:
        """As Engine.sync_status()."""
        return await self._run(self.engine.sync_status)

    async def leases(self) -> list[Lease]:
        """As Engine.leases()."""
        return await self._run(self.engine.leases)

    async def rejected(self) -> list[Rejected]:
        """As Engine.rejected()."""
        return await self._run(self.engine.rejected)

    async def dismiss(self, number: int) -> None:
        """As Engine.dismiss()."""
        await self._run(self.engine.dismiss, number)

    async def retry(self, number: int) -> Receipt:
        """As Engine.retry()."""
        return await self._run(self.engine.retry, number)

    async def subscribe(self, user_ids: Iterable[Id] | None) -> None:
        """As Engine.subscribe()."""
        await self._run(self.engine.subscribe, user_ids)


class AsyncBatch(Operations[None]):
    """A Batch whose end is awaited."""

    def __init__(self, engine: AsyncEngine, batch: Batch) -> None:
        self._engine = engine
        self._batch = batch

    def _apply(
        self, operation: str, fields: dict[str, Any], op_id: Id | None, at: datetime | None
    ) -> None:
        self._batch._apply(operation, fields, op_id, at)

    @property
    def receipt(self) -> Receipt | None:
        """What the batch answered, once it was applied."""
        return self._batch.receipt

    async def __aenter__(self) -> AsyncBatch:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None and self.receipt is None:
            await self._engine._run(self._batch.apply)


class AsyncJob:
    """A Job whose calls are awaited. A block that is cancelled fails the job."""

    def __init__(self, engine: AsyncEngine, job: Job) -> None:
        self._run = engine._run
        self.job = job
        self.job_id = job.job_id

    async def begin(self) -> None:
        """As Job.begin()."""
        await self._run(self.job.begin)

    async def state(self) -> JobState:
        """As Job.state()."""
        return await self._run(self.job.state)

    async def advance(self, to: JobStatus | str, **options: Any) -> Receipt:
        """As Job.advance()."""
        return await self._run(self.job.advance, to, **options)

    async def report_progress(
        self, step_name: JobStatus | str, progress_pct: int, **options: Any
    ) -> Receipt:
        """As Job.report_progress()."""
        return await self._run(self.job.report_progress, step_name, progress_pct, **options)

    progress = report_progress

    async def complete(self, final_cost: int | None = None, **options: Any) -> Receipt:
        """As Job.complete()."""
        return await self._run(self.job.complete, final_cost, **options)

    async def fail(self, error_code: str, error_message: str | None = None) -> Receipt:
        """As Job.fail()."""
        return await self._run(self.job.fail, error_code, error_message)

    @property
    def final_cost(self) -> int | None:
        """What the block's end settles the job at; None: at what it reserved."""
        return self.job.final_cost

    @final_cost.setter
    def final_cost(self, cost: int | None) -> None:
        self.job.final_cost = cost

    async def __aenter__(self) -> AsyncJob:
        entering = self._run(self.job.__enter__)
        try:
            await asyncio.shield(entering)
        except asyncio.CancelledError as error:
            # The reservation may be under way; its block will not run, so it is failed behind it.
            await asyncio.wait([entering])
            if entering.exception() is None:
                await self._run(self.job.__exit__, type(error), error, None)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A second cancellation does not keep the job from being settled or failed.
        await asyncio.shield(self._run(self.job.__exit__, kind, error, traceback))


class AsyncSyncer:
    """A Syncer whose calls are awaited."""

    def __init__(self, engine: AsyncEngine, syncer: Syncer) -> None:
        # Of its own: a call may take as long as its timeout, and operations need not wait for it.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="tally-sync")
        self.syncer = syncer

    def _run(self, function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    async def run(self, timeout_ms: int = 30_000) -> SyncState:
        """As Syncer.run()."""
        return await self._run(self.syncer.run, timeout_ms)

    async def start(self) -> None:
        """As Syncer.start()."""
        await self._run(self.syncer.start)

    def stop(self) -> None:
        """As Syncer.stop()."""
        self.syncer.stop()

    async def resume(self, token: str) -> None:
        """As Syncer.resume()."""
        await self._run(self.syncer.resume, token)

    async def enrol_anew(self, timeout_ms: int = 30_000) -> None:
        """As Syncer.enrol_anew()."""
        await self._run(self.syncer.enrol_anew, timeout_ms)

    async def claim_next(self, ttl_s: int, timeout_ms: int = 30_000) -> uuid.UUID | None:
        """As Syncer.claim_next()."""
        return await self._run(self.syncer.claim_next, ttl_s, timeout_ms)

    async def verify(self, user_id: Id, timeout_ms: int = 30_000) -> bool:
        """As Syncer.verify()."""
        return await self._run(self.syncer.verify, user_id, timeout_ms)

    async def close(self) -> None:
        """As Syncer.close()."""
        self.syncer.stop()
        await self._run(self.syncer.close)
        self._pool.shutdown()

    async def __aenter__(self) -> AsyncSyncer:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


def _next_page(entries: Iterator[Entry]) -> list[Entry]:
    return list(itertools.islice(entries, PAGE))


def open(path: str | bytes | os.PathLike[str] | os.PathLike[bytes], **options: Any) -> AsyncEngine:
    """Opens a mirror, with an Engine's options. Opening reads the file at once."""
    return AsyncEngine(Engine(path, **options))
