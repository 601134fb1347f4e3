#!/usr/bin/env python3
"""The pages (*.md): every link and anchor leads somewhere, every block of code is run by a test.

usage: docs_test.py PROGRAM [--library LIBTALLY] [--node NODE --addon ADDON] [unittest arguments]

What is run here: the `sh` blocks of a page, in order and in one shell, in a folder of its own, on a PostgreSQL
of its own, whose database names a page chooses. The shell ends at the first command that fails; one that is
meant to says so itself: `COMMAND || test $? = 1`. A block marked `text prints` behind it is what the block before
printed, where `…` stands for anything on a line and a line of it alone for any number of lines. A `python` block is
run in its place between the others, an `sql` block by psql on the database `tally`, a `js` block by node; pieces
of programs get around them what AROUND has. A block marked `text` alone is prose. All other blocks have to be named in
ELSEWHERE, with the test that runs them, or in UNRUN, with the reason.
"""

import argparse
import collections
import html
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True  # The sources' folder stays as it is.

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from postgres import Postgres

GIVEN = argparse.Namespace(program=None, library=None, node=None, addon=None)
NOT_OURS = {".git", "build", "node_modules"}
ADA = "ada00000-0000-4000-8000-000000000001"

Block = collections.namedtuple("Block", "page number line language mark text")

# Blocks that would take hours, or the machine's own state, or run the tests within the tests.
UNRUN = {
    ("README.md", 1): "./dev test would run this test; CI runs all three commands",
    ("bindings/GUIDE.md", 1): "apt-get and ./dev build: the test stands on what they make",
    ("bindings/GUIDE.md", 2): "a role in the machine's own PostgreSQL; the test has one of its own",
    ("bindings/c/README.md", 1): "./dev build: the test stands on what it makes",
    ("bindings/python/README.md", 1): "pip into the machine's Python; python.wheel does it in a fresh environment",
    ("bindings/node/README.md", 1): "npm into the machine's folders; node.package unpacks and uses the same file",
    ("engine/CHANGING.md", 1): "builds and tests everything, this test too; CI does so",
    ("tests/README.md", 1): "the long forms, which take a night",
    ("bench/README.md", 1): "benchmarks take long and give figures; each runs in tiny form as a test of its own",
}

# The test that runs a block, and the file of it in which the block stands word for word.
ELSEWHERE = {
    ("README.md", 3): ("readme_example", "tests/consumer/readme_example.cpp"),
    ("bindings/python/README.md", 2): ("python.example", None),  # It takes the block out of the page.
    ("bindings/node/README.md", 2): ("node.example", "bindings/node/example.mjs"),
    ("engine/reference/job_machine.md", 1): ("reference_pages", None),  # Compared with the table.
}

# Of these each call stands in the projects that package.install configures, builds and runs.
CMAKE = {("README.md", 5), ("bindings/package/README.md", 1)}

# What a block takes for granted: it is run before it, and is in the block's own language.
ENGINE = f"""import tally
ada, film = tally.new_uuid(), tally.new_uuid()
with tally.open("mirror.db") as engine:
    engine.create_user(user_id=ada)
    engine.create_project(project_id=film, user_id=ada, title="Film", prompt_text="A lighthouse",
                          niche_preset="history", target_minutes=1)
"""
BEFORE = {
    ("README.md", 2): f"""
mkdir build
ln -s "$PROGRAM" build/tally
ln -s "{ROOT}/tests" tests
""",
    ("README.md", 4): ENGINE,
    ("bindings/c/README.md", 2): f"""
mkdir -p bindings build/bindings
ln -s "{ROOT}/bindings/c" bindings/c
ln -s "${{TALLY_LIBRARY%/*}}" build/bindings/c
""",
    ("bindings/cli/README.md", 1): f"""
ADA={ADA}
JOB=10b00000-0000-4000-8000-000000000001
createdb tally
tally migrate --pg tally --shim
tally operations --trace | tally replay - --pg tally
(umask 077; tally device add --pg tally --name first --capabilities author,worker | sed -n 's/^token *//p' >token)
tally sync --db mirror.db --pg tally --token-file token
""",
    ("bindings/cli/README.md", 2): "rm mirror.db* token",  # Another machine's.
    ("bindings/node/README.md", 3): f"""
createdb tally
tally migrate --pg tally --shim
{{ tally operations reserve_credits --trace
  printf '{{"op":"advance_job","op_id":"%s","at":"%s","job_id":"%s","to":"QUEUED"}}\\n' \\
    "$(cat /proc/sys/kernel/random/uuid)" 2026-01-21T09:00:00.000000Z 10b00000-0000-4000-8000-000000000001
}} | tally replay - --pg tally
(umask 077; tally device add --pg tally --name node --capabilities author,worker | sed -n 's/^token *//p' >token)
mkdir node_modules
ln -s "{ROOT}/bindings/node" node_modules/tally
""",
    ("engine/CHANGING.md", 4): "createdb tally; tally migrate --pg tally --shim",
}

# Pages that are nothing without the shared library.
OF_THE_LIBRARY = {"bindings/c/README.md"}

# Around a piece that is not a program, by its language.
AROUND = {
    "c": """#include <stdio.h>
#include "tally.h"
void piece(tally_engine* engine, tally_uuid user_id, tally_uuid job_id);
void piece(tally_engine* engine, tally_uuid user_id, tally_uuid job_id) {
%s}
""",
    "js": """import assert from 'node:assert/strict';
import fs from 'node:fs';
import * as tally from 'tally';
const engine = await tally.open('mirror.db');
const token = fs.readFileSync('token', 'utf8').trim();
%s
assert.equal(job_id, '10b00000-0000-4000-8000-000000000001');
await syncer.close();
await engine.close();
""",
    "cpp": """#include "tally/operations.hpp"
#include "ledger.hpp"
namespace tally {
%s
static_assert(RenameProject::row.code_count() == 2 && std::tuple_size_v<decltype(RenameProject::fields())> == 3);
}
""",
}
COMPILERS = {"c": ("TALLY_CC", "cc", "-std=c99"), "cpp": ("TALLY_CXX", "c++", "-std=c++20")}


# ---- the pages ---------------------------------------------------------------------------------


def pages():
    found = []
    for folder, folders, files in os.walk(ROOT):
        folders[:] = sorted(name for name in folders if name not in NOT_OURS)
        found += [pathlib.Path(folder, name).relative_to(ROOT).as_posix() for name in sorted(files)
                  if name.endswith(".md")]
    return found


def read(page):
    return (ROOT / page).read_text(encoding="utf-8")


def blocks_of(page, text):
    """The fenced blocks, numbered from 1, and the text without them, line for line."""
    blocks, prose, opened = [], [], None
    for number, line in enumerate(text.splitlines(), 1):
        fence = re.match(r" {0,3}(`{3,})\s*(\S*)\s*(.*)$", line)
        if opened is None and fence:
            opened = (fence[1], number, fence[2], fence[3], [])
        elif opened and fence and len(fence[1]) >= len(opened[0]) and not fence[2]:
            blocks.append(Block(page, len(blocks) + 1, *opened[1:4], "".join(f"{row}\n" for row in opened[4])))
            opened = None
        elif opened:
            opened[4].append(line)
        prose.append("" if opened or fence else line)
    if opened:
        raise ValueError(f"{page}:{opened[1]}: this block is never closed")
    return blocks, prose


def indented_blocks(prose):
    """The lines that Markdown takes for code because of their indent: nobody would find them to run them."""
    found, in_list = [], False
    for number, line in enumerate(prose, 1):
        if re.match(r"\s*([-*]|\d+\.)\s", line):
            in_list = True
        elif line and not line[0].isspace():
            in_list = False
        if line.startswith("    ") and not in_list and not prose[number - 2].strip():
            found.append(number)
    return found


def without_code(text):
    return re.sub(r"(`+)(?:(?!\1).)+?\1(?!`)", "", text)


def anchors_of(text):
    """As GitHub makes them of headings."""
    anchors, seen = set(), collections.Counter()
    _, prose = blocks_of("", text)
    for line in prose:
        if heading := re.match(r"#{1,6}\s+(.*?)\s*#*$", line):
            words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1].replace("`", ""))
            slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
            anchors.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
        anchors.update(re.findall(r'<a (?:id|name)="([^"]+)"', line))
    return anchors


def broken_links(page, text, root=ROOT):
    """Each link into the repository that leads nowhere."""
    _, prose = blocks_of(page, text)
    broken = []
    for target in re.findall(r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)", without_code("\n".join(prose))):
        target = html.unescape(target)
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue  # Another machine's: no test waits for it.
        path, _, anchor = target.partition("#")
        file = (root / page).parent / path if path else root / page
        inside = root.resolve() in [file.resolve(), *file.resolve().parents]
        if not inside or not file.exists():
            broken.append(target)
        elif anchor and anchor not in anchors_of(file.read_text(encoding="utf-8")):
            broken.append(target)
    return broken


# ---- running -----------------------------------------------------------------------------------


def run_here(block):
    key = (block.page, block.number)
    if key in UNRUN or key in ELSEWHERE or key in CMAKE:
        return None
    return {"sh": "shell", "python": "shell", "sql": "shell", "js": "shell", "c": "compiler", "cpp": "compiler"}.get(block.language)


def matches(shown, printed):
    """Whether a `text prints` block is what was printed."""
    pattern = "".join(r"(?:.*\n)*" if line.strip() == "…" else
                      r".*".join(re.escape(part) for part in line.split("…")) + r"\n"
                      for line in shown.splitlines())
    return re.fullmatch(pattern, printed) is not None


class Links(unittest.TestCase):
    def test_every_link_and_anchor_leads_somewhere(self):
        for page in pages():
            self.assertEqual(broken_links(page, read(page)), [], page)

    def test_a_broken_link_is_found(self):
        text = ("# A page\n[a](GONE.md) [b](README.md#gone) [c](#a-page) [d](#none) `[e](NO.md)`\n"
                "```sh\n[f](NO.md)\n```\n[g](../outside.md) [h](https://example.com/x) [i](README.md#try-it)\n")
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / "README.md").write_text("## Try it\n")
            (root / "page.md").write_text(text)
            self.assertEqual(broken_links("page.md", text, root), ["GONE.md", "README.md#gone", "#none", "../outside.md"])


class Blocks(unittest.TestCase):
    def test_every_block_is_run_or_says_why_not(self):
        kinds = collections.defaultdict(collections.Counter)
        nobody = []
        named = {*UNRUN, *ELSEWHERE, *CMAKE}
        for page in pages():
            blocks, prose = blocks_of(page, read(page))
            for block in blocks:
                kinds[page][block.language or "(none)"] += 1
                key = (page, block.number)
                if not (key in named or run_here(block) or block.language == "text"):
                    nobody.append(f"{page}:{block.line}: {block.language or 'no language'}")
                named.discard(key)
            nobody += [f"{page}:{line}: indented, without a language" for line in indented_blocks(prose)]
        for page, languages in kinds.items():
            print(page, ", ".join(f"{count} {language}" for language, count in languages.items()), file=sys.stderr)
        self.assertEqual(nobody, [], "blocks that no test runs")
        self.assertEqual(named, set(), "UNRUN, ELSEWHERE or CMAKE name blocks that are not there")

    def test_what_is_run_elsewhere_is_what_is_shown(self):
        for (page, number), (test, file) in ELSEWHERE.items():
            if file:
                self.assertIn(blocks_of(page, read(page))[0][number - 1].text, read(file), (page, number, test))

    def test_calls_of_cmake_are_the_consumers(self):
        consumers = "".join(read(path.relative_to(ROOT)) for path in (ROOT / "tests/consumer").glob("*/CMakeLists.txt"))
        for page, number in CMAKE:
            block = blocks_of(page, read(page))[0][number - 1].text
            (package,) = re.findall(r"^(find_package\(tally [\d.]+ REQUIRED COMPONENTS )", block, re.M)
            self.assertIn(package, consumers)
            for target in set(re.findall(r"\btally::\w+", block)):
                self.assertTrue(target.removesuffix("_shared") in consumers, target)

    def test_a_block_without_a_test_is_found(self):
        blocks, prose = blocks_of("page.md", "text\n\n    indented\n\n- item\n\n    of the item\n\n```rust\nx\n```\n")
        self.assertEqual([(b.language, run_here(b)) for b in blocks], [("rust", None)])
        self.assertEqual(indented_blocks(prose), [3])
        with self.assertRaises(ValueError):
            blocks_of("page.md", "```sh\nnever closed\n")

    def test_what_is_printed_is_compared(self):
        self.assertTrue(matches("a … c\n…\nend\n", "a b c\n1\n2\nend\n"))
        self.assertFalse(matches("a … c\n", "a b d\n"))
        self.assertFalse(matches("a\n", "a\nb\n"))


class Pieces(unittest.TestCase):
    def test_those_of_a_page_compile_together(self):
        pieces = collections.defaultdict(str)
        for page in pages():
            for block in blocks_of(page, read(page))[0]:
                if run_here(block) == "compiler":
                    pieces[page, block.language] += block.text
        self.assertTrue(pieces)
        for (page, language), text in pieces.items():
            variable, default, standard = COMPILERS[language]
            command = [os.environ.get(variable) or default, standard, "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
                       *(f"-I{ROOT / folder}" for folder in ("bindings/c", "engine/include", "engine/src")),
                       *(f"-isystem{folder}" for folder in os.environ.get("TALLY_INCLUDES", "").split(":")
                         if folder not in ("", "/usr/include")),  # Where the compiler looks anyway, and in its order.
                       "-x", {"c": "c", "cpp": "c++"}[language], "-"]
            done = subprocess.run(command, input=AROUND[language] % text, text=True, capture_output=True, timeout=120)
            self.assertEqual(done.returncode, 0, f"{page}: {done.stderr}")


class Shell(unittest.TestCase):
    """Each page with blocks for a shell, from top to end."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tally-docs-"))
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.bin = self.folder / ".bin"
        self.bin.mkdir()
        (self.bin / "tally").symlink_to(GIVEN.program)
        (self.bin / "python3").symlink_to(sys.executable)

    def environment(self, server):
        environment = {
            **os.environ, "HOME": str(self.folder), "PGHOST": server.folder, "PGUSER": "postgres",
            "PATH": f"{self.bin}:{Postgres.binaries()}:{os.environ['PATH']}", "PROGRAM": str(GIVEN.program),
            "PYTHONPATH": str(ROOT / "bindings" / "python"), "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"}
        environment.pop("COLUMNS", None)
        if GIVEN.library:
            environment["TALLY_LIBRARY"] = GIVEN.library
        if GIVEN.addon:
            environment["TALLY_NODE_ADDON"] = GIVEN.addon
            (self.bin / "node").symlink_to(GIVEN.node)
        return environment

    def script(self, blocks):
        """One script for the page; what each block prints goes into a file of its own."""
        lines = ["set -eu -o pipefail"]
        for block in blocks:
            out = self.folder / f".block{block.number}"
            before, text = BEFORE.get((block.page, block.number), ""), block.text
            if block.language == "sql":
                text = f"psql -X -q -v ON_ERROR_STOP=1 -d tally <<'END_OF_BLOCK'\n{text}END_OF_BLOCK\n"
            if block.language == "python":
                out.with_suffix(".py").write_text(before + text, encoding="utf-8")
                before, text = "", f"python3 '{out.with_suffix('.py')}'\n"
            if block.language == "js":
                text = f"cat >block.mjs <<'END_OF_BLOCK'\n{AROUND['js'] % text}END_OF_BLOCK\nnode block.mjs\n"
            lines.append(f"echo {block.line} >'{self.folder}/.at'\n{{ :\n{before}\n}} >/dev/null </dev/null\n"
                         f"{{\n{text}}} >'{out}' </dev/null")
        return "\n".join(lines) + "\n"

    def run_page(self, page):
        every, _ = blocks_of(page, read(page))
        blocks = [block for block in every if run_here(block) == "shell"]
        if page in OF_THE_LIBRARY and not GIVEN.library:
            self.skipTest("this build has no shared library that a plain program can load")
        missing = {"python": not GIVEN.library, "js": not GIVEN.addon}
        left_out = [block for block in blocks if missing.get(block.language)]
        for block in left_out:
            print(f"{page}:{block.line}: not run, for this build has nothing for {block.language}", file=sys.stderr)
        blocks = [block for block in blocks if block not in left_out]
        server = Postgres(fsync="on")  # So that the doctor finds nothing.
        self.addCleanup(server.close)
        work = self.folder / "work"
        work.mkdir()
        done = subprocess.run(["bash", "-c", self.script(blocks)], cwd=work, env=self.environment(server),
                              capture_output=True, text=True, timeout=300)
        at = self.folder / ".at"
        self.assertEqual(done.returncode, 0, f"{page}:{at.read_text().strip() if at.exists() else 'before'}: "
                                             f"{done.stdout}{done.stderr}{self.printed(blocks)}")
        for block in every:
            if block.mark == "prints":
                printed = (self.folder / f".block{block.number - 1}")
                if printed.exists():
                    self.assertTrue(matches(block.text, printed.read_text()),
                                    f"{page}:{block.line}: it printed\n{printed.read_text()}")

    def printed(self, blocks):
        last = [self.folder / f".block{block.number}" for block in blocks]
        last = [path for path in last if path.exists()]
        return "\n".join(last[-1].read_text().splitlines()[-20:]) if last else ""


def add_page_tests():
    for page in pages():
        if any(run_here(block) == "shell" for block in blocks_of(page, read(page))[0]):
            name = "test_" + re.sub(r"\W+", "_", page.removesuffix(".md")).lower()
            setattr(Shell, name, lambda self, page=page: self.run_page(page))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=lambda path: pathlib.Path(path).resolve())
    for option in ("--library", "--node", "--addon"):
        parser.add_argument(option)
    GIVEN, rest = parser.parse_known_args()
    add_page_tests()
    unittest.main(argv=[sys.argv[0], *rest])
