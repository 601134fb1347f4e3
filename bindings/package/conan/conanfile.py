"""Conan 2: `conan create bindings/package/conan` in a checkout."""

import os

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import copy, load

required_conan_version = ">=2.0"


class Tally(ConanFile):
    name = "tally"
    description = "Credit ledger and job state machine in one SQLite file, with Postgres sync"
    topics = ("ledger", "credits", "sqlite", "postgres")
    package_type = "library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"shared": [True, False], "fPIC": [True, False], "sync": [True, False]}
    default_options = {"shared": False, "fPIC": True, "sync": True}
    implements = ["auto_shared_fpic"]

    @property
    def _tree(self):
        return os.path.join(self.recipe_folder, "..", "..", "..")

    def set_version(self):
        self.version = load(self, os.path.join(self._tree, "VERSION")).strip()

    def export_sources(self):
        copy(self, "*", self._tree, self.export_sources_folder, excludes=("build/*", ".git/*"))

    def requirements(self):
        self.requires("boost/[>=1.74 <2]", options={"header_only": True})
        self.requires("nlohmann_json/[>=3.11 <4]")
        self.requires("openssl/[>=3 <4]")
        self.requires("sqlite3/[>=3.51.3 <4]")
        self.requires("sqlitecpp/[>=3.2 <4]")
        if self.options.sync:
            self.requires("cli11/[>=2.3 <3]")
            self.requires("libpq/[>=15]")

    def validate(self):
        check_min_cppstd(self, 20)

    def layout(self):
        cmake_layout(self)

    def generate(self):
        CMakeDeps(self).generate()
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables.update({
            "TALLY_SQLITE": "system",  # Conan's: one SQLite for all that it builds.
            "TALLY_SYNC": bool(self.options.sync),
            "TALLY_LINKAGES": "shared" if self.options.shared else "static",
            "TALLY_TESTS": False, "TALLY_BENCH": False, "TALLY_WERROR": False})
        toolchain.generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        CMake(self).install()
        copy(self, "copyright", os.path.join(self.source_folder, "bindings", "package", "debian"),
             os.path.join(self.package_folder, "licenses"))

    def package_info(self):
        # Our own tallyConfig.cmake, with the targets that every other way of building has, too.
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.builddirs.append(os.path.join("lib", "cmake", "tally"))
