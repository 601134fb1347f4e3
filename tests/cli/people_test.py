#!/usr/bin/env python3
"""The program for people: why, doctor, trace, backup, export, telemetry, and what a terminal sees.

usage: people_test.py PROGRAM [unittest arguments]
"""

import csv
import datetime
import fcntl
import io
import json
import os
import pathlib
import pty
import re
import shlex
import shutil
import sqlite3
import struct
import subprocess
import sys
import termios
import textwrap
import time
import unittest

sys.dont_write_bytecode = True  # The sources' folder stays as it is.

import cli_test
from cli_test import FINE, REFUSED, USAGE, WORLD, DEMO, ADA, NOBODY, InFolder, line, tally, user

PROGRAM = pathlib.Path(cli_test.PROGRAM)
INTERRUPTED = 130
PROJECT = "c0de0000-0000-4000-8000-000000000001"
JOB = "10b00000-0000-4000-8000-000000000001"
STAGES = ("SCRIPTING", "VOICE_GEN", "ALIGNMENT", "VISUAL_PLAN", "IMAGE_GEN", "TIMELINE", "RENDERING", "PACKAGING")
START = datetime.datetime(2026, 1, 18)


def at(second):
    return (START + datetime.timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S.000000Z")


def now(seconds=0):
    time_ = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return time_.strftime("%Y-%m-%dT%H:%M:%S.000000Z")


def shown(time_):
    return time_[:19].replace("T", " ")


MADE = [("create_user", dict(user_id=user(1))),
        ("create_project", dict(project_id=PROJECT, user_id=user(1), title="Film", prompt_text="p",
                                niche_preset="facts", target_minutes=1)),
        ("create_job", dict(job_id=JOB, project_id=PROJECT, user_id=user(1)))]
HELD = MADE + [("reserve_credits", dict(user_id=user(1), job_id=JOB, amount=8))]
QUEUED = HELD + [("advance_job", dict(job_id=JOB, to="QUEUED"))]


def advanced(last):
    return QUEUED + [("advance_job", dict(job_id=JOB, to=stage)) for stage in STAGES[:STAGES.index(last) + 1]]


class Mirror(InFolder):
    """A mirror whose operations are one second apart, from START on."""

    def setUp(self):
        super().setUp()
        self.count = 0

    def apply(self, operations, expected="ok", time_=None):
        lines = []
        for op, fields in operations:
            lines.append(json.dumps({**json.loads(line(self.count + 1, op, **fields)), "at": time_ or at(self.count)}))
            self.count += 1
        status, out, err = tally("replay", "-", "--db", self.db, stdin="\n".join(lines).encode())
        self.assertEqual((status, err), (FINE, ""))
        results = [json.loads(answer)["result"] for answer in out.splitlines()]
        self.assertEqual(set(results), {expected})

    def json_of(self, *arguments, status=FINE):
        run = tally(*arguments, "--json")
        self.assertEqual(run[0], status, run)
        return json.loads(run[1])

    def why(self, *more, job=JOB):
        return self.json_of("why", job, "--db", self.db, *more)


class Why(Mirror):
    """Paragraphs, word for word: operations, options, paragraph, what it waits for, remedies."""

    PENDING = f"The job is PENDING since {shown(at(2))}. "
    UNPAID = PENDING + "No credits are held for it, so it cannot be queued; it waits for a reservation. "
    REFUSED = "the answer is insufficient_credits: The balance does not cover it."
    WORKER = ["start a worker, or claim it by hand"]
    FAIL = ["or fail it, which gives back what it holds"]
    EXPIRE = [("expire_credits", dict(user_id=user(1), amount=5))]
    cases = {
        "made": (MADE, [], UNPAID + "Its user can spend 10 credits.", "a reservation",
                 ["reserve, with the amount that it costs"]),
        "made, and could be paid": (
            MADE, ["--amount", 10], UNPAID + "Its user can spend 10 credits. That covers the 10 credits to reserve.",
            "a reservation", ["reserve"]),
        "made, and could not be paid": (
            MADE, ["--amount", 11],
            UNPAID + f"Its user can spend 10 credits. To reserve 11 credits, 1 credit is missing, and {REFUSED}",
            "a reservation", ["add what is missing, once it is paid for"]),
        "reserved": (HELD, [], PENDING + "8 credits are held for it; it waits to be queued.", "to be queued",
                     ["queue it"]),
        "queued": (QUEUED, [], f"The job is QUEUED, and the last that was done with it was at {shown(at(4))}. "
                   "8 credits are held for it. It waits for a worker: nobody has claimed it.", "a worker", WORKER),
        "queued, its claim over": (
            QUEUED + [("claim_job", dict(job_id=JOB, ttl=600))], [],
            f"The job is QUEUED, and the last that was done with it was at {shown(at(5))}. 8 credits are held for it. "
            f"It waits for a worker: the claim of a worker of this mirror ended at {shown(at(605))}.", "a worker",
            WORKER),
        "in a stage": (
            advanced("VOICE_GEN") + [("report_progress", dict(job_id=JOB, step_name="VOICE_GEN", progress_pct=40,
                                                              status_message="Take 3"))], [],
            f"The job is in VOICE_GEN since {shown(at(6))}, with 40 percent of the stage and 17 percent of the whole "
            "done. The stage says: “Take 3”. 8 credits are held for it. Nobody works on it: nobody has claimed it, "
            f"and the last that was heard of it was at {shown(at(7))}.", "a worker", WORKER + FAIL),
        "settled before its end": (
            advanced("PACKAGING") + [("finalize_job_credits", dict(job_id=JOB, final_cost=1))], [],
            f"The job is in PACKAGING since {shown(at(12))}, with 0 percent of the stage and 87 percent of the whole "
            "done. It is settled, at 1 credit. Nobody works on it: nobody has claimed it, and the last that was heard "
            f"of it was at {shown(at(13))}.", "a worker", WORKER + FAIL),
        "done": (advanced("PACKAGING") + [("complete_job", dict(job_id=JOB, final_cost=5))], [],
                 f"The job is READY since {shown(at(13))}: it is done. It cost 5 credits; 8 credits had been reserved.",
                 None, []),
        "failed": (
            advanced("RENDERING") + [("fail_job", dict(job_id=JOB, error_code="GPU_LOST", error_message="No GPU"))], [],
            f"The job FAILED at {shown(at(12))}, in RENDERING, with the error code GPU_LOST. Its message: “No GPU”. It "
            "cost nothing: what was held for it was given back. A retry makes a new reservation; steps that succeeded "
            "are not done again. Its user can spend 10 credits. That covers the 8 credits to retry with.", "a retry",
            ["retry it"]),
        "cancelled, and a retry could not be paid": (
            QUEUED + [("fail_job", dict(job_id=JOB, error_code="CANCELLED"))] + EXPIRE, [],
            f"The job FAILED at {shown(at(5))}, with the error code CANCELLED. It cost nothing: what was held for it "
            "was given back. A retry makes a new reservation; steps that succeeded are not done again. Its user can "
            f"spend 5 credits. To retry with 8 credits, 3 credits are missing, and {REFUSED}", "a retry",
            ["add what is missing, once it is paid for"]),
        "failed after it was settled": (
            advanced("PACKAGING") + [("finalize_job_credits", dict(job_id=JOB, final_cost=3)),
                                     ("fail_job", dict(job_id=JOB, error_code="DISK"))], ["--amount", 7],
            f"The job FAILED at {shown(at(14))}, in PACKAGING, with the error code DISK. It cost 3 credits. A retry "
            "makes a new reservation; steps that succeeded are not done again. Its user can spend 7 credits. That "
            "covers the 7 credits to retry with.", "a retry", ["retry it"]),
    }

    def test_each_state_has_its_paragraph(self):
        for name, (operations, options, paragraph, waits_for, remedies) in self.cases.items():
            with self.subTest(case=name):
                self.db = self.folder / f"{name}.db"
                self.count = 0
                self.apply(operations)
                why = self.why(*options)
                self.assertEqual(why["why"], paragraph)
                self.assertEqual(why["waits_for"], waits_for)
                self.assertEqual([remedy["what"] for remedy in why["remedies"]], remedies)

    def test_a_live_claim_is_waited_for(self):
        self.apply(QUEUED)
        claimed = now()
        self.apply([("claim_job", dict(job_id=JOB, ttl=600))], time_=claimed)
        until = shown((datetime.datetime.fromisoformat(claimed[:-1]) + datetime.timedelta(seconds=600)).isoformat())
        why = self.why()
        self.assertEqual(why["why"], f"The job is QUEUED, and the last that was done with it was at {shown(claimed)}. "
                         f"8 credits are held for it. A worker of this mirror has claimed it until {until} and has "
                         "not begun.")
        self.assertEqual(why["waits_for"], "a worker of this mirror")
        self.apply([("advance_job", dict(job_id=JOB, to="SCRIPTING"))], time_=claimed)
        self.assertTrue(self.why()["why"].endswith(f" has claimed it until {until} and works on it."))

    def test_remedies_can_be_pasted_one_after_the_other(self):
        self.apply(MADE)
        environment = {**os.environ, "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}"}
        for status in ("PENDING", "PENDING", "QUEUED"):
            why = self.why("--amount", "10")
            self.assertEqual(why["status"], status)
            pasted = subprocess.run(["bash", "-euc", why["remedies"][0]["command"]], capture_output=True, timeout=60,
                                    env=environment)
            self.assertEqual((pasted.returncode, json.loads(pasted.stdout)["result"]), (FINE, "ok"))
        self.assertEqual(self.why()["waits_for"], "a worker of this mirror")

    def test_a_file_of_any_name_is_quoted(self):
        self.db = self.folder / "it's a mirror; rm -rf $HOME.db"
        self.apply(HELD)
        command = self.why()["remedies"][0]["command"]
        self.assertEqual(shlex.split(command)[-1], str(self.db))

    def test_for_people_it_is_a_paragraph_and_commands(self):
        self.apply(HELD)
        status, out, err = tally("why", JOB, "--db", self.db, env={"COLUMNS": "60"})
        self.assertEqual((status, err), (FINE, ""))
        paragraph, what, command = out.split("\n", 3)[:2], out.splitlines()[3], out.splitlines()[4]
        self.assertLessEqual(max(map(len, paragraph)), 60)
        self.assertEqual(what, "queue it")
        self.assertTrue(command.startswith("  echo '{\"op\":\"advance_job\""))

    def test_what_is_not_there_is_refused_with_a_way_on(self):
        self.apply(MADE)
        self.assert_error(tally("why", NOBODY, "--db", self.db), REFUSED, "no job", "tally export jobs")
        self.assert_error(tally("why", "film", "--db", self.db), USAGE, "UUID")


class WhyOfADevice(cli_test.Device):
    """What stands between a job and canonical."""

    def why(self, number=1, *more):
        return self.json("why", f"10b00000-0000-4000-8000-{number:012d}", "--db", self.db, *more)

    def link(self, **columns):
        with sqlite3.connect(self.db) as db:
            for column, value in columns.items():
                db.execute(f"update tally_link set {column} = ?", [value])

    def test_what_is_pending_is_told(self):
        self.enrolled()
        self.assertEqual(self.applied(*self.job(1, 8)), ["ok"] * 3)
        why = self.why()
        self.assertTrue(why["why"].endswith("it waits to be queued. 2 operations on it wait to be pushed; canonical "
                                            "does not know of them yet."), why["why"])
        self.assertIn("tally sync --db", why["remedies"][-1]["command"])
        self.assertEqual([p["op"] for p in why["pending"]], ["create_job", "reserve_credits"])
        self.assertEqual(tally(*self.sync())[0], FINE)
        self.assertTrue(self.why()["why"].endswith("it waits to be queued."))

    def test_a_rejected_reservation_says_how_much_is_missing(self):
        self.enrolled()
        number = self.overspent()
        why = self.why()
        rejected = why["rejected"][0]["rejected_at"]
        told = (f"Canonical rejected reserve_credits (number {number}) at {shown(rejected)} with insufficient_credits: "
                "The balance does not cover it. It asked for 8 credits; ")
        self.assertTrue(why["why"].endswith(told + "3 credits are missing now."), why["why"])
        self.assertEqual(why["waits_for"], "a decision on what was rejected")
        self.assertEqual([r["command"] for r in why["remedies"][:2]],
                         [f"tally rejected {verb} {number} --db {self.db}" for verb in ("retry", "dismiss")])
        self.applied(("add_credits", dict(user_id=user(1), amount=100, type="purchase")), db=self.pg, at="--pg")
        self.assertEqual(tally(*self.sync())[0], REFUSED)
        self.assertTrue(self.why()["why"].endswith(told + "the balance of 105 credits covers that now."))

    def test_a_job_that_canonical_rejected_is_still_told_of(self):
        self.enrolled()
        made = self.job(1)
        self.assertEqual(self.applied(made[0]), ["ok"])
        self.assertEqual(tally(*self.sync())[0], FINE)
        self.assertEqual(self.applied(made[1]), ["ok"])
        self.assertEqual(self.applied(("delete_project", dict(project_id=made[0][1]["project_id"], user_id=user(1))),
                                      db=self.pg, at="--pg"), ["ok"])
        self.assertEqual(tally(*self.sync())[0], REFUSED)
        why = self.why()
        self.assertEqual(why["status"], "unknown")
        self.assertRegex(why["why"], r"^The mirror has no such job\. Canonical rejected create_job \(number \d+\) at "
                         r".* with project_not_found: No such project\.$")

    def test_what_is_blocked_is_canonicals_to_decide(self):
        self.enrolled()
        self.assertEqual(self.applied(*self.job(1, 8)[:2]), ["ok"] * 2)
        self.assertEqual(tally(*self.sync())[0], FINE)
        with sqlite3.connect(self.db) as db:
            before = db.execute("select count(*) from tally_outbox").fetchone()[0]
        self.assertEqual(before, 0)
        self.assertEqual(self.applied(self.job(1, 8)[2]), ["ok"])
        with sqlite3.connect(self.db) as db:  # As a rebase leaves what no longer applies.
            n, body = db.execute("select n, body from tally_outbox").fetchone()
            db.execute("insert into tally_rebased values (?, 41, ?)", [n, body[1:]])
        self.assertIn(f"Here reserve_credits (number {n}) has no effect any more, with insufficient_credits: The "
                      "balance does not cover it. Canonical decides about it.", self.why()["why"])
        [pending] = self.why()["pending"]
        self.assertEqual((pending["number"], pending["op"], pending["state"], pending["code"]),
                         (n, "reserve_credits", "blocked", "insufficient_credits"))
        self.assertEqual(pending["operation"]["amount"], 8)

    def test_silence_and_trouble_are_told(self):
        self.enrolled()
        self.assertEqual(self.applied(*self.job(1, 8)), ["ok"] * 3)
        self.assertEqual(tally(*self.sync())[0], FINE)
        held = "it waits to be queued."
        three_days = int((time.time() - 3 * 86_400 - 60) * 1_000_000)
        self.link(synced_at=three_days)
        silent = (f"{held} The mirror has not heard from canonical for 3 d 00 h, so canonical may know more of the job.")
        self.assertTrue(self.why()["why"].endswith(silent))
        self.assertTrue(self.why()["remedies"][-1]["command"].startswith("tally sync --db"))
        # Both commands call a mirror stale from the same time on, and who was away for a night is not told of it.
        for hours, is_stale in ((23, False), (25, True)):
            self.link(synced_at=int((time.time() - hours * 3_600) * 1_000_000))
            self.assertEqual("has not heard from canonical for 1 d 01 h" in self.why()["why"], is_stale)
            self.assertEqual(tally("doctor", "--db", self.db)[0], REFUSED if is_stale else FINE)
        self.link(synced_at=three_days)
        self.link(error_class="transient", error="connection\n  refused")
        self.assertTrue(self.why()["why"].endswith(
            silent + " The last attempt to sync failed (transient): connection refused."))
        self.link(synced_at=None, error_class=None)
        self.assertTrue(self.why()["why"].endswith(f"{held} The mirror has never heard from canonical."))

    def test_another_devices_claim(self):
        self.enrolled()
        self.assertEqual(self.applied(*self.job(1, 8, queued=True)), ["ok"] * 4)
        self.assertEqual(tally(*self.sync())[0], FINE)
        other, token = self.folder / "other.db", self.folder / "other"
        self.device("worker", token=token)
        self.assertEqual(tally(*self.sync(db=other, token=token))[0], FINE)
        claimed = self.json("claim-next", "--db", other, "--pg", self.pg, "--token-file", token, "--ttl", 600)
        self.assertEqual(claimed["job_id"], "10b00000-0000-4000-8000-000000000001")
        self.assertEqual(tally(*self.sync())[0], FINE)
        self.assertRegex(self.why()["why"], r"Another device has claimed it until \S+ \S+ and has not begun\.$")


class DoctorOfAFile(Mirror):
    def findings(self, *more, status=REFUSED):
        return [(f["check"], f["what"], f["remedy"])
                for f in self.json_of("doctor", "--db", self.db, *more, status=status)["findings"]]

    def test_a_healthy_mirror_says_what_was_looked_at(self):
        self.apply(HELD)
        report = self.json_of("doctor", "--db", self.db)
        self.assertEqual(report["findings"], [])
        self.assertEqual([f["check"] for f in report["fine"]],
                         ["file", "permissions", "WAL", "space", "SQLite", "integrity", "schema", "audit", "sync", "times"])
        status, out, err = tally("doctor", "--db", self.db)
        self.assertEqual((status, err), (FINE, ""))
        self.assertIn("✓ audit: 2 entries of 1 user add up\n", out)
        self.assertTrue(out.endswith("nothing is wrong\n"))

    def test_what_is_no_mirror(self):
        def nothing():
            pass

        def other_sqlite():
            with sqlite3.connect(self.db) as db:
                db.execute("create table t (x)")

        for make, check, word in ((nothing, "file", "no file"), (self.db.mkdir, "file", "is no file"),
                                  (self.db.touch, "schema", "empty"), (other_sqlite, "schema", "no mirror"),
                                  (lambda: self.db.write_text("not a database " * 100), "integrity", "no SQLite file")):
            with self.subTest(word=word):
                make()
                if self.db.is_file():
                    self.db.chmod(0o600)
                found = self.findings()
                self.assertEqual([(f[0], word in f[1], bool(f[2])) for f in found], [(check, True, True)], found)
                shutil.rmtree(self.db) if self.db.is_dir() else self.db.unlink(missing_ok=True)

    def test_other_schemas_are_left_alone(self):
        self.apply(HELD)
        for version, word in ((99, "this program knows"), (2, "is migrated")):
            with sqlite3.connect(self.db) as db:
                db.execute(f"pragma user_version = {version}")
            db.close()
            [(check, what, _)] = self.findings()
            self.assertEqual((check, word in what), ("schema", True), what)
            db = sqlite3.connect(self.db)
            self.assertEqual(db.execute("pragma user_version").fetchone(), (version,))
            db.close()

    def test_who_may_read_and_write(self):
        self.apply(HELD)
        self.db.chmod(0o644)
        self.assertIn(("permissions", "others on this machine may read or write it"), [f[:2] for f in self.findings()])
        if os.geteuid() == 0:
            self.skipTest("run as root, who may write everywhere: the rest is not tried")
        self.db.chmod(0o400)
        self.assertIn("you may not write", self.findings()[0][1])

    def test_damage_is_found(self):
        self.apply(HELD)
        with open(self.db, "r+b") as file:  # A page in the midst, not the first.
            file.seek(2048 * 3)
            file.write(b"\xff" * 2048 * 4)
        found = self.findings()
        self.assertEqual(found[0][0], "integrity")
        self.assertIn("tally backup --db BACKUP --to", found[0][2])

    def test_a_ledger_that_was_tampered_with(self):
        self.apply(HELD)
        with sqlite3.connect(self.db) as db:
            db.execute("update tally_account set balance = balance + 1")
        db.close()
        [(check, what, _)] = self.findings()
        self.assertEqual((check, what[:2]), ("audit", "I1"))

    def test_a_process_that_has_it_open_is_named(self):
        self.apply(HELD)
        reader = subprocess.Popen([sys.executable, "-c", "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); "
                                   "db.execute('begin'); db.execute('select count(*) from jobs').fetchone(); "
                                   "print('ready', flush=True); sys.stdin.read()", str(self.db)],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        reader.stdout.readline()
        fine = self.json_of("doctor", "--db", self.db)["fine"]
        self.assertIn(f"process {reader.pid} has it open; its WAL has 0 KiB", [f["what"] for f in fine])
        reader.communicate()
        self.assertIn("no process has it open", [f["what"] for f in self.json_of("doctor", "--db", self.db)["fine"]])

    def test_times_that_lie_in_the_future(self):
        self.apply(MADE)
        self.apply(HELD[3:], time_="2999-01-01T00:00:00.000000Z")
        [(check, what, _)] = self.findings()
        self.assertEqual((check, "2999-01-01 00:00:00" in what), ("times", True))

    def test_wrong_usage(self):
        self.assert_error(tally("doctor"), USAGE, "--db", "--pg")


class DoctorOfBoth(cli_test.Device):
    def test_the_state_of_sync_and_the_clocks(self):
        def checks(status):
            report = self.json("doctor", "--db", self.db, "--pg", self.pg, status=status)
            return ({(f["check"], f["what"]) for f in report["fine"]},
                    {(f["check"], f["what"]) for f in report["findings"] if "power cut" not in f["what"]})

        self.enrolled()
        fine, found = checks(REFUSED)  # The tests' server does without fsync.
        self.assertEqual(found, set())
        self.assertLessEqual({("connection", "canonical answers"),
                              ("clock", "this machine's clock and canonical's agree")}, fine)
        self.overspent()
        with sqlite3.connect(self.db) as db:
            db.execute("update tally_link set synced_at = synced_at - 90000000000, error_class = 'protocol', error = 'x'")
        db.close()
        found = checks(REFUSED)[1]
        self.assertLessEqual({("sync", "1 operation rejected by canonical"),
                              ("sync", "the last attempt failed (protocol): x"),
                              ("sync", "canonical answered 1 d 01 h ago, 0 operations pending")}, found)


class Trace(Mirror):
    def digests(self, db):
        """Each of the PRD's tables, row for row."""
        with sqlite3.connect(db) as connection:
            tables = {table: sorted(connection.execute(f"select * from {table}").fetchall(), key=repr)
                      for table in ("users", "profiles", "credit_ledger", "projects", "jobs", "job_steps", "assets",
                                    "voice_profiles", "draft_prompts")}
        connection.close()
        return tables

    def test_a_mirror_is_made_again_from_its_own_operations(self):
        for name, trace in (("demo", DEMO.read_bytes()), ("all", tally("operations", "--trace")[1].encode())):
            first, second, out = (self.folder / f"{name}.{end}" for end in ("db", "again.db", "jsonl"))
            self.assertEqual(tally("replay", "-", "--db", first, stdin=trace)[0], FINE)
            status, text, err = tally("trace", "--db", first, "--out", out)
            self.assertEqual((status, text), (FINE, ""))
            self.assertIn("0 blocked, 0 rejected; it is all that took effect here", err)
            status, answers, _ = tally("replay", out, "--db", second)
            self.assertEqual({json.loads(answer)["result"] for answer in answers.splitlines()}, {"ok"})
            self.assertEqual(self.digests(second), self.digests(first))
            self.assertEqual(tally("trace", "--db", second)[1], out.read_text())

    def test_replayed_where_it_came_from_it_changes_nothing(self):
        self.apply(HELD)
        before = self.digests(self.db)
        trace = tally("trace", "--db", self.db)[1]
        answers = tally("replay", "-", "--db", self.db, stdin=trace.encode())[1]
        self.assertEqual({json.loads(answer)["result"] for answer in answers.splitlines()}, {"ok"})
        self.assertEqual(self.digests(self.db), before)


class TraceOfADevice(cli_test.Device):
    def test_what_is_pending_and_rejected_is_in_it_and_the_rest_is_said(self):
        self.enrolled()
        self.overspent()
        self.assertEqual(self.applied(*self.job(2)), ["ok"] * 2)
        status, out, err = tally("trace", "--db", self.db)
        self.assertEqual(status, FINE)
        self.assertEqual([json.loads(l)["op"] for l in out.splitlines()],
                         ["reserve_credits", "create_project", "create_job"])
        self.assertNotIn("reservation", json.loads(out.splitlines()[0]))
        self.assertIn("2 pending, 0 blocked, 1 rejected; not in it: ", err)
        summary = json.loads(tally("trace", "--db", self.db, "--json")[2])
        self.assertEqual((summary["rejected"], summary["pending"], summary["complete"]), (1, 2, False))
        # On a mirror that has what they name they are applied.
        self.assertEqual(self.applied(("add_credits", dict(user_id=user(1), amount=100, type="purchase"))), ["ok"])
        answers = tally("replay", "-", "--db", self.db, stdin=out.encode())[1]
        self.assertEqual([json.loads(l)["result"] for l in answers.splitlines()], ["ok"] * 3)


class Backup(Mirror):
    def test_a_backup_is_the_mirror_and_is_its_owners_alone(self):
        self.replayed()
        backup = self.folder / "backup.db"
        status, out, err = tally("backup", "--db", self.db, "--to", backup)
        self.assertEqual((status, err), (FINE, ""))
        self.assertIn("compared with the mirror and audited", out)
        self.assertEqual(backup.stat().st_mode & 0o777, 0o600)
        self.assertEqual(Trace.digests(self, backup), Trace.digests(self, self.db))
        self.assertEqual(sorted(p.name for p in self.folder.iterdir() if "backup" in p.name), ["backup.db"])

    def test_it_overwrites_nothing_unasked(self):
        self.replayed()
        backup = self.folder / "backup.db"
        backup.write_text("precious")
        self.assert_error(tally("backup", "--db", self.db, "--to", backup), REFUSED, "exists already", "--force")
        self.assertEqual(backup.read_text(), "precious")
        self.assertEqual(tally("backup", "--db", self.db, "--to", backup, "--force")[0], FINE)
        self.assertEqual(tally("audit", "--db", backup)[0], FINE)
        self.assert_error(tally("backup", "--db", self.db, "--to", self.db, "--force"), REFUSED, "onto itself")

    def test_no_command_writes_over_the_mirror_that_it_reads(self):
        self.replayed()
        before = self.db.read_bytes()
        alias = self.folder / "alias.db"
        alias.symlink_to(self.db)
        for command in (["export", "entries", "--out"], ["trace", "--out"], ["inspect", "--html"]):
            for out in (self.db, alias):
                self.assert_error(tally(command[0], *command[1:-1], "--db", self.db, command[-1], out), USAGE,
                                  "would overwrite")
        empty = self.folder / "empty.jsonl"
        empty.write_text("")
        self.assert_error(tally("replay", empty, "--db", self.db, "--metrics", self.db), USAGE, "would overwrite")
        self.assertEqual(self.db.read_bytes(), before)

    def test_a_mirror_that_is_open_is_not_replaced(self):
        self.replayed()
        backup = self.folder / "backup.db"
        self.assertEqual(tally("backup", "--db", self.db, "--to", backup)[0], FINE)
        holder = sqlite3.connect(self.db)
        holder.execute("select count(*) from jobs").fetchone()
        self.assert_error(tally("backup", "--db", backup, "--to", self.db, "--force"), WORLD, "-wal")
        holder.close()
        self.assertEqual(tally("backup", "--db", backup, "--to", self.db, "--force")[0], FINE)

    def test_a_damaged_mirror_makes_no_backup(self):
        self.apply(HELD)
        with sqlite3.connect(self.db) as db:
            db.execute("update tally_account set balance = balance + 1")
        db.close()
        backup = self.folder / "backup.db"
        self.assert_error(tally("backup", "--db", self.db, "--to", backup), WORLD, "is not right", "doctor")
        self.assertEqual([p.name for p in self.folder.iterdir() if "backup" in p.name], [])

    def test_a_folder_that_is_not_there_is_said(self):
        self.apply(MADE)
        self.assert_error(tally("backup", "--db", self.db, "--to", self.folder / "no" / "b.db"), WORLD, "No such file")


class BackupOfADevice(cli_test.Device):
    def test_under_load_it_is_restorable_and_syncs(self):
        self.enrolled()
        many = self.folder / "many.jsonl"
        many.write_text("".join(line(n, "add_credits", user_id=user(1), amount=1, type="grant") + "\n"
                                for n in range(100_000, 130_000)))
        writer = subprocess.Popen([PROGRAM, "replay", many, "--db", self.db, "--batch", "20", "--durability", "normal"],
                                  stdout=subprocess.PIPE)
        for _ in range(100):
            writer.stdout.readline()
        backup = self.folder / "backup.db"
        made = self.json("backup", "--db", self.db, "--to", backup)
        self.assertIsNone(writer.poll(), "the writer was done before the backup")
        writer.communicate()
        status = self.json("status", "--db", backup, status=REFUSED)
        self.assertGreater(status["pending"], 100)
        self.assertEqual(made["entries"], status["pending"] + 1)
        self.assertEqual(tally("audit", "--db", backup)[0], FINE)
        # The original never synced again: the copy goes on as the device.
        for end in ("", "-wal", "-shm"):
            pathlib.Path(f"{self.db}{end}").unlink(missing_ok=True)
        self.assertEqual(tally("backup", "--db", backup, "--to", self.db)[0], FINE)
        self.assertTrue(self.json(*self.sync())["in_sync"])
        self.assertEqual(tally("verify", "--db", self.db, "--pg", self.pg)[0], FINE)

    def test_restored_after_the_mirror_went_on_it_is_forked(self):
        self.enrolled()
        backup = self.folder / "backup.db"
        self.assertIn("device_forked", tally("backup", "--db", self.db, "--to", backup)[1])
        self.assertEqual(self.applied(*self.job(1, 8)), ["ok"] * 3)
        self.assertEqual(tally(*self.sync())[0], FINE)
        self.assertEqual(tally("backup", "--db", backup, "--to", self.db, "--force")[0], FINE)
        self.assertEqual(self.applied(*self.job(2, 8)), ["ok"] * 3)
        self.assertIn("--enrol-anew", tally(*self.sync())[2])
        self.device()
        self.assertEqual(tally(*self.sync("--enrol-anew"))[0], REFUSED)
        self.assertEqual([r["code"] for r in self.json("rejected", "list", "--db", self.db)["rejected"]],
                         ["device_forked"] * 3)


class Export(Mirror):
    FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "plain", 'with "quotes", commas', "two\nlines", "", "'=1", "Ünï"]

    def rows(self, *arguments):
        status, out, err = tally("export", *arguments, "--db", self.db)
        self.assertEqual((status, err), (FINE, ""))
        self.assertEqual(out.count("\n") - out.count("\r\n"), sum(f.count("\n") for f in self.FORMULAS)
                         if "two" in out else 0)
        return list(csv.DictReader(io.StringIO(out, newline=""), strict=True))

    def lines(self, *arguments):
        return [json.loads(l) for l in tally("export", *arguments, "--db", self.db, "--format", "jsonl")[1].splitlines()]

    def test_both_formats_hold_the_views_rows(self):
        self.replayed()
        for what, view in (("entries", "credit_ledger"), ("jobs", "jobs")):
            with sqlite3.connect(self.db) as db:
                db.row_factory = sqlite3.Row
                expected = {row["id"]: dict(row) for row in db.execute(f"select * from {view}")}
            db.close()
            lines = self.lines(what)
            self.assertEqual(len(lines), len(expected))
            for row in lines:
                self.assertEqual(row, {name: expected[row["id"]][name] for name in row})
            for row, cells in zip(lines, self.rows(what)):
                self.assertEqual(cells, {name: "" if value is None else str(value) for name, value in row.items()})
        per_user = {}
        for row in self.lines("entries"):
            per_user.setdefault(row["user_id"], []).append(row["seq"])
        for numbers in per_user.values():
            self.assertEqual(numbers, list(range(1, len(numbers) + 1)))

    def test_statements_add_up_exactly(self):
        self.apply(HELD + [("add_credits", dict(user_id=user(1), amount=2_000_000_000, type="purchase"))])
        self.apply([("finalize_job_credits", dict(job_id=JOB, final_cost=5))], time_="2026-03-01T00:00:00.000000Z")
        # An operation whose clock was behind counts where its time is, and the months add up all the same.
        self.apply([("expire_credits", dict(user_id=user(1), amount=7))], time_="2025-12-31T23:59:59.999999Z")
        self.apply([("create_user", dict(user_id=user(2)))], time_="2026-02-01T00:00:00.000000Z")
        types = ("purchase", "grant", "subscription", "refund", "usage", "expire", "reserve")
        got = [tuple(row.values()) for row in self.lines("statements")]
        self.assertEqual(got, [
            (user(1), "2025-12", 0, 0, 0, 0, 0, 0, -7, 0, -7, 1),
            (user(1), "2026-01", -7, 2_000_000_000, 10, 0, 0, 0, 0, -8, 1_999_999_995, 3),
            (user(1), "2026-03", 1_999_999_995, 0, 0, 0, 3, -5, 0, 5, 1_999_999_998, 3),
            (user(2), "2026-02", 0, 0, 10, 0, 0, 0, 0, 0, 10, 1)])
        entries = self.lines("entries")
        for row in self.lines("statements"):
            mine = [e for e in entries if e["user_id"] == row["user_id"] and e["created_at"][:7] == row["month"]]
            self.assertEqual(row["entries"], len(mine))
            for type_ in types:
                self.assertEqual(row[type_], sum(e["amount"] for e in mine if e["type"] == type_))
            self.assertEqual(row["closing_balance"], row["opening_balance"] + sum(e["amount"] for e in mine))
        balance = int(tally("balance", user(1), "--db", self.db)[1])
        self.assertEqual([r for r in self.lines("statements") if r["user_id"] == user(1)][-1]["closing_balance"], balance)

    def test_one_user_and_one_month(self):
        self.replayed()
        mine = self.lines("entries", "--user", ADA)
        self.assertEqual({row["user_id"] for row in mine}, {ADA})
        month = mine[0]["created_at"][:7]
        self.assertEqual(self.lines("entries", "--user", ADA, "--month", month),
                         [row for row in mine if row["created_at"].startswith(month)])
        self.assertEqual(self.lines("statements", "--month", "1999-12"), [])
        self.assertEqual({row["user_id"] for row in self.lines("jobs", "--user", ADA)}, {ADA})
        self.assert_error(tally("export", "entries", "--db", self.db, "--user", NOBODY), REFUSED, "no user")
        for month in ("2026", "2026-13", "2026-1", "x"):
            self.assert_error(tally("export", "jobs", "--db", self.db, "--month", month), USAGE, "--month")
        self.assert_error(tally("export", "job", "--db", self.db), USAGE, "did you mean jobs?")

    def test_no_text_is_taken_for_a_formula(self):
        self.apply(MADE[:1] + [("add_credits", dict(user_id=user(1), amount=1, type="grant", note=note))
                               for note in self.FORMULAS])
        self.assertEqual([row["note"] for row in self.lines("entries")][1:], self.FORMULAS)
        cells = [row["note"] for row in self.rows("entries")][1:]
        self.assertEqual(cells, ["'" + note if note[:1] in tuple("=+-@\t") and note else note for note in self.FORMULAS])
        self.assertEqual([row["amount"] for row in self.rows("entries")][1], "1")

    def test_a_files_name_is_on_disk_too(self):
        self.replayed()
        library, log = self.folder / "fsync.so", self.folder / "log"
        code = textwrap.dedent('''
            #define _GNU_SOURCE
            #include <stdio.h>
            #include <stdlib.h>
            #include <sys/syscall.h>
            #include <unistd.h>
            int fsync(int fd) {
              char name[64], path[4096];
              snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
              const ssize_t length = readlink(name, path, sizeof path);
              FILE* log = fopen(getenv("FSYNC_LOG"), "a");
              fprintf(log, "%.*s\\n", (int)length, path);
              fclose(log);
              return (int)syscall(SYS_fsync, fd);
            }''')
        subprocess.run([os.environ.get("TALLY_CC", "cc"), "-shared", "-fPIC", "-x", "c", "-", "-o", library],
                       input=code.encode(), check=True)
        env = {"LD_PRELOAD": str(library), "FSYNC_LOG": str(log), "ASAN_OPTIONS": "verify_asan_link_order=0"}
        out = self.folder / "out" / "entries.csv"
        out.parent.mkdir()
        self.assertEqual(tally("export", "entries", "--db", self.db, "--out", out, env=env), (FINE, "", ""))
        synced = [path for path in log.read_text().splitlines() if path.startswith(str(out.parent))]
        self.assertRegex(synced[0], re.escape(str(out)) + "-.*")  # Under the name that it has until it is whole.
        self.assertEqual(synced[1:], [str(out.parent)])

    def test_a_file_is_there_whole_or_not_at_all(self):
        self.replayed()
        out = self.folder / "entries.csv"
        self.assertEqual(tally("export", "entries", "--db", self.db, "--out", out), (FINE, "", ""))
        self.assertEqual(out.read_bytes().decode(), tally("export", "entries", "--db", self.db)[1])
        out.write_text("precious")
        self.assert_error(tally("export", "entries", "--db", self.db, "--user", NOBODY, "--out", out), REFUSED)
        self.assertEqual(out.read_text(), "precious")
        self.assertEqual([p.name for p in self.folder.iterdir() if "csv" in p.name], ["entries.csv"])
        self.assert_error(tally("export", "jobs", "--db", self.db, "--out", self.folder / "no" / "x"), WORLD, "No such")
        with open("/dev/full", "wb") as full:
            done = subprocess.run([PROGRAM, "export", "entries", "--db", self.db], stdout=full, stderr=subprocess.PIPE)
        self.assertEqual((done.returncode, b"No space" in done.stderr), (WORLD, True))


class Telemetry(Mirror):
    def measured(self, path):
        return [json.loads(l) for l in path.read_text().splitlines()]

    def test_a_replay_counts_each_operation_with_its_result(self):
        out = self.folder / "metrics.jsonl"
        run = tally("replay", DEMO, "--db", self.db, "--metrics", out, "--results", self.folder / "r", "--json")
        self.assertEqual(run[0], FINE)
        counted = {}
        for m in self.measured(out):
            if m["metric"] == "tally.operations":
                self.assertEqual(set(m["attributes"]), {"tally.operation", "tally.result"})
                result = m["attributes"]["tally.result"]
                counted[result] = counted.get(result, 0) + m["value"]
        self.assertEqual(counted, json.loads(run[2])["results"])
        commits = [m for m in self.measured(out) if m["metric"] == "tally.commit.duration"]
        self.assertTrue(commits and all(m["unit"] == "s" and 0 < m["value"] < 60 for m in commits))
        self.assertEqual(sum(m["value"] for m in self.measured(out) if m["metric"] == "tally.commit.operations"), 108)

    def test_a_refusal_alone_is_no_commit(self):
        self.apply(MADE)
        out = self.folder / "metrics.jsonl"
        again = line(900, "reserve_credits", user_id=user(1), job_id=JOB, amount=500)
        tally("replay", "-", "--db", self.db, "--metrics", out, stdin=again.encode())
        self.assertEqual([(m["metric"], m["attributes"]) for m in self.measured(out)],
                         [("tally.operations", {"tally.operation": "reserve_credits",
                                                "tally.result": "insufficient_credits"})])

    def test_what_is_written_is_in_the_table(self):
        table = {row["metric"]: row for row in self.json_of("telemetry")["metrics"]}
        out = self.folder / "metrics.jsonl"
        tally("replay", DEMO, "--db", self.db, "--metrics", out)
        for m in self.measured(out):
            self.assertEqual((m["kind"], m["unit"]), (table[m["metric"]]["kind"], table[m["metric"]]["unit"]))
            self.assertLessEqual(set(m["attributes"]), set(table[m["metric"]]["attributes"].split(", ")))
        page = (pathlib.Path(__file__).parents[2] / "engine/reference/telemetry.md").read_text()
        text = tally("telemetry")[1]
        for name in table:
            self.assertIn(f"| `{name}` |", page)
            self.assertIn(name, text)

    def test_measurements_that_cannot_be_written_are_an_error(self):
        # More than a buffer holds: a write in between fails, and the last one need not.
        command = [PROGRAM, "replay", self.folder / "trace", "--db", self.db, "--batch", "1", "--results",
                   self.folder / "results", "--metrics"]
        (self.folder / "trace").write_text("".join(line(n, user_id=user(n)) + "\n" for n in range(1, 200)))
        with open("/dev/full", "wb") as full:
            done = subprocess.run([*command, "-"], stdout=full, stderr=subprocess.PIPE)
        self.assertEqual((done.returncode, done.stderr),
                         (WORLD, b"tally: cannot write the measurements to standard output: No space left on device\n"))
        self.assert_error(tally(*command[1:], "/dev/full"), WORLD, "measurements to /dev/full: No space left")
        reader = subprocess.Popen([*command, "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        reader.stdout.close()  # As `| head` does when it has seen enough.
        self.assertEqual((reader.wait(timeout=60), reader.stderr.read()), (WORLD, b""))
        reader.stderr.close()

    def test_results_and_metrics_are_not_mixed(self):
        self.assert_error(tally("replay", DEMO, "--db", self.db, "--metrics", "-"), USAGE, "--results")
        self.assert_error(tally("replay", DEMO, "--db", self.db, "--metrics", self.folder / "no" / "m"), WORLD, "No such")


class TelemetryOfSync(cli_test.Device):
    def test_calls_verdicts_and_what_is_left(self):
        self.enrolled()
        self.assertEqual(self.applied(*self.job(1, 8)), ["ok"] * 3)
        self.applied(("expire_credits", dict(user_id=user(1), amount=5)), db=self.pg, at="--pg")
        out = self.folder / "metrics.jsonl"
        self.assertEqual(tally(*self.sync("--metrics", out))[0], REFUSED)
        measured = [json.loads(l) for l in out.read_text().splitlines()]
        calls = [m for m in measured if m["metric"] == "db.client.operation.duration"]
        self.assertTrue(calls)
        self.assertEqual(calls[0]["attributes"], {"db.system.name": "postgresql",
                                                  "db.stored_procedure.name": "tally_sync.sync"})
        self.assertEqual([m["attributes"]["tally.result"] for m in measured if m["metric"] == "tally.sync.verdicts"],
                         ["ok", "ok", "insufficient_credits"])
        last = {m["metric"]: m["value"] for m in measured if m["metric"].startswith("tally.outbox")}
        self.assertEqual(last, {"tally.outbox.pending": 0, "tally.outbox.blocked": 0, "tally.outbox.rejected": 1})

    def test_on_standard_output_they_are_alone(self):
        self.enrolled()
        for more in ([], ["--json"], ["--watch", "--timeout", "1"]):
            status, out, err = tally(*self.sync("--metrics", "-", *more))
            self.assertEqual(status, FINE)
            self.assertLessEqual({"tally.outbox.pending", "db.client.operation.duration"},
                                 {json.loads(l)["metric"] for l in out.splitlines()})
            self.assertIn("in_sync" if more == ["--json"] else "stopped" if more else "in sync", err)
        with open("/dev/full", "wb") as full:
            done = subprocess.run([PROGRAM, *map(str, self.sync("--metrics", "-"))], stdout=full, stderr=subprocess.PIPE)
        self.assertEqual((done.returncode, b"No space left" in done.stderr), (WORLD, True))


class Terminal(Mirror):
    """What a person at a terminal sees; what a pipe gets has none of it."""

    def run_on(self, arguments, interrupt_at=None, **environment):
        """Its exit status and all that the terminal was sent; interrupted once it shows that."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
        env = {**os.environ, "TERM": "xterm", **environment}
        env.pop("COLUMNS", None)
        command = subprocess.Popen([PROGRAM, *map(str, arguments)], stdin=slave, stdout=slave, stderr=slave, env=env,
                                   start_new_session=True,
                                   preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)
        text = b""
        try:
            while part := os.read(master, 65536):
                text += part
                if interrupt_at and re.search(interrupt_at, text):
                    os.write(master, b"\x03")  # Ctrl-C, as the terminal has it.
                    interrupt_at = None
        except OSError:  # The other end is closed.
            pass
        os.close(master)
        return command.wait(timeout=60), text.decode()

    def many(self, count):
        trace = self.folder / "many.jsonl"
        trace.write_text("".join(line(n, user_id=user(n)) + "\n" for n in range(1, count)))
        return trace

    def test_progress_has_a_rate_and_the_time_left_and_fits(self):
        status, text = self.run_on(["replay", self.many(60_000), "--db", self.db, "--results", self.folder / "r"])
        self.assertEqual(status, FINE)
        shown = re.findall(r"\r\x1b\[K([^\r\n]+)", text)
        self.assertTrue(shown)
        self.assertRegex(shown[0], r"^[\d,]+ of [\d,]+ operations, [\d,]+/s, \d+ (ms|s) left$")
        self.assertLess(max(map(len, shown)), 60)

    def test_ctrl_c_leaves_everything_whole(self):
        trace = self.many(60_000)
        status, text = self.run_on(["replay", trace, "--db", self.db, "--results", self.folder / "r", "--batch", "50"],
                                   interrupt_at=rb"operations, ")
        self.assertEqual(status, INTERRUPTED, text)
        done = int(re.search(r"interrupted: ([\d,]+) lines are applied", text).group(1).replace(",", ""))
        self.assertEqual((self.folder / "r").read_text().count("\n"), done)
        self.assertEqual(self.json_of("audit", "--db", self.db)["users"], done)
        self.assertEqual(tally("doctor", "--db", self.db)[0], FINE)
        self.assertEqual(tally("replay", trace, "--db", self.db)[0], FINE)

    def test_an_interrupted_export_and_backup_leave_nothing_behind(self):
        tally("replay", self.many(60_000), "--db", self.db, "--durability", "normal")
        before = sorted(p.name for p in self.folder.iterdir())
        for arguments, shows in ((["export", "entries", "--out", self.folder / "e.csv"], rb"entries, "),
                                 (["backup", "--to", self.folder / "b.db"], rb"pages, ")):
            status, text = self.run_on([*arguments, "--db", self.db], interrupt_at=shows)
            if status == FINE:
                self.skipTest("it was done before it could be interrupted")
            self.assertEqual(status, INTERRUPTED, text)
            self.assertIn("interrupted", text)
            self.assertEqual(sorted(p.name for p in self.folder.iterdir()), before)

    def test_a_backups_progress_says_what_it_counts(self):
        # What is done within a tenth of a second is not shown: the mirror grows until its audit takes longer.
        for count in (60_000, 200_000, 600_000):
            tally("replay", self.many(count), "--db", self.db, "--durability", "normal")
            status, text = self.run_on(["backup", "--db", self.db, "--to", self.folder / "b.db", "--force"])
            self.assertEqual(status, FINE)
            if shown := set(re.findall(rf"of {count - 1:,} ([a-z]+)", text)):
                break
        self.assertEqual(shown, {"entries"})

    def test_colours_are_for_terminals_that_want_them(self):
        self.apply(HELD)
        arguments = ["doctor", "--db", self.db]
        self.assertIn("\x1b[32m✓\x1b[0m", self.run_on(arguments)[1])
        self.assertNotIn("\x1b", self.run_on(arguments, NO_COLOR="1")[1])
        self.assertNotIn("\x1b", tally(*arguments, env={"TERM": "xterm"})[1])

    def test_a_sync_that_waits_for_a_server_is_ended(self):
        token = self.folder / "token"
        token.write_text("t" * 43)
        token.chmod(0o600)
        self.apply(HELD)
        status, text = self.run_on(["sync", "--db", self.db, "--pg", "host=127.0.0.1 port=1 user=x", "--token-file",
                                    token], interrupt_at=rb"trying again")
        self.assertEqual(status, INTERRUPTED, text)
        self.assertIn("interrupted: pushed 0 operations, and every answer that came was taken whole", text)
        self.assertEqual(self.json_of("status", "--db", self.db, status=REFUSED)["pending"], len(HELD))

    def test_tables_fit_the_terminal_and_pipes_get_all(self):
        note = "A note that is much longer than the line of a narrow terminal can be"
        self.apply(MADE[:1] + [("add_credits", dict(user_id=user(1), amount=1, type="grant", note=note[:60]))])
        arguments = ["history", user(1), "--db", self.db]
        text = re.sub(r"\x1b\[\d*m", "", self.run_on(arguments)[1]).replace("\r", "")
        self.assertEqual([l for l in text.splitlines() if len(l) > 60], [])
        self.assertIn("A not", text)
        self.assertIn("…", text)
        self.assertIn(note[:60], tally(*arguments)[1])

    def test_checks_and_paragraphs_fit_the_terminal(self):
        self.apply(HELD)
        for arguments in (["doctor", "--db", self.db], ["why", JOB, "--db", self.db]):
            text = re.sub(r"\x1b\[\d*[mK]", "", self.run_on(arguments)[1]).replace("\r", "")
            long = [l for l in text.splitlines() if len(l) > 60 and not l.startswith("  echo") and "/" not in l]
            self.assertEqual(long, [])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[1:]])
