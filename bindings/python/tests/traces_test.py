"""The acceptance traces give through Python what they give through the program."""

from __future__ import annotations

import json
import random
import unittest
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

from support import PROGRAM, TRACES, MirrorTest, program

import tally
from tally import _values
from tally._tables import FIELDS

DEMO = (TRACES / "demo.jsonl").read_bytes()
EXPECTED = (TRACES / "demo.expected.jsonl").read_text(encoding="utf-8")


def call(target: Any, line: dict[str, Any], **named: Any) -> Any:
    """A trace's operation as the method's call that it stands for."""
    fields = {name: line[name] for name in FIELDS[line["op"]] if name in line}
    return getattr(target, line["op"])(**fields, **named)


def answer(engine: tally.Engine, line: dict[str, Any]) -> str:
    """The result of a line, through the methods."""
    named: dict[str, Any] = {"op_id": line["op_id"], "at": _values.parse_time(line["at"])}
    try:
        if line["op"] == "batch":
            with engine.batch(**named) as batch:
                for operation in line["ops"]:
                    call(batch, operation, op_id=operation["op_id"])
        else:
            call(engine, line, **named)
        return "ok"
    except tally.TallyError as error:
        return error.name


class Demo(MirrorTest):
    def test_as_a_trace(self) -> None:
        with tally.open(self.folder / "demo.db") as engine:
            self.assertEqual(engine.submit_text(DEMO), EXPECTED)

    def test_method_by_method(self) -> None:
        expected = [json.loads(line) for line in EXPECTED.splitlines()]
        with tally.open(self.folder / "demo.db", durability="normal") as engine:
            for text, result in zip(DEMO.decode().splitlines(), expected):
                line = json.loads(text)
                self.assertEqual(answer(engine, line), result["result"], text)
            with tally.open(self.folder / "trace.db") as by_trace:
                by_trace.submit(DEMO)
                for table in ("credit_ledger", "jobs", "job_steps", "projects", "assets", "users"):
                    self.assertEqual(engine.rows(table), by_trace.rows(table), table)


class Generated:
    """A random trace of a few users, with mistakes in it; the same for the same seed."""

    def __init__(self, seed: int, length: int) -> None:
        self.random = random.Random(seed)
        self.length = length
        self.now = datetime(2026, 1, 18, tzinfo=timezone.utc)
        self.users = [self.uuid() for _ in range(5)]
        self.projects: list[str] = []
        self.jobs: list[str] = []

    def uuid(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def of(self, known: list[str]) -> str:
        return self.random.choice(known) if known and self.random.random() < 0.97 else self.uuid()

    def operation(self) -> dict[str, Any]:
        chance, user = self.random, self.of(self.users)
        job, project = self.of(self.jobs[-12:]), self.of(self.projects)
        kind = chance.choices(
            ["create_user", "add_credits", "create_project", "create_job", "reserve_credits",
             "advance_job", "report_progress", "finalize_job_credits", "release_job_credits",
             "complete_job", "fail_job", "retry_job", "update_project", "claim_job"],
            [1, 6, 1, 8, 10, 30, 8, 2, 2, 4, 4, 3, 1, 1],
        )[0]  # fmt: skip
        fields: dict[str, dict[str, Any]] = {
            "create_user": {"user_id": user},
            "add_credits": {"user_id": user, "amount": chance.randint(-1, 40), "type": "purchase"},
            "create_project": {"project_id": self.uuid(), "user_id": user, "title": "ä \" \\",
                               "prompt_text": "p", "niche_preset": chance.choice(["facts", "none"]),
                               "target_minutes": 2, "settings": {"n": chance.random()}},
            "create_job": {"job_id": self.uuid(), "project_id": project, "user_id": user},
            "reserve_credits": {"user_id": user, "job_id": job, "amount": chance.randint(0, 9)},
            "advance_job": {"job_id": job, "to": chance.choice([s.value for s in tally.JobStatus])},
            "report_progress": {"job_id": job, "step_name": "SCRIPTING",
                                "progress_pct": chance.randint(0, 101)},
            "finalize_job_credits": {"job_id": job, "final_cost": chance.randint(-1, 12)},
            "release_job_credits": {"job_id": job},
            "complete_job": {"job_id": job, "final_cost": chance.randint(0, 12)},
            "fail_job": {"job_id": job, "error_code": "E", "error_message": "m"},
            "retry_job": {"job_id": job, "amount": chance.randint(1, 9)},
            "update_project": {"project_id": project, "user_id": user, "title": "new"},
            "claim_job": {"job_id": job, "ttl": 60},
        }  # fmt: skip
        if kind == "create_project":
            self.projects.append(fields[kind]["project_id"])
        if kind == "create_job":
            self.jobs.append(fields[kind]["job_id"])
        return {"op": kind, **fields[kind]}

    def lines(self) -> Iterator[str]:
        for number in range(self.length):
            self.now += timedelta(milliseconds=self.random.randint(0, 5_000))
            if number < len(self.users):
                operation: dict[str, Any] = {"op": "create_user", "user_id": self.users[number]}
            else:
                operation = self.operation()
            stamp = {"op_id": self.uuid(), "at": _values.time_text(self.now)}
            yield json.dumps({"op": operation.pop("op"), **stamp, **operation}, ensure_ascii=False)
            if self.random.random() < 0.01:
                yield "{no operation"


@unittest.skipUnless(PROGRAM, "TALLY_PROGRAM does not name the program tally")
class BesideTheProgram(MirrorTest):
    def test_a_generated_trace_gives_what_the_program_gives(self) -> None:
        trace = "\n".join(Generated(seed=6, length=20_000).lines()).encode()
        expected = program(
            "replay", "-", "--db", self.folder / "program.db", stdin=trace
        ).stdout.decode()
        results = [json.loads(line)["result"] for line in expected.splitlines()]
        self.assertGreater(results.count("ok"), 1_500)
        self.assertGreater(len(set(results)), 12)
        with tally.open(self.folder / "python.db") as engine:
            self.assertEqual(engine.submit_text(trace), expected)
            with tally.open(self.folder / "program.db") as programs:
                for user in programs.users():
                    self.assertEqual(engine.digest(user), programs.digest(user))
            self.assertEqual(engine.audit().findings, ())

    def test_method_by_method_it_gives_the_same(self) -> None:
        lines = [line for line in Generated(7, 3_000).lines() if not line.startswith("{no")]
        trace = "\n".join(lines).encode()
        expected = program("replay", "-", "--db", self.folder / "program.db", stdin=trace).stdout
        results = [json.loads(line)["result"] for line in expected.splitlines()]
        with tally.open(self.folder / "python.db", durability="normal") as engine:
            for line, result in zip(lines, results):
                self.assertEqual(answer(engine, json.loads(line)), result, line)
            with tally.open(self.folder / "program.db") as programs:
                for user in programs.users():
                    self.assertEqual(engine.digest(user), programs.digest(user))

    def test_the_program_reads_what_python_wrote(self) -> None:
        with self.engine.job(user_id=self.user, project_id=self.project, amount=8, final_cost=5):
            pass
        self.engine.close()
        balance = program("balance", self.user, "--db", self.path).stdout
        self.assertEqual(balance, b"5\n")
        report = json.loads(program("audit", "--db", self.path, "--json").stdout)
        self.assertEqual(report["findings"], [])


if __name__ == "__main__":
    unittest.main()
