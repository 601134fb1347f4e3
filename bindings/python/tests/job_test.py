"""The block of a job: it reserves, and completes or fails by how the block ends."""

from __future__ import annotations

import os
import signal
import unittest
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any
from unittest import mock

from support import MirrorTest, python

import tally

GRANT, USED = ("grant", 10), [("reserve", -8), ("reserve", 8), ("usage", -8)]


class Block(MirrorTest):
    def run_of(self, **options: Any) -> tally.Job:
        return self.engine.job(user_id=self.user, project_id=self.project, amount=8, **options)

    def test_it_reserves_and_settles_at_what_was_reserved(self) -> None:
        with self.run_of() as job:
            self.assertEqual(job.status, tally.JobStatus.QUEUED)
            self.assertEqual(self.engine.balance(self.user), 2)
        self.assertEqual(job.status, tally.JobStatus.READY)
        self.assertEqual(self.entries(), [GRANT, *USED])

    def test_it_settles_at_the_cost_that_is_given(self) -> None:
        cases: list[tuple[dict[str, Any], int | None]] = [({"final_cost": 5}, None), ({}, 5)]
        for options, in_block in cases:
            with self.subTest(options=options):
                before = self.engine.balance(self.user)
                with self.run_of(**options) as job:
                    job.advance("RENDERING")
                    job.progress("RENDERING", 50)
                    if in_block is not None:
                        job.final_cost = in_block
                self.assertEqual(self.engine.balance(self.user), before - 5)
                self.assertEqual((job.row.progress, job.row.cost_credits_final), (100, 5))
                self.engine.add_credits(user_id=self.user, amount=5, type="grant")

    def test_a_job_that_cost_nothing(self) -> None:
        with self.run_of(final_cost=0):
            pass
        self.assertEqual(self.engine.balance(self.user), 10)

    def test_entering_is_one_operation_or_none(self) -> None:
        before = self.engine.pending_operations()
        with self.assertRaises(tally.InsufficientCredits):
            with self.engine.job(user_id=self.user, project_id=self.project, amount=11):
                self.fail("the block ran")  # pragma: no cover
        self.assertEqual(self.engine.jobs(self.user), [])
        self.assertEqual(self.engine.pending_operations(), before)

    def test_an_exception_fails_it_and_releases(self) -> None:
        with self.assertRaises(ZeroDivisionError), self.run_of() as job:
            job.advance("VOICE_GEN")
            1 / 0
        row = job.row
        self.assertEqual((row.status, row.failed_step, row.error_code, row.error_message),
                         (tally.JobStatus.FAILED, "VOICE_GEN", "ZeroDivisionError", "division by zero"))
        self.assertEqual(self.engine.balance(self.user), 10)

    def test_exceptions_of_every_kind_do(self) -> None:
        class Bad(Exception):
            def __str__(self) -> str:
                return "\ud800\0" + "x" * 100_000

        kinds: list[BaseException] = [KeyboardInterrupt(), SystemExit(3), GeneratorExit(), Bad(),
                                      tally.JobNotFound("j"), MemoryError()]
        for error in kinds:
            with self.subTest(error=type(error)):
                with self.assertRaises(type(error)) as caught, self.run_of() as job:
                    raise error
                self.assertIs(caught.exception, error)
                self.assertIs(job.status, tally.JobStatus.FAILED)
        self.assertEqual(job.row.error_code, "MemoryError")
        self.assertEqual(self.engine.balance(self.user), 10)

    def test_what_the_block_did_itself_stays(self) -> None:
        with self.run_of() as job:
            job.complete(3, output_url="u", manifest_json={"a": 1})
        self.assertEqual((job.row.cost_credits_final, job.row.output_url), (3, "u"))
        with self.engine.job(user_id=self.user, project_id=self.project, amount=2) as failed:
            failed.fail("NO_GPU")
        self.assertEqual((failed.status.value, failed.row.error_code), ("FAILED", "NO_GPU"))
        self.assertEqual(self.engine.balance(self.user), 7)
        with self.assertRaises(KeyError):
            with self.engine.job(user_id=self.user, project_id=self.project, amount=2) as done:
                done.complete(1)
                raise KeyError
        self.assertIs(done.status, tally.JobStatus.READY)

    def test_completing_that_is_refused_is_told_and_leaves_the_job(self) -> None:
        with self.assertRaises(tally.InsufficientCredits), self.run_of(final_cost=11) as job:
            job.advance("TIMELINE")
        self.assertIs(job.status, tally.JobStatus.TIMELINE)
        self.assertEqual(self.engine.account(self.user).held, 8)
        job.complete(8)
        self.assertIs(job.status, tally.JobStatus.READY)

    def test_one_that_was_settled_before_only_moves(self) -> None:
        with self.run_of() as job:
            job.advance("TIMELINE")
            self.engine.finalize_job_credits(job_id=job.job_id, final_cost=3)
        self.assertEqual((job.status.value, job.row.cost_credits_final), ("READY", 3))
        self.assertEqual(self.engine.balance(self.user), 7)
        left = self.new_job(2, "RENDERING")
        self.engine.finalize_job_credits(job_id=left, final_cost=2)
        with self.engine.job(left) as again:
            pass
        self.assertIs(again.status, tally.JobStatus.READY)
        self.assertEqual(self.engine.balance(self.user), 5)

    def test_one_that_another_failed_is_told(self) -> None:
        with self.assertRaises(tally.IllegalTransition), self.run_of() as job:
            self.engine.fail_job(job_id=job.job_id, error_code="SWEPT")
        self.assertEqual(self.engine.balance(self.user), 10)

    def test_a_job_that_exists_is_taken_as_it_is(self) -> None:
        for amount, status in ((None, None), (8, None), (8, "QUEUED"), (8, "ALIGNMENT")):
            with self.subTest(amount=amount, status=status):
                before = self.engine.balance(self.user)
                job_id = self.new_job(amount, status)
                with self.engine.job(job_id, amount=8) as job:
                    self.assertEqual(job.job_id, job_id)
                self.assertIs(job.status, tally.JobStatus.READY)
                self.assertEqual(self.engine.balance(self.user), before - 8)
                self.engine.add_credits(user_id=self.user, amount=8, type="grant")

    def test_one_that_failed_is_retried_from_where_it_was(self) -> None:
        with self.assertRaises(KeyError), self.run_of() as job:
            job.advance("IMAGE_GEN")
            raise KeyError
        with self.engine.job(job.job_id, amount=6) as again:
            again.advance("RENDERING")
            self.assertEqual([step.state for step in again.steps][:6], ["succeeded"] * 6)
        self.assertEqual(self.engine.balance(self.user), 4)

    def test_the_same_id_makes_one_job(self) -> None:
        job_id = tally.new_uuid()
        options: dict[str, Any] = dict(user_id=self.user, project_id=self.project, amount=8)
        with self.assertRaises(KeyError), self.engine.job(job_id, **options):
            raise KeyError
        with self.engine.job(job_id, **options):
            pass
        self.assertEqual(len(self.engine.jobs(self.user)), 1)
        self.assertEqual(self.engine.balance(self.user), 2)

    def test_one_that_is_ready_is_refused(self) -> None:
        with self.run_of(final_cost=0) as job:
            pass
        with self.assertRaises(tally.Refusal):
            with self.engine.job(job.job_id, amount=1):
                self.fail("the block ran")  # pragma: no cover

    def test_a_claim_comes_with_it(self) -> None:
        with self.run_of(claim_ttl_s=60) as job:
            with self.assertRaises(tally.AlreadyClaimed):
                self.engine.claim_job(job_id=job.job_id, ttl=60)

    def test_a_job_must_be_named(self) -> None:
        with self.assertRaises(TypeError):
            self.engine.job(user_id=self.user)
        with self.assertRaises(tally.JobNotFound):
            with self.engine.job(tally.new_uuid(), amount=1):
                self.fail("the block ran")  # pragma: no cover

    def test_entering_that_is_a_mistake_leaves_the_job_as_it_was(self) -> None:
        waiting = self.new_job()
        with self.assertRaises(TypeError):
            with self.engine.job(waiting):  # No amount to reserve.
                self.fail("the block ran")  # pragma: no cover
        self.assertIs(self.engine.job(waiting).status, tally.JobStatus.PENDING)

    def test_interrupted_behind_its_commit_it_holds_nothing(self) -> None:
        class Interrupted(tally.Batch):
            def apply(self) -> tally.Receipt:
                super().apply()
                raise KeyboardInterrupt

        job = self.run_of()
        with mock.patch("tally._engine.Batch", Interrupted), self.assertRaises(KeyboardInterrupt):
            with job:
                self.fail("the block ran")  # pragma: no cover
        self.assertEqual(job.row.error_code, "KeyboardInterrupt")
        self.assertEqual(self.engine.balance(self.user), 10)

    def test_a_mirror_that_cannot_be_written_to_does_not_hide_the_exception(self) -> None:
        with self.assertLogs("tally", "ERROR") as logged:
            with self.assertRaises(ZeroDivisionError) as caught, self.run_of() as job:
                self.engine.close()
                1 / 0
        self.assertIn(str(job.job_id), logged.output[0])
        if hasattr(caught.exception, "__notes__"):
            self.assertIn("could not be failed", caught.exception.__notes__[0])

    def test_moving_on(self) -> None:
        job = self.engine.job(self.new_job(8))
        self.assertEqual(job.advance("QUEUED").balance, 2)
        job.advance("SCRIPTING", status_message="m")
        self.assertEqual(job.row.status_message, "m")
        for to in ("SCRIPTING", "QUEUED", "PENDING", "FAILED"):
            with self.subTest(to=to), self.assertRaises(tally.IllegalTransition):
                job.advance(to)
        with self.assertRaises(ValueError):
            job.advance("LIMBO")
        with self.assertRaises(tally.IllegalTransition) as caught:
            job.advance("READY")  # Not settled yet: nothing of the way there happened either.
        self.assertEqual(caught.exception.index, 7)
        self.assertIs(job.status, tally.JobStatus.SCRIPTING)
        self.assertIs(job.assets, job.assets or ())


class Died(MirrorTest):
    CODE = """
        import os, sys, time, tally
        path, user, project, stage = sys.argv[1:5]
        engine = tally.open(path)
        with engine.job(user_id=user, project_id=project, amount=8) as job:
            if stage != "QUEUED":
                job.advance(stage)
            print(job.job_id, flush=True)
            {end}
    """

    def died(self, stage: str, end: str) -> uuid.UUID:
        done = python(self.CODE.format(end=end), self.path, self.user, self.project, stage)
        self.assertNotEqual(done.returncode, 0)
        return uuid.UUID(done.stdout.strip())

    def test_killed_in_a_stage_it_is_swept(self) -> None:
        job_id = self.died("RENDERING", "os.kill(os.getpid(), 9)")
        self.assertEqual(self.engine.balance(self.user), 2)
        self.assertIs(self.engine.job(job_id).status, tally.JobStatus.RENDERING)
        self.engine.sweep(grace=1, at=datetime.now(timezone.utc) + timedelta(hours=1))
        self.assertEqual(self.engine.job(job_id).row.error_code, "WORKER_LOST")
        self.assertEqual(self.engine.balance(self.user), 10)

    def test_killed_in_the_queue_it_is_taken_up_again(self) -> None:
        job_id = self.died("QUEUED", "os._exit(1)")
        self.assertEqual(self.engine.balance(self.user), 2)
        with self.engine.job(job_id, amount=8):
            pass
        self.assertEqual(self.entries(), [GRANT, *USED])

    @unittest.skipUnless(hasattr(signal, "SIGINT") and os.name == "posix", "needs signals")
    def test_interrupted_by_ctrl_c_it_releases(self) -> None:
        job_id = self.died("RENDERING", "os.kill(os.getpid(), 2); time.sleep(30)")
        row = self.engine.job(job_id).row
        self.assertEqual((row.status.value, row.error_code), ("FAILED", "KeyboardInterrupt"))
        self.assertEqual(self.engine.balance(self.user), 10)


if __name__ == "__main__":
    unittest.main()
