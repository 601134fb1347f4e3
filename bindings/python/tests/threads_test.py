"""One engine, used freely from many threads and processes."""

from __future__ import annotations

import collections
import concurrent.futures
import multiprocessing
import random
import sqlite3
import subprocess
import sys
import threading
import time
import unittest
import uuid

from support import MirrorTest

import tally

THREADS = 8


class Threads(MirrorTest):
    def on_threads(self, work: "collections.abc.Callable[[int], object]") -> None:
        with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
            for done in [pool.submit(work, number) for number in range(THREADS)]:
                done.result(timeout=60)

    def test_credits_are_neither_lost_nor_doubled_nor_overdrawn(self) -> None:
        self.engine.add_credits(user_id=self.user, amount=90, type="grant")
        outcomes: "collections.Counter[str]" = collections.Counter()
        lock = threading.Lock()

        def work(number: int) -> None:
            chance = random.Random(number)
            for _ in range(25):
                try:
                    with self.engine.job(
                        user_id=self.user, project_id=self.project, amount=8, final_cost=1
                    ) as job:
                        job.advance("SCRIPTING")
                        job.progress("SCRIPTING", chance.randrange(100))
                        if chance.random() < 0.5:
                            raise KeyError
                    result = "done"
                except (tally.InsufficientCredits, KeyError) as error:
                    result = type(error).__name__
                with lock:
                    outcomes[result] += 1
                self.assertGreaterEqual(self.engine.balance(self.user), 0)

        self.on_threads(work)
        self.assertEqual(sum(outcomes.values()), THREADS * 25)
        self.assertEqual(self.engine.balance(self.user), 100 - outcomes["done"])
        self.assertEqual(self.engine.account(self.user).held, 0)
        self.assertEqual(self.engine.audit().findings, ())

    def test_everything_at_once(self) -> None:
        stop = time.monotonic() + 1.5

        def work(number: int) -> None:
            rounds = 0
            while time.monotonic() < stop:
                rounds += 1
                job = self.engine.job(user_id=self.user, project_id=self.project)
                if number % 2:
                    with self.engine.batch() as batch:
                        batch.add_credits(user_id=self.user, amount=1, type="grant")
                        batch.create_job(
                            job_id=job.job_id, project_id=self.project, user_id=self.user
                        )
                        batch.fail_job(job_id=job.job_id, error_code="E")
                    self.assertIs(job.status, tally.JobStatus.FAILED)
                else:
                    list(self.engine.history(self.user, limit=20))
                    self.engine.check(self.user)
                    self.engine.account_state(self.user)
                    self.assertEqual(self.engine.audit().findings, ())
                    with self.assertRaises(tally.JobNotFound):
                        self.engine.job(tally.new_uuid()).state()
            self.assertGreater(rounds, 2)

        self.on_threads(work)

    def test_answers_do_not_get_mixed_up(self) -> None:
        # Every thread is refused at another index, with another op_id, while others succeed.
        def work(number: int) -> None:
            for _ in range(60):
                op_id = tally.new_uuid()
                with self.assertRaises(tally.InvalidAmount) as caught:
                    with self.engine.batch(op_id=op_id) as batch:
                        for _ in range(number):
                            batch.add_credits(user_id=self.user, amount=1, type="grant")
                        batch.add_credits(user_id=self.user, amount=0, type="grant")
                self.assertEqual((caught.exception.index, caught.exception.op_id), (number, op_id))
                receipt = self.engine.add_credits(
                    user_id=self.user, amount=1, type="grant", op_id=op_id
                )
                self.assertEqual(receipt.op_id, op_id)

        self.on_threads(work)
        self.assertEqual(self.engine.balance(self.user), 10 + THREADS * 60)

    def test_the_interpreters_lock_is_let_go_of(self) -> None:
        # While this thread waits for a lock that another process holds, others run on.
        hold = (
            "import sqlite3, sys\n"
            "holder = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
            "holder.execute('begin immediate')\n"
            "print('held', flush=True)\n"
            "sys.stdin.read()\n"
        )
        engine = tally.open(self.path, busy_timeout_ms=400)
        self.addCleanup(engine.close)
        holder = subprocess.Popen(
            [sys.executable, "-c", hold, str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert holder.stdout is not None
        self.assertEqual(holder.stdout.readline(), b"held\n")
        ticks = []
        stop = threading.Event()

        def tick() -> None:
            while not stop.wait(0.005):
                ticks.append(time.monotonic())

        ticker = threading.Thread(target=tick)
        ticker.start()
        try:
            began = time.monotonic()
            with self.assertRaises(tally.Busy) as caught:
                engine.add_credits(user_id=self.user, amount=1, type="grant")
            self.assertIsInstance(caught.exception, tally.Failure)
            self.assertGreater(len([at for at in ticks if at > began]), 10)
        finally:
            stop.set()
            ticker.join()
            holder.communicate()
        engine.add_credits(user_id=self.user, amount=1, type="grant")

    def test_closing_while_others_are_inside(self) -> None:
        for _ in range(20):
            engine = tally.open(self.path, durability="normal")
            started = threading.Barrier(5)

            def work(engine: tally.Engine = engine, started: threading.Barrier = started) -> None:
                started.wait()
                try:
                    while True:
                        engine.add_credits(user_id=self.user, amount=1, type="grant")
                        engine.balance(self.user)
                        engine.check(self.user)
                except ValueError as error:
                    self.assertIn("closed", str(error))

            workers = [threading.Thread(target=work) for _ in range(4)]
            for worker in workers:
                worker.start()
            started.wait()
            time.sleep(0.005)
            engine.close()
            for worker in workers:
                worker.join(30)
                self.assertFalse(worker.is_alive())
        self.assertEqual(self.engine.audit().findings, ())

    def test_threads_share_commits(self) -> None:
        engine = tally.open(self.folder / "full.db")  # durability full: each commit is an fsync
        user = tally.new_uuid()
        engine.create_user(user_id=user)

        def work(number: int) -> None:
            for _ in range(20):
                engine.add_credits(user_id=user, amount=1, type="grant")

        self.on_threads(work)
        self.assertEqual(engine.balance(user), 10 + THREADS * 20)
        engine.close()
        mirror = sqlite3.connect(self.folder / "full.db")
        self.addCleanup(mirror.close)
        # Each commit has one row in the outbox; the first is that of create_user.
        ((commits,),) = mirror.execute("select count(*) from tally_outbox").fetchall()
        self.assertLess(commits - 1, THREADS * 20)


def reserve_in_child(path: str, user: uuid.UUID, project: uuid.UUID) -> int:
    """How many jobs of 8 credits a process could pay for."""
    done = 0
    with tally.open(path, durability="normal") as engine:
        while True:
            try:
                with engine.job(user_id=user, project_id=project, amount=8):
                    done += 1
            except tally.InsufficientCredits:
                return done


def fail_in_child(path: str, user: uuid.UUID) -> None:
    with tally.open(path) as engine:
        engine.expire_credits(user_id=user, amount=1_000_000)


class Processes(MirrorTest):
    def test_processes_share_a_mirror(self) -> None:
        self.engine.add_credits(user_id=self.user, amount=150, type="grant")
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(3, mp_context=context) as pool:
            calls = [
                pool.submit(reserve_in_child, str(self.path), self.user, self.project)
                for _ in range(3)
            ]
            self.assertEqual(sum(call.result(timeout=60) for call in calls), 20)
        self.assertEqual(self.engine.balance(self.user), 0)
        self.assertEqual(self.engine.audit().findings, ())

    def test_an_exception_crosses_whole(self) -> None:
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            with self.assertRaises(tally.InsufficientCredits) as caught:
                pool.submit(fail_in_child, str(self.path), self.user).result(timeout=60)
        self.assertIsInstance(caught.exception.op_id, uuid.UUID)

    def test_an_engine_does_not_cross(self) -> None:
        import pickle

        with self.assertRaises(TypeError):
            pickle.dumps(self.engine)


if __name__ == "__main__":
    unittest.main()
