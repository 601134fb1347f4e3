"""The wheel: built, installed into a fresh environment, and used from there, alone."""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import unittest
import zipfile

from support import ROOT

sys.path.insert(0, str(ROOT / "bindings" / "python"))

import build_wheel  # noqa: E402
import bundle  # noqa: E402

LIBRARY = pathlib.Path(os.environ["TALLY_LIBRARY"])
MISSING = [tool for tool in ("patchelf", "readelf", "strip", "ldd") if shutil.which(tool) is None]


class Wheel(unittest.TestCase):
    folder: pathlib.Path
    wheel: pathlib.Path
    python: pathlib.Path
    with_pip = importlib.util.find_spec("pip") is not None

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="tally-wheel-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, True)
        cls.wheel = build_wheel.build([LIBRARY], cls.folder / "dist")
        cls.python = cls.installed()

    @classmethod
    def installed(cls) -> pathlib.Path:
        """A fresh environment with the wheel in it, by pip where there is one; its Python."""
        venv = cls.folder / "venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
        python = venv / "bin" / "python"
        asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
        site = subprocess.run([python, "-c", asked], check=True, capture_output=True, text=True)
        target = site.stdout.strip()
        if cls.with_pip:
            pip = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps"]
            quiet = ["-q", "--disable-pip-version-check", "--root-user-action=ignore"]
            subprocess.run([*pip, *quiet, "--no-compile", "--target", target, str(cls.wheel)], check=True)
        else:  # As an installer does it: a wheel is a zip of what it brings.
            with zipfile.ZipFile(cls.wheel) as archive:
                archive.extractall(target)
        return python

    def in_venv(self, code: str, **env: str) -> str:
        """Runs code there, with nothing of this build around it."""
        gone = ("PYTHONPATH", "TALLY_LIBRARY", "LD_LIBRARY_PATH")
        clean = {k: v for k, v in os.environ.items() if k not in gone}
        done = subprocess.run(
            [self.python, "-c", textwrap.dedent(code)],
            capture_output=True,
            text=True,
            timeout=60,
            env={**clean, **env},
            cwd=self.folder,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def test_its_name_metadata_and_record_are_right(self) -> None:
        name = re.fullmatch(
            r"tally-([\d.]+)-py3-none-manylinux_2_(\d+)_(x86_64|aarch64)\.whl", self.wheel.name
        )
        assert name is not None
        self.assertEqual(name[1], (ROOT / "VERSION").read_text().strip())
        with zipfile.ZipFile(self.wheel) as archive:
            self.assertIsNone(archive.testzip())
            files = {info.filename: archive.read(info) for info in archive.infolist()}
        info = f"tally-{name[1]}.dist-info"
        self.assertIn(f"Tag: py3-none-{self.wheel.stem.split('-', 4)[4]}", files[f"{info}/WHEEL"].decode())
        self.assertIn("Requires-Python: >=3.8", files[f"{info}/METADATA"].decode())
        recorded = dict(
            line.split(",", 1) for line in files[f"{info}/RECORD"].decode().splitlines()
        )
        self.assertEqual(set(recorded), set(files))
        for file, content in files.items():
            if file != f"{info}/RECORD":
                self.assertEqual(recorded[file], build_wheel.hashed(content))
        self.assertIn("tally/py.typed", files)
        self.assertIn(f"{info}/licenses/libssl3.txt", files)

    def test_the_tag_says_the_glibc_that_is_needed(self) -> None:
        promised = int(re.findall(r"manylinux_2_(\d+)", self.wheel.name)[0])
        with zipfile.ZipFile(self.wheel) as archive:
            names = [name for name in archive.namelist() if ".so" in name]
            archive.extractall(self.folder / "unpacked", names)
        needed = 0
        for name in names:
            symbols = subprocess.run(
                ["objdump", "-T", self.folder / "unpacked" / name],
                check=True, capture_output=True, text=True,
            ).stdout  # fmt: skip
            needed = max([needed, *map(int, re.findall(r"GLIBC_2\.(\d+)", symbols))])
        self.assertGreater(needed, 0)
        self.assertGreaterEqual(promised, needed)

    def test_the_same_inputs_make_the_same_bytes(self) -> None:
        again = build_wheel.build([LIBRARY], self.folder / "again")
        self.assertEqual(again.read_bytes(), self.wheel.read_bytes())

    @unittest.skipUnless(with_pip, "this Python has no pip; the wheel was unpacked instead")
    def test_pip_took_it(self) -> None:
        out = self.in_venv("""
            from importlib.metadata import distribution
            tally = distribution("tally")
            print(tally.read_text("INSTALLER").strip(), tally.version, tally.requires)
        """)
        self.assertEqual(out, f"pip {build_wheel.version()} None\n")

    def test_the_example_runs_there(self) -> None:
        example = (ROOT / "bindings/python/example.py").read_text(encoding="utf-8")
        self.assertIn("balance 25 held 0", self.in_venv(example))

    def test_everything_it_loads_but_glibc_is_its_own(self) -> None:
        out = self.in_venv("""
            import json, tally
            from tally import _library
            paths = {line.split()[-1] for line in open("/proc/self/maps") if ".so" in line}
            print(json.dumps(sorted(paths)))
        """)
        loaded = [pathlib.Path(path) for path in json.loads(out)]
        ours = [path for path in loaded if path.parent.name == "_lib"]
        self.assertTrue(any(path.name.startswith("libpq-") for path in ours), loaded)
        self.assertTrue(any(path.name.startswith("libcrypto-") for path in ours), loaded)
        taken = {re.split(r"-[0-9a-f]{8}\.so|\.so", path.name)[0] for path in ours}
        others = [path.name for path in loaded if path.parent.name != "_lib"]
        for name in ("libpq.so", "libssl.so.3", "libldap"):
            self.assertFalse([other for other in others if other.startswith(name)], others)
        self.assertIn("libtally", taken)

    def test_it_syncs_with_nothing_but_what_it_brought(self) -> None:
        out = self.in_venv("""
            import tally
            with tally.open("alone.db") as engine, engine.syncer("host=/nonexistent", token="t") as s:
                try:
                    s.run(timeout_ms=50)
                except tally.Unreachable as error:
                    print(error.detail)
        """)
        self.assertIn("nonexistent", out)

    def test_the_hosts_own_sqlite_and_openssl_are_undisturbed(self) -> None:
        out = self.in_venv("""
            import hashlib, json, sqlite3, ssl, sys
            before = sqlite3.sqlite_version, ssl.OPENSSL_VERSION
            import tally
            database = sqlite3.connect(":memory:")
            with tally.open("beside.db") as engine:
                user = tally.new_uuid()
                engine.create_user(user_id=user)
                seen = database.execute("select sqlite_version()").fetchone()[0]
                ssl.create_default_context()
                digest = hashlib.new("sha256", b"x").hexdigest()
                rows = sqlite3.connect("beside.db").execute("select amount from credit_ledger")
                print(json.dumps([before, (seen, ssl.OPENSSL_VERSION), tally.sqlite_version(),
                                  digest[:8], rows.fetchall(), engine.balance(user)]))
        """)
        before, after, bundled, digest, rows, balance = json.loads(out)
        self.assertEqual(before, after)
        self.assertEqual(before[0], sqlite3.sqlite_version)
        self.assertGreaterEqual(tuple(map(int, bundled.split("."))), (3, 51, 3))
        self.assertEqual((digest, rows, balance), ("2d711642", [[10]], 10))

    def test_the_wheels_own_library_comes_before_the_environments(self) -> None:
        out = self.in_venv("import tally; print(tally.library_version())", TALLY_LIBRARY="/none.so")
        self.assertRegex(out, r"^\d+\.\d+\.\d+\n$")

    def test_a_type_checker_sees_its_types(self) -> None:
        mypy = shutil.which("mypy")
        if mypy is None:
            self.skipTest("mypy is not installed")
        source = self.folder / "uses.py"
        source.write_text("import tally\nreveal_type(tally.open('x').balance('y'))\n")
        done = subprocess.run(
            [mypy, "--strict", "--python-executable", self.python, "--cache-dir", os.devnull, source],
            capture_output=True, text=True, cwd=self.folder,
        )  # fmt: skip
        self.assertIn('Revealed type is "builtins.int"', done.stdout)
        self.assertEqual(done.returncode, 0, done.stdout)


class Bundle(unittest.TestCase):
    def test_names_are_the_contents(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "x")
            path.write_bytes(b"one")
            one = bundle.unique_name("libx.so.5.1", path)
            path.write_bytes(b"two")
            self.assertNotEqual(bundle.unique_name("libx.so.5.1", path), one)
            self.assertRegex(one, r"^libx-[0-9a-f]{8}\.so\.5\.1$")

    def test_glibcs_own_are_left_to_the_machine(self) -> None:
        for name in ("libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2", "libresolv.so.2"):
            self.assertTrue(bundle.GLIBC.match(name), name)
        for name in ("libpq.so.5", "libcrypto.so.3", "libstdc++.so.6", "libcom_err.so.2"):
            self.assertFalse(bundle.GLIBC.match(name), name)


if __name__ == "__main__":
    if MISSING or sys.platform != "linux":
        print("the wheel of Linux needs " + ", ".join(MISSING or ["Linux"]))
        sys.exit(77)
    unittest.main()
