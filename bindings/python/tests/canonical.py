"""A real PostgreSQL with our schema, and devices of it."""

from __future__ import annotations

import json
import sys
from typing import Any

from support import ROOT, program

sys.path.append(str(ROOT / "tests" / "support"))

from postgres import Postgres  # noqa: E402


class Canonical:
    """A server of the tests' own; close() ends it."""

    def __init__(self) -> None:
        self.server = Postgres()

    @classmethod
    def if_there_is_a_server(cls) -> Canonical | None:
        """None where PostgreSQL is not installed."""
        return cls() if Postgres.binaries() else None

    def close(self) -> None:
        self.server.close()

    def migrated(self) -> str:
        """The conninfo of a fresh database with our schema."""
        conninfo: str = self.server.fresh()[0]
        program("migrate", "--pg", conninfo, "--shim")
        return conninfo

    def device(self, conninfo: str, *options: Any) -> dict[str, str]:
        """A new device's id and token."""
        capabilities = ("--capabilities", "author,worker,service")
        made = program(
            "device", "add", "--pg", conninfo, "--name", "test", *capabilities, *options, "--json"
        )
        device: dict[str, str] = json.loads(made.stdout)
        return device
