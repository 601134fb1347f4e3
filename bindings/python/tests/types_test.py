"""mypy --strict has nothing to say, of the package, its tests and what builds its wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import unittest

from support import ROOT

HERE = ROOT / "bindings" / "python"
MYPY = shutil.which("mypy")


class Types(unittest.TestCase):
    def strict(self, *arguments: str, **env: str) -> None:
        assert MYPY is not None
        command = [MYPY, "--strict", "--cache-dir", os.devnull, *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=HERE, env={**os.environ, **env}
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_the_package_for_the_oldest_python(self) -> None:
        self.strict("--python-version", "3.8", "tally")

    def test_the_package_the_tests_and_the_builders_for_this_one(self) -> None:
        path = os.pathsep.join(map(str, (HERE, HERE / "tests", HERE.parent / "package")))
        self.strict("tests", "build_wheel.py", "bench.py", "example.py", MYPYPATH=path)


if __name__ == "__main__":
    if MYPY is None:
        print("mypy is not installed")
        sys.exit(77)
    unittest.main()
