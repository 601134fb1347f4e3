"""The example, and the README's own, as they are printed."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import unittest

from support import ROOT

HERE = ROOT / "bindings" / "python"


def run_block(text: str) -> str:
    """What a block of code prints, run in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", text], capture_output=True, text=True, cwd=folder, timeout=60
        )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Examples(unittest.TestCase):
    def test_the_example(self) -> None:
        printed = run_block((HERE / "example.py").read_text(encoding="utf-8"))
        self.assertEqual(printed.splitlines()[:5], [
            "low: 2",
            "after the first film: 5",
            "refused: insufficient_credits",
            "failed: the GPU caught fire",
            "balance 25 held 0",
        ])  # fmt: skip

    def test_the_readmes(self) -> None:
        text = (HERE / "README.md").read_text(encoding="utf-8")
        (block,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
        self.assertEqual(run_block(block), "5\n")

    def test_the_packages_docstring(self) -> None:
        import tally

        assert tally.__doc__ is not None
        block = re.findall(r"(?:^    .*\n|^\n)+", tally.__doc__, flags=re.MULTILINE)
        import textwrap

        self.assertEqual(run_block(textwrap.dedent("".join(block))), "5\n")

    def test_the_readme_lists_every_file(self) -> None:
        text = (HERE / "README.md").read_text(encoding="utf-8")
        names = {path.name for path in (HERE / "tally").glob("*.py")}
        self.assertEqual([name for name in sorted(names) if name not in text], [])


if __name__ == "__main__":
    unittest.main()
