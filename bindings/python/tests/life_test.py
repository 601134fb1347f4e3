"""Callbacks, and the ends of things: engines, interpreters, forks."""

from __future__ import annotations

import gc
import os
import sys
import threading
import unittest
import uuid
import weakref
from typing import Any, Callable
from unittest import mock

from support import MirrorTest, python

import tally
from tally._library import lib


class Callbacks(MirrorTest):
    def opened(self, **callbacks: Any) -> tally.Engine:
        engine = tally.open(self.path, durability="normal", **callbacks)
        self.addCleanup(engine.close)
        return engine

    def test_measurements_are_told_and_added_up(self) -> None:
        told: list[tuple[str, float, dict[str, str]]] = []
        engine = self.opened(on_metric=lambda *measured: told.append(measured))
        with self.assertRaises(tally.InsufficientCredits):
            engine.reserve_credits(user_id=self.user, job_id=self.new_job(), amount=500)
        for _ in range(3):
            engine.add_credits(user_id=self.user, amount=1, type="grant")
        metrics = engine.metrics()
        operations = {
            " ".join(metric.attributes.values()): metric.value
            for metric in metrics
            if metric.metric == "tally.operations"
        }
        self.assertEqual(
            operations, {"add_credits ok": 3, "reserve_credits insufficient_credits": 1}
        )
        commits = next(metric for metric in metrics if metric.metric == "tally.commit.duration")
        values = [value for name, value, _ in told if name == "tally.commit.duration"]
        self.assertEqual((commits.kind, commits.unit, commits.attributes), ("histogram", "s", {}))
        self.assertEqual(commits.count, 3)
        self.assertEqual((commits.least, commits.greatest), (min(values), max(values)))
        self.assertAlmostEqual(commits.value, sum(values))
        self.assertGreater(commits.least, 0)

    def test_of_a_gauge_the_latest_counts(self) -> None:
        from tally._metrics import Totals

        totals = Totals(None)
        for value in (7.0, 2.0, 5.0):
            totals.add(4, value, {})
        self.assertEqual(
            totals.read(),
            [tally.Metric("tally.outbox.pending", "gauge", "{operation}", {}, 3, 5.0, 2.0, 7.0)],
        )

    def test_nothing_is_measured_unasked(self) -> None:
        with self.assertRaisesRegex(ValueError, "measure=True"):
            self.engine.metrics()
        self.assertEqual(self.opened(measure=True).metrics(), [])

    def test_they_are_told_who_and_what(self) -> None:
        told: list[Any] = []
        engine = self.opened(
            on_job_complete=lambda *told_of: told.append(("complete", *told_of)),
            on_job_failed=lambda *told_of: told.append(("failed", *told_of)),
            on_low_credits=lambda *told_of: told.append(("low", *told_of)),
            low_credits=4,
        )
        with engine.job(user_id=self.user, project_id=self.project, amount=7) as done:
            pass
        with self.assertRaises(KeyError):
            with engine.job(user_id=self.user, project_id=self.project, amount=1) as failed:
                raise KeyError
        self.assertIn(("low", self.user, 3), told)
        self.assertIn(("complete", self.user, done.job_id), told)
        self.assertIn(("failed", self.user, failed.job_id), told)
        self.assertIsInstance(told[0][1], uuid.UUID)

    def test_what_they_raise_goes_to_the_unraisable_hook(self) -> None:
        def bad(user: uuid.UUID, job: uuid.UUID) -> None:
            raise ZeroDivisionError("in a callback")

        engine, seen = self.opened(on_job_complete=bad), []
        hook, sys.unraisablehook = sys.unraisablehook, lambda about: seen.append(about.exc_value)
        try:
            with engine.job(user_id=self.user, project_id=self.project, amount=7) as job:
                pass
        finally:
            sys.unraisablehook = hook
        self.assertEqual([str(error) for error in seen], ["in a callback"])
        self.assertIs(job.status, tally.JobStatus.READY)
        self.assertEqual(engine.balance(self.user), 3)

    def test_they_may_use_the_engine_and_close_it(self) -> None:
        engines: list[tally.Engine] = []
        balances = []

        def back(user: uuid.UUID, job: uuid.UUID) -> None:
            balances.append(engines[0].add_credits(user_id=user, amount=1, type="grant").balance)
            engines[0].close()

        engines.append(self.opened(on_job_complete=back))
        job_id = self.new_job(8, "PACKAGING")
        receipt = engines[0].complete_job(job_id=job_id, final_cost=8)
        self.assertEqual((receipt.balance, balances), (2, [3]))
        self.assertTrue(engines[0].closed)
        self.assertEqual(self.engine.balance(self.user), 3)

    def test_they_live_as_long_as_the_engine_and_no_longer(self) -> None:
        class Host:
            def low(self, user: uuid.UUID, balance: int) -> None:
                pass

        host = Host()
        gone = weakref.ref(host)
        engine = tally.open(self.path, on_low_credits=host.low)
        del host
        gc.collect()
        self.assertIsNotNone(gone())
        engine.expire_credits(user_id=self.user, amount=9)
        engine.close()
        del engine
        gc.collect()
        self.assertIsNone(gone())


class Closing(MirrorTest):
    def test_a_closed_engine_says_so(self) -> None:
        self.engine.close()
        self.engine.close()
        job = self.engine.job(tally.new_uuid())
        calls: list[Callable[[], object]] = [
            lambda: self.engine.balance(self.user),
            lambda: self.engine.check(self.user),
            lambda: self.engine.create_user(user_id=self.user),
            lambda: self.engine.add_credits(user_id=self.user, amount=1, type="grant"),
            lambda: self.engine.reserve_credits(user_id=self.user, job_id=self.user, amount=1),
            lambda: self.engine.submit("x"),
            lambda: self.engine.history(self.user),
            lambda: self.engine.syncer(token="t"),
            lambda: self.engine.leases(),
            lambda: job.row,
            lambda: self.engine.__enter__(),
        ]
        for call in calls:
            with self.assertRaises(ValueError) as caught:
                call()
            self.assertIn("closed", str(caught.exception))
        self.assertIn("closed", repr(self.engine))

    def test_an_exception_that_is_kept_keeps_no_file_open(self) -> None:
        kept = []
        provocations: list[Callable[[tally.Engine], object]] = [
            lambda e: e.balance(tally.new_uuid()),
            lambda e: e.expire_credits(user_id=self.user, amount=99),
            lambda e: e.reserve_credits(user_id=self.user, job_id=self.user, amount=9),
            lambda e: e.job_state(self.user),
        ]
        for provoke in provocations:
            engine = tally.open(self.path)
            handle = weakref.ref(engine._handle)
            try:
                provoke(engine)
            except tally.Refusal as error:
                kept.append(error)
            engine.close()
            self.assertIsNone(handle())
        self.assertEqual(len(kept), 4)

    def test_one_that_is_forgotten_is_closed_and_warned_about(self) -> None:
        engine = tally.open(self.path)
        handle = weakref.ref(engine._handle)
        with self.assertWarns(ResourceWarning):
            del engine
            gc.collect()
        self.assertIsNone(handle())

    def test_an_engine_that_is_closed_meanwhile_outlives_its_syncer(self) -> None:
        def closed_by_another(*arguments: Any) -> int:
            code: int = new(*arguments)
            self.engine.close()
            return code

        new = lib.tally_syncer_new
        handle = weakref.ref(self.engine._handle)
        with mock.patch.object(lib, "tally_syncer_new", closed_by_another):
            syncer = self.engine.syncer("host=/nonexistent", token="t")
        self.assertIsNotNone(handle())
        syncer.close()
        self.assertIsNone(handle())

    def test_many_engines_of_one_file(self) -> None:
        engines = [tally.open(self.path) for _ in range(20)]
        engines[0].add_credits(user_id=self.user, amount=1, type="grant")
        self.assertEqual({engine.balance(self.user) for engine in engines}, {11})
        for engine in engines:
            engine.close()

    def test_threads_come_and_go_without_leaking(self) -> None:
        from tally import _library

        for _ in range(5):
            threads = [
                threading.Thread(target=lambda: self.engine.check(self.user)) for _ in range(20)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.assertLessEqual(len(_library._idle), 100)


OPEN = """
    import atexit, os, sys, threading, time, uuid
    import tally
    path, user = sys.argv[1], uuid.UUID(sys.argv[2])

    def busy(engine):
        # What a host does that was never told that the end is near.
        try:
            while True:
                engine.add_credits(user_id=user, amount=1, type="grant")
                engine.expire_credits(user_id=user, amount=1)
        except ValueError:
            pass
"""


class Ends(MirrorTest):
    def exits(self, code: str, status: int = 0, stderr: str = "", **options: Any) -> str:
        done = python(OPEN + code, self.path, self.user, **options)
        self.assertEqual((done.returncode, done.stderr), (status, stderr), done)
        self.assertEqual(self.engine.audit().findings, ())
        return done.stdout

    def test_with_an_engine_open(self) -> None:
        self.exits("""
    engine = tally.open(path)
    engine.add_credits(user_id=user, amount=1, type="grant")
""")
        self.assertEqual(self.engine.balance(self.user), 11)

    def test_with_threads_inside_of_calls(self) -> None:
        for callbacks in ("", ", low_credits=1000, on_low_credits=lambda *told: None",
                          ", low_credits=1000, on_low_credits=lambda *told: time.sleep(0.01)"):
            with self.subTest(callbacks=callbacks):
                self.exits(f"""
    engine = tally.open(path, durability="normal"{callbacks})
    for _ in range(4):
        threading.Thread(target=busy, args=(engine,), daemon=True).start()
    time.sleep(0.2)
""")

    def test_by_sys_exit_an_exception_and_ctrl_c(self) -> None:
        body = """
    engine = tally.open(path, on_low_credits=print)
    threading.Thread(target=busy, args=(engine,), daemon=True).start()
"""
        self.exits(body + "    sys.exit(7)\n", status=7)
        done = python(OPEN + body + "    raise KeyError\n", self.path, self.user)
        self.assertEqual(done.returncode, 1)
        self.assertTrue(done.stderr.rstrip().endswith("KeyError"), done.stderr)
        done = python(OPEN + body + "    os.kill(os.getpid(), 2); time.sleep(9)\n", self.path, self.user)
        self.assertIn("KeyboardInterrupt", done.stderr)
        self.assertEqual(done.returncode, -2)

    def test_from_atexit(self) -> None:
        # Both before and after the package's own.
        out = self.exits("""
    def last(name):
        print(name, engine.add_credits(user_id=user, amount=1, type="grant").balance)
    atexit.register(last, "after import")
    engine = tally.open(path)
""")
        self.assertEqual(out, "after import 11\n")
        done = python("""
            import atexit, sys
            atexit.register(lambda: print(engine.balance(sys.argv[2])))
            import tally
            engine = tally.open(sys.argv[1])
        """, self.path, self.user)
        self.assertEqual((done.stdout, done.stderr), ("11\n", ""))

    def test_with_a_cycle_and_a_global(self) -> None:
        self.exits("""
    class Host:
        def __init__(self):
            self.engine = tally.open(path, on_low_credits=self.low)
            self.me = self
        def low(self, user, balance):
            self.last = balance
    host = Host()
    host.engine.expire_credits(user_id=user, amount=9)
    assert host.last == 1
    sys.host = host
    del host
""")

    def test_with_a_syncer_and_its_thread(self) -> None:
        out = self.exits("""
    engine = tally.open(path)
    syncer = engine.syncer("host=/nonexistent", token="t", backoff_base_ms=1, backoff_cap_ms=2,
                           on_state=lambda *told: states.append(told))
    states = []
    syncer.start()
    while not states or states[-1][1] is tally.SyncErrorClass.none:
        time.sleep(0.01)
    print(states[-1][1].value)
    del syncer
""")
        self.assertEqual(out, "transient\n")

    def test_with_a_syncers_callback_in_flight(self) -> None:
        self.exits("""
    engine = tally.open(path)
    inside = threading.Event()
    def slow(*told):
        inside.set()
        time.sleep(0.3)
    syncer = engine.syncer("host=/nonexistent", token="t", backoff_base_ms=1, backoff_cap_ms=2,
                           on_state=slow)
    syncer.start()
    inside.wait()
""")

    def test_with_a_run_on_another_thread(self) -> None:
        self.exits("""
    engine = tally.open(path)
    syncer = engine.syncer("host=/nonexistent", token="t", on_state=lambda *told: None)
    def run():
        try:
            syncer.run(timeout_ms=2000)
        except (tally.Failure, ValueError):
            pass
    threading.Thread(target=run, daemon=True).start()
    time.sleep(0.2)
""")

    def test_with_warnings_as_errors(self) -> None:
        done = python("""
            import sys, tally
            with tally.open(sys.argv[1]) as engine:
                with engine.syncer("host=/nonexistent", token="t"):
                    pass
        """, self.path, env={"PYTHONWARNINGS": "error", "PYTHONDEVMODE": "1"})
        self.assertEqual((done.returncode, done.stderr), (0, ""))


@unittest.skipUnless(hasattr(os, "fork"), "this system has no fork()")
class Forks(MirrorTest):
    # Python 3.12 warns of any fork of a process that has threads.
    FORKS = {"PYTHONWARNINGS": "ignore::DeprecationWarning"}
    CHILD = """
    def all_say_so(*calls):
        said = []
        for call in calls:
            try:
                call()
            except ValueError as error:
                said.append(str(os.getppid()) in str(error) and "fork" in str(error))
        return said == [True] * len(calls)

    def in_child(work):
        child = os.fork()
        if child == 0:
            sys.exit(0 if work() else 3)
        assert os.waitpid(child, 0)[1] == 0
"""

    def test_a_child_is_told_that_its_parents_are_not_its_own(self) -> None:
        done = python(OPEN + self.CHILD + """
    engine = tally.open(path, on_low_credits=lambda *told: None)
    syncer = engine.syncer("host=/nonexistent", token="t", on_state=lambda *told: None)
    syncer.start()
    def work():
        fine = all_say_so(lambda: engine.balance(user), lambda: engine.users(), syncer.run,
                         lambda: engine.add_credits(user_id=user, amount=1, type="grant"))
        engine.close(), syncer.close(), syncer.stop()
        try:
            tally.open(path)
        except tally.InvalidArgument:  # SQLite has locks that a child does not inherit.
            pass
        with tally.open(path + ".mine") as own:
            own.create_user(user_id=tally.new_uuid())
        return fine
    for number in range(10):
        in_child(work)
        engine.balance(user)  # The parent's goes on.
    syncer.close()
""", self.path, self.user, env=self.FORKS)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        self.assertEqual(self.engine.audit().findings, ())

    def test_also_while_threads_of_the_parent_are_inside(self) -> None:
        done = python(OPEN + self.CHILD + """
    engine = tally.open(path, low_credits=1000, on_low_credits=lambda *told: None)
    threading.Thread(target=busy, args=(engine,), daemon=True).start()
    for _ in range(20):
        in_child(lambda: all_say_so(lambda: engine.balance(user), lambda: engine.jobs(user)))
""", self.path, self.user, env=self.FORKS)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        self.assertEqual(self.engine.audit().findings, ())

    def test_multiprocessing_by_fork(self) -> None:
        done = python("""
            import multiprocessing, sys, tally
            with tally.open(sys.argv[1]) as engine:
                engine.balance(sys.argv[2])
            def work(number):
                with tally.open(sys.argv[1]) as own:
                    return own.add_credits(user_id=sys.argv[2], amount=1, type="grant").balance
            with multiprocessing.get_context("fork").Pool(3) as pool:
                balances = pool.map(work, range(30))
            assert sorted(balances) == list(range(11, 41)), balances
        """, self.path, self.user, env=self.FORKS)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_a_subprocess_changes_nothing(self) -> None:
        done = python("""
            import subprocess, sys, tally
            engine = tally.open(sys.argv[1])
            subprocess.run(["true"], check=True, preexec_fn=lambda: None)
            print(engine.balance(sys.argv[2]))
        """, self.path, self.user, env=self.FORKS)
        self.assertEqual((done.stdout, done.stderr), ("10\n", ""))


class Loading(unittest.TestCase):
    def test_a_library_that_is_missing_says_what_to_do(self) -> None:
        done = python("import tally", env={"TALLY_LIBRARY": "/nonexistent/libtally.so"})
        self.assertEqual(done.returncode, 1)
        last = done.stderr[done.stderr.index("ImportError") :]
        self.assertIn("TALLY_LIBRARY", last)
        self.assertIn("/nonexistent/libtally.so", last)

    def test_a_library_that_is_another_is_refused(self) -> None:
        import ctypes.util

        name = ctypes.util.find_library("z") or "libc.so.6"
        done = python("import tally", env={"TALLY_LIBRARY": name})
        self.assertIn("tally_abi_version", done.stderr)
        self.assertIn("ImportError", done.stderr)


if __name__ == "__main__":
    unittest.main()
