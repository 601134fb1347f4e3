"""Two mirrors and a real PostgreSQL: pushed, pulled, rejected, retried, leased, claimed."""

from __future__ import annotations

import select
import sys
import threading
import time
import unittest
import uuid
from datetime import datetime, timezone
from typing import Any

from canonical import Canonical
from support import MirrorTest, program

import tally

server: Canonical | None = None


def setUpModule() -> None:
    global server
    server = Canonical()


def tearDownModule() -> None:
    if server is not None:
        server.close()


class Sync(MirrorTest):
    def setUp(self) -> None:
        super().setUp()
        assert server is not None
        self.server = server
        self.pg = server.migrated()
        self.token = server.device(self.pg)["token"]

    def syncer(self, engine: tally.Engine | None = None, **options: Any) -> tally.Syncer:
        token = options.pop("token", self.token)
        return (engine or self.engine).syncer(self.pg, token=token, **options)

    def other_mirror(self) -> tuple[tally.Engine, str]:
        """A second device's, in sync."""
        engine = tally.open(self.folder / "other.db", durability="normal")
        self.addCleanup(engine.close)
        token = self.server.device(self.pg)["token"]
        with self.syncer(engine, token=token) as syncer:
            syncer.run()
        return engine, token

    def test_what_was_done_offline_arrives_and_both_halves_are_equal(self) -> None:
        self.assertIsNone(self.engine.sync_status())
        with self.engine.job(user_id=self.user, project_id=self.project, amount=8, final_cost=5):
            pass
        with self.syncer() as syncer:
            self.assertIs(syncer.run(), tally.SyncState.synced)
            self.assertTrue(syncer.verify(self.user))
        status = self.engine.sync_status()
        assert status is not None
        self.assertEqual((status.pending, status.blocked, status.rejected), (0, 0, 0))
        self.assertEqual(set(status.capabilities), {"author", "worker", "service"})
        self.assertIs(status.error_class, tally.SyncErrorClass.none)
        self.assertIsNotNone(status.synced_at and status.synced_at.tzinfo)
        program("verify", "--db", self.path, "--pg", self.pg)
        other, _ = self.other_mirror()
        self.assertEqual(other.balance(self.user), 5)
        self.assertEqual(list(other.history(self.user)), list(self.engine.history(self.user)))

    def test_callbacks_tell_of_it(self) -> None:
        told: list[tuple[str, Any]] = []
        with self.syncer(
            on_state=lambda *args: told.append(("state", args)),
            on_progress=lambda *args: told.append(("progress", args)),
            on_changed=lambda users: told.append(("changed", users)),
        ) as syncer:
            syncer.run()
        states = [args[0] for kind, args in told if kind == "state"]
        self.assertIs(states[-1], tally.SyncState.synced)
        self.assertIn(("progress", (2, 0)), told)
        self.assertIn(("changed", [self.user]), told)

    def overspent(self, **options: Any) -> tuple[tally.Engine, str]:
        """Another device was faster: this mirror's reservation is rejected."""
        with self.syncer() as syncer:
            syncer.run()
        other, token = self.other_mirror()
        self.job_id = self.new_job(8)
        other.expire_credits(user_id=self.user, amount=5)
        with self.syncer(other, token=token) as syncer:
            syncer.run()
        with self.syncer(**options) as syncer:
            self.assertIs(syncer.run(), tally.SyncState.idle)
        return other, token

    def test_what_canonical_rejects_is_undone_told_and_kept(self) -> None:
        told: list[tally.Rejected] = []
        self.overspent(on_rejected=told.append)
        (rejected,) = self.engine.rejected()
        self.assertEqual((rejected.result, rejected.operation["op"]),
                         ("insufficient_credits", "reserve_credits"))
        self.assertEqual([(r.number, r.result) for r in told], [(rejected.number, rejected.result)])
        self.assertEqual(self.engine.balance(self.user), 5)
        with self.assertRaises(tally.InsufficientCredits):
            self.engine.retry(rejected.number)
        self.engine.add_credits(user_id=self.user, amount=5, type="grant")
        receipt = self.engine.retry(rejected.number)
        self.assertEqual((receipt.balance, str(receipt.op_id)), (2, rejected.operation["op_id"]))
        with self.syncer() as syncer:
            self.assertIs(syncer.run(), tally.SyncState.synced)
        self.assertEqual(self.engine.rejected(), [])
        self.assertEqual(self.engine.account(self.user).held, 8)

    def test_a_rejected_one_is_dismissed(self) -> None:
        self.overspent()
        (rejected,) = self.engine.rejected()
        self.engine.dismiss(rejected.number)
        with self.assertRaises(tally.NotFound):
            self.engine.dismiss(rejected.number)
        self.assertEqual(self.engine.rejected(), [])

    def test_leases_are_kept_and_drawn_on(self) -> None:
        with self.syncer() as syncer:
            syncer.run()
            opened = tally.new_uuid()
            self.engine.lease_credits(lease_id=opened, user_id=self.user, amount=6, ttl=3600)
            syncer.run()
        (lease,) = self.engine.leases()
        self.assertEqual((lease.lease_id, lease.user_id, lease.unspent, lease.returning),
                         (opened, self.user, 6, False))
        self.assertGreater(lease.expires_at, datetime.now(timezone.utc))
        with tally.open(self.path, spend_policy="leased") as leased:
            job_id = self.new_job()
            with self.assertRaises(tally.InsufficientCredits):
                leased.reserve_credits(user_id=self.user, job_id=job_id, amount=7)
            leased.reserve_credits(user_id=self.user, job_id=job_id, amount=4)
            self.assertEqual(leased.leases()[0].unspent, 2)
            leased.release_job_credits(job_id=job_id)
        with self.syncer() as syncer:
            syncer.run()
        (lease,) = self.engine.leases()
        self.assertEqual(lease.unspent, 6)
        state = self.engine.account_state(self.user)
        self.assertEqual((state.balance, state.held, state.holds, state.leases), (4, 6, (), (lease,)))
        self.assertEqual(self.engine.account(self.user).leases, (lease,))
        self.engine.return_lease(lease_id=lease.lease_id)
        with self.assertRaises(tally.LeaseNotFound):
            self.engine.return_lease(lease_id=tally.new_uuid())
        with self.syncer() as syncer:
            syncer.run()
        self.assertEqual(self.engine.balance(self.user), 10)

    def test_a_syncer_keeps_leases_of_the_size_asked_for(self) -> None:
        with self.syncer() as syncer:
            syncer.run()
        token = self.server.device(self.pg, "--user", self.user)["token"]
        with tally.open(self.folder / "scoped.db") as engine:
            keep: dict[str, Any] = dict(token=token, lease_size=6, lease_low_water=2, lease_ttl_s=3600)
            with self.syncer(engine, **keep) as syncer:
                for _ in range(3):
                    syncer.run()
            self.assertEqual([lease.unspent for lease in engine.leases()], [6])

    def test_the_next_job_for_a_worker(self) -> None:
        job_id = self.new_job(8, "QUEUED")
        with self.syncer() as syncer:
            syncer.run()
        other, token = self.other_mirror()
        with self.syncer(other, token=token) as worker:
            self.assertEqual(worker.claim_next(ttl_s=60), job_id)
            self.assertIsNone(worker.claim_next(ttl_s=60))
            with other.job(job_id, final_cost=3) as job:
                job.advance("RENDERING")
            worker.run()
        with self.syncer() as syncer:
            syncer.run()
        self.assertIs(self.engine.job(job_id).status, tally.JobStatus.READY)
        self.assertEqual(self.engine.balance(self.user), 7)

    def test_every_call_waits_for_canonicals_verdict_under_online(self) -> None:
        with self.syncer() as syncer:
            syncer.run()
        verdicts: list[tuple[int, uuid.UUID, str]] = []
        with tally.open(self.path, spend_policy="online", verdict_timeout_ms=50) as online:
            with self.assertRaises(tally.Pending) as caught:
                online.expire_credits(user_id=self.user, amount=1)
            with self.syncer(online, on_verdict=lambda *told: verdicts.append(told)) as syncer:
                syncer.run()
        self.assertEqual([(op_id, code) for _, op_id, code in verdicts],
                         [(caught.exception.op_id, "ok")])
        self.assertEqual(self.engine.balance(self.user), 9)

    def test_a_thread_of_its_own_used_freely(self) -> None:
        synced = threading.Event()
        with self.syncer(
            poll_interval_ms=20,
            on_state=lambda state, *_: synced.set() if state is tally.SyncState.synced else None,
        ) as syncer:
            syncer.start()
            self.assertTrue(synced.wait(20))

            def work() -> None:
                for _ in range(10):
                    self.engine.add_credits(user_id=self.user, amount=1, type="grant")
                    self.engine.sync_status()
                syncer.run()

            workers = [threading.Thread(target=work) for _ in range(6)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join(60)
                self.assertFalse(worker.is_alive())
            self.assertTrue(syncer.verify(self.user))
            syncer.stop()
        self.assertEqual(self.engine.pending_operations(), 0)
        self.assertEqual(self.engine.balance(self.user), 70)

    def test_from_a_loop_of_ones_own(self) -> None:
        with self.syncer() as syncer:
            deadline = time.monotonic() + 20
            while True:
                wait = syncer.step()
                if wait.state is tally.SyncState.synced or time.monotonic() > deadline:
                    break
                if wait.socket is None:
                    time.sleep(min(wait.timeout_ms, 100) / 1000)
                else:
                    sockets = [wait.socket]
                    select.select(
                        sockets if wait.readable else [],
                        sockets if wait.writable else [],
                        [],
                        wait.timeout_ms / 1000,
                    )
            self.assertIs(wait.state, tally.SyncState.synced)

    def test_a_callback_may_use_the_engine_and_stop_but_not_wait_for_itself(self) -> None:
        said: list[str] = []
        balances: list[int] = []

        def changed(users: list[uuid.UUID]) -> None:
            balances.append(self.engine.balance(users[0]))
            waits: list[Any] = [syncer.run, syncer.close, self.engine.close, syncer.step]
            for call in waits:
                try:
                    call()
                except RuntimeError as error:
                    said.append(str(error))
            syncer.stop()

        syncer = self.syncer(on_changed=changed)
        with syncer:
            syncer.start()
            deadline = time.monotonic() + 20
            while len(said) < 4 and time.monotonic() < deadline:
                time.sleep(0.01)
        self.assertEqual((balances[:1], len(said)), ([10], 4))
        self.assertIn("in a callback", said[0])

    def test_a_token_that_is_none_pauses_and_another_goes_on(self) -> None:
        states: list[tuple[tally.SyncState, tally.SyncErrorClass]] = []
        with self.syncer(token="nobody's", on_state=lambda s, e, _: states.append((s, e))) as syncer:
            with self.assertRaises(tally.Unauthorized):
                syncer.run()
            self.assertEqual(
                states[-1], (tally.SyncState.paused, tally.SyncErrorClass.authentication)
            )
            syncer.resume(self.token)
            self.assertIs(syncer.run(), tally.SyncState.synced)

    def test_a_copied_mirror_is_enrolled_anew(self) -> None:
        import shutil

        with self.syncer() as syncer:
            syncer.run()
        self.engine.add_credits(user_id=self.user, amount=1, type="grant")
        self.engine.close()
        copy = self.folder / "copy.db"
        shutil.copy(self.path, copy)
        with tally.open(self.path) as engine, self.syncer(engine) as syncer:
            engine.add_credits(user_id=self.user, amount=2, type="grant")
            syncer.run()
        token = self.server.device(self.pg)["token"]
        with tally.open(copy) as engine:
            engine.add_credits(user_id=self.user, amount=4, type="grant")
            with self.syncer(engine) as syncer, self.assertRaises(tally.DeviceForked):
                syncer.run()
            with self.syncer(engine, token=token) as syncer:
                syncer.enrol_anew()
                for rejected in engine.rejected():
                    engine.retry(rejected.number)
                self.assertIs(syncer.run(), tally.SyncState.synced)
            self.assertEqual(engine.balance(self.user), 17)

    def test_a_server_that_is_away_blocks_nothing(self) -> None:
        with self.engine.syncer("host=/nonexistent", token="t") as syncer:
            began = time.monotonic()
            with self.assertRaises(tally.Unreachable):
                syncer.run(timeout_ms=100)
            self.assertLess(time.monotonic() - began, 10)
        self.engine.add_credits(user_id=self.user, amount=1, type="grant")

    def test_subscribing(self) -> None:
        with self.syncer() as syncer:
            syncer.run()
            other = tally.new_uuid()
            self.engine.create_user(user_id=other)
            with self.assertRaises(tally.IllegalTransition):
                self.engine.subscribe([self.user])
            syncer.run()
            self.engine.subscribe([self.user])
            syncer.run()
            self.assertEqual(self.engine.users(), [self.user])
            self.engine.subscribe([])  # Nobody, where None is all.
            syncer.run()
            self.assertEqual(self.engine.users(), [])
            self.engine.subscribe(None)
            syncer.run()
            self.assertEqual(len(self.engine.users()), 2)

    def test_one_device_may_not_sweep(self) -> None:
        with self.syncer() as syncer:
            syncer.run()
        with self.assertRaises(tally.NotPermitted):
            self.engine.sweep(grace=60)

    def test_closing_the_engine_closes_its_syncers(self) -> None:
        syncer = self.syncer()
        syncer.start()
        self.engine.close()
        with self.assertRaises(ValueError):
            syncer.run()
        syncer.stop()
        syncer.close()


if __name__ == "__main__":
    if not Canonical.is_possible():
        print("no PostgreSQL server is installed")
        sys.exit(77)
    unittest.main()
