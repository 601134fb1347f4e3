"""A real PostgreSQL with our schema, and devices of it."""

from __future__ import annotations

import json
import sys
from typing import Any

from support import ROOT, program

sys.path.append(str(ROOT / "tests" / "support"))

from postgres import Postgres  # type: ignore[import]  # noqa: E402


class Canonical:
    """A server of the tests' own; close() ends it."""

    def __init__(self) -> None:
        self.server = Postgres()
        self.template = ""
        self.count = 0

    @staticmethod
    def is_possible() -> bool:
        """Whether PostgreSQL is installed."""
        return Postgres.binaries() is not None

    def close(self) -> None:
        self.server.close()

    def migrated(self) -> str:
        """The conninfo of a fresh database with our schema."""
        if not self.template:
            conninfo, self.template = self.server.fresh()
            program("migrate", "--pg", conninfo, "--shim")
        self.count += 1
        name = f"migrated_{self.count}"
        self.server.sql(f"create database {name} template {self.template}")
        copy: str = self.server.conninfo(name)
        return copy

    def device(self, conninfo: str, *options: Any) -> dict[str, str]:
        """A new device's id and token."""
        capabilities = ("--capabilities", "author,worker,service")
        made = program(
            "device", "add", "--pg", conninfo, "--name", "test", *capabilities, *options, "--json"
        )
        device: dict[str, str] = json.loads(made.stdout)
        return device
