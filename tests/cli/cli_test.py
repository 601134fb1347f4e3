#!/usr/bin/env python3
"""The program tally, as a person or a script meets it: answers, exit statuses, JSON, errors.

usage: cli_test.py PROGRAM [unittest arguments]
"""

import json
import os
import pathlib
import pty
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from postgres import Postgres  # noqa: E402

PROGRAM = os.path.abspath(sys.argv.pop(1))
TRACES = pathlib.Path(__file__).resolve().parent.parent / "traces"
DEMO = TRACES / "demo.jsonl"
EXPECTED = TRACES / "demo.expected.jsonl"
ADA = "ada00000-0000-4000-8000-000000000001"
BO = "b0000000-0000-4000-8000-000000000002"
RETRIED = "10b00000-0000-4000-8000-000000000002"
NOBODY = "00000000-0000-4000-8000-00000000dead"
FINE, REFUSED, USAGE, WORLD = 0, 1, 2, 3


def tally(*arguments, stdin=None, env=None):
    """Runs the program; answers with its exit status, output and errors."""
    done = subprocess.run([PROGRAM, *map(str, arguments)], input=stdin, capture_output=True, timeout=120,
                          env={**os.environ, **(env or {})})
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def line(number, op="create_user", **fields):
    return json.dumps({"op": op, "op_id": f"00000000-0000-7000-8000-{number:012d}",
                       "at": "2026-01-18T00:00:00.000000Z", **fields})


def user(number):
    return f"00000000-0000-4000-8000-{number:012d}"


class InFolder(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tally-cli-"))
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.db = self.folder / "mirror.db"

    def replayed(self, trace=DEMO):
        status, out, _ = tally("replay", trace, "--db", self.db)
        self.assertEqual(status, FINE)
        return out

    def assert_error(self, run, status, *words):
        """One sentence on standard error, nothing on standard output."""
        self.assertEqual(run[0], status, run)
        self.assertEqual(run[1], "", run)
        self.assertEqual(run[2].count("\n"), 1, run)
        self.assertTrue(run[2].startswith("tally: "), run)
        for word in words:
            self.assertIn(word, run[2])


class Usage(InFolder):
    def test_no_command_is_wrong_usage(self):
        self.assert_error(tally(), USAGE, "--help")

    def test_unknown_commands_and_options_are_wrong_usage(self):
        for arguments in (["frobnicate"], ["balance"], ["balance", ADA], ["version", "--loud"],
                          ["replay", DEMO], ["replay", DEMO, "--db", self.db, "--pg", "x"],
                          ["replay", DEMO, "--db", self.db, "--batch", "0"],
                          ["replay", DEMO, "--db", self.db, "--batch", "many"],
                          ["history", ADA, "--db", self.db, "--limit", "0"], ["migrate"],
                          ["verify", "--db", self.db]):
            with self.subTest(arguments=arguments):
                self.assert_error(tally(*arguments), USAGE)
        self.assertFalse(self.db.exists())

    def test_an_id_that_is_no_uuid_is_wrong_usage(self):
        self.replayed()
        self.assert_error(tally("balance", "ada", "--db", self.db), USAGE, "UUID")

    def test_help_is_no_error(self):
        for arguments in (["--help"], ["replay", "--help"], ["demo", "--help"]):
            status, out, err = tally(*arguments)
            self.assertEqual((status, err), (FINE, ""))
            self.assertIn("--json" if len(arguments) > 1 else "replay", out)

    def test_version(self):
        status, out, _ = tally("version")
        self.assertEqual(status, FINE)
        self.assertRegex(out, r"^tally \d+\.\d+\.\d+ \(SQLite 3\.\d+\.\d+, libpq \d+\.\d+\)\n$")
        self.assertEqual(set(json.loads(tally("version", "--json")[1])), {"tally", "sqlite", "libpq"})


class Replay(InFolder):
    def test_the_demo_trace_gives_the_expected_results(self):
        self.assertEqual(self.replayed(), EXPECTED.read_text())

    def test_results_do_not_depend_on_the_batch(self):
        for batch in (1, 7, 100_000):
            self.db = self.folder / f"{batch}.db"
            status, out, _ = tally("replay", DEMO, "--db", self.db, "--batch", batch)
            self.assertEqual((status, out), (FINE, EXPECTED.read_text()))

    def test_results_go_to_a_file_and_a_summary_to_standard_error(self):
        results = self.folder / "results.jsonl"
        status, out, err = tally("replay", DEMO, "--db", self.db, "--results", results, "--json")
        self.assertEqual((status, out), (FINE, ""))
        self.assertEqual(results.read_text(), EXPECTED.read_text())
        summary = json.loads(err)
        self.assertEqual(summary["operations"], 108)
        self.assertEqual(sum(summary["results"].values()), summary["lines"])

    def test_on_a_pipe_nothing_but_results_is_written(self):
        self.assertEqual(tally("replay", DEMO, "--db", self.db)[2], "")

    def test_standard_input_is_a_trace(self):
        status, out, _ = tally("replay", "-", "--db", self.db, stdin=DEMO.read_bytes())
        self.assertEqual((status, out), (FINE, EXPECTED.read_text()))

    def test_lines_that_are_no_operations_are_answered_in_their_place(self):
        lines = ["", "not json", "[]", line(1, user_id=user(1)), '{"op":"create_user"}', line(2, op="fly"),
                 line(3, user_id=user(1))]
        status, out, err = tally("replay", "-", "--db", self.db, "--json", stdin="\n".join(lines).encode())
        self.assertEqual(status, FINE)
        nothing = '{"op_id":null,"result":"invalid_argument","balance":null,"line":%d}'
        answers = out.splitlines()
        self.assertEqual([answers[i] for i in (0, 1, 2, 4, 5)], [nothing % n for n in (1, 2, 3, 5, 6)])
        self.assertEqual([json.loads(answers[i])["result"] for i in (3, 6)], ["ok", "user_exists"])
        self.assertEqual(json.loads(err)["operations"], 2)

    def test_windows_line_ends_and_a_missing_last_newline_change_nothing(self):
        text = DEMO.read_bytes().replace(b"\n", b"\r\n").removesuffix(b"\r\n")
        status, out, _ = tally("replay", "-", "--db", self.db, stdin=text)
        self.assertEqual((status, out), (FINE, EXPECTED.read_text()))

    def test_an_empty_trace_has_no_results(self):
        self.assertEqual(tally("replay", "-", "--db", self.db, stdin=b""), (FINE, "", ""))

    def test_bytes_that_are_no_text_are_no_operation(self):
        garbage = b"\xff\xfe\x00\x01\n" + line(1, user_id=user(1)).encode() + b"\n\x00\n"
        status, out, _ = tally("replay", "-", "--db", self.db, stdin=garbage)
        self.assertEqual(status, FINE)
        self.assertEqual([json.loads(a)["result"] for a in out.splitlines()],
                         ["invalid_argument", "ok", "invalid_argument"])

    def test_what_cannot_be_read_or_written_is_said(self):
        self.assert_error(tally("replay", self.folder / "none", "--db", self.db), WORLD, "No such file")
        self.assert_error(tally("replay", self.folder, "--db", self.db), WORLD, "folder")
        self.assert_error(tally("replay", DEMO, "--db", self.folder), WORLD, "folder")
        self.assert_error(tally("replay", DEMO, "--db", DEMO), WORLD)
        self.assert_error(tally("replay", DEMO, "--db", self.folder / "no" / "m.db"), WORLD)
        self.assert_error(tally("replay", DEMO, "--db", self.db, "--results", self.folder), WORLD, "cannot write")

    def test_results_never_overwrite_the_trace(self):
        trace = self.folder / "trace.jsonl"
        shutil.copy(DEMO, trace)
        run = tally("replay", trace, "--db", self.db, "--results", trace)
        self.assert_error(run, USAGE, "overwrite")
        self.assertEqual(trace.read_bytes(), DEMO.read_bytes())

    @unittest.skipUnless(os.path.exists("/dev/full"), "no /dev/full here")
    def test_a_full_disk_under_the_results_is_a_failure(self):
        self.assert_error(tally("replay", DEMO, "--db", self.db, "--results", "/dev/full"), WORLD, "No space")

    def test_a_closed_output_ends_it_quietly(self):
        self.replayed()
        many = self.folder / "many.jsonl"
        many.write_text("".join(line(n, user_id=user(n)) + "\n" for n in range(1, 20_000)))
        for arguments in (["replay", many, "--db", self.folder / "other.db"],
                          ["history", ADA, "--db", self.db]):
            command = subprocess.Popen([PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE)
            command.stdout.close()
            err = command.stderr.read()
            command.stderr.close()
            self.assertEqual((command.wait(timeout=60), err), (WORLD, b""))

    def test_interrupted_it_can_be_run_again(self):
        many = self.folder / "many.jsonl"
        many.write_text("".join(line(n, user_id=user(n)) + "\n" for n in range(1, 20_000)))
        command = subprocess.Popen([PROGRAM, "replay", many, "--db", self.db, "--batch", "50"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        command.stdout.readline()
        command.send_signal(signal.SIGINT)  # While it waits for somebody to read on, likely.
        done = command.stdout.read().count(b"\n") + 1
        err = command.stderr.read().decode()
        command.stdout.close()
        command.stderr.close()
        self.assertEqual((command.wait(timeout=60), err),
                         (130, f"tally: interrupted: {done:,} lines are applied and answered, and the file is whole; "
                               "run the whole trace again\n"))
        answers = self.replayed(many).splitlines()
        self.assertEqual({json.loads(a)["result"] for a in answers}, {"ok"})
        self.assertEqual(tally("audit", "--db", self.db)[0], FINE)

    def test_a_terminal_sees_a_summary_and_no_result_file_noise(self):
        many = self.folder / "many.jsonl"
        many.write_text("".join(line(n, user_id=user(n)) + "\n" for n in range(1, 40_000)))
        master, slave = pty.openpty()
        text = []

        def read():
            try:
                while part := os.read(master, 65536):
                    text.append(part)
            except OSError:  # The other end is closed.
                pass

        reader = threading.Thread(target=read)
        reader.start()
        done = subprocess.run([PROGRAM, "replay", many, "--db", self.db, "--results", self.folder / "r"],
                              stderr=slave, stdout=subprocess.DEVNULL)
        os.close(slave)
        reader.join()
        os.close(master)
        self.assertEqual(done.returncode, FINE)
        shown = b"".join(text).decode()
        self.assertIn("39,999 lines in", shown)
        self.assertIn("operations/s", shown)


class Reading(InFolder):
    def setUp(self):
        super().setUp()
        self.replayed()

    def test_balance(self):
        self.assertEqual(tally("balance", ADA, "--db", self.db), (FINE, "142\n", ""))
        self.assertEqual(json.loads(tally("balance", BO, "--db", self.db, "--json")[1]),
                         {"user_id": BO, "balance": 22})

    def test_account_shows_open_holds(self):
        job = "10b00000-0000-4000-8000-000000000077"
        project = "c0de0000-0000-4000-8000-000000000077"
        lines = [line(1, "create_project", project_id=project, user_id=BO, title="t", prompt_text="p",
                      niche_preset="facts", target_minutes=1),
                 line(2, "create_job", job_id=job, project_id=project, user_id=BO),
                 line(3, "reserve_credits", user_id=BO, job_id=job, amount=4)]
        tally("replay", "-", "--db", self.db, stdin="\n".join(lines).encode())
        account = json.loads(tally("account", BO, "--db", self.db, "--json")[1])
        self.assertEqual((account["balance"], account["held"]), (18, 4))
        self.assertEqual([(h["job_id"], h["amount"]) for h in account["holds"]], [(job, 4)])
        text = tally("account", BO, "--db", self.db)[1]
        self.assertIn("balance             18", text)
        self.assertIn(job, text)

    def test_history_is_newest_first_and_paged(self):
        entries = json.loads(tally("history", ADA, "--db", self.db, "--json")[1])["entries"]
        self.assertEqual([e["seq"] for e in entries], list(range(12, 0, -1)))
        self.assertEqual(sum(e["amount"] for e in entries), 142)
        page = json.loads(tally("history", ADA, "--db", self.db, "--limit", 3, "--before", 5, "--json")[1])
        self.assertEqual(page["entries"], entries[8:11])
        text = tally("history", ADA, "--db", self.db, "--limit", 2)[1]
        self.assertEqual(len(text.splitlines()), 4)
        self.assertIn("--before 11", text)

    def test_job_shows_stages_credits_and_assets(self):
        view = json.loads(tally("job", RETRIED, "--db", self.db, "--json")[1])
        self.assertEqual(view["job"]["status"], "READY")
        self.assertEqual([s["step_order"] for s in view["steps"]], list(range(1, 9)))
        self.assertEqual([e["amount"] for e in view["entries"]], [-8, 8, -9, 9, -9])
        self.assertEqual(view["assets"][0]["size_bytes"], 39774002)
        status, text, _ = tally("job", RETRIED, "--db", self.db)
        self.assertEqual(status, FINE)
        self.assertIn("RENDERING    8 min 25 s", text)

    def test_what_does_not_exist_is_refused(self):
        for command in ("balance", "account", "history"):
            self.assert_error(tally(command, NOBODY, "--db", self.db), REFUSED, NOBODY)
        self.assert_error(tally("job", NOBODY, "--db", self.db), REFUSED, NOBODY)
        status, _, err = tally("balance", NOBODY, "--db", self.db, "--json")
        self.assertEqual((status, json.loads(err)["error"]), (REFUSED, "user_not_found"))

    def test_reading_never_makes_a_mirror(self):
        none, empty = self.folder / "none.db", self.folder / "empty.db"
        empty.touch()
        for arguments in (["balance", ADA], ["account", ADA], ["history", ADA], ["job", RETRIED], ["audit"],
                          ["verify", "--pg", "host=/nonexistent"]):
            with self.subTest(arguments=arguments):
                self.assert_error(tally(*arguments, "--db", none), WORLD, "tally replay")
                self.assert_error(tally(*arguments, "--db", empty), WORLD, "empty")
                self.assert_error(tally(*arguments, "--db", self.folder), WORLD, "folder")
                self.assert_error(tally(*arguments, "--db", DEMO), WORLD)
        self.assertFalse(none.exists())
        self.assertEqual(empty.stat().st_size, 0)

    def test_audit_finds_nothing_on_an_honest_mirror(self):
        status, out, _ = tally("audit", "--db", self.db)
        self.assertEqual(status, FINE)
        self.assertIn("nothing is wrong", out)
        report = json.loads(tally("audit", "--db", self.db, "--json")[1])
        self.assertEqual((report["users"], report["entries"], report["findings"]), (2, 23, []))

    def test_audit_finds_a_balance_that_was_tampered_with(self):
        with sqlite3.connect(self.db) as mirror:
            mirror.execute("update tally_account set balance = balance + 5 where u = 1")
        mirror.close()
        status, out, _ = tally("audit", "--db", self.db)
        self.assertEqual(status, REFUSED)
        self.assertIn("I1", out)
        findings = json.loads(tally("audit", "--db", self.db, "--json")[1])["findings"]
        self.assertEqual(findings[0]["invariant"], "I1")

    def test_what_a_note_holds_does_not_reach_the_terminal_raw(self):
        note = line(9, "add_credits", user_id=ADA, amount=1, type="grant", note="\x1b[2Jgone\x07\n")
        tally("replay", "-", "--db", self.db, stdin=note.encode())
        text = tally("history", ADA, "--db", self.db, "--limit", 1)[1]
        self.assertIn("gone", text)
        self.assertNotIn("\x1b", text)


class Demo(InFolder):
    def test_without_a_server_it_says_what_it_left_out(self):
        status, out, err = tally("demo", env={"TALLY_PG_BINDIR": "/nonexistent"})
        self.assertEqual((status, err), (FINE, ""))
        self.assertIn("Left out: ", out)
        self.assertNotIn("\x1b", out)

    def test_it_keeps_the_mirror_where_told(self):
        kept = self.folder / "kept"
        status, out, _ = tally("demo", "--keep", kept, env={"TALLY_PG_BINDIR": "/nonexistent"})
        self.assertEqual(status, FINE)
        self.assertIn(str(kept), out)
        self.assertEqual(tally("balance", ADA, "--db", kept / "mirror.db")[1], "142\n")
        again = tally("demo", "--keep", kept, env={"TALLY_PG_BINDIR": "/nonexistent"})
        self.assert_error(again, USAGE, "not empty")

    @unittest.skipUnless(Postgres.binaries(), "no PostgreSQL server is installed")
    def test_both_halves_are_equal(self):
        status, out, err = tally("demo")
        self.assertEqual((status, err), (FINE, ""))
        self.assertIn("Both halves equal, to the credit.", out)
        report = json.loads(tally("demo", "--json")[1])
        self.assertTrue(report["fine"] and report["halves"]["equal"])
        self.assertEqual([c["differing_line"] for c in report["compared"]], [None, None])


class Unreachable(InFolder):
    def test_a_server_that_is_not_there_is_a_failure_of_the_world(self):
        self.replayed()
        for pg in (f"host={self.folder}", "postgresql://127.0.0.1:1/x", "host=127.0.0.1 port=1"):
            for arguments in (["replay", DEMO], ["migrate"], ["verify", "--db", self.db]):
                with self.subTest(pg=pg, arguments=arguments):
                    self.assert_error(tally(*arguments, "--pg", pg), WORLD, "check --pg")

    def test_a_malformed_conninfo_is_said(self):
        self.assert_error(tally("migrate", "--pg", "no such = thing ="), WORLD)


@unittest.skipUnless(Postgres.binaries(), "no PostgreSQL server is installed")
class Canonical(InFolder):
    @classmethod
    def setUpClass(cls):
        cls.postgres = Postgres()
        cls.addClassCleanup(cls.postgres.close)

    def migrated(self):
        pg, name = self.postgres.fresh()
        self.assertEqual(tally("migrate", "--pg", pg, "--shim")[0], FINE)
        return pg, name

    def test_without_our_schema_the_way_out_is_named(self):
        self.replayed()
        pg, _ = self.postgres.fresh()
        self.assert_error(tally("replay", DEMO, "--pg", pg), WORLD, "tally migrate")
        self.assert_error(tally("verify", "--db", self.db, "--pg", pg), WORLD, "tally migrate")
        self.assert_error(tally("migrate", "--pg", pg), WORLD, "--shim")

    def test_migrate_applies_each_once_and_records_it(self):
        pg, name = self.postgres.fresh()
        before = json.loads(tally("migrate", "--pg", pg, "--shim", "--dry-run", "--json")[1])
        self.assertTrue(before["dry_run"] and before["shim"])
        self.assertEqual({m["state"] for m in before["migrations"]}, {"pending"})
        self.assertEqual(self.postgres.sql("select count(*) from pg_namespace where nspname = 'tally'", name), "0")
        status, out, _ = tally("migrate", "--pg", pg, "--shim")
        self.assertEqual(status, FINE)
        self.assertIn("migrations applied.", out)
        again = json.loads(tally("migrate", "--pg", pg, "--shim", "--json")[1])
        self.assertFalse(again["shim"])
        self.assertEqual({m["state"] for m in again["migrations"]}, {"recorded"})
        recorded = self.postgres.sql("select version || '_' || name || '.sql' from"
                                     " supabase_migrations.schema_migrations order by version", name)
        files = sorted(f.name for f in (TRACES.parent.parent / "sql/canonical").glob("*.sql"))
        self.assertEqual(recorded.splitlines(), files)
        # Statement by statement, as the CLI has it.
        text = self.postgres.sql("select count(*) from supabase_migrations.schema_migrations, unnest(statements) s"
                                 " where name = 'operations' and s like '%create or replace function"
                                 " tally.apply_operations%' and s not like '%;'", name)
        self.assertEqual(text.strip(), "1")

    def test_a_dumped_script_does_the_same(self):
        pg, name = self.postgres.fresh()
        script = tally("migrate", "--pg", pg, "--shim", "--dump-sql")[1]
        subprocess.run([Postgres.binaries() / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", pg],
                       input=script.encode(), check=True, capture_output=True)
        self.assertIn("up to date", tally("migrate", "--pg", pg)[1])
        offline = tally("migrate", "--dump-sql", "--shim")
        self.assertEqual((offline[0], offline[1]), (FINE, script))

    def test_two_at_once_are_safe(self):
        pg, name = self.postgres.fresh()
        runs = [subprocess.Popen([PROGRAM, "migrate", "--pg", pg, "--shim"], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE) for _ in range(4)]
        for run in runs:
            _, err = run.communicate(timeout=120)
            self.assertEqual((run.returncode, err), (FINE, b""))
        self.assertEqual(self.postgres.sql("select count(*) = count(distinct version) from"
                                           " supabase_migrations.schema_migrations", name), "t")

    def test_a_gap_in_the_record_is_refused(self):
        pg, name = self.migrated()
        self.postgres.sql("delete from supabase_migrations.schema_migrations where name = 'jobs'", name)
        self.assert_error(tally("migrate", "--pg", pg), REFUSED, "20260118000005_jobs")

    def test_status_says_what_is_applied_and_an_edited_migration_is_refused(self):
        pg, name = self.postgres.fresh()
        status, out, _ = tally("migrate", "--pg", pg, "--status")
        self.assertEqual(status, REFUSED)
        self.assertIn("pending", out)
        self.assertEqual(tally("migrate", "--pg", pg, "--shim")[0], FINE)
        status, out, _ = tally("migrate", "--pg", pg, "--status", "--json")
        self.assertEqual((status, {m["state"] for m in json.loads(out)["migrations"]}), (FINE, {"recorded"}))
        # Written by another tool, with other spaces and comments: the same.
        self.postgres.sql("update supabase_migrations.schema_migrations set statements ="
                          " (select array_agg('-- again' || chr(10) || '  ' || s || ' ' order by n) from"
                          " unnest(statements) with ordinality u(s, n))", name)
        self.assertIn("up to date", tally("migrate", "--pg", pg)[1])
        # The PRD's own fourth migration lacks the function that ours has in front.
        self.postgres.sql("update supabase_migrations.schema_migrations set statements = statements[2:]"
                          " where name = 'projects'", name)
        self.assertIn("up to date", tally("migrate", "--pg", pg)[1])
        self.postgres.sql("update supabase_migrations.schema_migrations set statements = null where name = 'assets'", name)
        self.assertIn("up to date", tally("migrate", "--pg", pg)[1])
        self.postgres.sql("update supabase_migrations.schema_migrations set statements = array['select 1']"
                          " where name = 'integrity'", name)
        self.assert_error(tally("migrate", "--pg", pg), REFUSED, "20260201000001_integrity", "another text")
        status, out, _ = tally("migrate", "--pg", pg, "--status")
        self.assertEqual(status, REFUSED)
        self.assertIn("edited", out)

    def test_parts_of_the_script(self):
        script = tally("migrate", "--dump-sql", "--from", "20260118000005", "--to", "20260118000006")[1]
        self.assertIn("-- 20260118000005_jobs.sql", script)
        self.assertIn("-- 20260118000006_job_steps.sql", script)
        self.assertNotIn("-- 20260118000004", script)
        self.assertNotIn("-- 20260118000007", script)
        self.assert_error(tally("migrate", "--dump-sql", "--from", "2026"), REFUSED, "20260201000005")
        self.assert_error(tally("migrate", "--from", "20260118000005"), USAGE, "--dump-sql")

    def test_cells_are_installed_side_by_side(self):
        pg, name = self.migrated()
        for schema in ("cell_01", "cell_02"):
            self.assertEqual(tally("migrate", "--pg", pg, "--schema", schema)[0], FINE)
            self.assertEqual(tally("migrate", "--pg", pg, "--schema", schema, "--status")[0], FINE)
        for schema in ("cell_01", "cell_02"):
            status, out, err = tally("replay", DEMO, "--pg", pg, "--schema", schema)
            self.assertEqual((status, err), (FINE, ""))
            self.assertEqual(len(out.splitlines()), len(EXPECTED.read_text().splitlines()))
        # auth.users is one for all, and its trigger is the usual schema's.
        self.assertEqual(self.postgres.sql("select distinct note from public.credit_ledger", name).strip(),
                         "Welcome bonus: 10 trial credits")
        self.assert_error(tally("migrate", "--pg", pg, "--schema", "No Such"), REFUSED, "lower-case")

    def test_doctor_and_audit(self):
        pg, name = self.migrated()
        # The tests' server does without fsync, which doctor does not like.
        status, out, _ = tally("doctor", "--pg", pg, "--json")
        self.assertEqual([f["what"] for f in json.loads(out)["findings"] if "power cut" not in f["what"]], [])
        self.postgres.sql("drop index idx_credit_job", name)
        status, out, _ = tally("doctor", "--pg", pg)
        self.assertEqual(status, REFUSED)
        self.assertIn("idx_credit_job is missing", out)
        self.assertEqual(json.loads(tally("audit", "--pg", pg, "--json")[1]), {"corrections": [], "findings": []})
        self.assert_error(tally("audit"), USAGE)
        self.assert_error(tally("audit", "--db", self.db, "--repair"), USAGE)

    def test_audit_repairs_what_the_original_functions_minted(self):
        pg, name = self.postgres.fresh()
        script = tally("migrate", "--dump-sql", "--shim", "--to", "20260118000010")[1]
        subprocess.run([Postgres.binaries() / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", pg],
                       input=script.encode(), check=True, capture_output=True)
        self.postgres.sql("insert into auth.users (id, email) values ('00000000-0000-4000-8000-0000000000a1', 'a@x');"
                          "insert into projects (id, user_id, title, prompt_text, niche_preset) values"
                          " ('00000000-0000-4000-8000-0000000000b1', '00000000-0000-4000-8000-0000000000a1', 't', 'p', 'facts');"
                          "insert into jobs (id, project_id, user_id) values ('00000000-0000-4000-8000-0000000000c1',"
                          " '00000000-0000-4000-8000-0000000000b1', '00000000-0000-4000-8000-0000000000a1');"
                          "select reserve_credits('00000000-0000-4000-8000-0000000000a1', '00000000-0000-4000-8000-0000000000c1', 8);"
                          "select release_job_credits('00000000-0000-4000-8000-0000000000c1')", name)
        self.assertEqual(tally("migrate", "--pg", pg)[0], FINE)
        status, out, _ = tally("audit", "--pg", pg)
        self.assertEqual(status, REFUSED)
        self.assertIn("8 were given twice", out)
        status, out, _ = tally("audit", "--pg", pg, "--repair")
        self.assertEqual(status, FINE)
        self.assertIn("expire -8", out)
        self.assertEqual(self.postgres.sql("select balance from tally.accounts", name).strip(), "10")
        self.assertEqual(self.postgres.sql("select note from credit_ledger where type = 'expire'", name).strip(),
                         "Correction for job 00000000-0000-4000-8000-0000000000c1")
        self.assertEqual(json.loads(tally("audit", "--pg", pg, "--repair", "--json")[1])["corrections"], [])

    def test_other_peoples_migrations_do_not_matter(self):
        pg, name = self.migrated()
        self.postgres.sql("insert into supabase_migrations.schema_migrations (version) values ('20991231000000')", name)
        self.assertEqual(tally("migrate", "--pg", pg)[0], FINE)

    def test_a_failing_migration_leaves_those_before_it(self):
        pg, name = self.postgres.fresh()
        self.postgres.sql("create table jobs (mine integer)", name)
        run = tally("migrate", "--pg", pg, "--shim")
        self.assert_error(run, WORLD, "20260118000005_jobs", "already exists")
        self.assertEqual(self.postgres.sql("select max(name) from supabase_migrations.schema_migrations"
                                           " where version = '20260118000004'", name), "projects")
        self.postgres.sql("drop table jobs", name)
        self.assertEqual(tally("migrate", "--pg", pg)[0], FINE)

    def test_the_environment_and_uris_are_libpqs_own(self):
        pg, name = self.migrated()
        env = {"PGHOST": self.postgres.folder, "PGPORT": "5432", "PGUSER": "postgres", "PGDATABASE": name,
               "PGCLIENTENCODING": "LATIN1"}
        self.assertIn("up to date", tally("migrate", "--pg", "", env=env)[1])
        uri = f"postgresql://postgres@/{name}?host={self.postgres.folder}&port=5432"
        self.assertIn("up to date", tally("migrate", "--pg", uri)[1])
        self.assertIn("up to date", tally("migrate", "--pg", name, env={**env, "PGDATABASE": "postgres"})[1])

    def test_both_halves_answer_alike_and_verify_says_so(self):
        pg, _ = self.migrated()
        mirror = self.replayed()
        status, canonical, err = tally("replay", DEMO, "--pg", pg, "--batch", 10)
        self.assertEqual((status, err), (FINE, ""))
        self.assertEqual(canonical, mirror)
        status, out, _ = tally("verify", "--db", self.db, "--pg", pg)
        self.assertEqual(status, FINE)
        self.assertIn("both halves equal", out)
        report = json.loads(tally("verify", "--db", self.db, "--pg", pg, "--json")[1])
        self.assertTrue(report["equal"])
        self.assertEqual([u["user_id"] for u in report["users"]], [ADA, BO])

    def test_verify_names_the_first_difference(self):
        pg, name = self.migrated()
        self.replayed()
        tally("replay", DEMO, "--pg", pg)
        self.postgres.sql(f"update projects set title = 'Rome, again' where user_id = '{ADA}'"
                          " and title like 'Rome%'", name)
        status, out, _ = tally("verify", "--db", self.db, "--pg", pg)
        self.assertEqual(status, REFUSED)
        self.assertIn(f"user {ADA}, table projects, row c0de0000-0000-4000-8000-000000000001, column title:"
                      " mirror 'Rome in three minutes', canonical 'Rome, again'", out)
        first = json.loads(tally("verify", "--db", self.db, "--pg", pg, "--json")[1])["first_difference"]
        self.assertEqual((first["table"], first["column"]), ("projects", "title"))
        self.assertEqual(tally("verify", "--db", self.db, "--pg", pg, "--user", BO)[0], FINE)

    def test_verify_names_a_row_and_a_user_that_one_half_lacks(self):
        pg, _ = self.migrated()
        self.replayed()
        tally("replay", DEMO, "--pg", pg)
        tally("replay", "-", "--pg", pg,
              stdin=line(1, "add_credits", user_id=ADA, amount=1, type="grant").encode())
        status, out, _ = tally("verify", "--db", self.db, "--pg", pg)
        self.assertEqual(status, REFUSED)
        self.assertIn("on canonical only", out)
        tally("replay", "-", "--db", self.db, stdin=line(2, user_id=user(7)).encode())
        report = json.loads(tally("verify", "--db", self.db, "--pg", pg, "--json")[1])
        self.assertEqual(report["first_difference"]["row"], user(7))
        self.assertEqual(report["first_difference"]["table"], "users")

    def test_every_text_survives_the_way(self):
        pg, _ = self.migrated()
        nasty = ['back\\slash "quoted" {braces}, NULL', "tab\tnew\nline\x01", "💶 ẞ \u2028", "$1 $$ %s ' --",
                 "é" * 127, "x" * 1_000_000, "\x00", "\\", '"', "\ud7ff\ue000"]
        lines = [line(1, user_id=user(1))]
        lines += [line(10 + n, "create_draft", draft_id=user(100 + n), session_token="s", user_id=user(1),
                       prompt_text=text) for n, text in enumerate(nasty)]
        trace = ("\n".join(lines) + "\nno \\ \"operation\"\n").encode()
        mirror = tally("replay", "-", "--db", self.db, stdin=trace)
        canonical = tally("replay", "-", "--pg", pg, stdin=trace)
        self.assertEqual(mirror, canonical)
        results = [json.loads(a)["result"] for a in mirror[1].splitlines()]
        self.assertEqual([n for n, r in enumerate(results) if r != "ok"], [7, len(results) - 1])
        self.assertEqual(tally("verify", "--db", self.db, "--pg", pg)[0], FINE)


@unittest.skipUnless(Postgres.binaries(), "no PostgreSQL server is installed")
class Device(InFolder):
    """A user's mirror as a device of canonical."""

    @classmethod
    def setUpClass(cls):
        cls.postgres = Postgres()
        cls.addClassCleanup(cls.postgres.close)

    def setUp(self):
        super().setUp()
        self.pg, self.name = self.postgres.fresh()
        self.assertEqual(tally("migrate", "--pg", self.pg, "--shim")[0], FINE)
        self.numbers = iter(range(1, 1_000_000))
        self.token = self.folder / "token"

    def json(self, *arguments, status=FINE):
        run = tally(*arguments, "--json")
        self.assertEqual((run[0], run[2]), (status, ""), run)
        return json.loads(run[1])

    def device(self, capabilities="author,worker,service", *more, token=None):
        """Makes a device and its token file; answers with its id."""
        made = self.json("device", "add", "--pg", self.pg, "--name", "laptop", "--capabilities", capabilities, *more)
        self.assertEqual(set(made), {"device_id", "token"})
        self.write_token(made["token"], token)
        return made["device_id"]

    def write_token(self, text, path=None):
        path = path or self.token
        path.write_text(text + "\n")
        path.chmod(0o600)

    def applied(self, *operations, db=None, at="--db"):
        """Applies operations, given as (op, fields); answers with their results."""
        lines = [line(next(self.numbers), op, **fields) for op, fields in operations]
        status, out, _ = tally("replay", "-", at, db or self.db, stdin="\n".join(lines).encode())
        self.assertEqual(status, FINE)
        return [json.loads(a)["result"] for a in out.splitlines()]

    def job(self, number, amount=None, queued=False):
        """The operations that make a user's job."""
        project, job = f"c0de0000-0000-4000-8000-{number:012d}", f"10b00000-0000-4000-8000-{number:012d}"
        operations = [("create_project", dict(project_id=project, user_id=user(1), title="t", prompt_text="p",
                                              niche_preset="facts", target_minutes=1)),
                      ("create_job", dict(job_id=job, project_id=project, user_id=user(1)))]
        if amount:
            operations.append(("reserve_credits", dict(user_id=user(1), job_id=job, amount=amount)))
        if queued:
            operations.append(("advance_job", dict(job_id=job, to="QUEUED")))
        return operations

    def sync(self, *more, db=None, token=None):
        return ["sync", "--db", db or self.db, "--pg", self.pg, "--token-file", token or self.token, *more]

    def enrolled(self, capabilities="author,worker,service"):
        """A mirror with one user, who has ten credits, in sync."""
        device = self.device(capabilities)
        self.assertEqual(self.applied(("create_user", dict(user_id=user(1)))), ["ok"])
        self.assertEqual(tally(*self.sync())[0], FINE)
        return device

    def overspent(self):
        """One operation of the mirror's is rejected: another device was faster. Answers with its number."""
        self.assertEqual(self.applied(*self.job(1, 8)), ["ok"] * 3)
        self.assertEqual(self.applied(("expire_credits", dict(user_id=user(1), amount=5)), db=self.pg, at="--pg"),
                         ["ok"])
        report = self.json(*self.sync(), status=REFUSED)
        return report["rejected"][0]["number"]


class Sync(Device):
    # ---- devices ----

    def test_only_the_subscribed_are_fed_from_the_first_sync_on(self):
        self.applied(*[("create_user", dict(user_id=user(n))) for n in (1, 2)], db=self.pg, at="--pg")
        self.device()
        self.json(*self.sync("--only", user(1)))
        self.assertEqual([u["user_id"] for u in self.json("verify", "--db", self.db, "--pg", self.pg)["users"]], [user(1)])
        self.assertEqual(self.applied(("create_user", dict(user_id=user(3)))), ["ok"])
        beyond = self.json("verify", "--db", self.db, "--pg", self.pg, status=REFUSED)["users"]
        self.assertEqual([(u["user_id"], u["equal"]) for u in beyond], [(user(1), True), (user(3), False)])
        self.json(*self.sync())
        self.assertEqual([u["user_id"] for u in self.json("verify", "--db", self.db, "--pg", self.pg)["users"]], [user(1)])

    def test_verify_compares_a_device_with_what_it_is_told(self):
        users = [("create_user", dict(user_id=user(n))) for n in (1, 2)]
        draft = ("create_draft", dict(draft_id="d4af0000-0000-4000-8000-000000000001", session_token="s", prompt_text="p",
                                      user_id=user(1)))
        self.applied(*users, draft, *self.job(1), db=self.pg, at="--pg")
        for n, (capabilities, more) in enumerate([("worker", []), ("author,worker", ["--user", user(1)])]):
            db = self.folder / f"told{n}.db"
            self.device(capabilities, *more)
            self.json(*self.sync(db=db))
            self.assertTrue(self.json("verify", "--db", db, "--pg", self.pg)["equal"])
        tally("replay", "-", "--pg", self.pg, stdin=line(next(self.numbers), "add_credits", user_id=user(1), amount=1,
                                                         type="grant").encode())
        self.assertFalse(self.json("verify", "--db", db, "--pg", self.pg, status=REFUSED)["equal"])

    def test_devices_are_made_listed_rotated_and_revoked(self):
        self.applied(("create_user", dict(user_id=user(1))), db=self.pg, at="--pg")
        device = self.device("author,worker", "--user", user(1), "--reclaim-after", 3600)
        listed = self.json("device", "list", "--pg", self.pg)["devices"]
        self.assertEqual([(d["device_id"], d["name"], d["capabilities"], d["scope"], d["watermark"], d["leased"],
                           d["revoked_at"]) for d in listed],
                         [(device, "laptop", ["author", "worker"], user(1), 0, 0, None)])
        text = tally("device", "list", "--pg", self.pg)[1]
        self.assertIn("author, worker", text)
        self.assertNotIn(self.token.read_text().strip(), text)
        rotated = self.json("device", "rotate", device, "--pg", self.pg)
        self.assertEqual(rotated["device_id"], device)
        self.assertNotEqual(rotated["token"], self.token.read_text().strip())
        self.assertIn("tally_", tally("device", "rotate", device, "--pg", self.pg)[1])
        self.assertEqual(self.json("device", "revoke", device, "--pg", self.pg), {"device_id": device, "revoked": True})
        self.assertIn("revoked", tally("device", "list", "--pg", self.pg)[1])
        for command in ("revoke", "rotate"):
            self.assert_error(tally("device", command, device, "--pg", self.pg), REFUSED, "revoked before")
            self.assert_error(tally("device", command, NOBODY, "--pg", self.pg), REFUSED, NOBODY)

    def test_a_device_that_cannot_be_is_refused(self):
        add = ["device", "add", "--pg", self.pg, "--name", "x", "--capabilities"]
        self.assert_error(tally(*add, "author,root"), USAGE, "root")
        self.assert_error(tally(*add, "author", "--user", "ada"), USAGE, "UUID")
        self.assert_error(tally(*add, "author", "--user", NOBODY), REFUSED, NOBODY)
        self.assert_error(tally("device", "add", "--pg", self.pg, "--name", "", "--capabilities", "author"), REFUSED)
        self.assert_error(tally("device"), USAGE, "device --help")
        pg, _ = self.postgres.fresh()
        self.assert_error(tally("device", "list", "--pg", pg), WORLD, "tally migrate")

    def test_devices_of_a_cell(self):
        self.assertEqual(tally("migrate", "--pg", self.pg, "--schema", "cell_01")[0], FINE)
        self.device("author,service", "--schema", "cell_01")
        self.assertEqual(self.json("device", "list", "--pg", self.pg)["devices"], [])
        self.applied(("create_user", dict(user_id=user(1))))
        self.assert_error(tally(*self.sync()), WORLD, "token")
        self.assertEqual(self.json(*self.sync("--schema", "cell_01"))["pushed"], 1)
        self.assertEqual(self.postgres.sql("select watermark from cell_01.devices", self.name), "1")

    # ---- sync and status ----

    def test_a_mirror_becomes_a_device_at_its_first_sync(self):
        device = self.device()
        self.assertEqual(self.applied(("create_user", dict(user_id=user(1))), *self.job(1, 8)), ["ok"] * 4)
        status, out, _ = tally("status", "--db", self.db)
        self.assertEqual(status, REFUSED)
        self.assertIn("no device yet", out)
        self.assertEqual(self.json("status", "--db", self.db, status=REFUSED),
                         {"device_id": None, "in_sync": False, "pending": 4})
        report = self.json(*self.sync())
        self.assertEqual(report, {"device_id": device, "in_sync": True, "pushed": 4, "pulled_users": 1, "rejected": [],
                                  "diverged": [], "pending": 0, "blocked": 0, "rejected_kept": 0})
        self.assertEqual(tally("verify", "--db", self.db, "--pg", self.pg)[0], FINE)
        state = self.json("status", "--db", self.db)
        self.assertEqual((state["device_id"], state["in_sync"], state["acked"], state["pending"], state["scope"],
                          state["capabilities"], state["attempts"], state["error"], state["leases"]),
                         (device, True, 4, 0, None, ["author", "worker", "service"], 0, None, []))
        self.assertLess(state["lag_us"], 60_000_000)
        self.assertIsInstance(state["cursor"], dict)
        status, out, _ = tally("status", "--db", self.db)
        self.assertEqual(status, FINE)
        self.assertIn("in sync", out)
        self.assertIn(" ago", out)
        again = tally(*self.sync())
        self.assertEqual(again[0], FINE)
        self.assertIn("pushed 0 operations", again[1])

    def test_what_others_did_is_pulled(self):
        self.enrolled()
        other, token = self.folder / "other.db", self.folder / "other_token"
        self.device(token=token)
        self.applied(db=other)
        self.assertEqual(self.json(*self.sync(db=other, token=token))["pulled_users"], 1)
        self.assertEqual(tally("balance", user(1), "--db", other)[1], "10\n")
        self.applied(("add_credits", dict(user_id=user(1), amount=5, type="grant")), db=self.pg, at="--pg")
        self.assertEqual(self.json(*self.sync(db=other, token=token))["pulled_users"], 1)
        self.assertEqual(tally("balance", user(1), "--db", other)[1], "15\n")

    def test_pending_work_is_never_in_sync(self):
        self.enrolled()
        self.applied(*self.job(1))
        state = self.json("status", "--db", self.db, status=REFUSED)
        self.assertEqual((state["in_sync"], state["pending"]), (False, 2))
        self.assertIn("not in sync: 2 pending", tally("status", "--db", self.db)[1])

    def test_sync_does_no_more_than_its_device(self):
        device = self.device()
        self.applied(("create_user", dict(user_id=user(1))))
        self.assert_error(tally(*self.sync("--device", "laptop")), USAGE, "UUID")
        self.assert_error(tally(*self.sync("--device", NOBODY)), USAGE, NOBODY)
        self.assertIn("no device yet", tally("status", "--db", self.db)[1])
        self.assertEqual(tally(*self.sync("--device", device))[0], FINE)
        self.assert_error(tally(*self.sync("--device", NOBODY)), USAGE, device)
        self.assertEqual(tally(*self.sync("--device", device))[0], FINE)

    def test_a_copied_mirror_is_enrolled_anew(self):
        self.enrolled()
        copy = self.folder / "copy.db"
        with sqlite3.connect(self.db) as mirror:
            mirror.execute("vacuum into ?", (str(copy),))
        mirror.close()
        self.applied(*self.job(1))
        self.assertEqual(tally(*self.sync())[0], FINE)
        self.applied(*self.job(2), db=copy)
        self.assert_error(tally(*self.sync(db=copy)), WORLD, "copy", "--enrol-anew")
        self.assert_error(tally(*self.sync("--enrol-anew")), WORLD, "tally device add")
        another = self.device(token=self.folder / "other_token")
        anew = self.sync("--enrol-anew", "--device", another, db=copy, token=self.folder / "other_token")
        report = self.json(*anew, status=REFUSED)
        self.assertEqual((report["device_id"], report["pushed"], report["rejected_kept"]), (another, 0, 2))
        kept = self.json("rejected", "list", "--db", copy)["rejected"]
        self.assertEqual({r["code"] for r in kept}, {"device_forked"})
        for rejected in kept:
            self.json("rejected", "retry", rejected["number"], "--db", copy)
        self.assertEqual(self.json(*self.sync(db=copy, token=self.folder / "other_token"))["pushed"], 2)
        self.assertEqual(tally(*self.sync())[0], FINE)
        for mirror in (self.db, copy):
            self.assertEqual(tally("verify", "--db", mirror, "--pg", self.pg)[0], FINE)

    def test_another_devices_token_is_found_out(self):
        self.enrolled()
        self.device()
        self.assert_error(tally(*self.sync()), WORLD)

    def test_a_token_file_that_holds_none_is_said(self):
        self.enrolled()
        token = self.folder / "other_token"
        run = self.sync(token=token)
        self.assert_error(tally(*run), WORLD, "No such file", "tally device add")
        for text in ("", "\n", "two words\n", "a\nb\n", "x" * 5_000, "\x00"):
            self.write_token(text, token)
            self.assert_error(tally(*run), WORLD, "holds no token")
        self.assert_error(tally(*self.sync(token=self.folder)), WORLD, "folder")
        for end in ("", "\n", "\r\n"):
            token.write_bytes(self.token.read_bytes().strip() + end.encode())
            self.assertEqual(tally(*run)[0], FINE)

    def test_a_token_that_others_can_read_is_warned_of(self):
        self.enrolled()
        self.token.chmod(0o644)
        status, _, err = tally(*self.sync())
        self.assertEqual(status, FINE)
        self.assertIn("chmod 600", err)
        self.assertIn("chmod 600", json.loads(tally(*self.sync("--json"))[2])["warning"])

    def test_a_wrong_token_and_a_revoked_device_are_failures(self):
        device = self.enrolled()
        self.applied(*self.job(1))
        token = self.token.read_text().strip()
        self.write_token("tally_" + "0" * 64)
        self.assert_error(tally(*self.sync()), WORLD, "does not know this token", "tally device add")
        self.assertEqual(json.loads(tally(*self.sync("--json"))[2])["error"], "unauthorized")
        state = self.json("status", "--db", self.db, status=REFUSED)
        self.assertEqual((state["error_class"], state["pending"], state["next_attempt_at"]), ("authentication", 2, None))
        self.assertIn("another token", tally("status", "--db", self.db)[1])
        self.write_token(self.json("device", "rotate", device, "--pg", self.pg)["token"])
        self.assertEqual(tally(*self.sync())[0], FINE)
        self.json("device", "revoke", device, "--pg", self.pg)
        run = tally(*self.sync())
        self.assert_error(run, WORLD, "the device was revoked")
        self.assertNotIn(token, run[2])

    def test_without_a_server_the_queue_is_kept_and_the_status_says_why(self):
        self.enrolled()
        self.applied(*self.job(1))
        run = tally("sync", "--db", self.db, "--pg", f"host={self.folder}", "--token-file", self.token, "--timeout", 1)
        self.assert_error(run, WORLD, "check --pg")
        state = self.json("status", "--db", self.db, status=REFUSED)
        self.assertEqual((state["error_class"], state["pending"]), ("transient", 2))
        self.assertGreater(state["attempts"], 0)
        self.assertIn("last error    transient: ", tally("status", "--db", self.db)[1])
        self.assertEqual(tally(*self.sync())[0], FINE)

    def test_without_our_schema_sync_names_the_way_out(self):
        self.enrolled()
        pg, _ = self.postgres.fresh()
        run = tally("sync", "--db", self.db, "--pg", pg, "--token-file", self.token)
        self.assert_error(run, WORLD, "tally migrate")

    def test_wrong_usage_of_sync(self):
        self.enrolled()
        for arguments in (["sync"], self.sync("--timeout", 0), ["rejected"], ["rejected", "show", "--db", self.db],
                          ["rejected", "show", "x", "--db", self.db], ["lease"], ["status"],
                          ["lease", "open", user(1), "--db", self.db, "--amount", 0, "--ttl", 1],
                          ["lease", "open", user(1), "--db", self.db, "--amount", 1],
                          ["claim-next", "--db", self.db, "--pg", self.pg, "--token-file", self.token]):
            with self.subTest(arguments=arguments):
                self.assert_error(tally(*arguments), USAGE)
        for arguments in (["status"], ["rejected", "list"], ["lease", "list"],
                          ["claim-next", "--ttl", 5, "--pg", self.pg, "--token-file", self.token]):
            self.assert_error(tally(*arguments, "--db", self.folder / "none"), WORLD, "tally replay")

    def test_the_first_sync_makes_the_mirror_of_a_new_machine(self):
        self.enrolled()
        self.device("author")
        new = self.folder / "new.db"
        self.assertEqual(tally(*self.sync(db=new, token=self.folder / "none"))[0], WORLD)
        self.assertFalse(new.exists())
        self.assertEqual(tally(*self.sync(db=new))[0], FINE)
        self.assertEqual(tally("balance", user(1), "--db", new)[1], "10\n")

    # ---- rejected ----

    def test_a_rejected_operation_is_kept_shown_and_dismissed(self):
        self.enrolled()
        number = self.overspent()
        status, out, _ = tally(*self.sync())
        self.assertEqual(status, REFUSED)
        self.assertIn("tally rejected list", out)
        self.assertEqual(self.json("status", "--db", self.db, status=REFUSED)["rejected"], 1)
        listed = self.json("rejected", "list", "--db", self.db)["rejected"]
        self.assertEqual([(r["number"], r["op"], r["code"]) for r in listed],
                         [(number, "reserve_credits", "insufficient_credits")])
        self.assertIn("insufficient_credits", tally("rejected", "list", "--db", self.db)[1])
        one = self.json("rejected", "show", number, "--db", self.db)
        self.assertEqual((one, one["operation"]["amount"]), (listed[0], 8))
        self.assertIn("The balance does not cover it.", tally("rejected", "show", number, "--db", self.db)[1])
        self.assertEqual(self.json("rejected", "dismiss", number, "--db", self.db), {"number": number, "dismissed": True})
        for command in ("show", "dismiss", "retry"):
            self.assert_error(tally("rejected", command, number, "--db", self.db), REFUSED, "tally rejected list")
        self.assertEqual(tally("rejected", "list", "--db", self.db), (FINE, "Nothing is rejected.\n", ""))
        self.assertEqual(tally(*self.sync())[0], FINE)
        self.assertEqual(tally("verify", "--db", self.db, "--pg", self.pg)[0], FINE)

    def test_a_rejected_operation_is_retried_once_it_can_be(self):
        self.enrolled()
        number = self.overspent()
        self.assert_error(tally("rejected", "retry", number, "--db", self.db), REFUSED, "insufficient_credits")
        self.applied(("add_credits", dict(user_id=user(1), amount=5, type="grant")), db=self.pg, at="--pg")
        self.assertEqual(tally(*self.sync())[0], REFUSED)
        retried = self.json("rejected", "retry", number, "--db", self.db)
        self.assertEqual((retried["number"], retried["balance"]), (number, 2))
        self.assertEqual(self.json("status", "--db", self.db, status=REFUSED)["pending"], 1)
        self.assertEqual(self.json(*self.sync())["pushed"], 1)
        self.assertEqual(tally("verify", "--db", self.db, "--pg", self.pg)[0], FINE)

    # ---- leases ----

    def test_a_lease_is_opened_added_to_returned_and_written_off(self):
        self.applied(("create_user", dict(user_id=user(2))))
        opening = ["lease", "open", user(1), "--amount", 4, "--ttl", 3600, "--db", self.db]
        self.assert_error(tally(*opening), REFUSED, "no device yet")
        self.enrolled()
        opened = self.json(*opening)
        self.assertEqual((opened["user_id"], opened["amount"], opened["ttl_s"]), (user(1), 4, 3600))
        self.assertEqual(self.json("lease", "list", "--db", self.db), {"leases": []})
        self.assertEqual(tally(*self.sync())[0], FINE)
        lease = self.json("lease", "list", "--db", self.db)["leases"][0]
        self.assertEqual((lease["lease_id"], lease["user_id"], lease["unspent"], lease["returning"]),
                         (opened["lease_id"], user(1), 4, False))
        self.assertEqual(self.json("status", "--db", self.db)["leases"], [lease])
        self.assertEqual(tally("balance", user(1), "--db", self.db)[1], "6\n")
        status, out, _ = tally(*opening)
        self.assertEqual(status, FINE)
        self.assertIn(opened["lease_id"], out)
        self.assertIn("next sync", out)
        self.assertEqual(tally(*self.sync())[0], FINE)
        self.assertIn(" 8  ", tally("lease", "list", "--db", self.db)[1])
        self.assertEqual(self.json("device", "list", "--pg", self.pg)["devices"][0]["leased"], 8)
        returned = self.json("lease", "return", lease["lease_id"], "--db", self.db)
        self.assertEqual(returned["lease_id"], lease["lease_id"])
        self.assertTrue(self.json("lease", "list", "--db", self.db)["leases"][0]["returning"])
        self.assert_error(tally(*opening), REFUSED, "being returned")
        self.assertEqual(tally(*self.sync())[0], FINE)
        self.assertEqual(tally("lease", "list", "--db", self.db), (FINE, "No open leases.\n", ""))
        self.assertEqual(tally("balance", user(1), "--db", self.db)[1], "10\n")
        self.assert_error(tally("lease", "return", lease["lease_id"], "--db", self.db), REFUSED, "tally lease list")
        another = self.json(*opening)["lease_id"]
        self.assertEqual(tally(*self.sync())[0], FINE)
        self.assertEqual(self.json("lease", "write-off", another, "--pg", self.pg), {"lease_id": another, "returned": 4})
        self.assert_error(tally("lease", "write-off", another, "--pg", self.pg), REFUSED, another)
        self.assertEqual(tally(*self.sync())[0], FINE)
        self.assertEqual(self.json("lease", "list", "--db", self.db), {"leases": []})
        self.assertEqual(tally("verify", "--db", self.db, "--pg", self.pg)[0], FINE)

    def test_a_lease_is_kept_filled(self):
        self.device("author,worker,service")
        self.applied(("create_user", dict(user_id=user(1))), db=self.pg, at="--pg")
        made = self.json("device", "add", "--pg", self.pg, "--name", "one", "--capabilities", "author,worker", "--user", user(1))
        self.write_token(made["token"])
        keeping = self.sync("--lease", 6, "--lease-low-water", 3, "--lease-ttl", 3600)
        run = tally(*keeping)
        self.assertEqual(run[0], FINE, run)
        self.assertEqual([lease["unspent"] for lease in self.json("lease", "list", "--db", self.db)["leases"]], [6])
        self.assertEqual(tally(*self.sync("--lease-ttl", 5))[0], USAGE)

    # ---- subscriptions ----

    def test_a_device_over_all_users_is_fed_some_of_them(self):
        self.enrolled()
        self.applied(("create_user", dict(user_id=user(2))), db=self.pg, at="--pg")
        self.assertEqual(tally(*self.sync())[0], FINE)
        users = lambda: sorted(row[0] for row in sqlite3.connect(self.db).execute("select id from users"))
        self.assertEqual(users(), [user(1), user(2)])
        self.assertEqual(tally(*self.sync("--only", user(2)))[0], FINE)
        self.assertEqual(users(), [user(2)])
        self.assertEqual(tally(*self.sync())[0], FINE)
        self.assertEqual(users(), [user(2)])
        self.assertEqual(tally(*self.sync("--all"))[0], FINE)
        self.assertEqual(users(), [user(1), user(2)])
        self.assertEqual(tally(*self.sync("--all", "--only", user(2)))[0], USAGE)
        self.assertEqual(tally(*self.sync("--only", "me"))[0], USAGE)

    # ---- claims ----

    def test_the_next_job_is_claimed(self):
        self.enrolled()
        claim = ["claim-next", "--db", self.db, "--pg", self.pg, "--token-file", self.token, "--ttl", 60]
        self.assert_error(tally(*claim), REFUSED, "no job")
        self.assertEqual(self.json(*claim, status=REFUSED), {"job_id": None})
        self.assertEqual(self.applied(*self.job(1, 2, queued=True), *self.job(2, 2, queued=True)), ["ok"] * 8)
        self.assertEqual(tally(*self.sync())[0], FINE)
        claimed = {self.json(*claim)["job_id"], tally(*claim)[1].strip()}
        self.assertEqual(claimed, {f"10b00000-0000-4000-8000-{n:012d}" for n in (1, 2)})
        self.assert_error(tally(*claim), REFUSED, "no job")
        self.assertEqual(self.postgres.sql("select count(*) from tally.job_state where claim_until > now()", self.name), "2")

    def test_a_device_that_is_no_worker_claims_nothing(self):
        self.enrolled("author,service")
        run = tally("claim-next", "--db", self.db, "--pg", self.pg, "--token-file", self.token, "--ttl", 60)
        self.assert_error(run, REFUSED, "capability worker")

    # ---- watch ----

    def watch(self, *more):
        """`sync --watch`, and a function that answers with its events up to the first that is wanted."""
        command = subprocess.Popen([PROGRAM, *map(str, self.sync("--watch", "--json", *more))], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        self.addCleanup(lambda: (command.kill(), command.communicate()))

        def until(**wanted):
            events = []
            for text in command.stdout:
                events.append(json.loads(text))
                if wanted.items() <= events[-1].items():
                    return events
            self.fail(f"no {wanted}: {events}, {command.stderr.read()}")

        return command, until

    def end(self, command, sign=signal.SIGTERM):
        command.send_signal(sign)
        out, err = command.communicate(timeout=30)
        self.assertEqual((command.returncode, err), (FINE, b""))
        self.assertEqual(json.loads(out.splitlines()[-1])["event"], "end")

    def test_a_watch_pushes_what_comes_and_ends_at_a_signal(self):
        self.enrolled()
        for sign in (signal.SIGINT, signal.SIGTERM):
            command, until = self.watch()
            until(event="state", state="synced")
            self.applied(*self.job(sign))
            self.assertEqual(until(event="pushed")[-1]["pushed"], 2)
            self.end(command, sign)
            self.assertEqual(tally("status", "--db", self.db)[0], FINE)
        self.assertEqual(tally("verify", "--db", self.db, "--pg", self.pg)[0], FINE)

    def test_one_process_syncs_and_the_next_stands_by(self):
        self.enrolled()
        first, first_until = self.watch()
        first_until(state="synced")
        second, second_until = self.watch()
        second_until(state="standby")
        self.assert_error(tally(*self.sync("--timeout", 1)), WORLD, "another process syncs this mirror")
        self.assert_error(tally("claim-next", *self.sync("--timeout", 1, "--ttl", 9)[1:]), WORLD, "alone can claim")
        before = time.monotonic()
        first.kill()
        second_until(state="synced")
        self.assertLess(time.monotonic() - before, 5)
        self.end(second)

    def test_a_watch_takes_up_another_token(self):
        device = self.enrolled()
        rotated = self.json("device", "rotate", device, "--pg", self.pg)["token"]
        command, until = self.watch()
        self.assertEqual(until(state="paused")[-1]["error_class"], "authentication")
        self.write_token(rotated)
        until(state="synced")
        self.end(command)

    def test_a_watch_tells_of_trouble_and_of_what_is_rejected(self):
        self.enrolled()
        self.applied(*self.job(1, 8))
        self.applied(("expire_credits", dict(user_id=user(1), amount=5)), db=self.pg, at="--pg")
        command, until = self.watch()
        self.assertEqual(until(event="rejected")[-1]["rejected"]["code"], "insufficient_credits")
        until(state="idle")
        self.postgres.sql(f"alter database {self.name} allow_connections false")
        self.postgres.sql("select pg_terminate_backend(pid) from pg_stat_activity where"
                          f" datname = '{self.name}' and application_name = 'tally'")
        self.assertEqual(until(state="waiting")[-1]["error_class"], "transient")
        self.postgres.sql(f"alter database {self.name} allow_connections true")
        until(state="idle")
        self.end(command)

    def test_a_watch_ends_after_its_time_and_when_it_cannot_go_on(self):
        self.enrolled()
        status, out, err = tally(*self.sync("--watch", "--timeout", 1))
        self.assertEqual((status, err), (FINE, ""))
        self.assertRegex(out, r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  synced\n")
        self.assertTrue(out.endswith("  stopped\n"), out)
        self.postgres.sql("update tally_sync.devices set watermark = 0, confirmed = 0", self.name)
        status, out, err = tally(*self.sync("--watch"))
        self.assertEqual(status, WORLD)
        self.assertIn("an operator decides", err)


if __name__ == "__main__":
    unittest.main()
