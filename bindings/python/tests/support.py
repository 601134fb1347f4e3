"""What the tests share: mirrors in temporary folders, the program, code run in other processes."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import textwrap
import unittest
import uuid
from typing import Any

import tally

ROOT = pathlib.Path(__file__).resolve().parents[3]
TRACES = ROOT / "tests" / "traces"
#: The program `tally`, for what is compared with it.
PROGRAM = os.environ.get("TALLY_PROGRAM", "")


class MirrorTest(unittest.TestCase):
    """A fresh mirror with a user, who has ten credits, and a project."""

    options: dict[str, Any] = {"durability": "normal"}

    def setUp(self) -> None:
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tally-python-"))
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.path = self.folder / "mirror.db"
        self.engine = tally.open(self.path, **self.options)
        self.addCleanup(self.engine.close)
        self.user = tally.new_uuid()
        self.engine.create_user(user_id=self.user)
        self.project = self.new_project()

    def new_project(self, user: uuid.UUID | None = None, **fields: Any) -> uuid.UUID:
        project = tally.new_uuid()
        self.engine.create_project(
            project_id=project,
            user_id=user or self.user,
            title="t",
            prompt_text="p",
            niche_preset="facts",
            target_minutes=1,
            **fields,
        )
        return project

    def new_job(self, amount: int | None = None, status: str | None = None) -> uuid.UUID:
        """A job, with a hold, and advanced to a status, where given."""
        job = self.engine.job(user_id=self.user, project_id=self.project)
        self.engine.create_job(job_id=job.job_id, project_id=self.project, user_id=self.user)
        if amount is not None:
            self.engine.reserve_credits(user_id=self.user, job_id=job.job_id, amount=amount)
        if status is not None:
            job.advance(status)
        return job.job_id

    def entries(self) -> list[tuple[str, int]]:
        """The ledger, oldest first, as types and amounts."""
        found = [(entry.type, entry.amount) for entry in self.engine.history(self.user)]
        return found[::-1]


def python(
    code: str, *arguments: Any, env: dict[str, str] | None = None, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Runs code in another interpreter, as a host would; never waits for longer than it should."""
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **(env or {})},
    )


def program(*arguments: Any, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Runs the program `tally`, which has to be fine."""
    return subprocess.run(
        [PROGRAM, *map(str, arguments)], input=stdin, capture_output=True, timeout=120, check=True
    )
