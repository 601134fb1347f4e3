#!/usr/bin/env python3
"""`tally inspect`, over HTTP as an attacker would and in a real Chromium as a person does.

usage: inspect_test.py PROGRAM [unittest arguments]
       inspect_test.py PROGRAM --screenshots DIR   a picture of every page, theme and mirror
"""

import hashlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.parse

sys.dont_write_bytecode = True  # The sources' folder stays as it is.

import cli_test
from cli_test import ADA, FINE, NOBODY, USAGE, WORLD, Postgres, tally

import chromium
import inspect_mirrors
from inspect_mirrors import HOSTILE_USER, JOBS, PROMPT, SESSION

SKIPPED = 77
PAGES = ["overview", "accounts", "jobs", "outbox", "rejected", "sync", "audit"]
# TALLY_TEST_LONG=1 looks at a million entries; the short form at as many as are made in a second or two.
HUGE = 1_000_000 if os.environ.get("TALLY_TEST_LONG") == "1" else 20_000
ANSWER_MS_MAX = 200


class Inspector:
    """The command, while it runs."""

    def __init__(self, db, *options):
        self.process = subprocess.Popen([cli_test.PROGRAM, "inspect", "--db", db, *options], stdout=subprocess.PIPE, text=True)
        self.address = self.process.stdout.readline().strip()
        url = urllib.parse.urlsplit(self.address)
        self.port, self.path = url.port, url.path

    def close(self):
        self.process.terminate()
        status = self.process.wait(timeout=20)
        self.process.stdout.close()
        assert status == FINE, status

    def ask(self, path, method="GET", **headers):
        """The status, the headers and the body of what the path behind the token answers."""
        return self.ask_at(self.path + path, method, **headers)

    def ask_at(self, path, method="GET", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, dict(answer.getheaders()), body

    def value(self, path):
        status, _, body = self.ask("api/" + path)
        assert status == 200, (path, status, body)
        return json.loads(body)


def bytes_of(db):
    return hashlib.sha256(pathlib.Path(db).read_bytes()).hexdigest()


class WithMirrors(unittest.TestCase):
    """The mirrors are made once."""

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="tally-inspect-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, True)
        cls.mirrors = {}

    @classmethod
    def mirror(cls, kind):
        if kind not in cls.mirrors:
            path = cls.folder / f"{kind}.db"
            if kind == "huge":
                inspect_mirrors.huge(path, HUGE)
            elif kind == "synced":
                server = Postgres()
                cls.addClassCleanup(server.close)
                inspect_mirrors.synced(path, server, cls.folder)
            else:
                getattr(inspect_mirrors, kind)(path)
            cls.mirrors[kind] = path
        return cls.mirrors[kind]

    def inspector(self, db, *options):
        inspector = Inspector(db, *options)
        self.addCleanup(inspector.close)
        return inspector


class Security(WithMirrors):
    def setUp(self):
        self.inspector = self.__class__.inspector_of_all()

    @classmethod
    def inspector_of_all(cls):
        if not hasattr(cls, "shared"):
            cls.shared = Inspector(cls.mirror("normal"))
            cls.addClassCleanup(cls.shared.close)
        return cls.shared

    def test_every_request_needs_the_token(self):
        token = self.inspector.path.strip("/")
        self.assertRegex(token, "^[0-9a-f]{64}$")
        other = ("0" if token[0] != "0" else "1") + token[1:]
        for path in ("/", "/index.html", "/main.js", "/api/overview", f"/{other}/", f"/{other}/api/overview", f"/{token[:-1]}/", f"/{token}0/",
                     f"/{token.upper()}/x", "//", f"//{token}/", f"/x/{token}/", f"/?{token}/", f"/{token}", "/%2e%2e/", "/favicon.ico"):
            with self.subTest(path=path):
                status, _, body = self.inspector.ask_at(path)
                self.assertEqual(status, 403)
                self.assertNotIn(b"<", body)
        self.assertEqual(self.inspector.ask("")[0], 200)

    def test_each_run_has_another_token(self):
        other = self.inspector_at(self.mirror("empty"))
        self.assertNotEqual(other.path, self.inspector.path)
        self.assertEqual(other.ask_at(self.inspector.path)[0], 403)

    def inspector_at(self, db):
        inspector = Inspector(db)
        self.addCleanup(inspector.close)
        return inspector

    def test_a_name_that_was_made_to_point_here_is_not_answered(self):
        port = self.inspector.port
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port + 1}", f"127.0.0.1:{port}.evil.example",
                     f"localhost.evil.example:{port}", "", f"[::1]:{port}", f"0.0.0.0:{port}"):
            with self.subTest(host=host):
                self.assertEqual(self.inspector.ask("api/overview", Host=host)[0], 421)
        self.assertEqual(self.inspector.ask("api/overview", Host=f"localhost:{port}")[0], 200)

    def test_another_origin_is_not_answered(self):
        port = self.inspector.port
        for origin in ("http://evil.example", "null", f"https://127.0.0.1:{port}", f"http://127.0.0.1:{port}.evil.example",
                       "http://127.0.0.1", f"http://127.0.0.1:{port - 1}", "file://", ""):
            with self.subTest(origin=origin):
                status, headers, _ = self.inspector.ask("api/overview", Origin=origin)
                self.assertEqual(status, 403)
                self.assertFalse([name for name in headers if name.lower().startswith("access-control")])
        for site in ("cross-site", "same-site"):
            self.assertEqual(self.inspector.ask("", Sec_Fetch_Site=site)[0], 403)
        self.assertEqual(self.inspector.ask("api/overview", Origin=f"http://127.0.0.1:{port}", Sec_Fetch_Site="same-origin")[0], 200)

    def test_only_get_is_answered(self):
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "CONNECT", "PROPFIND", "MERGE"):
            with self.subTest(method=method):
                self.assertEqual(self.inspector.ask("api/overview", method)[0], 405)

    def test_only_the_pages_own_files_are_there(self):
        for path in ("../../etc/passwd", "..%2f..%2fetc/passwd", "%2e%2e/%2e%2e/etc/passwd", "/etc/passwd", "....//etc/passwd",
                     "index.html/", "main.js%00", "normal.db", "inspector/main.js", "api", "api/../main.js", "API/overview"):
            with self.subTest(path=path):
                self.assertIn(self.inspector.ask(path)[0], (400, 404))

    def test_what_is_asked_wrongly_is_refused_in_json(self):
        for path in ("nothing", "account", f"account/{NOBODY}", "account/x", f"job/{NOBODY}", "search?q=", "search?q=xyz", "search?q=" + "0" * 33,
                     "job/' or 1=1", "jobs?user=x", f"chart/{NOBODY}", f"entries/{NOBODY}", "search?q=%27%25%00"):
            with self.subTest(path=path):
                status, _, body = self.inspector.ask("api/" + urllib.parse.quote(path, safe="/?=%&'"))
                self.assertIn(status, (400, 404))
                self.assertTrue(json.loads(body)["error"])
        for path in (f"chart/{ADA}?from=9999999999999999999&to=-1", f"entries/{ADA}?before=-5", "accounts?offset=99999&order=x", "jobs?before=x"):
            self.inspector.value(path)

    def test_headers_keep_the_page_to_itself(self):
        for path in ("", "main.js", "api/overview", "nothing"):
            _, headers, _ = self.inspector.ask(path)
            self.assertEqual(headers["Cache-Control"], "no-store")
            self.assertEqual(headers["Referrer-Policy"], "no-referrer")
            self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
            self.assertEqual(headers["Cross-Origin-Resource-Policy"], "same-origin")
            policy = headers["Content-Security-Policy"]
            self.assertTrue(policy.startswith("default-src 'none'; "))
            for word in ("unsafe", "*", "http"):
                self.assertNotIn(word, policy)

    def raw(self, data, wait=True):
        with socket.create_connection(("127.0.0.1", self.inspector.port), timeout=20) as connection:
            connection.sendall(data)
            return connection.recv(4096) if wait else b""

    def test_what_is_no_request_or_too_large_ends_the_connection(self):
        host = f"Host: 127.0.0.1:{self.inspector.port}\r\n".encode()
        for data in (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n" + host + b"\r\n", b"GET / HTTP/1.1\r\n" + host + b"X: y\r\n" * 5_000 + b"\r\n",
                     b"\x16\x03\x01\x02\x00" * 30, b"GET / HTTP/9.9\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n" + host + host + b"\r\n",
                     b"POST / HTTP/1.1\r\n" + host + b"Content-Length: 99999999999\r\n\r\n"):
            try:
                answer = self.raw(data)
            except ConnectionResetError:
                answer = b""
            self.assertTrue(answer == b"" or re.match(rb"HTTP/1\.[01] 4\d\d ", answer), (data[:40], answer[:100]))
        self.assertEqual(self.inspector.ask("")[0], 200)

    def test_connections_that_say_nothing_do_not_keep_others_out_for_good(self):
        silent = [socket.create_connection(("127.0.0.1", self.inspector.port)) for _ in range(200)]
        # Those behind the bound are closed unheard.
        time.sleep(0.3)
        closed = 0
        for connection in silent:
            connection.settimeout(0.001)
            try:
                closed += connection.recv(1) == b""
            except TimeoutError:
                pass
            except ConnectionResetError:
                closed += 1
        self.assertGreaterEqual(closed, 136)
        for connection in silent:
            connection.close()
        time.sleep(0.3)
        self.assertEqual(self.inspector.ask("")[0], 200)

    def test_it_listens_on_loopback_alone(self):
        table = pathlib.Path("/proc/net/tcp").read_text() + pathlib.Path("/proc/net/tcp6").read_text()
        listening = [line.split()[1] for line in table.splitlines() if line.split()[3] == "0A"]
        self.assertEqual([each for each in listening if each.endswith(f":{self.inspector.port:04X}")], [f"0100007F:{self.inspector.port:04X}"])


class ReadOnly(WithMirrors):
    def test_looking_at_everything_leaves_the_bytes_as_they_are(self):
        db = self.folder / "looked-at.db"
        inspect_mirrors.normal(db)
        before = bytes_of(db)
        inspector = Inspector(db)
        for path in PAGES + ["audit?run=1", f"account/{ADA}", f"chart/{ADA}", f"entries/{ADA}", f"job/{JOBS['ready']}", "search?q=1"]:
            inspector.value(path)
        inspector.close()
        self.assertEqual(tally("inspect", "--db", db, "--html", self.folder / "looked-at.html")[0], FINE)
        self.assertEqual(bytes_of(db), before)

    def test_a_file_that_may_not_be_written_is_shown(self):
        db = self.folder / "no-writing.db"
        shutil.copy(self.mirror("normal"), db)
        db.chmod(0o400)
        inspector = self.inspector(db)
        self.assertGreater(inspector.value("overview")["entries"], 0)

    def test_a_mirror_that_others_write_can_be_looked_at_and_does_not_hinder_them(self):
        db = self.folder / "written.db"
        inspect_mirrors.normal(db)
        inspector = self.inspector(db)
        for n in range(5):
            before = inspector.value("overview")
            trace = inspect_mirrors.Trace(f"0f0f0f0{n}", 200_000 + n)
            trace.add("add_credits", user_id=ADA, amount=3, type="grant", note=f"note {n}")
            self.assertEqual(inspect_mirrors.replay(db, trace.text()), ["ok"])
            after = inspector.value("overview")
            self.assertNotEqual(before["change"], after["change"])
            self.assertEqual(after["balance"], before["balance"] + 3)
            self.assertEqual(inspector.value(f"entries/{ADA}")["rows"][0]["note"], f"note {n}")

    def test_what_is_no_mirror_is_refused(self):
        for name, content in (("nothing.db", None), ("empty.file", b""), ("text.db", b"not a database at all" * 100)):
            path = self.folder / name
            if content is not None:
                path.write_bytes(content)
            status, out, err = tally("inspect", "--db", path)
            self.assertEqual((status, out), (WORLD, ""))
            self.assertIn("tally: ", err)
        for arguments in (["--port", "0"], ["--port", "70000"], ["--html", "x", "--port", "4000"], ["--timeout", "0"]):
            self.assertEqual(tally("inspect", "--db", self.mirror("normal"), *arguments)[0], USAGE)

    def test_an_older_mirror_is_not_migrated(self):
        db = self.folder / "older.db"
        connection = sqlite3.connect(db)
        connection.execute("pragma journal_mode = wal")
        connection.executescript((pathlib.Path(__file__).resolve().parents[2] / "sql/mirror/0001_mirror.sql").read_text())
        connection.execute(f"pragma application_id = {0x54616c6c}")
        connection.execute("pragma user_version = 1")
        connection.close()
        before = bytes_of(db)
        status, _, err = tally("inspect", "--db", db)
        self.assertEqual(status, WORLD)
        self.assertIn("older schema", err)
        self.assertEqual(bytes_of(db), before)

    def test_a_port_that_is_taken_is_a_failure(self):
        inspector = self.inspector(self.mirror("normal"))
        status, _, err = tally("inspect", "--db", self.mirror("normal"), "--port", inspector.port)
        self.assertEqual(status, WORLD)
        self.assertIn("without --port", err)


class Data(WithMirrors):
    """What the answers say, beside what the file says."""

    def query(self, db, sql):
        connection = sqlite3.connect(f"file:{db}?mode=ro", uri=True)
        rows = connection.execute(sql).fetchall()
        connection.close()
        return rows

    def test_accounts_entries_and_charts_are_the_files(self):
        db = self.mirror("normal")
        inspector = self.inspector(db)
        for account in inspector.value("accounts")["rows"]:
            user = account["user_id"]
            rows = self.query(db, f"select seq, amount, balance_after, type, id from credit_ledger where user_id = '{user}' order by seq")
            self.assertEqual(account["balance"], sum(row[1] for row in rows))
            self.assertEqual(account["entries"], len(rows))
            entries = inspector.value(f"entries/{user}")["rows"][::-1]
            self.assertEqual([(e["seq"], e["amount"], e["balance_after"], e["type"], e["id"]) for e in entries], rows)
            steps = inspector.value(f"chart/{user}")["steps"]
            self.assertEqual([step["balance"] for step in steps], [row[2] for row in rows])
            self.assertEqual(steps[-1]["held"], account["held"])
            for step, entry in zip(steps, entries):
                self.assertEqual(step["words"], entry["words"])
                self.assertTrue(step["words"].endswith(f"balance {entry['balance_after']:,}"), step)

    def test_a_charts_steps_of_many_entries_leave_nothing_out(self):
        db = self.mirror("huge")
        inspector = self.inspector(db)
        rows = self.query(db, f"select seq, amount, balance_after from credit_ledger where user_id = '{inspect_mirrors.BIG_USER}' order by seq")
        chart = inspector.value(f"chart/{inspect_mirrors.BIG_USER}")
        self.assertLessEqual(len(chart["steps"]), 400)
        self.assertEqual([chart["steps"][0]["first_seq"], chart["steps"][-1]["last_seq"]], [1, len(rows)])
        for step, following in zip(chart["steps"], chart["steps"][1:] + [{"first_seq": len(rows) + 1}]):
            self.assertEqual(step["last_seq"] + 1, following["first_seq"])
            balances = [row[2] for row in rows[step["first_seq"] - 1:step["last_seq"]]]
            self.assertEqual((step["low"], step["high"], step["balance"]), (min(balances), max(balances), balances[-1]))
        part = inspector.value(f"chart/{inspect_mirrors.BIG_USER}?from=101&to=300")
        self.assertEqual((part["before"], len(part["steps"])), (rows[99][2], 200))

    def test_answers_are_quick_also_from_many_entries(self):
        inspector = self.inspector(self.mirror("huge"))
        big = inspect_mirrors.BIG_USER
        inspector.value("overview")
        paths = ["overview", "accounts", "accounts?order=balance", "accounts?order=entries&offset=100", "jobs", "jobs?state=FAILED", "jobs?state=READY",
                 f"jobs?user={big}", f"account/{big}", f"chart/{big}", f"chart/{big}?from=1000&to=1400", f"entries/{big}",
                 f"entries/{big}?before=5000", f"job/{1:08x}-0000-7000-9000-000000000000", "outbox", "outbox?after=5000", "rejected", "sync", "search?q=0"]
        slow = {}
        for path in paths:
            times = []
            for _ in range(3):
                start = time.monotonic()
                inspector.value(path)
                times.append((time.monotonic() - start) * 1000)
            print(f"{min(times):7.1f} ms  {path}", file=sys.stderr)
            if min(times) > ANSWER_MS_MAX:
                slow[path] = times
        self.assertEqual(slow, {})

    def test_jobs_can_be_paged_through(self):
        inspector = self.inspector(self.mirror("huge"))
        seen, address = [], "jobs?state=FAILED"
        while address and len(seen) < 1000:
            page = inspector.value(address)
            seen += [row["job_id"] for row in page["rows"]]
            self.assertEqual({row["status"] for row in page["rows"]}, {"FAILED"})
            address = page["next"] and f"jobs?state=FAILED&before={page['next']}"
        self.assertEqual(len(seen), len(set(seen)))
        total = inspector.value("overview")["jobs"]["FAILED"]
        self.assertEqual(len(seen), total if total < 1000 else len(seen))

    def test_a_jobs_story_says_what_its_credits_did(self):
        inspector = self.inspector(self.mirror("normal"))
        ready = inspector.value(f"job/{JOBS['ready']}")["story"]
        self.assertRegex(ready[0], r"^At 2026-02-01 .* 8 credits were reserved: the balance went to \d+\.$")
        self.assertRegex(ready[1], r"the job was settled: 5 credits were charged, and 3 that it did not need went back\.$")
        self.assertEqual(ready[2:], ["Nothing is held any more. The job cost 5 credits."])
        failed = inspector.value(f"job/{JOBS['failed']}")["story"]
        self.assertIn("8 credits were given back, since the job failed", failed[1])
        self.assertEqual([inspector.value(f"job/{JOBS[name]}")["hold"] for name in ("ready", "failed", "rendering")], [0, 0, 8])
        self.assertIn("8 credits are held", inspector.value(f"job/{JOBS['rendering']}")["story"][-1])
        self.assertIn("No credits were reserved yet", inspector.value(f"job/{JOBS['pending']}")["story"][0])

    def test_why_is_what_tally_why_says(self):
        for kind, job in (("normal", JOBS["rendering"]), ("normal", JOBS["failed"]), ("normal", JOBS["hostile"]), ("synced", None)):
            db = self.mirror(kind)
            inspector = self.inspector(db, "--show-prompts")
            job = job or inspector.value("jobs")["rows"][0]["job_id"]
            why = inspector.value(f"why/{job}")
            said = json.loads(tally("why", job, "--db", db, "--json")[1])
            for answer in (why, said):  # Each has operations of its own.
                for remedy in answer["remedies"]:
                    remedy["command"] = re.sub(r'"(op_id|at)":"[^"]*"', "", remedy["command"] or "")
            self.assertEqual(why, said)
            self.assertIn(str(db), "".join(remedy["command"] for remedy in why["remedies"]) or str(db))
        self.assertEqual(self.inspector(self.mirror("normal")).ask(f"api/why/{NOBODY}")[0], 404)

    def test_every_kind_of_id_is_found_by_its_beginning(self):
        db = self.mirror("synced")
        inspector = self.inspector(db)
        wanted = {"user": "select id from users limit 3", "job": "select id from jobs limit 5", "project": "select id from projects limit 3",
                  "entry": "select id from credit_ledger limit 40", "draft": "select id from draft_prompts limit 2",
                  "asset": "select id from assets limit 3", "operation": "select lower(substr(hex(id), 1, 12) || substr(hex(id), 31, 2)) from tally_operation limit 5"}
        for kind, sql in wanted.items():
            for (found_id,) in self.query(db, sql):
                bare = found_id.replace("-", "")
                for begin in (found_id, bare.upper(), bare[:13] if kind != "entry" else bare[:31]):
                    hits = inspector.value(f"search?q={begin}")["rows"]
                    with self.subTest(kind=kind, begin=begin):
                        self.assertTrue([row for row in hits if row["kind"] == kind and row["id"].replace("-", "").startswith(bare)], hits)
        sync = inspector.value("sync")
        self.assertEqual(inspector.value(f"search?q={sync['device_id'][:12]}")["rows"][0]["kind"], "device")
        self.assertEqual(inspector.value(f"search?q={sync['leases'][0]['lease_id']}")["rows"][-1]["kind"], "lease")

    def test_sync_outbox_and_rejected_are_as_the_other_commands_say(self):
        db = self.mirror("synced")
        inspector = self.inspector(db)
        status = json.loads(tally("status", "--db", db, "--json")[1])
        sync = inspector.value("sync")
        for name in ("device_id", "pending", "blocked", "rejected", "acked", "in_sync", "capabilities"):
            self.assertEqual(sync[name], status[name], name)
        outbox = inspector.value("outbox")["rows"]
        self.assertEqual([row["op"] for row in outbox], ["update_project", "add_credits", "create_draft"])
        self.assertEqual({(row["state"], row["code"], row["sentence"]) for row in outbox}, {("waiting", None, None)})
        after = inspector.value(f"outbox?after={outbox[0]['number']}")["rows"]
        self.assertEqual(after, outbox[1:])
        rejected = json.loads(tally("rejected", "list", "--db", db, "--json")[1])["rejected"]
        self.assertGreaterEqual(len(rejected), 1)
        self.assertEqual([(row["number"], row["code"]) for row in inspector.value("rejected")["rows"]], [(row["number"], row["code"]) for row in rejected])

    def test_prompts_are_not_sent_unless_asked_for_and_tokens_never(self):
        db = self.mirror("normal")
        paths = [f"account/{ADA}", "accounts", f"job/{JOBS['ready']}", "outbox", "outbox?after=60", "outbox?after=120", "overview", "rejected"]
        hidden = "".join(json.dumps(self.inspector(db).value(path)) for path in paths)
        shown = "".join(json.dumps(self.inspector(db, "--show-prompts").value(path)) for path in paths)
        for text in (PROMPT, "@example.com"):
            self.assertNotIn(text, hidden)
            self.assertIn(text, shown)
        for text in (hidden, shown):
            self.assertNotIn(SESSION, text)
            self.assertNotIn("session-ada", text)
            self.assertIn('"session_token": {"hidden_bytes"', text)
        for options, is_there in (((), False), (("--show-prompts",), True)):
            out = self.folder / "prompts.html"
            self.assertEqual(tally("inspect", "--db", db, "--html", out, *options)[0], FINE)
            self.assertEqual(PROMPT in out.read_text(), is_there)
            self.assertNotIn(SESSION, out.read_text())

    def test_an_audit_finds_what_is_wrong(self):
        db = self.folder / "wrong.db"
        inspect_mirrors.normal(db)
        connection = sqlite3.connect(db)
        connection.execute("update tally_entry set balance_after = balance_after + 1 where e = (select max(e) from tally_entry)")
        connection.commit()
        connection.close()
        inspector = self.inspector(db)
        self.assertEqual(inspector.value("audit")["state"], "none")
        inspector.value("audit?run=1")
        end = time.monotonic() + 20
        while (audit := inspector.value("audit"))["state"] != "done" and time.monotonic() < end:
            time.sleep(0.05)
        self.assertIn("I4", [finding["invariant"] for finding in audit["report"]["findings"]])


class LongAudit(WithMirrors):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.db = cls.mirror("audited_for_long")
        inspector = Inspector(cls.db)
        started = time.monotonic()
        inspector.value("audit?run=1")
        cls.until(inspector, "done")
        cls.whole = time.monotonic() - started
        inspector.close()

    @staticmethod
    def until(inspector, state):
        end = time.monotonic() + 60
        while (audit := inspector.value("audit"))["state"] != state and time.monotonic() < end:
            time.sleep(0.02)
        assert audit["state"] == state, audit
        return audit

    def setUp(self):
        if self.whole < 1:
            self.skipTest(f"the audit takes {self.whole:.1f} s alone: too short to be ended")

    def running(self):
        inspector = Inspector(self.db)
        self.assertEqual(inspector.value("audit?run=1")["state"], "running")
        time.sleep(self.whole / 10)
        return inspector

    def test_a_signal_does_not_wait_for_it(self):
        inspector = self.running()
        started = time.monotonic()
        inspector.close()
        self.assertLess(time.monotonic() - started, self.whole / 2)

    def test_it_can_be_ended_and_run_again(self):
        inspector = self.running()
        self.addCleanup(inspector.close)
        started = time.monotonic()
        inspector.value("audit?end=1")
        self.assertNotIn("report", self.until(inspector, "ended"))
        self.assertLess(time.monotonic() - started, self.whole / 2)
        inspector.value("audit?run=1")
        self.assertEqual(self.until(inspector, "done")["report"]["findings"], [])

    def test_tally_audit_ends_at_a_signal(self):
        audit = subprocess.Popen([cli_test.PROGRAM, "audit", "--db", self.db], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(self.whole / 4)
        started = time.monotonic()
        audit.send_signal(signal.SIGINT)
        err = audit.communicate(timeout=60)[1]
        self.assertEqual((audit.returncode, err), (130, b"tally: interrupted: the audit is not complete\n"))
        self.assertLess(time.monotonic() - started, self.whole / 2)


# ---- in the browser ----------------------------------------------------------------------------

# Every element with text of its own: its colour and what is behind it, as the browser computes them.
CONTRAST = r"""(() => {
  const rgb = (text) => { const m = text.match(/[\d.]+/g).map(Number); return [m[0], m[1], m[2], m[3] ?? 1]; };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const light = ([r, g, b]) => { const f = (c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
  const low = [];
  for (const e of document.body.querySelectorAll('*')) {
    if (!e.checkVisibility() || e.disabled || ![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
    const svg = e instanceof SVGElement;
    let ground = [0, 0, 0, 0];
    for (let p = e; p; p = p.parentElement) { const c = rgb(getComputedStyle(p).backgroundColor); if (c[3]) { ground = ground[3] ? ground : c; if (ground[3] === 1) break; } }
    if (ground[3] < 1) ground = over(ground, rgb(getComputedStyle(document.body).backgroundColor));
    const style = getComputedStyle(e);
    const ink = over(rgb(svg ? style.fill : style.color), ground);
    const [a, b] = [light(ink), light(ground)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) low.push(`${e.tagName}.${e.getAttribute('class') ?? ''} ${ratio.toFixed(2)} ${e.textContent.trim().slice(0, 30)}`);
  }
  return low;
})()"""

# What a reader that cannot see it would miss.
NAMELESS = r"""(() => {
  const bad = [];
  const name = (e) => (e.getAttribute('aria-label') || e.textContent || '').trim() || (e.id && document.querySelector(`label[for="${e.id}"]`)?.textContent);
  for (const e of document.querySelectorAll('a[href], button, input, select, summary, [tabindex="0"], [role=img], progress')) if (e.id !== 'main' && !name(e)) bad.push(e.outerHTML.slice(0, 120));
  for (const e of document.querySelectorAll('table')) if (!e.caption?.textContent || !e.querySelector('th[scope=col]')) bad.push('table ' + e.outerHTML.slice(0, 80));
  const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
  if (new Set(ids).size !== ids.length) bad.push('ids twice: ' + ids);
  for (const what of ['main', 'header', 'nav[aria-label]', 'h1', '[role=search]']) if (document.querySelectorAll(what).length !== 1) bad.push(`${document.querySelectorAll(what).length} of ${what}`);
  if (document.documentElement.lang !== 'en' || !document.title) bad.push('no language or title');
  return bad;
})()"""

TOO_WIDE = "document.documentElement.scrollWidth > innerWidth + 1 && [...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll')).map((e) => e.tagName + '.' + e.getAttribute('class')).slice(0, 5)"


def ready(page, title):
    page.wait(f"document.querySelector('main h1')?.textContent === {json.dumps(title)} && !document.getElementById('main').hasAttribute('aria-busy')")


class InBrowser(WithMirrors):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not chromium.binary():
            raise unittest.SkipTest("there is no Chromium: ./dev test installs Debian's")
        cls.browser = chromium.Chromium()
        cls.addClassCleanup(cls.browser.close)

    def setUp(self):
        self.may_go_wrong = False

    def open(self, inspector, path="", **options):
        page = self.browser.page(**options)
        self.addCleanup(self.leave, page, inspector.address if isinstance(inspector, Inspector) else inspector)
        page.go((inspector.address if isinstance(inspector, Inspector) else inspector) + path)
        page.wait("document.querySelector('main h1, main .empty') !== null")
        return page

    def leave(self, page, address):
        """Whatever was looked at: nothing ran that should not, nothing complained, nothing else was asked."""
        page.eval("document.title")
        self.assertFalse(page.eval("Boolean(window.was_hacked)"))
        if not self.may_go_wrong:
            self.assertEqual(page.errors, [])
        base = address.split("#")[0]
        self.assertEqual([each for each in page.requests if not each.startswith(base) and not each.startswith("data:")], [])
        page.close()


class AuditInBrowser(InBrowser):
    def test_closing_the_page_that_began_it_ends_it(self):
        inspector = self.inspector(self.mirror("audited_for_long"))
        page = self.browser.page()
        page.go(inspector.address + "#/audit?run=1")
        page.wait("document.body.innerText.includes('The audit is running')")
        page.go("about:blank")
        LongAudit.until(inspector, "ended")
        page.close()

    def test_the_page_can_end_it(self):
        inspector = self.inspector(self.mirror("audited_for_long"))
        page = self.open(inspector, "#/audit?run=1")
        page.wait("document.body.innerText.includes('The audit is running')")
        page.eval("document.querySelector('a[href=\"#/audit?end=1\"]').click()")
        page.wait("document.body.innerText.includes('The audit was ended')")
        self.assertEqual(page.eval("location.hash"), "#/audit")


class Views(InBrowser):
    def views(self, inspector):
        big = f"#/account/{ADA}"
        titles = {"overview": "Overview", "accounts": "Accounts", "jobs": "Jobs", "outbox": "Outbox", "rejected": "Rejected operations", "sync": "Sync", "audit": "Audit"}
        return [(f"#/{name}", title) for name, title in titles.items()] + [(big, "Ada"), (f"#/job/{JOBS['failed']}", "The lighthouse of Alexandria"), ("#/search?q=10b", "Search")]

    def test_every_view_shows_what_is_in_the_mirror(self):
        inspector = self.inspector(self.mirror("synced"))
        page = self.open(inspector)
        says = {"#/overview": ["Not in sync", "Not audited yet", "1 FAILED"], "#/accounts": ["Ada", "5 accounts"], "#/jobs": ["VOICE_TIMEOUT", "RENDERING", "READY"],
                "#/outbox": ["update_project", "add_credits", "waiting"], "#/rejected": ["insufficient_credits", "tally rejected retry"],
                "#/sync": ["author, worker, service", "40"], f"#/account/{ADA}": ["Balance", "reserved for a job", "Open holds", "by entry"],
                f"#/job/{JOBS['failed']}": ["Failed at SCRIPTING", "VOICE_TIMEOUT", "The voice provider did not answer", "given back, since the job failed", "A retry makes a new reservation"],
                "#/search?q=10b": ["job", "10b00001-0000-4000-8000-0000000000aa"]}
        says[f"#/job/{JOBS['failed']}"][0] = "Failed at VOICE_GEN"
        says["#/overview"].pop()
        says["#/accounts"].pop()
        for address, words in says.items():
            page.go(inspector.address + address)
            with self.subTest(address=address):
                for word in words:
                    page.wait(f"document.body.innerText.includes({json.dumps(word)})")
        page.go(inspector.address + "#/audit?run=1")
        page.wait("document.body.innerText.includes('Nothing is wrong')")
        self.assertEqual(page.eval("location.hash"), "#/audit")

    def test_each_can_be_read_by_all_in_both_themes_and_narrow_windows(self):
        inspector = self.inspector(self.mirror("synced"))
        page = self.open(inspector)
        for theme in ("light", "dark"):
            page.theme(theme)
            for address, title in self.views(inspector):
                page.go(inspector.address + address)
                page.wait(f"location.hash === {json.dumps(address)}")
                page.wait("!document.getElementById('main').hasAttribute('aria-busy')")
                ready(page, title) if title != "Ada" else page.wait("document.querySelector('.chart')")
                with self.subTest(theme=theme, address=address):
                    self.assertEqual(page.eval(CONTRAST), [])
                    self.assertEqual(page.eval(NAMELESS), [])
                    for width in (1280, 400):
                        page.size(width, 900)
                        self.assertFalse(page.eval(TOO_WIDE))
                    page.size(1280, 900)

    def test_the_theme_can_be_chosen(self):
        page = self.open(self.inspector(self.mirror("empty")), theme="dark")
        ground = "getComputedStyle(document.body).backgroundColor"
        dark = page.eval(ground)
        page.eval("document.getElementById('theme').click()")
        light = page.eval(ground)
        self.assertNotEqual(dark, light)
        page.key("t")
        self.assertEqual(page.eval(ground), dark)

    def test_an_empty_mirror_says_what_to_do(self):
        inspector = self.inspector(self.mirror("empty"))
        page = self.open(inspector)
        for address, words in (("overview", "tally replay"), ("accounts", "create_user"), ("jobs", "create_job"), ("outbox", "The outbox is empty"),
                               ("rejected", "Nothing is rejected"), ("sync", "tally sync --token-file")):
            page.go(f"{inspector.address}#/{address}")
            page.wait(f"document.querySelector('main').innerText.includes({json.dumps(words)})")

    def test_texts_are_texts_whatever_they_say(self):
        inspector = self.inspector(self.mirror("normal"), "--show-prompts")
        page = self.open(inspector)
        for address in (f"#/account/{HOSTILE_USER}", f"#/job/{JOBS['hostile']}", "#/accounts", "#/jobs", "#/outbox?after=130", "#/search?q=<script>hacked()</script>"):
            page.go(inspector.address + address)
            page.wait(f"location.hash.startsWith({json.dumps(address.split('<')[0])})")
            page.wait("!document.getElementById('main').hasAttribute('aria-busy')")
            page.eval("for (const e of document.querySelectorAll('details')) e.open = true")
            self.assertEqual(page.eval("document.querySelectorAll('main script, main img, main b[onclick], main [onload], main [onerror]').length"), 0)
            self.assertFalse(page.eval(TOO_WIDE))
            self.may_go_wrong = "search" in address  # The refusal is a 400, which the browser notes.
        page.go(f"{inspector.address}#/account/{HOSTILE_USER}")
        page.wait("document.body.innerText.includes('<script>hacked()</script>')")

    def test_a_text_does_not_turn_what_stands_beside_it(self):
        page = self.open(self.inspector(self.mirror("normal")), "#/accounts")
        hidden = f"""document.querySelector('tr[data-key="{HOSTILE_USER}"] .hidden')"""
        page.wait(f"{hidden} !== null")
        left = "((text, at) => { const range = document.createRange(); range.setStart(text, at); range.setEnd(text, at + 1); return range.getBoundingClientRect().left; })"
        for width in (1280, 400):
            page.size(width, 900)
            self.assertLess(page.eval(f"{left}({hidden}.firstChild, 0)"), page.eval(f"{left}({hidden}.firstChild, 6)"))

    def test_a_narrow_window_shows_which_page_it_is(self):
        inspector = self.inspector(self.mirror("empty"))
        page = self.open(inspector, width=400)
        for name, title in (("audit", "Audit"), ("overview", "Overview")):
            page.go(f"{inspector.address}#/{name}")
            ready(page, title)
            page.wait("(({ left, right }) => left >= 0 && right <= innerWidth)(document.querySelector('#nav [aria-current]').getBoundingClientRect())")

    def test_the_page_follows_the_mirror_and_keeps_focus_scroll_and_selection(self):
        db = self.folder / "live.db"
        inspect_mirrors.normal(db)
        inspector = self.inspector(db)
        page = self.open(inspector, f"#/account/{ADA}", height=500)
        page.wait("document.querySelectorAll('#entries tbody tr').length > 5")
        page.eval("""(() => { const row = document.querySelectorAll('#entries tbody tr')[3]; row.querySelector('a').focus(); row.scrollIntoView();
            getSelection().selectAllChildren(row.cells[5]); window.kept = [document.activeElement, scrollY, String(getSelection())]; })()""")
        page.eval("document.getElementById('search-text').value = 'half typed'")
        trace = inspect_mirrors.Trace("0f0f0f0f", 200_000)
        trace.add("add_credits", user_id=ADA, amount=1234, type="grant", note="while you look")
        inspect_mirrors.replay(db, trace.text())
        page.wait("document.body.innerText.includes('while you look')", 10)
        self.assertTrue(page.eval("document.activeElement === window.kept[0] && String(getSelection()) === window.kept[2] && window.kept[2].length > 5"))
        self.assertLess(abs(page.eval("scrollY - window.kept[1]")), 60)
        self.assertEqual(page.eval("document.getElementById('search-text').value"), "half typed")
        self.may_go_wrong = True  # An end of the connection is noted by the browser.
        inspector.process.terminate()
        page.wait("document.getElementById('live').dataset.state === 'lost'", 10)

    def test_everything_can_be_reached_by_keyboard(self):
        inspector = self.inspector(self.mirror("normal"))
        page = self.open(inspector)
        at = "document.activeElement"
        page.key("Tab")
        self.assertEqual(page.eval(f"{at}.className"), "skip")
        page.key("2")
        ready(page, "Accounts")
        page.key("j")
        first = page.eval(f"{at}.title")
        page.key("ArrowDown")
        second = page.eval(f"{at}.title")
        self.assertNotEqual(first, second)
        page.key("k")
        self.assertEqual(page.eval(f"{at}.title"), first)
        page.key("Enter")
        page.wait("location.hash.startsWith('#/account/')")
        page.wait("document.querySelector('.chart .step')")
        for _ in range(30):
            page.key("Tab")
            if page.eval(f"{at}.classList.contains('step')"):
                break
        label = page.eval(f"{at}.getAttribute('aria-label')")
        self.assertRegex(label, r"^Step of entry \d+, .* UTC: .*balance [\d,]+$")
        page.key("ArrowLeft")
        self.assertNotEqual(page.eval(f"{at}.getAttribute('aria-label')"), label)
        words = page.eval(f"{at}.getAttribute('aria-label').split('UTC: ')[1]")
        self.assertIn(words, page.eval("document.querySelector('.says-box').innerText"))
        page.key("Home")
        self.assertIn("Step of entry 1,", page.eval(f"{at}.getAttribute('aria-label')"))
        page.key("Enter")
        page.wait("document.querySelector('tr.here')")
        page.key("/")
        self.assertEqual(page.eval(f"{at}.id"), "search-text")
        page.type(JOBS["rendering"][:13])
        page.key("Enter")
        ready(page, "Search")
        page.key("Escape")
        page.key("j")
        page.key("Enter")
        ready(page, "The lighthouse of Alexandria")
        page.key("?")
        page.wait("document.getElementById('keys').open")
        page.key("Escape")
        page.wait("!document.getElementById('keys').open")

    def test_many_entries_are_shown_in_bounded_pages(self):
        inspector = self.inspector(self.mirror("huge"))
        page = self.open(inspector, f"#/account/{inspect_mirrors.BIG_USER}")
        page.wait("document.querySelectorAll('.chart .step').length > 100")
        self.assertLess(page.eval("document.querySelectorAll('*').length"), 6_000)
        step = page.eval("document.querySelector('.chart .step').getAttribute('aria-label')")
        self.assertRegex(step, r"entries, 1 to [\d,]+: \+[\d,]+ came and \u2212[\d,]+ went")
        page.eval("document.querySelector('.chart .step').focus()")
        page.key("Enter")
        page.wait("location.hash.includes('to=')")
        page.wait("document.querySelector('.chart svg').getAttribute('aria-label').match(/[0-9]+/)[0] < 5000")


class Kept(InBrowser):
    def kept(self, kind, *options):
        out = self.folder / f"{kind}.html"
        status, text, err = tally("inspect", "--db", self.mirror(kind), "--html", out, *options)
        self.assertEqual((status, err), (FINE, ""), err)
        self.assertIn("wrote", text)
        return out

    def test_one_file_works_without_network_and_shows_the_same(self):
        out = self.kept("synced")
        self.assertEqual(out.stat().st_mode & 0o777, 0o600)
        address = out.as_uri()
        page = self.open(address)
        page.send("Network.emulateNetworkConditions", {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0})
        for path, words in (("#/overview", "Nothing is wrong"), ("#/accounts", "Ada"), ("#/accounts?order=balance", "Ada"), (f"#/account/{ADA}", "reserved for a job"),
                            ("#/jobs?state=FAILED", "VOICE_TIMEOUT"), (f"#/job/{JOBS['ready']}", "5 credits were charged"), ("#/outbox", "update_project"),
                            ("#/rejected", "insufficient_credits"), ("#/sync", "40"), ("#/audit", "Nothing is wrong"), ("#/search?q=10b", JOBS["ready"]),
                            (f"#/job/{NOBODY}", "Nothing to show here")):
            page.go(address + path)
            with self.subTest(path=path):
                page.wait(f"document.body.innerText.includes({json.dumps(words)})")
        self.assertIn("kept page", page.text())

    def test_hostile_texts_do_not_end_the_data(self):
        out = self.kept("normal", "--show-prompts")
        data = re.search(r'<script type="application/json" id="kept">(.*?)</script>', out.read_text(), re.S).group(1)
        self.assertNotIn("<", data)
        self.assertEqual(json.loads(data)[f"account/{HOSTILE_USER}"]["entries"], len(inspect_mirrors.HOSTILE) + 3)
        self.assertEqual(out.read_text().count("</script>"), 2)
        page = self.open(out.as_uri(), f"#/account/{HOSTILE_USER}")
        page.wait("document.body.innerText.includes('<script>hacked()</script>')")

    def test_of_a_huge_mirror_it_keeps_a_bounded_part_and_says_so(self):
        out = self.kept("huge")
        self.assertLess(out.stat().st_size, 40_000_000)
        page = self.open(out.as_uri(), f"#/account/{inspect_mirrors.BIG_USER}")
        page.wait("document.querySelectorAll('.chart .step').length > 100")
        self.assertIn("the first hundred of each list", page.text())

    def test_it_is_written_whole_or_not_at_all(self):
        folder = self.folder / "there"
        folder.mkdir()
        status, _, err = tally("inspect", "--db", self.mirror("normal"), "--html", folder)
        self.assertEqual(status, WORLD, err)
        status, _, err = tally("inspect", "--db", self.mirror("normal"), "--html", self.folder / "nowhere" / "x.html")
        self.assertEqual(status, WORLD, err)
        self.assertEqual(list(folder.iterdir()), [])
        self.assertEqual([each.name for each in self.folder.iterdir() if each.name.startswith(".tally-inspect")], [])


# ---- pictures ----------------------------------------------------------------------------------

def pictures(folder):
    folder.mkdir(parents=True, exist_ok=True)
    WithMirrors.setUpClass()
    browser = chromium.Chromium()
    for kind in ("empty", "synced", "huge"):
        inspector = Inspector(WithMirrors.mirror(kind))
        user = {"huge": inspect_mirrors.BIG_USER}.get(kind, ADA)
        views = {name: f"#/{name}" for name in PAGES}
        if kind != "empty":
            views.update(account=f"#/account/{user}", search="#/search?q=" + ("1" if kind == "synced" else "0"))
            jobs = JOBS if kind == "synced" else {"first": "00000001-0000-7000-9000-000000000000"}
            views.update({f"job-{name}": f"#/job/{job}" for name, job in jobs.items()})
        if kind == "synced":
            views["account-hostile"] = f"#/account/{HOSTILE_USER}"
        if kind == "huge":
            views["account-part"] = f"#/account/{user}?from=2001&to=2120"
        for theme in ("light", "dark"):
            for width in (1280, 400):
                if width == 400 and kind != "synced":
                    continue
                page = browser.page(theme=theme, width=width, height=900)
                for name, address in views.items():
                    page.go(inspector.address + (address + "?run=1" if name == "audit" and kind != "empty" else address))
                    page.wait("document.querySelector('main h1') && !document.getElementById('main').hasAttribute('aria-busy')")
                    if name == "audit" and kind != "empty":
                        page.wait("document.body.innerText.includes('Nothing is wrong')", 60)
                    time.sleep(0.15)
                    page.picture(folder / f"{kind}-{name}-{theme}{'-narrow' if width == 400 else ''}.png")
                page.key("?")
                page.picture(folder / f"{kind}-help-{theme}{'-narrow' if width == 400 else ''}.png", whole=False)
                page.close()
        inspector.close()
    browser.close()
    WithMirrors.doClassCleanups()


if __name__ == "__main__":
    if "--screenshots" in sys.argv:
        pictures(pathlib.Path(sys.argv[sys.argv.index("--screenshots") + 1]))
        sys.exit(0)
    program = unittest.main(argv=[sys.argv[0], *sys.argv[1:]], exit=False)
    skipped = program.result.skipped
    for _, reason in skipped:
        print("skipped:", reason)
    sys.exit(1 if not program.result.wasSuccessful() else SKIPPED if skipped else 0)
