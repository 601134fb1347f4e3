"""The mirrors that the inspector is tested on: an empty one, one with everything in it, a huge one."""

import json
import random
import sqlite3
import subprocess

import cli_test
from cli_test import ADA, DEMO, tally

JOBS = {name: f"10b0000{n}-0000-4000-8000-0000000000aa" for n, name in enumerate(("ready", "failed", "rendering", "pending", "hostile"))}
HOSTILE_USER = "bad00000-0000-4000-8000-000000000001"
PROJECT = "c0de0000-0000-4000-8000-0000000000aa"
HOSTILE_PROJECT = "c0de0000-0000-4000-8000-0000000000bb"
PROMPT = "the prompt that nobody is to see"
SESSION = "session-that-is-nobodys-business"
BIDI = "\u202eevil\u2066 \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627"
HOSTILE = ["<script>hacked()</script>", "<img src=x onerror=hacked()>", "</script><script>hacked()</script>", "<!--<script>",
           "\"'><svg onload=hacked()>", "javascript:hacked()", "{{hacked()}} ${hacked()} ]]>", "line\u2028and\u2029end", BIDI,
           "long" * 1500, "\u0007\u001b[31m", "emoji \U0001f409\U0001f3fd\u200d\u2642"]
STAGES = ["QUEUED", "SCRIPTING", "VOICE_GEN", "ALIGNMENT", "VISUAL_PLAN", "IMAGE_GEN", "TIMELINE", "RENDERING", "PACKAGING"]


class Trace:
    """Lines of a trace, each some seconds after the one before."""

    def __init__(self, prefix, start_s=0):
        self.prefix, self.at_s, self.lines = prefix, start_s, []

    def add(self, op, wait_s=7, **fields):
        self.at_s += wait_s
        days, rest = divmod(self.at_s, 86_400)
        at = f"2026-02-{1 + days:02d}T{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}.000000Z"
        op_id = f"{self.prefix}-0000-7000-8000-{len(self.lines) + 1:012d}"
        self.lines.append(json.dumps({"op": op, "op_id": op_id, "at": at, **fields}))

    def text(self):
        return "".join(line + "\n" for line in self.lines).encode()


def replay(db, trace, *arguments):
    status, out, err = tally("replay", "-", "--db", db, *arguments, stdin=trace)
    assert status == 0, err
    return [json.loads(line)["result"] for line in out.splitlines()]


def empty(db):
    replay(db, b"")


def jobs_of_every_kind():
    trace = Trace("0d0d0d0d")
    add = trace.add
    add("create_project", project_id=PROJECT, user_id=ADA, title="The lighthouse of Alexandria", prompt_text=PROMPT,
        niche_preset="history", target_minutes=3, transcript_mode="manual", transcript_text=PROMPT, settings={"secret": PROMPT})
    add("create_draft", draft_id="d4af0000-0000-4000-8000-0000000000aa", session_token=SESSION, user_id=ADA, prompt_text=PROMPT)
    add("add_credits", user_id=ADA, amount=120, type="purchase", note="120 credits", stripe_payment_id="pi_inspected")
    for name in ("ready", "failed", "rendering", "pending"):
        add("create_job", wait_s=600, job_id=JOBS[name], project_id=PROJECT, user_id=ADA)
    for name, stages in (("ready", 9), ("failed", 3), ("rendering", 8)):
        job = JOBS[name]
        add("reserve_credits", wait_s=40, user_id=ADA, job_id=job, amount=8)
        for n, stage in enumerate(STAGES[:stages]):
            add("advance_job", wait_s=13 + 37 * (n % 4), job_id=job, to=stage)
    add("add_asset", asset_id="a55e7000-0000-4000-8000-0000000000aa", job_id=JOBS["ready"], type="video",
        url="https://example.com/lighthouse.mp4", storage_path="videos/lighthouse.mp4", size_bytes=48_123_904, mime_type="video/mp4")
    add("complete_job", wait_s=90, job_id=JOBS["ready"], final_cost=5, output_url="https://example.com/lighthouse.mp4")
    add("fail_job", wait_s=66, job_id=JOBS["failed"], error_code="VOICE_TIMEOUT", error_message="The voice provider did not answer within 60 s")
    add("report_progress", job_id=JOBS["rendering"], step_name="RENDERING", progress_pct=40, status_message="Frame 1,920 of 4,800")
    return trace


def audited_for_long(db):
    """Seconds, since SQLite compares an index with its table row for row."""
    normal(db)
    with sqlite3.connect(db) as connection:
        connection.execute("create table ballast (n integer primary key, text)")
        connection.execute("with recursive count(n) as (values(1) union all select n + 1 from count where n < 1500000) "
                           "insert into ballast select n, hex(randomblob(8)) from count")
        connection.execute("create index ballast_by_text on ballast (text)")
    connection.close()


def hostile_rows():
    """Texts that would do harm if any of them were taken for HTML, CSS, script or a terminal's orders."""
    trace = Trace("0bad0bad", 90_000)
    add = trace.add
    all_of_them = " ".join(text for text in HOSTILE if len(text) < 100)
    add("create_user", user_id=HOSTILE_USER, display_name=all_of_them, email="<b onclick=hacked()>@example.com")
    add("create_project", project_id=HOSTILE_PROJECT, user_id=HOSTILE_USER, title=HOSTILE[2] + BIDI + HOSTILE[1], prompt_text=HOSTILE[0],
        niche_preset="facts", target_minutes=1)
    for text in HOSTILE:
        add("add_credits", user_id=HOSTILE_USER, amount=1, type="grant", note=text[:500])
    add("create_job", job_id=JOBS["hostile"], project_id=HOSTILE_PROJECT, user_id=HOSTILE_USER)
    add("reserve_credits", user_id=HOSTILE_USER, job_id=JOBS["hostile"], amount=8)
    for stage in STAGES[:2]:
        add("advance_job", job_id=JOBS["hostile"], to=stage)
    add("report_progress", job_id=JOBS["hostile"], step_name="SCRIPTING", progress_pct=1, status_message=HOSTILE[0] + "long" * 200)
    add("fail_job", job_id=JOBS["hostile"], error_code="<i>CODE</i>", error_message=all_of_them)
    return trace


def normal(db):
    """Without a device: all of it is pending."""
    replay(db, DEMO.read_bytes())
    for trace in (jobs_of_every_kind(), hostile_rows()):
        assert set(replay(db, trace.text())) == {"ok"}, "a line of the test's own trace was refused"


def synced(db, server, folder):
    """A device of a real canonical: what it has was pushed, a lease is open, two operations were rejected, and
    three wait."""
    pg, _ = server.fresh()
    normal(db)
    token = folder / "token"

    def run(*arguments, expected=(0,), stdin=None):
        status, out, err = tally(*arguments, stdin=stdin)
        assert status in expected, (arguments, out, err)
        return out

    run("migrate", "--pg", pg, "--shim")
    device = json.loads(run("device", "add", "--pg", pg, "--name", "studio", "--capabilities", "author,worker,service", "--json"))
    token.touch(0o600)
    token.write_text(device["token"])
    sync = ("sync", "--db", db, "--pg", pg, "--token-file", token)
    run(*sync)
    spends = Trace("05bed000", 100_000)
    for n in (1, 2):
        job = f"10b000f{n}-0000-4000-8000-0000000000aa"
        spends.add("create_job", job_id=job, project_id=PROJECT, user_id=ADA)
        spends.add("reserve_credits", job_id=job, user_id=ADA, amount=30)
    assert set(replay(db, spends.text())) == {"ok"}
    expires = Trace("0e0e0e0e", 100_000)
    for _ in range(60):
        expires.add("expire_credits", user_id=ADA, amount=10, note="Promotion ended")
    run("replay", "-", "--pg", pg, stdin=expires.text())
    run(*sync, expected=(1,))
    more = Trace("0c0c0c0c", 110_000)
    more.add("add_credits", user_id=ADA, amount=100, type="subscription", note="February")
    assert set(replay(db, more.text())) == {"ok"}
    run(*sync, expected=(1,))
    run("lease", "open", ADA, "--amount", "40", "--ttl", "86400", "--db", db)
    run(*sync, expected=(1,))
    waits = Trace("0a0a0a0a", 120_000)
    waits.add("update_project", project_id=PROJECT, user_id=ADA, title="The lighthouse of Alexandria", prompt_text=PROMPT)
    waits.add("add_credits", user_id=ADA, amount=5, type="grant", note="A thank you")
    waits.add("create_draft", draft_id="d4af0000-0000-4000-8000-0000000000bb", session_token=SESSION, prompt_text=PROMPT)
    assert set(replay(db, waits.text())) == {"ok"}


BIG_USER = "b1600000-0000-4000-8000-000000000000"


def huge(db, entries):
    """So many entries, half of them of one user: purchases, jobs that reserve and then settle or release."""
    chance = random.Random(7)
    users = [BIG_USER] + [f"00000000-0000-4000-8000-{n:012d}" for n in range(1, 400)]
    replaying = subprocess.Popen([cli_test.PROGRAM, "replay", "-", "--db", db, "--durability", "normal"],
                                 stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    count, at_us = 0, 1_767_225_600_000_000

    def line(op, **fields):
        nonlocal count, at_us
        count += 1
        at_us += chance.randrange(1, 40_000_000)
        seconds, us = divmod(at_us, 1_000_000)
        day, rest = divmod(seconds, 86_400)
        date = DAYS[day - 20_454]
        ids = f"{count >> 16:08x}-{count & 0xffff:04x}"
        replaying.stdin.write(
            f'{{"op":"{op}","op_id":"{ids}-7000-8000-000000000000","at":"{date}T{rest // 3600:02d}:{rest // 60 % 60:02d}:'
            f'{rest % 60:02d}.{us:06d}Z",{json.dumps(fields)[1:]}\n'.encode())

    for n, user in enumerate(users):
        line("create_user", user_id=user, display_name=f"User {n}")
        line("create_project", project_id=f"c{user[1:]}", user_id=user, title=f"Project {n}", prompt_text="x", niche_preset="facts", target_minutes=1)
    made, job = len(users), 0
    while made < entries:
        user = users[0] if chance.random() < 0.5 else users[chance.randrange(1, len(users))]
        line("add_credits", user_id=user, amount=chance.randrange(20, 400), type="purchase")
        made += 1
        for _ in range(chance.randrange(1, 9)):
            job += 1
            job_id = f"{job:08x}-0000-7000-9000-000000000000"
            line("create_job", job_id=job_id, project_id=f"c{user[1:]}", user_id=user)
            line("reserve_credits", user_id=user, job_id=job_id, amount=chance.randrange(4, 12))
            made += 1
            if chance.random() < 0.8:
                line("finalize_job_credits", job_id=job_id, final_cost=chance.randrange(1, 5))
                made += 3
            elif chance.random() < 0.8:
                line("fail_job", job_id=job_id, error_code="STOPPED")
                made += 1
    replaying.stdin.close()
    assert replaying.wait() == 0


def days():
    """The days from 2026-01-01 on."""
    lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    return [f"{year}-{month + 1:02d}-{day + 1:02d}" for year in (2026, 2027) for month, length in enumerate(lengths) for day in range(length)]


DAYS = days()
