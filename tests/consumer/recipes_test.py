#!/usr/bin/env python3
"""The recipes for vcpkg and Conan, which nothing here runs: they parse, say this version, and pass
options that there are.

usage: recipes_test.py [unittest arguments]
"""

import json
import pathlib
import re
import subprocess
import tempfile
import unittest

SOURCE = pathlib.Path(__file__).resolve().parent.parent.parent
VCPKG = SOURCE / "bindings/package/vcpkg/tally"
CONAN = SOURCE / "bindings/package/conan"
VERSION = (SOURCE / "VERSION").read_text().strip()


def options_of(text):
    return set(re.findall(r"TALLY_[A-Z]+", text))


class Recipes(unittest.TestCase):
    def test_vcpkg_manifest(self):
        manifest = json.loads((VCPKG / "vcpkg.json").read_text())
        self.assertEqual(manifest["version-semver"], VERSION)

    def test_vcpkg_portfile_parses(self):
        with tempfile.NamedTemporaryFile("w", suffix=".cmake") as script:
            script.write("if(FALSE)\n" + (VCPKG / "portfile.cmake").read_text() + "endif()\n")
            script.flush()
            done = subprocess.run(["cmake", "-P", script.name], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_conan_recipes_parse(self):
        recipes = sorted(CONAN.glob("**/*.py"))
        self.assertEqual(len(recipes), 2)
        for recipe in recipes:
            compile(recipe.read_text(), recipe, "exec")

    def test_options_exist(self):
        there = options_of("".join((SOURCE / file).read_text() for file in
                                   ("CMakeLists.txt", "bindings/package/CMakeLists.txt")))
        for recipe in VCPKG / "portfile.cmake", CONAN / "conanfile.py":
            options = options_of(recipe.read_text())
            self.assertIn("TALLY_LINKAGES", options)
            self.assertLessEqual(options, there, recipe)


if __name__ == "__main__":
    unittest.main(verbosity=2)
