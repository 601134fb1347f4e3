#!/usr/bin/env python3
"""The Debian packages: installed by dpkg, used, and purged, in a copy-on-write view of this machine.

usage: debian_test.py PACKAGE.deb…       those packages
       debian_test.py --build FOLDER     those that CPack makes of a build

What dpkg and the maintainer scripts and triggers do is real, and so are the dependencies, which this
machine's own packages meet; what they write is in memory and gone at the end.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = None  # The view, once it is mounted.
WORK = "/srv/tally-consumer"  # In it: the outsider's folder.
PACKAGES = []


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=300, **options)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))} answers {done.returncode}:\n{done.stdout}")
    return done.stdout


def inside(*command):
    """What a command, run by root in the view, prints."""
    return run("chroot", ROOT, "/usr/bin/env", "-i", "-C", WORK,
               "PATH=/usr/sbin:/usr/bin:/sbin:/bin", f"HOME={WORK}", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", *command)


def make_view(mounts):
    """Mounts it. In a namespace of this process' own, so that it ends with the test."""
    run("mount", "-t", "tmpfs", "tally", mounts)
    for name in "upper", "work", "root":
        (mounts / name).mkdir()
    global ROOT
    ROOT = mounts / "root"
    run("mount", "-t", "overlay", "tally", "-o",
        f"lowerdir=/,upperdir={mounts / 'upper'},workdir={mounts / 'work'}", ROOT)


def fill_view():
    for folder in "dev", "proc":
        run("mount", "--rbind", f"/{folder}", ROOT / folder)
    run("mount", "-t", "tmpfs", "tally", ROOT / "tmp")
    work = pathlib.Path(f"{ROOT}{WORK}")
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(HERE, work)
    shutil.copy(HERE.parent / "traces/demo.jsonl", work)
    for package in PACKAGES:
        shutil.copy(package, work)


def field(package, name):
    return run("dpkg-deb", "--field", package, name).strip()


class Debian(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        fill_view()
        cls.names = [field(package, "Package") for package in PACKAGES]
        cls.said = inside("dpkg", "--install", *[package.name for package in PACKAGES])

    def test_1_the_packages_are_those_of_debian_s_names(self):
        self.assertEqual(len(self.names), 3)
        self.assertLessEqual({"libtally-dev", "tally"}, set(self.names))
        for package in PACKAGES:
            self.assertEqual(field(package, "Architecture"), run("dpkg", "--print-architecture").strip())

    def test_2_everything_is_installed_and_configured(self):
        for name in self.names:
            self.assertEqual(inside("dpkg-query", "-W", "-f", "${db:Status-Abbrev}", name), "ii ")
            self.assertEqual(inside("dpkg", "--verify", name), "")
        self.assertEqual(inside("dpkg", "--audit"), "")

    def test_3_dependencies_are_those_of_the_libraries(self):
        for package in PACKAGES:
            depends = field(package, "Depends")
            if package.name.startswith("libtally-dev"):
                self.assertIn("libtally1 (= ", depends)
            else:
                for library in "libc6", "libpq5", "libssl3", "libstdc++6":
                    self.assertIn(library, depends, package.name)

    def test_4_the_program_runs(self):
        self.assertIn("tally ", inside("tally", "--version"))
        inside("tally", "replay", "demo.jsonl", "--db", "mirror.db")
        inside("tally", "audit", "--db", "mirror.db")

    def test_5_the_trigger_told_the_dynamic_linker(self):
        self.assertIn("Processing triggers for libc-bin", self.said)
        for library in "libtally.so.1", "libtally_engine.so.", "libtally_sync.so.":
            self.assertIn(library, inside("ldconfig", "-p"))

    def test_6_a_host_in_c_with_pkg_config(self):
        inside("sh", "-c", "cc c/ledger.c -o ledger $(pkg-config --cflags --libs tally)")
        self.assertEqual(inside("sh", "-c", "mkdir -p run && cd run && ../ledger"), "5 credits\n")
        # What a packager of that host gets.
        inside("sh", "-c", "mkdir -p debian && printf 'Source: host\\n\\nPackage: host\\nArchitecture: any\\n' "
               "> debian/control")
        self.assertIn("libtally1 (>= ", inside("dpkg-shlibdeps", "-O", "./ledger"))

    def test_7_a_host_in_cpp_with_cmake(self):
        inside("cmake", "-G", "Ninja", "-S", "cpp", "-B", "build")
        inside("cmake", "--build", "build")
        for linkage in "", "_shared":
            self.assertEqual(inside("sh", "-c", f"mkdir -p run{linkage} && cd run{linkage} && ../build/ledger{linkage}"),
                             "5 credits\n")

    def test_8_documents(self):
        for name in self.names:
            inside("test", "-s", f"/usr/share/doc/{name}/copyright")
            inside("gzip", "-t", f"/usr/share/doc/{name}/changelog.Debian.gz")
        inside("gzip", "-t", "/usr/share/man/man1/tally.1.gz")
        for completion in ("bash-completion/completions/tally", "zsh/site-functions/_tally",
                           "fish/vendor_completions.d/tally.fish"):
            inside("test", "-s", f"/usr/share/{completion}")

    def test_9_purged_without_a_trace(self):
        files = {path for name in self.names for path in inside("dpkg", "-L", name).split("\n")
                 if "tally" in path}
        self.assertTrue(files)
        inside("dpkg", "--purge", *self.names)
        self.assertEqual([path for path in files if os.path.lexists(f"{ROOT}{path}")], [])
        self.assertNotIn("libtally", inside("ldconfig", "-p"))


def packages_of(build):
    """What CPack makes of the build folder; quick to pack, for it is unpacked at once."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tally-debs-"))
    run("cpack", "--config", pathlib.Path(build) / "CPackConfig.cmake", "-B", folder,
        "-D", "CPACK_DEBIAN_COMPRESSION_TYPE=none")
    return folder


def skip(why):
    print("skipped:", why)
    return 77


def in_a_namespace():
    """This script again, where it may mount; the folder on which it does is gone at the end."""
    if not shutil.which("dpkg") or os.geteuid() != 0 or subprocess.run(
            ["unshare", "--mount", "true"], capture_output=True).returncode != 0:
        return skip("installing packages in a view of this Debian takes root that may mount")
    folder = tempfile.mkdtemp(prefix="tally-debian-")
    try:
        return subprocess.call(["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv],
                               env={**os.environ, "TALLY_DEBIAN_VIEW": folder})
    finally:
        os.rmdir(folder)


def main():
    if os.environ.get("TALLY_SKIP"):
        return skip(os.environ["TALLY_SKIP"])
    if "TALLY_DEBIAN_VIEW" not in os.environ:
        return in_a_namespace()
    try:
        make_view(pathlib.Path(os.environ["TALLY_DEBIAN_VIEW"]))
    except AssertionError as failure:
        return skip(f"no overlay over this machine: {failure}")
    made = None
    if sys.argv[1] == "--build":
        made = packages_of(sys.argv[2])
        PACKAGES.extend(sorted(made.glob("*.deb")))
    else:
        PACKAGES.extend(pathlib.Path(package).resolve() for package in sys.argv[1:])
    result = unittest.main(argv=sys.argv[:1], verbosity=2, exit=False).result
    if made:
        shutil.rmtree(made)
    return not result.wasSuccessful()


if __name__ == "__main__":
    sys.exit(main())
