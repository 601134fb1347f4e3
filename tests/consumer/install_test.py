#!/usr/bin/env python3
"""The build tree, installed, and used by outsiders: with CMake and with pkg-config, static and shared,
in C and in C++, where it was installed and where it was moved to afterwards.

usage: install_test.py BUILD_FOLDER [unittest arguments]
"""

import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parent.parent
BUILD = pathlib.Path(sys.argv.pop(1)).resolve()
# What each program of a consumer prints.
CPP = {"ledger": "5 credits", "canonical": "unreachable", "two_sqlites": "both"}
C = {"ledger": "5 credits"}
# pkg-config's name, the program's source, its compiler, what the program prints.
PC = [("tally-engine", HERE / "readme_example.cpp", "c++", "5 credits"),
      ("tally-sync", HERE / "cpp/canonical.cpp", "c++", "unreachable"),
      ("tally", HERE / "c/ledger.c", "cc", "5 credits")]


def run(*command, cwd=None, **environment):
    done = subprocess.run(list(map(str, command)), cwd=cwd, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=300,
                          env={**os.environ, **environment})
    if done.returncode != 0:
        raise AssertionError(f"{shlex.join(map(str, command))} answers {done.returncode}:\n{done.stdout}")
    return done.stdout


def symbols_of(archive):
    """The names that it defines for others."""
    return [line.split()[0] for line in
            run("nm", "-g", "--defined-only", "--format=posix", archive).splitlines() if " " in line]


class Installed(unittest.TestCase):
    """One prefix, installed once; each test has it where it wants it."""

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="tally-install-"))
        cls.prefix = cls.folder / "first"
        run("cmake", "--install", BUILD, "--prefix", cls.prefix)
        # As packagers do, and it makes each link ten times quicker.
        run("strip", "--strip-debug", *cls.prefix.glob("**/*.a"))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def setUp(self):
        self.move_to("first")

    def move_to(self, name):
        moved = self.folder / name
        moved.parent.mkdir(exist_ok=True)
        self.prefix.rename(moved)
        type(self).prefix = moved

    def scratch(self):
        return pathlib.Path(tempfile.mkdtemp(dir=self.folder))

    def assert_prints(self, program, expected, **environment):
        self.assertEqual(run(program, cwd=self.scratch(), **environment), expected + "\n", program)

    def configure(self, project, *options):
        build = self.scratch()
        run("cmake", "-G", "Ninja", "-S", HERE / project, "-B", build,
            f"-DCMAKE_PREFIX_PATH={self.prefix}", "-DCMAKE_FIND_USE_PACKAGE_REGISTRY=OFF", *options)
        return build

    def build_and_run(self, project, programs):
        build = self.configure(project)
        run("cmake", "--build", build)
        for program, expected in programs.items():
            for linkage in "", "_shared":
                self.assert_prints(build / (program + linkage), expected)

    def with_cmake(self):
        self.build_and_run("c", C)
        self.build_and_run("cpp", CPP)

    def with_pkg_config(self, prefix, *how):
        """Each library's program, built by one command, as a makefile would."""
        libraries = next(prefix.glob("**/pkgconfig")).parent
        for name, source, compiler, expected in PC:
            def flags(*what):
                return shlex.split(run("pkg-config", *what, name,
                                       PKG_CONFIG_PATH=str(libraries / "pkgconfig")))
            standard = ["-std=c++20"] if compiler == "c++" else ["-std=c99"]
            program = self.scratch() / name
            run(compiler, *standard, source, "-o", program, *flags("--cflags"), *flags("--libs", *how))
            self.assert_prints(program, expected, LD_LIBRARY_PATH=str(libraries))

    def test_pkg_config(self):
        self.with_pkg_config(self.prefix)

    def test_pkg_config_static(self):
        # A linker that finds a shared library takes it; so here there is none.
        static = self.folder / "static"
        shutil.copytree(self.prefix, static, copy_function=os.link, symlinks=True,
                        ignore=shutil.ignore_patterns("*.so*"))
        self.with_pkg_config(static, "--static")

    def test_cmake(self):
        self.with_cmake()

    def test_moved(self):
        self.move_to("moved/by two words")
        self.with_cmake()
        self.with_pkg_config(self.prefix)

    def test_refusals(self):
        self.configure("refusals")

    def test_the_build_tree_has_the_same_targets(self):
        self.configure("cpp", f"-DTALLY_SOURCE={SOURCE}", f"-DTALLY_DEPS_DIR={SOURCE / 'build/_deps'}")

    def test_each_header_compiles_alone(self):
        include = self.prefix / "include"
        headers = sorted(include.glob("**/*.h*"))
        self.assertGreaterEqual(len(headers), 11)
        strict = ["-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-pedantic-errors", "-I", include]
        for header in headers:
            if header.suffix == ".hpp":
                languages = [("c++", "c++20")]
            else:
                languages = [("c", "c99"), ("c++", "c++11")]
            for language, standard in languages:
                run("cc", "-x", language, f"-std={standard}", *strict, "-include", header, "/dev/null")

    def test_static_libraries_define_no_sqlite(self):
        names = symbols_of(next(self.prefix.glob("**/libtally_engine.a")))
        self.assertIn("tally_sqlite3_open_v2", names)
        self.assertEqual([name for name in names if name.startswith("sqlite3")], [])
        self.assertEqual([name for name in names if "N6SQLite" in name], [])

    def test_two_sqlites_in_one_static_program(self):
        """The host's SQLite as an archive too, where every name would clash, before ours and behind."""
        archive = run("cc", "-print-file-name=libsqlite3.a").strip()
        if not os.path.isabs(archive):
            self.skipTest("the system's SQLite has no static library")
        ours = next(self.prefix.glob("**/libtally_engine.a"))
        for libraries in [archive, ours], [ours, archive]:
            program = self.scratch() / "two"
            run("c++", "-std=c++20", HERE / "cpp/two_sqlites.cpp", "-o", program, "-I",
                self.prefix / "include", *libraries, "-lcrypto", "-lm", "-ldl", "-pthread")
            self.assert_prints(program, "both")

    def test_uninstall_leaves_nothing(self):
        run("cmake", "--build", BUILD, "--target", "uninstall")
        left = [path for path in self.prefix.glob("**/*") if not path.is_dir() or path.name == "tally"]
        self.assertEqual(left, [])
        run("cmake", "--install", BUILD, "--prefix", self.prefix)


if __name__ == "__main__":
    if os.environ.get("TALLY_SKIP"):
        print("skipped:", os.environ["TALLY_SKIP"])
        sys.exit(77)
    unittest.main(verbosity=2)
