"""The awaitable forms: together, cancelled, and as blocks."""

from __future__ import annotations

import asyncio
import threading
import unittest
from typing import Any

from support import MirrorTest

import tally
import tally.aio


class Aio(MirrorTest, unittest.IsolatedAsyncioTestCase):
    options = {"durability": "full"}

    async def asyncSetUp(self) -> None:
        self.aio = tally.aio.open(self.path)

    async def asyncTearDown(self) -> None:
        await self.aio.close()

    async def test_operations_and_reads_are_awaited(self) -> None:
        aio = self.aio
        job = tally.new_uuid()
        await aio.create_job(job_id=job, project_id=self.project, user_id=self.user)
        receipt = await aio.reserve_credits(user_id=self.user, job_id=job, amount=8)
        self.assertEqual((receipt.balance, await aio.balance(self.user)), (2, 2))
        self.assertEqual((await aio.check(self.user)).held, 8)
        self.assertEqual((await aio.account_state(self.user)).holds[0].job_id, job)
        self.assertEqual((await aio.job_state(job)).job.status, tally.JobStatus.PENDING)
        self.assertEqual([row.id for row in await aio.jobs(self.user)], [job])
        self.assertEqual((await aio.project(self.project)).title, "t")
        self.assertEqual(await aio.users(), [self.user])
        self.assertEqual([e.amount async for e in aio.history(self.user)], [-8, 10])
        self.assertEqual([e.amount async for e in aio.history(self.user, limit=1)], [-8])
        self.assertEqual((await aio.audit()).findings, ())
        self.assertEqual((await aio.backup(self.folder / "backup.db")).users, 1)
        with self.assertRaises(ValueError):
            await aio.metrics()
        self.assertEqual(await aio.drafts(self.user), [])
        self.assertEqual(await aio.rejected(), [])
        self.assertEqual(await aio.leases(), [])
        self.assertIsNone(await aio.sync_status())
        self.assertEqual(await aio.pending_operations(), 4)
        self.assertEqual(len(await aio.rows("job_steps", self.user)), 8)
        self.assertTrue(await aio.digest(self.user))
        self.assertEqual((await aio.submit(["x"]))[0].result, "invalid_argument")
        with self.assertRaises(tally.UserNotFound):
            await aio.balance(tally.new_uuid())
        with self.assertRaises(tally.NotFound):
            await aio.dismiss(1)

    async def test_refusals_are_raised_and_many_run_together(self) -> None:
        async def spend() -> str:
            try:
                await self.aio.expire_credits(user_id=self.user, amount=1)
                return "ok"
            except tally.InsufficientCredits:
                return "refused"

        answers = await asyncio.gather(*(spend() for _ in range(60)))
        self.assertEqual((answers.count("ok"), answers.count("refused")), (10, 50))
        self.assertEqual(await self.aio.balance(self.user), 0)

    async def test_an_operation_is_a_coroutine(self) -> None:
        task = asyncio.create_task(
            self.aio.add_credits(user_id=self.user, amount=1, type="grant")
        )
        self.assertEqual((await task).balance, 11)
        with self.assertRaises(TypeError):
            await self.aio.add_credits(user_id=self.user, amount=True, type="grant")

    async def test_a_batch(self) -> None:
        async with self.aio.batch() as batch:
            batch.add_credits(user_id=self.user, amount=1, type="grant")
            batch.add_credits(user_id=self.user, amount=2, type="grant")
        assert batch.receipt is not None
        self.assertEqual(batch.receipt.balance, 13)
        with self.assertRaises(KeyError):
            async with self.aio.batch() as batch:
                batch.add_credits(user_id=self.user, amount=1, type="grant")
                raise KeyError
        self.assertEqual(await self.aio.balance(self.user), 13)

    async def test_history_in_pages(self) -> None:
        for count in (1_000, 600):
            async with self.aio.batch() as batch:
                for _ in range(count):
                    batch.add_credits(user_id=self.user, amount=1, type="grant")
        for limit in (None, 1_500, 1_000):
            expected = [entry.seq for entry in self.engine.history(self.user, limit=limit)]
            found = [entry.seq async for entry in self.aio.history(self.user, limit=limit)]
            self.assertEqual(found, expected)
        found = [e.seq async for e in self.aio.history(self.user, limit=2, before_seq=1_200)]
        self.assertEqual(found, [1_199, 1_198])
        with self.assertRaises(tally.UserNotFound):
            async for _ in self.aio.history(tally.new_uuid()):
                self.fail("an entry of nobody")  # pragma: no cover

    async def test_what_can_be_called_can_be_awaited(self) -> None:
        pairs: list[tuple[type, type, set[str]]] = [
            # An account is the engine's own reads; a trace's text is submit()'s; and steps are for
            # a loop of one's own.
            (tally.Engine, tally.aio.AsyncEngine, {"account", "submit_text", "closed"}),
            (tally.Job, tally.aio.AsyncJob, {"row", "status", "steps", "assets"}),
            (tally.Syncer, tally.aio.AsyncSyncer, {"step"}),
            (tally.Batch, tally.aio.AsyncBatch, {"apply"}),
        ]
        for kind, awaited, known in pairs:
            public = {name for name in dir(kind) if not name.startswith("_")}
            self.assertEqual(public - set(dir(awaited)), known, kind)

    async def test_a_job_that_is_no_block(self) -> None:
        job = self.aio.job(user_id=self.user, project_id=self.project, amount=8)
        await job.begin()
        self.assertEqual(await self.aio.balance(self.user), 2)
        await job.complete(5)
        self.assertEqual(await self.aio.balance(self.user), 5)

    async def test_closing_keeps_the_loop_going(self) -> None:
        # A syncer's thread is in a callback, for which closing has to wait.
        aio, inside, go_on = tally.aio.open(self.path), threading.Event(), threading.Event()

        def slow(*told: object) -> None:
            inside.set()
            go_on.wait(30)

        syncer = aio.engine.syncer("host=/nonexistent", token="t", on_state=slow)
        syncer.start()
        self.assertTrue(inside.wait(30))
        del syncer
        closing = asyncio.create_task(aio.close())
        await asyncio.sleep(0.05)
        self.assertFalse(closing.done())
        go_on.set()
        await closing
        self.assertTrue(aio.engine.closed)

    async def test_the_block_of_a_job(self) -> None:
        options: dict[str, Any] = dict(user_id=self.user, project_id=self.project, amount=8)
        async with self.aio.job(**options) as job:
            await job.advance("RENDERING")
            await job.progress("RENDERING", 50)
            job.final_cost = 5
        self.assertEqual((await job.state()).job.cost_credits_final, 5)
        options["amount"] = 5
        with self.assertRaises(ZeroDivisionError):
            async with self.aio.job(**options) as failed:
                1 / 0
        self.assertIs((await failed.state()).job.status, tally.JobStatus.FAILED)
        async with self.aio.job(**options) as done:
            await done.complete(1, output_url="u")
        options["amount"] = 1
        async with self.aio.job(**options) as given_up:
            await given_up.fail("E")
        self.assertEqual(await self.aio.balance(self.user), 4)

    async def test_a_block_that_is_cancelled_releases(self) -> None:
        inside = asyncio.Event()
        jobs = []

        async def render() -> None:
            async with self.aio.job(user_id=self.user, project_id=self.project, amount=8) as job:
                jobs.append(job)
                inside.set()
                await asyncio.sleep(60)

        task = asyncio.create_task(render())
        await inside.wait()
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task
        self.assertEqual((await jobs[0].state()).job.error_code, "CancelledError")
        self.assertEqual(await self.aio.balance(self.user), 10)

    async def test_cancelled_while_it_reserves_it_holds_nothing(self) -> None:
        for delay in (0, 0.0005, 0.002):
            job = self.aio.job(user_id=self.user, project_id=self.project, amount=8)

            async def render(job: tally.aio.AsyncJob = job) -> None:
                async with job:
                    await asyncio.sleep(60)

            task = asyncio.create_task(render())
            await asyncio.sleep(delay)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
            state = await self.aio.account_state(self.user)
            self.assertEqual((state.balance, state.held), (10, 0))

    async def test_a_cancelled_operation_is_repeated_with_its_op_id(self) -> None:
        op_id = tally.new_uuid()

        def add() -> "asyncio.Task[tally.Receipt]":
            return asyncio.create_task(
                self.aio.add_credits(user_id=self.user, amount=1, type="grant", op_id=op_id)
            )

        for _ in range(3):
            task = add()
            await asyncio.sleep(0)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
        self.assertEqual((await add()).balance, 11)

    async def test_closing_waits_for_what_is_under_way(self) -> None:
        aio = tally.aio.open(self.path)
        task = asyncio.create_task(aio.add_credits(user_id=self.user, amount=1, type="grant"))
        await asyncio.sleep(0)
        async with aio:
            pass
        self.assertEqual((await task).balance, 11)
        with self.assertRaises((ValueError, RuntimeError)):
            await aio.users()

    async def test_a_syncer_without_a_server(self) -> None:
        async with self.aio.syncer("host=/nonexistent", token="t") as syncer:
            with self.assertRaises(tally.Unreachable):
                await syncer.run(timeout_ms=50)
            await self.aio.add_credits(user_id=self.user, amount=1, type="grant")


if __name__ == "__main__":
    unittest.main()
