"""Every operation does what it says, and every refusal of a mirror raises its code's exception."""

from __future__ import annotations

import inspect
import os
import re
import unittest
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any, Callable

from support import ROOT, MirrorTest

import tally
from tally._tables import EXCEPTIONS, FIELDS

NOBODY = uuid.UUID("00000000-0000-4000-8000-00000000dead")


class EveryOperation(MirrorTest):
    def test_the_engine_knows_each_and_they_are_the_contracts(self) -> None:
        reference = (ROOT / "engine/reference/operations.md").read_text(encoding="utf-8")
        rows = re.findall(r"^\| \d+ \| `(\w+)` \| ([^|]*) \|", reference, flags=re.MULTILINE)
        named = {name: re.sub(r"\?", "", fields).split(", ") for name, fields in rows}
        named.pop("batch")
        self.assertEqual(len(named), 29)
        self.assertEqual(
            {name: {f for f in fields if f.strip()} for name, fields in named.items()},
            {name: set(fields) for name, fields in FIELDS.items()},
        )
        for name, fields in FIELDS.items():
            parameters = inspect.signature(getattr(tally.Engine, name)).parameters
            self.assertEqual(set(parameters), {"self", "op_id", "at", *fields})

    def test_users_and_credits(self) -> None:
        e, user = self.engine, tally.new_uuid()
        self.assertEqual(e.create_user(user_id=user, email="a@x", display_name="Ada").balance, 10)
        e.update_profile(user_id=user, avatar_url="u", notification_prefs={"low_credits": True})
        e.update_profile(user_id=user, display_name=None, stripe_customer_id="cus_1")
        (profile,) = e.rows("profiles", user)
        self.assertEqual(
            (profile["display_name"], profile["avatar_url"], profile["stripe_customer_id"]),
            (None, "u", "cus_1"),
        )
        e.add_credits(user_id=user, amount=5, type="purchase", note="n", stripe_payment_id="p1")
        receipt = e.expire_credits(user_id=user, amount=3, note="old", stripe_payment_id="p2")
        self.assertEqual(receipt.balance, 12)
        entries = list(e.history(user))
        self.assertEqual([(x.type, x.amount, x.balance_after, x.seq) for x in entries],
                         [("expire", -3, 12, 3), ("purchase", 5, 15, 2), ("grant", 10, 10, 1)])
        self.assertEqual((entries[1].note, entries[1].stripe_payment_id), ("n", "p1"))

    def test_drafts(self) -> None:
        e, draft, newer = self.engine, tally.new_uuid(), tally.new_uuid()
        before = datetime.now(timezone.utc) - timedelta(minutes=1)
        e.create_draft(draft_id=draft, session_token="s", prompt_text="p", options={"a": 1}, at=before)
        e.create_draft(draft_id=newer, session_token="s", prompt_text="q", template_id="t")
        e.update_draft(draft_id=draft, session_token="s", prompt_text="p2", options=None)
        receipt = e.claim_draft(session_token="s", user_id=self.user)
        self.assertEqual(receipt.id, newer)
        found = {d.id: d for d in e.drafts(self.user)}
        self.assertEqual(found[draft].prompt_text, "p2")
        self.assertEqual(found[newer].template_id, "t")
        self.assertEqual(found[draft].expires_at, before + timedelta(days=7))
        e.purge_expired_drafts()
        self.assertEqual(len(e.drafts(self.user)), 2)

    def test_projects_and_voices(self) -> None:
        e, voice = self.engine, tally.new_uuid()
        e.create_voice_profile(voice_profile_id=voice, user_id=self.user, name="n", audio_path="a",
                               provider="x", voice_id="v", settings={"pitch": 1})
        project = self.new_project(voice_profile_id=voice, transcript_mode="manual",
                                   transcript_text="t", settings={"a": [1]})
        row = e.project(project)
        self.assertEqual((row.voice_profile_id, row.transcript_mode, row.settings),
                         (voice, "manual", {"a": [1]}))
        e.update_project(project_id=project, user_id=self.user, title="new", transcript_text=None)
        row = e.project(project)
        self.assertEqual((row.title, row.transcript_text, row.settings, row.voice_profile_id),
                         ("new", None, {"a": [1]}, voice))
        e.delete_voice_profile(voice_profile_id=voice, user_id=self.user)
        self.assertIsNone(e.project(project).voice_profile_id)
        e.delete_project(project_id=project, user_id=self.user)
        with self.assertRaises(tally.ProjectNotFound):
            e.project(project)

    def test_a_job_from_reservation_to_ready(self) -> None:
        e, job, asset = self.engine, self.new_job(8, "SCRIPTING"), tally.new_uuid()
        e.claim_job(job_id=job, ttl=60)
        e.renew_claim(job_id=job, ttl=60)
        e.drop_claim(job_id=job)
        e.report_progress(job_id=job, step_name="SCRIPTING", progress_pct=50, status_message="half")
        e.report_progress(job_id=job, step_name=tally.JobStatus.SCRIPTING, progress_pct=60,
                          logs_url="l", artifacts_json={"n": 1})
        e.add_asset(asset_id=asset, job_id=job, type="video", url="u", storage_path="s",
                    size_bytes=2**40, mime_type="m", metadata_json={"w": 4})
        e.job(job).advance("PACKAGING", status_message="nearly")
        e.complete_job(job_id=job, final_cost=5, output_url="o", manifest_json={"v": 1})
        state = e.job_state(job)
        self.assertEqual((state.job.status, state.job.cost_credits_reserved,
                          state.job.cost_credits_final, state.job.output_url, state.job.manifest_json,
                          state.job.progress, state.job.status_message),
                         (tally.JobStatus.READY, 8, 5, "o", {"v": 1}, 100, "nearly"))
        step = state.steps[0]
        self.assertEqual((step.step_name, step.step_order, step.state, step.progress_pct,
                          step.status_message, step.logs_url, step.artifacts_json),
                         ("SCRIPTING", 1, "succeeded", 100, "half", "l", {"n": 1}))
        self.assertEqual([(a.id, a.type, a.size_bytes, a.metadata_json) for a in state.assets],
                         [(asset, "video", 2**40, {"w": 4})])
        self.assertEqual(self.entries(), [("grant", 10), ("reserve", -8), ("reserve", 5),
                                          ("usage", -5), ("refund", 3)])
        self.assertEqual([row.id for row in e.jobs(self.user)], [job])

    def test_settling_releasing_failing_and_retrying(self) -> None:
        e = self.engine
        settled, released, failed = (self.new_job(2, "QUEUED") for _ in range(3))
        self.assertEqual(e.finalize_job_credits(job_id=settled, final_cost=1).balance, 5)
        self.assertEqual(e.release_job_credits(job_id=released).balance, 7)
        e.fail_job(job_id=failed, error_code="E", error_message="m")
        row = e.job(failed).row
        self.assertEqual((row.status.value, row.error_code, row.error_message), ("FAILED", "E", "m"))
        self.assertEqual(e.retry_job(job_id=failed, amount=4).balance, 5)
        old = datetime.now(timezone.utc) + timedelta(hours=1)
        e.advance_job(job_id=failed, to="SCRIPTING")
        e.sweep(grace=60, at=old)
        self.assertEqual(e.job(failed).row.error_code, "WORKER_LOST")
        self.assertEqual(e.balance(self.user), 9)

    def test_an_account_in_one_read(self) -> None:
        jobs = {self.new_job(1): 1 for _ in range(9)}  # More than are asked for at first.
        account = self.engine.account(self.user)
        state = account.state()
        self.assertEqual((account.balance, account.held, state.balance, state.held), (1, 9, 1, 9))
        self.assertEqual({hold.job_id: hold.amount for hold in account.holds}, jobs)
        self.assertTrue(all(hold.reservation for hold in state.holds))
        check = self.engine.check(self.user)
        self.assertEqual((check.balance, check.held, check.entries), (1, 9, 10))
        self.assertEqual(check.pending_operations, self.engine.pending_operations())
        self.assertEqual((account.leases, account.drafts()), ((), []))
        self.assertEqual(len(account.jobs()), 9)
        self.assertEqual(len(list(account.entries(limit=3))), 3)

    def test_history_in_pages(self) -> None:
        with self.engine.batch() as batch:
            for _ in range(1_000):
                batch.add_credits(user_id=self.user, amount=1, type="grant")
        for _ in range(2):
            with self.engine.batch() as batch:
                for _ in range(600):
                    batch.add_credits(user_id=self.user, amount=1, type="grant")
        self.assertEqual([e.seq for e in self.engine.history(self.user)], list(range(2201, 0, -1)))
        self.assertEqual([e.seq for e in self.engine.history(self.user, limit=2, before_seq=9)], [8, 7])
        self.assertEqual(list(self.engine.history(self.user, limit=0)), [])
        self.assertEqual(len(list(self.engine.history(self.user, limit=1500))), 1500)

    def test_a_backup_is_the_mirror_and_replaces_nothing_unasked(self) -> None:
        copy = self.folder / "backup.db"
        made = self.engine.backup(copy)
        self.assertEqual((made.users, made.entries, made.jobs), (1, 1, 0))
        self.assertEqual(made.bytes, copy.stat().st_size)
        self.engine.add_credits(user_id=self.user, amount=5, type="grant")
        with tally.open(copy) as restored:
            self.assertEqual(restored.balance(self.user), 10)
        with self.assertRaises(tally.AlreadyExists):
            self.engine.backup(os.fspath(copy))
        self.assertEqual(self.engine.backup(copy, replace=True).entries, 2)
        with self.assertRaises(tally.InvalidArgument):
            self.engine.backup(self.path, replace=True)
        with self.assertRaises(tally.NotFound):
            self.engine.backup(self.folder / "no" / "backup.db")
        with self.assertRaises(TypeError):
            self.engine.backup(7)  # type: ignore[arg-type]

    def test_audit_digest_and_rows(self) -> None:
        self.new_job(8)
        audit = self.engine.audit()
        self.assertEqual((audit.users, audit.entries, audit.jobs, audit.findings), (1, 2, 1, ()))
        digests = {d.table: d for d in self.engine.digest(self.user)}
        self.assertEqual(digests["credit_ledger"].rows, 2)
        self.assertRegex(digests["jobs"].digest, "^[0-9a-f]{16}$")
        self.assertEqual(len(self.engine.rows("job_steps")), 8)
        with self.assertRaises(tally.NotFound):
            self.engine.rows("sqlite_schema")

    def test_the_typed_way_and_the_json_way_write_the_same(self) -> None:
        typed_job, json_job = self.new_job(), self.new_job()
        at = datetime(2026, 1, 18, tzinfo=timezone.utc)
        operations: list[tuple[str, dict[str, Any]]] = [
            ("reserve_credits", dict(amount=4)),
            ("advance_job", dict(to="QUEUED", status_message="in line")),
            ("claim_job", dict(ttl=60)),
            ("advance_job", dict(to="SCRIPTING")),
            ("report_progress", dict(step_name="SCRIPTING", progress_pct=20, status_message="ä")),
            ("fail_job", dict(error_code="E", error_message="")),
        ]
        for name, fields in operations:
            if name == "reserve_credits":
                fields = {**fields, "user_id": self.user}
            getattr(self.engine, name)(job_id=typed_job, at=at, **fields)
            with self.engine.batch(at=at) as batch:
                getattr(batch, name)(job_id=json_job, **fields)
        def what(job: uuid.UUID) -> list[Any]:
            state = self.engine.job_state(job)
            texts = [str(state.job), *(str(step) for step in state.steps)]
            row_ids = re.compile(r"id=UUID\('[^']*'\)|created_at=[^)]*\)")
            return [row_ids.sub("", text) for text in texts]

        self.assertEqual(what(typed_job), what(json_job))


class Batches(MirrorTest):
    def test_all_or_none_and_the_exception_says_which(self) -> None:
        job = tally.new_uuid()
        with self.assertRaises(tally.InsufficientCredits) as caught, self.engine.batch() as batch:
            batch.create_job(job_id=job, project_id=self.project, user_id=self.user)
            batch.reserve_credits(user_id=self.user, job_id=job, amount=11)
        self.assertEqual(caught.exception.index, 1)
        self.assertIsNone(batch.receipt)
        with self.assertRaises(tally.JobNotFound):
            self.engine.job_state(job)

    def test_a_block_that_raises_applies_nothing(self) -> None:
        with self.assertRaises(KeyError), self.engine.batch() as batch:
            batch.add_credits(user_id=self.user, amount=1, type="grant")
            raise KeyError
        self.assertEqual(self.engine.balance(self.user), 10)

    def test_it_counts_once_under_its_op_id(self) -> None:
        op_id, at = tally.new_uuid(), datetime(2026, 1, 18, tzinfo=timezone.utc)
        inner = tally.new_uuid()
        for _ in range(2):
            with self.engine.batch(op_id=op_id, at=at) as batch:
                batch.add_credits(user_id=self.user, amount=1, type="grant", op_id=inner)
            self.assertIsNotNone(batch.receipt)
            assert batch.receipt is not None
            self.assertEqual((batch.receipt.op_id, batch.receipt.balance), (op_id, 11))
        self.assertEqual(next(self.engine.history(self.user)).created_at, at)

    def test_an_operation_of_it_has_no_time_of_its_own(self) -> None:
        with self.assertRaises(TypeError), self.engine.batch() as batch:
            batch.sweep(grace=1, at=datetime.now(timezone.utc))

    def test_it_is_applied_once(self) -> None:
        with self.engine.batch() as batch:
            batch.add_credits(user_id=self.user, amount=1, type="grant")
            self.assertEqual(batch.apply().balance, 11)
            with self.assertRaises(RuntimeError):
                batch.apply()
            with self.assertRaises(RuntimeError):
                batch.add_credits(user_id=self.user, amount=1, type="grant")
        self.assertEqual(self.engine.balance(self.user), 11)

    def test_an_empty_one_and_one_of_two_users_are_refused(self) -> None:
        with self.assertRaises(tally.InvalidArgument), self.engine.batch():
            pass
        other = tally.new_uuid()
        self.engine.create_user(user_id=other)
        with self.assertRaises(tally.InvalidArgument), self.engine.batch() as batch:
            for user in (self.user, other):
                batch.add_credits(user_id=user, amount=1, type="grant")


class Refusals(MirrorTest):
    """Each code that a mirror without a device can answer, provoked."""

    #: Canonical's, a device's, or a failure of the world: other tests have what can be had of them.
    ELSEWHERE = {
        "not_permitted", "lease_not_found", "lease_reclaimed", "internal_error", "stale_reservation",
    }  # fmt: skip

    def provocations(self) -> dict[str, Callable[[], object]]:
        e, user, project = self.engine, self.user, self.project
        other, theirs = tally.new_uuid(), tally.new_uuid()
        e.create_user(user_id=other, email="b@x")
        pending, held, ready = self.new_job(), self.new_job(1), self.new_job(1, "PACKAGING")
        e.complete_job(job_id=ready, final_cost=1)
        claimed = self.new_job(1, "QUEUED")
        e.claim_job(job_id=claimed, ttl=1000)
        draft, op_id = tally.new_uuid(), tally.new_uuid()
        long_ago = datetime(2020, 1, 1, tzinfo=timezone.utc)
        e.create_draft(draft_id=draft, session_token="s", prompt_text="p", at=long_ago)
        e.add_credits(user_id=user, amount=1, type="grant", op_id=op_id, stripe_payment_id="pay")

        def reserve(job: uuid.UUID, amount: int = 1, by: uuid.UUID = user) -> object:
            return e.reserve_credits(user_id=by, job_id=job, amount=amount)

        return {
            "operation_conflict": lambda: e.expire_credits(user_id=user, amount=1, op_id=op_id),
            "invalid_argument": lambda: e.advance_job(job_id=pending, to="LIMBO"),
            "invalid_amount": lambda: reserve(pending, 0),
            "invalid_type": lambda: e.add_credits(user_id=user, amount=1, type="usage"),
            "user_not_found": lambda: e.add_credits(user_id=NOBODY, amount=1, type="grant"),
            "draft_not_found": lambda: e.claim_draft(session_token="none", user_id=user),
            "project_not_found": lambda: e.delete_project(project_id=NOBODY, user_id=user),
            "voice_profile_not_found": lambda: e.delete_voice_profile(
                voice_profile_id=NOBODY, user_id=user
            ),
            "job_not_found": lambda: reserve(NOBODY),
            "step_not_found": lambda: e.report_progress(
                job_id=claimed, step_name="DANCING", progress_pct=1
            ),
            "user_exists": lambda: e.create_user(user_id=theirs, email="b@x"),
            "already_exists": lambda: e.create_job(job_id=held, project_id=project, user_id=user),
            "not_owner": lambda: reserve(pending, by=other),
            "already_claimed": lambda: e.claim_job(job_id=claimed, ttl=1000),
            "not_claim_holder": lambda: e.drop_claim(job_id=held),
            "illegal_transition": lambda: e.advance_job(job_id=held, to="READY"),
            "draft_expired": lambda: e.update_draft(
                draft_id=draft, session_token="s", prompt_text="q"
            ),
            "already_reserved": lambda: reserve(held),
            "already_finalized": lambda: e.finalize_job_credits(job_id=ready, final_cost=1),
            "no_reservation": lambda: e.release_job_credits(job_id=pending),
            "reservation_required": lambda: e.advance_job(job_id=pending, to="QUEUED"),
            "payment_conflict": lambda: e.add_credits(
                user_id=user, amount=2, type="grant", stripe_payment_id="pay"
            ),
            "insufficient_credits": lambda: reserve(pending, 100),
            "balance_overflow": lambda: e.add_credits(user_id=user, amount=2**31 - 1, type="grant"),
        }

    def test_each_raises_its_exception_and_changes_nothing(self) -> None:
        provocations = self.provocations()
        refusals = {c.name for c in tally.Code if 0 < c < 100}
        self.assertEqual(set(provocations), refusals - self.ELSEWHERE)
        tables = ("credit_ledger", "jobs", "job_steps", "projects", "users", "draft_prompts")
        before = [self.engine.rows(table) for table in tables]
        for name, provoke in provocations.items():
            with self.subTest(code=name), self.assertRaises(tally.Refusal) as caught:
                provoke()
            self.assertEqual(caught.exception.name, name)
            self.assertIs(type(caught.exception), EXCEPTIONS[caught.exception.code])
            self.assertIsNotNone(caught.exception.op_id)
        self.assertEqual([self.engine.rows(table) for table in tables], before)

    def test_a_stale_reservation_is_told(self) -> None:
        job = self.new_job(1)
        line = (
            f'{{"op":"release_job_credits","op_id":"{tally.new_uuid()}",'
            f'"at":"2026-01-18T00:00:00.000000Z","job_id":"{job}","reservation":"{NOBODY}"}}'
        )
        (result,) = self.engine.submit([line])
        self.assertEqual((result.result, result.balance), ("stale_reservation", 9))

    def test_an_operation_that_is_refused_may_be_repeated_and_counts_once(self) -> None:
        job, op_id = self.new_job(), tally.new_uuid()
        for _ in range(2):
            with self.assertRaises(tally.InsufficientCredits):
                self.engine.reserve_credits(user_id=self.user, job_id=job, amount=12, op_id=op_id)
        self.engine.add_credits(user_id=self.user, amount=5, type="grant")
        for _ in range(2):
            receipt = self.engine.reserve_credits(
                user_id=self.user, job_id=job, amount=12, op_id=op_id
            )
            self.assertEqual((receipt.op_id, receipt.balance), (op_id, 3))

    def test_submit_answers_line_by_line(self) -> None:
        line = (
            '{{"op":"add_credits","op_id":"{}","at":"2026-01-18T00:00:00.000000Z",'
            '"user_id":"{}","amount":{},"type":"grant"}}'
        )
        op_ids = [tally.new_uuid() for _ in range(2)]
        lines = [line.format(op_ids[0], self.user, 5), "nonsense", line.format(op_ids[1], NOBODY, 1)]
        forms: list[Any] = [lines, "\n".join(lines), ("\n".join(lines) + "\n").encode()]
        for given in forms:
            results = self.engine.submit(given)
            self.assertEqual(
                [(r.op_id, r.result, r.balance, r.line) for r in results],
                [(op_ids[0], "ok", 15, None), (None, "invalid_argument", None, 2),
                 (op_ids[1], "user_not_found", None, None)],
            )
        self.assertEqual(self.engine.submit([]), [])


class Failures(MirrorTest):
    def test_a_file_that_is_not_there(self) -> None:
        path = self.folder / "none.db"
        with self.assertRaises(tally.NotFound):
            tally.open(path, must_exist=True)
        self.assertFalse(path.exists())

    def test_a_file_that_is_no_mirror(self) -> None:
        path = self.folder / "no.db"
        path.write_bytes(b"not a database, but long enough to be looked at" * 100)
        with self.assertRaises(tally.Corrupt) as caught:
            tally.open(path)
        self.assertIsInstance(caught.exception, tally.Failure)
        self.assertTrue(caught.exception.detail)

    def test_options_that_are_none(self) -> None:
        with self.assertRaises(ValueError):
            tally.open(self.path, durability="perhaps")
        with self.assertRaises(tally.InvalidArgument):
            tally.open(self.path, busy_timeout_ms=-1)
        with self.assertRaises(TypeError):
            tally.open(None)  # type: ignore[arg-type]

    def test_a_path_of_any_kind(self) -> None:
        import os

        for name in ("ünï.db", "with space.db"):
            path = self.folder / name
            forms: list[Any] = [path, str(path), os.fsencode(path)]
            for given in forms:
                with tally.open(given) as engine:
                    self.assertEqual(engine.path, str(path))
            self.assertTrue(path.exists())


if __name__ == "__main__":
    unittest.main()
