"""A real Blender, without a window: the add-on is installed, renders a small image, and the ledger
is looked at afterwards with the program. Skipped (status 77) where Blender is not installed."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "tests")]

import build_addon  # noqa: E402
import build_wheel  # noqa: E402
from canonical import Canonical  # noqa: E402
from support import program  # noqa: E402

LIBRARY = pathlib.Path(os.environ["TALLY_LIBRARY"])


def png_size(path: pathlib.Path) -> tuple[int, int]:
    """Width and height, from the file itself."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and data.rstrip()[-8:-4] == b"IEND", path
    width, height = struct.unpack(">II", data[16:24])
    return width, height


class InBlender(unittest.TestCase):
    result: dict[str, Any] = {}

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="tally-blender-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, True)
        cls.out = cls.folder / "out"
        cls.out.mkdir()
        wheel = build_wheel.build([LIBRARY], cls.folder)
        addon = build_addon.build(wheel, cls.folder)
        arguments = [str(addon), str(cls.out)]
        cls.canonical = Canonical() if Canonical.is_possible() else None
        if cls.canonical is not None:
            cls.addClassCleanup(cls.canonical.close)
            cls.pg = cls.canonical.migrated()
            arguments += [cls.pg, cls.canonical.device(cls.pg)["token"]]
        # A home of its own, and none of the library's environment: the zip has all that is needed.
        env = {k: v for k, v in os.environ.items() if k not in ("TALLY_LIBRARY", "PYTHONPATH")}
        env["BLENDER_USER_SCRIPTS"] = str(cls.folder / "scripts")
        env["BLENDER_USER_CONFIG"] = str(cls.folder / "config")
        (cls.folder / "scripts" / "addons").mkdir(parents=True)
        (cls.folder / "config").mkdir()
        command = ["blender", "-b", "--factory-startup", "--python-exit-code", "9"]
        done = subprocess.run(
            [*command, "--python", str(HERE / "in_blender.py"), "--", *arguments],
            capture_output=True,
            text=True,
            timeout=240,
            env=env,
        )
        found = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
        if done.returncode or not found:
            raise AssertionError(f"{done.returncode}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}")
        cls.result = json.loads(found[0][len("RESULT ") :])

    def ledger(self) -> list[dict[str, Any]]:
        """What `tally history` shows, oldest first."""
        user = self.result["user"]
        shown = program("history", user, "--db", self.out / "mirror.db", "--json").stdout
        report = json.loads(shown)
        entries: list[dict[str, Any]] = report["entries"] if isinstance(report, dict) else report
        return sorted(entries, key=lambda entry: int(entry["seq"]))

    def test_real_images_of_the_size_asked_for(self) -> None:
        names = ["still.png", "animation_0001.png", "animation_0002.png", "stopped_0001.png"]
        for name in [*names, "free.png"]:
            self.assertEqual(png_size(self.out / name), (32, 32))
        self.assertEqual(list(self.out.glob("dear_*")), [])

    def test_each_render_reserves_and_settles_or_releases(self) -> None:
        r = self.result
        self.assertEqual(r["start"], [10, 0])
        self.assertEqual(r["still"], ["", [8, 0]])
        self.assertEqual(r["animation"], ["", [4, 0]])
        self.assertEqual(r["stopped"][1], [2, 0])  # One of its two frames was made.
        self.assertIn("not enough credits", r["too_dear"][0])
        self.assertIn("nothing was rendered", r["too_dear"][0])
        self.assertEqual(r["too_dear"][1], [2, 0])
        self.assertIn("no camera", r["no_camera"][0])
        self.assertEqual((r["no_camera"][1], r["free"]), ([2, 0], [2, 0]))
        self.assertEqual(r["abandoned"], [[1, 1], [2, 0]])

    def test_the_ledger_shows_it(self) -> None:
        print(program("history", self.result["user"], "--db", self.out / "mirror.db").stdout.decode())
        rows = [(entry["type"], entry["amount"]) for entry in self.ledger()]
        self.assertEqual(rows, [
            ("grant", 10),
            ("reserve", -2), ("reserve", 2), ("usage", -2),  # the still
            ("reserve", -4), ("reserve", 4), ("usage", -4),  # the animation
            ("reserve", -4), ("reserve", 2), ("usage", -2), ("refund", 2),  # stopped halfway
            ("reserve", -2), ("refund", 2),  # no camera
            ("reserve", -1), ("refund", 1),  # abandoned
        ])  # fmt: skip
        audit = json.loads(program("audit", "--db", self.out / "mirror.db", "--json").stdout)
        self.assertEqual(audit["findings"], [])

    def test_progress_was_reported_frame_by_frame(self) -> None:
        job = next(e["job_id"] for e in self.ledger() if e["amount"] == -4)
        shown = json.loads(program("job", job, "--db", self.out / "mirror.db", "--json").stdout)
        step = next(s for s in shown["steps"] if s["step_name"] == "RENDERING")
        self.assertEqual(step["state"], "succeeded")
        self.assertIn("frame 2, 2 of 2", str(step["status_message"]))

    def test_the_zip_brought_all_that_it_needs(self) -> None:
        self.assertEqual(self.result["tally"], "tallystick.vendor.tally")
        # Debian's Blender has a libpq of its own, which stays its own.
        ours = "tallystick/vendor/tally/_lib/libpq-"
        self.assertEqual(len([path for path in self.result["libpq"] if ours in path]), 1)

    def test_what_was_done_offline_was_synced(self) -> None:
        if self.canonical is None:
            self.skipTest("no PostgreSQL server is installed")
        self.assertEqual(self.result["sync"], [["FINISHED"], "in sync"])
        program("verify", "--db", self.out / "mirror.db", "--pg", self.pg)


if __name__ == "__main__":
    if shutil.which("blender") is None:
        print("Blender is not installed; `./dev test blender` installs it")
        sys.exit(77)
    unittest.main()
