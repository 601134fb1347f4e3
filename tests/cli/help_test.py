#!/usr/bin/env python3
"""What the program says of itself: help, man pages, completion, suggestions, tables; its examples run.

usage: help_test.py PROGRAM [unittest arguments]
"""

import fcntl
import functools
import json
import os
import pathlib
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import termios
import time
import unittest

sys.dont_write_bytecode = True  # The sources' folder stays as it is.

import cli_test
from cli_test import ADA, FINE, USAGE, WORLD, Postgres, tally

PROGRAM = pathlib.Path(cli_test.PROGRAM)
PLAIN = {"COLUMNS": "", "NO_COLOR": "", "TERM": "dumb"}


@functools.cache
def described():
    """Every command by its full name, as `tally help --json` has them."""
    status, out, _ = tally("help", "--json")
    assert status == FINE
    found = {}

    def add(command):
        found[command["command"]] = command
        for each in command["commands"]:
            add(each)

    add(json.loads(out))
    return found


def leaves():
    return {name: command for name, command in described().items() if not command["commands"]}


def arguments_of(name):
    return name.split()[1:]


def needs(*programs):
    missing = [program for program in programs if not shutil.which(program)]
    return unittest.skipIf(missing, "not installed: " + ", ".join(missing))


def on_terminal(arguments, columns=80, **environment):
    """What a terminal of that width is sent."""
    master, slave = pty.openpty()
    set_width(slave, columns)
    env = {**os.environ, "TERM": "xterm", **environment}
    env.pop("COLUMNS", None)
    command = subprocess.Popen([PROGRAM, *arguments], stdout=slave, stderr=slave, stdin=slave, env=env)
    os.close(slave)
    parts = []
    try:
        while part := os.read(master, 65536):
            parts.append(part)
    except OSError:  # The other end is closed.
        pass
    os.close(master)
    return command.wait(timeout=60), b"".join(parts).decode().replace("\r\n", "\n")


def set_width(terminal, columns):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))


class Help(unittest.TestCase):
    def test_every_command_says_what_it_does_with_an_example(self):
        self.assertGreater(len(leaves()), 25)
        for name, command in leaves().items():
            with self.subTest(command=name):
                self.assertGreater(len(command["does"]), 40)
                self.assertTrue(command["on_disk"])
                self.assertTrue(command["examples"])
                self.assertIn("0", [exit["status"] for exit in command["exit_statuses"]])
                self.assertFalse(command["what"].endswith("."))

    def test_help_command_is_the_same_as_the_option(self):
        for name in described():
            arguments = arguments_of(name)
            page = tally("help", *arguments)
            self.assertEqual(page, tally(*arguments, "--help"))
            self.assertEqual(page[0::2], (FINE, ""))
            self.assertIn(f"usage: {name} ", page[1])

    def test_the_page_names_every_option_and_every_command(self):
        for name, command in described().items():
            page = tally("help", *arguments_of(name), env=PLAIN)[1]
            for option in command["options"]:
                self.assertIn(option["name"], page)
            for each in command["commands"]:
                self.assertIn(arguments_of(each["command"])[-1], page)
            for example in command["examples"]:
                for line in example["lines"].split("\n"):
                    self.assertIn(f"  {line}\n", page)

    def test_related_commands_exist(self):
        for name, command in described().items():
            for related in command["related"]:
                self.assertIn("tally " + related, described(), name)

    def test_the_commands_stand_in_groups(self):
        page = tally("--help", env=PLAIN)[1]
        titles = ["Work on a mirror", "Canonical, the Postgres half", "Sync: a mirror as a device", "Tools"]
        places = [page.index(f"\n{title}\n") for title in titles]
        self.assertEqual(places, sorted(places))

    def test_a_narrow_page_is_narrow(self):
        for name, command in described().items():
            page = tally("help", *arguments_of(name), env={"COLUMNS": "40"})[1]
            pasted = {f"  {line}" for example in command["examples"] for line in example["lines"].split("\n")}
            for line in page.splitlines():
                if line not in pasted:
                    self.assertLessEqual(len(line), 40, (name, line))

    def test_columns_that_are_no_width_are_ignored(self):
        usual = tally("--help", env={"COLUMNS": ""})
        for columns in ("wide", "0", "-"):
            self.assertEqual(tally("--help", env={"COLUMNS": columns}), usual)
        self.assertEqual(tally("--help", env={"COLUMNS": "1"})[0], FINE)
        self.assertLessEqual(max(map(len, tally("--help", env={"COLUMNS": "100000"})[1].splitlines())), 100)

    def test_a_terminal_gets_bold_and_its_own_width(self):
        status, page = on_terminal(["sync", "--help"], columns=50)
        self.assertEqual(status, FINE)
        self.assertIn("\x1b[1m", page)
        seen = re.sub(r"\x1b\[\d+m", "", page)
        self.assertLessEqual(max(len(line) for line in seen.splitlines() if "tally sync --db" not in line), 50)
        self.assertNotIn("\x1b", on_terminal(["sync", "--help"], NO_COLOR="1")[1])
        self.assertNotIn("\x1b", tally("sync", "--help", env={"TERM": "xterm"})[1])

    def test_a_closed_output_ends_it_quietly(self):
        for arguments in (["--help"], ["help", "sync"], ["codes"], ["completion", "bash"], ["help", "--man"]):
            reader, writer = os.pipe()
            os.close(reader)  # Before anything can be written to it.
            command = subprocess.Popen([PROGRAM, *arguments], stdout=writer, stderr=subprocess.PIPE)
            os.close(writer)
            self.assertEqual((command.stderr.read(), command.wait(timeout=60)), (b"", WORLD), arguments)
            command.stderr.close()

    def test_an_output_that_is_full_is_said(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([PROGRAM, "--help"], stdout=full, stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(done.returncode, WORLD)
        self.assertIn(b"No space", done.stderr)

    def test_the_version(self):
        self.assertRegex(tally("--version")[1], r"^tally \d+\.\d+\.\d+\n$")


class Suggestions(unittest.TestCase):
    def assert_suggested(self, arguments, *words):
        status, out, err = tally(*arguments)
        self.assertEqual((status, out, err.count("\n")), (USAGE, "", 1), err)
        for word in words:
            self.assertIn(word, err)

    def test_misspelt_commands(self):
        for typed, meant in (("snyc", "sync"), ("hist", "history"), ("replays", "replay"), ("dctor", "doctor"),
                             ("claimnext", "claim-next")):
            self.assert_suggested([typed], f"no command '{typed}'", f"did you mean {meant}?")
            self.assert_suggested([typed, "x", "--db", "m"], f"did you mean {meant}?")
            self.assert_suggested(["help", typed], f"did you mean {meant}?")
        self.assert_suggested(["device", "lst", "--pg", "x"], "tally device has no command 'lst'", "mean list?")
        self.assert_suggested(["help", "device", "lst"], "mean list?")
        self.assert_suggested(["help", "sync", "once"], "tally sync has no command 'once'")

    def test_misspelt_options(self):
        self.assert_suggested(["sync", "--dbb", "m"], "no option '--dbb'", "did you mean --db?")
        self.assert_suggested(["history", ADA, "--db", "m", "--limt=5"], "'--limt'", "did you mean --limit?")
        self.assert_suggested(["device", "add", "--capabilites", "author"], "did you mean --capabilities?",
                              "tally device add --help")
        self.assert_suggested(["--hepl"], "did you mean --help?")

    def test_misspelt_words(self):
        self.assert_suggested(["device", "add", "--name", "n", "--capabilities", "auther", "--pg", "x"],
                              "did you mean author?")
        self.assert_suggested(["replay", "-", "--db", "m", "--durability", "ful"], "did you mean full?")
        self.assert_suggested(["completion", "fsh"], "did you mean fish?")
        self.assert_suggested(["completion", "cmd"], "bash, zsh, fish")
        self.assert_suggested(["codes", "insufficient_credit"], "did you mean insufficient_credits?")
        self.assert_suggested(["operations", "reserve"], "did you mean reserve_credits?")

    def test_nothing_is_suggested_where_nothing_is_near(self):
        for arguments in (["frobnicate"], ["sync", "--quux"], ["codes", "zzz"], ["operations", "zzz"]):
            err = tally(*arguments)[2]
            self.assertNotIn("did you mean", err)
            self.assertRegex(err, r"--help|lists them")

    def test_an_argument_too_many(self):
        self.assert_suggested(["version", "now"], "does not take the argument 'now'")


class Tables(cli_test.InFolder):
    source = pathlib.Path(__file__).resolve().parent.parent.parent

    def test_codes_are_those_of_the_reference_page(self):
        page = (self.source / "engine/reference/codes.md").read_text()
        rows = re.findall(r"^\| (\d+) \| `(\w+)` \| (\w+) \| (.*) \|$", page, re.M)
        listed = json.loads(tally("codes", "--json")[1])["codes"]
        self.assertEqual([(str(c["number"]), c["code"], c["class"], c["sentence"]) for c in listed], rows)
        remedies = re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.M)
        self.assertEqual([(c["code"], c["remedy"]) for c in listed], remedies)
        for code, remedy in remedies:
            self.assertRegex(remedy, r"^[A-Z`].{10,}\.$", code)
        self.assertIn("to do     Reserve first", tally("codes", "no_reservation")[1])
        text = tally("codes")[1].splitlines()
        self.assertEqual(len(text), len(rows) + 1)
        for line, row in zip(text[1:], rows):
            self.assertEqual(line.split(maxsplit=3), list(row))

    def test_a_code_by_name_or_number(self):
        by_name = tally("codes", "insufficient_credits", "--json")
        self.assertEqual(by_name, tally("codes", "41", "--json"))
        self.assertIn("reserve_credits", json.loads(by_name[1])["operations"])
        self.assertIn("reserve_credits", tally("codes", "41")[1])
        self.assertIn("every operation", tally("codes", "invalid_argument")[1])
        self.assertNotIn("from", tally("codes", "busy")[1])

    def test_operations_are_those_of_the_reference_page(self):
        page = (self.source / "engine/reference/operations.md").read_text()
        rows = re.findall(r"^\| (\d+) \| `(\w+)` \| (.*?) \| (\w+) \| (.*?) \|$", page, re.M)
        listed = json.loads(tally("operations", "--json")[1])["operations"]
        self.assertEqual(len(listed), 30)
        for operation, (number, name, fields, capability, codes) in zip(listed, rows, strict=True):
            self.assertEqual((operation["number"], operation["operation"], operation["capability"]),
                             (int(number), name, capability))
            names = [field["name"] + ("" if field["required"] else "?") for field in operation["fields"]]
            self.assertEqual(", ".join(names), fields)
            self.assertEqual(", ".join(f"`{code}`" for code in operation["codes"]), codes)
            self.assertLessEqual({"ok", "not_permitted", *operation["codes"]}, set(operation["all_codes"]))
            self.assertEqual("not_claim_holder" in operation["all_codes"], capability == "worker")
            text = tally("operations", name)[1]
            for word in [field["name"] for field in operation["fields"]] + operation["all_codes"]:
                self.assertIn(word, text)

    def test_each_example_applies_after_what_it_needs(self):
        for operation in json.loads(tally("operations", "--json")[1])["operations"]:
            name = operation["operation"]
            with self.subTest(operation=name):
                trace = tally("operations", name, "--trace")[1]
                self.assertEqual(json.loads(trace.splitlines()[-1]), operation["example"])
                self.assertIn(trace.splitlines()[-1], tally("operations", name)[1])
                db = self.folder / f"{name}.db"
                status, out, _ = tally("replay", "-", "--db", db, stdin=trace.encode())
                results = [json.loads(line)["result"] for line in out.splitlines()]
                expected = "not_permitted" if operation["needs_device"] else "ok"
                self.assertEqual((status, results[-1]), (FINE, expected))

    def test_the_whole_trace_is_ok_and_has_every_operation(self):
        status, trace, _ = tally("operations", "--trace")
        out = tally("replay", "-", "--db", self.db, stdin=trace.encode())[1]
        self.assertEqual({json.loads(line)["result"] for line in out.splitlines()}, {"ok"})
        used = {json.loads(line)["op"] for line in trace.splitlines()}
        listed = json.loads(tally("operations", "--json")[1])["operations"]
        self.assertEqual(used, {o["operation"] for o in listed if not o["needs_device"]})
        self.assertEqual(tally("audit", "--db", self.db)[0], FINE)

    def test_limits_of_fields_are_the_engines(self):
        """What the listing says of a number is where the engine begins to refuse."""
        for operation in json.loads(tally("operations", "--json")[1])["operations"]:
            before = tally("operations", operation["operation"], "--trace")[1].splitlines()[:-1]
            for field in operation["fields"]:
                if field["type"] != "integer":
                    continue
                lines = [json.dumps({**operation["example"], "op_id": f"00000000-0000-7000-8000-{n:012d}",
                                     field["name"]: value})
                         for n, value in enumerate((field["min"] - 1, field["max"] + 1, field["min"]))]
                db = self.folder / f"{operation['operation']}-{field['name']}.db"
                out = tally("replay", "-", "--db", db, stdin="\n".join(before + lines).encode())[1]
                low, high, least = [json.loads(line)["result"] for line in out.splitlines()[-3:]]
                refused = {"not_permitted"} if operation["needs_device"] else {"invalid_amount", "invalid_argument"}
                self.assertLessEqual({low, high}, refused, (operation["operation"], field["name"]))
                if not operation["needs_device"]:
                    self.assertNotIn(least, refused)

    def test_durability_is_chosen(self):
        trace = tally("operations", "create_user", "--trace")[1].encode()
        for durability in ("full", "normal"):
            status, out, _ = tally("replay", "-", "--db", self.folder / durability, "--durability", durability,
                                   stdin=trace)
            self.assertEqual((status, json.loads(out)["result"]), (FINE, "ok"))
        self.assertEqual(tally("replay", "-", "--pg", "x", "--durability", "normal")[0], USAGE)


class Man(cli_test.InFolder):
    def setUp(self):
        super().setUp()
        self.assertEqual(tally("help", "--write-to", self.folder), (FINE, "", ""))
        self.pages = {path.stem: path for path in (self.folder / "man/man1").iterdir()}

    def test_the_program_and_each_command_has_a_page(self):
        expected = {name.replace(" ", "-") for name in described() if len(arguments_of(name)) <= 1}
        self.assertEqual(set(self.pages), expected)
        for name, path in self.pages.items():
            self.assertEqual(path.read_text(), tally("help", "--man", *name.split("-", 1)[1:])[1])

    @needs("groff")
    def test_groff_has_no_warning(self):
        for path in self.pages.values():
            done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z", path], capture_output=True, timeout=60)
            self.assertEqual((done.returncode, done.stderr), (0, b""), path)

    def shown(self, page, columns="80"):
        done = subprocess.run(["man", "--warnings", "-P", "cat", "-l", self.pages[page]], capture_output=True,
                              timeout=60, env={**os.environ, "MANWIDTH": columns, "LC_ALL": "C.UTF-8",
                                               "MANROFFOPT": "-c", "MANPAGER": "cat", "TERM": "dumb"})
        self.assertEqual((done.returncode, done.stderr), (0, b""), page)
        return re.sub(".\b", "", done.stdout.decode()).replace("\u2010", "-")

    @needs("man", "groff")
    def test_man_shows_every_option_example_and_exit_status(self):
        for name, command in described().items():
            page = self.shown("-".join(name.split()[:2]))
            with self.subTest(command=name):
                for option in command["options"]:
                    self.assertRegex(page, r"(?m)^ +(-h, )?" + re.escape(option["name"]) + r"\b")
                for example in command["examples"]:
                    for line in example["lines"].split("\n"):
                        self.assertIn(line, page)
                for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "SEE ALSO"):
                    self.assertRegex(page, f"(?m)^{heading}$")

    @needs("man", "groff")
    def test_the_tables_are_on_their_pages(self):
        page = self.shown("tally-codes", "1000")
        for code in json.loads(tally("codes", "--json")[1])["codes"]:
            self.assertIn(code["sentence"], page)
        page = self.shown("tally-operations", "1000")
        for operation in json.loads(tally("operations", "--json")[1])["operations"]:
            self.assertIn(operation["operation"], page)

    @needs("apropos", "man")
    def test_the_names_can_be_found(self):
        for name, path in self.pages.items():
            done = subprocess.run(["lexgrog", path], capture_output=True, timeout=60)
            self.assertEqual(done.returncode, 0, (name, done.stdout))

    def test_pages_are_plain_text(self):
        for path in self.folder.rglob("*"):
            if path.is_file():
                path.read_bytes().decode("ascii")

    @unittest.skipUnless((PROGRAM.parent / "CMakeCache.txt").exists(), "the program is in no build folder")
    def test_they_are_installed_with_the_completions(self):
        prefix = self.folder / "prefix"
        subprocess.run(["cmake", "--install", PROGRAM.parent, "--component", "program", "--prefix", prefix],
                       check=True, capture_output=True, timeout=60)
        share = prefix / "share"
        for path in self.pages.values():
            self.assertEqual((share / "man/man1" / path.name).read_text(), path.read_text())
        for shell, place in (("bash", "bash-completion/completions/tally"), ("zsh", "zsh/site-functions/_tally"),
                             ("fish", "fish/vendor_completions.d/tally.fish")):
            self.assertEqual((share / place).read_text(), tally("completion", shell)[1])

    def test_a_folder_that_cannot_be_written_is_said(self):
        status, _, err = tally("help", "--write-to", "/dev/null/share")
        self.assertEqual(status, WORLD)
        self.assertIn("cannot write /dev/null/share", err)


class Completion:
    """What every shell is to offer; how it is asked is each one's own."""

    def setUp(self):
        super().setUp()
        for name in ("mirror.db", "token", "my trace.jsonl"):
            (self.folder / name).touch()
        (self.folder / "kept").mkdir()
        self.script = self.folder / "completion"
        self.script.write_text(tally("completion", self.shell)[1])

    def offered(self, *words):
        """What is offered for the last of the words, which may be empty."""
        return self.offered_for([" ".join(["tally", *words])])[0]

    def offers(self, words, *expected):
        self.assertEqual(set(self.offered(*words)), set(expected), words)

    def test_commands(self):
        every = {arguments_of(name)[0] for name in described() if arguments_of(name)}
        self.offers([""], *every)
        self.offers(["re"], "replay", "rejected")
        self.offers(["device", ""], "add", "list", "revoke", "rotate")
        self.offers(["device", "ro"], "rotate")
        self.offers(["help", "rej"], "rejected")
        self.offers(["help", "rejected", ""], "list", "show", "dismiss", "retry")

    def test_every_option_of_every_command(self):
        offered = self.offered_for([f"{name} --" for name in described()])
        for (name, command), found in zip(described().items(), offered):
            options = {option["name"] for option in command["options"] if option["name"].startswith("--")}
            self.assertEqual(set(found), options, name)

    def test_words_of_the_tables(self):
        codes = [code["code"] for code in json.loads(tally("codes", "--json")[1])["codes"]]
        operations = [o["operation"] for o in json.loads(tally("operations", "--json")[1])["operations"]]
        self.offers(["codes", ""], *codes)
        self.offers(["codes", "insuff"], "insufficient_credits")
        self.offers(["operations", ""], *operations)
        self.offers(["replay", "t", "--durability", ""], "full", "normal")
        self.offers(["replay", "t", "--durability=n"], *self.after_equals("--durability=", "normal"))
        self.offers(["completion", ""], "bash", "zsh", "fish")

    def after_equals(self, option, *words):
        return words

    def test_lists_with_commas(self):
        self.offers(["device", "add", "--capabilities", ""], "author", "worker", "service")
        self.offers(["device", "add", "--capabilities", "author,w"], "author,worker")

    def test_files_where_a_file_is_expected_and_nowhere_else(self):
        self.assertEqual(self.files("sync", "--db", "mir"), {"mirror.db"})
        self.assertEqual(self.files("sync", "--token-file", "to"), {"token"})
        self.assertEqual(self.files("replay", "my"), {"my trace.jsonl"})
        self.assertEqual(self.files("demo", "--keep", "k"), {"kept"})
        self.assertEqual(self.files("demo", "--keep", "mir"), set())
        self.assertEqual(self.files("balance", "mir"), set())
        self.assertEqual(self.files("sync", "--pg", "mir"), set())

    def files(self, *words):
        return {word.replace("\\", "").rstrip("/") for word in self.offered(*words)}


class Bash(Completion, cli_test.InFolder):
    shell = "bash"

    def offered_for(self, lines):
        program = [f"source '{self.script}'"]
        for line in lines:
            # As readline breaks them: a = is a word of its own.
            words = [part for word in line.split(" ") for part in re.findall(r"=|[^=]+", word) or [""]]
            quoted = " ".join(f"'{word}'" for word in words)
            program.append(f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _tally; "
                           '((${#COMPREPLY[@]} == 0)) || printf "%s\\n" "${COMPREPLY[@]}"; echo DONE')
        done = subprocess.run(["bash", "--norc", "-uc", "\n".join(program)], cwd=self.folder, capture_output=True,
                              text=True, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return [part.splitlines() for part in done.stdout.split("DONE\n")[:-1]]

    def test_an_option_is_offered_once(self):
        self.assertNotIn("--db", self.offered("sync", "--db", "m", "--"))
        self.assertIn("--only", self.offered("sync", "--only", ADA, "--"))

    def test_readline_asks_it(self):
        """The completion is found by its name and works in an interactive shell."""
        shown = in_terminal(["bash", "--norc", "-i"], self.folder,
                            f"source {self.script}\n", "tally hist\t--db mir\t\x01echo \x05 END\n", "END\r\n")
        self.assertIn("tally history --db mirror.db", shown)


def in_terminal(command, folder, first, then, end, timeout=20):
    """What an interactive shell shows, typed at until `end` is seen."""
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.environ.update(TERM="dumb", PS1="$ ", HOME=str(folder))
        os.execvp(command[0], command)
    os.write(master, first.encode())
    time.sleep(0.5)
    os.write(master, then.encode())
    shown, stop = "", time.monotonic() + timeout
    while end not in shown.split("\n", 2)[-1] and time.monotonic() < stop:
        if select.select([master], [], [], 0.2)[0]:
            try:
                shown += os.read(master, 65536).decode(errors="replace")
            except OSError:
                break
    os.close(master)
    os.waitpid(pid, 0)
    return shown


@needs("fish")
class Fish(Completion, cli_test.InFolder):
    shell = "fish"

    def offered_for(self, lines):
        program = [f"source '{self.script}'", *(f"complete -C '{line}'; echo DONE" for line in lines)]
        done = subprocess.run(["fish", "--no-config", "-c", "\n".join(program)], cwd=self.folder,
                              capture_output=True, text=True, timeout=60,
                              env={**os.environ, "HOME": str(self.folder)})
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return [[line.split("\t")[0] for line in part.splitlines()] for part in done.stdout.split("DONE\n")[:-1]]

    def after_equals(self, option, *words):
        return [option + word for word in words]


@needs("zsh")
class Zsh(Completion, cli_test.InFolder):
    shell = "zsh"

    # A shell in a terminal of its own, whose compadd tells what it is given. The key ^G completes
    # the line that was typed so far.
    setup = r"""
PROMPT=
unsetopt zle_bracketed_paste
autoload -Uz compinit
compinit -u -D
source %s
compadd() {
  if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi
  local -a hits
  local prefix= i
  for ((i = 1; i <= $#; ++i)); do [[ $argv[i] == -p ]] && prefix=$argv[i+1]; done
  builtin compadd -A hits "$@"
  for i in $hits; do print -r -- "HIT:$IPREFIX$prefix$i"; done
  builtin compadd "$@"
}
tell() { print; zle complete-word; print; print -r -- END; zle kill-whole-line; }
zle -N tell
bindkey '^G' tell
print READY
"""
    ask = r"""
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z "source $1"
while zpty -r z text; do [[ $text == READY* ]] && break; done
shift
for line; do
  zpty -w -n z "$line"$'\C-G'
  while zpty -r z text; do
    [[ $text == END* ]] && break
    [[ $text == HIT:* ]] && print -rn -- "${text#HIT:}"
  done
  print -r -- DONE
done
zpty -d z
"""

    def offered_for(self, lines):
        """For several lines at once, since a zsh takes a while to start."""
        (self.folder / "setup.zsh").write_text(self.setup % self.script)
        (self.folder / "ask.zsh").write_text(self.ask)
        done = subprocess.run(["zsh", "-f", "ask.zsh", "setup.zsh", *lines], cwd=self.folder, capture_output=True,
                              text=True, timeout=120, stdin=subprocess.DEVNULL,
                              env={**os.environ, "HOME": str(self.folder), "TERM": "dumb"})
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        parts = done.stdout.split("DONE\n")
        self.assertEqual(len(parts), len(lines) + 1)
        return [[word.removesuffix("=") for word in part.splitlines() if word] for part in parts[:-1]]

    def after_equals(self, option, *words):
        return [option + word for word in words]


@unittest.skipUnless(Postgres.binaries(), "no PostgreSQL server is installed")
class Examples(cli_test.InFolder):
    """Every example of every command is pasted into a shell, as the manual has it."""

    # One story: each command finds what those before it left, and what `before` adds.
    story = ["operations", "codes", "migrate", "replay", "balance", "account", "history", "job", "why", "export",
             "trace", "backup", "telemetry", "audit", "inspect", "device add", "device list", "sync", "status", "verify",
             "doctor", "claim-next", "lease open", "lease list", "lease return", "lease write-off", "rejected list",
             "rejected show", "rejected retry", "rejected dismiss", "device rotate", "device revoke", "demo",
             "completion", "help", "version"]
    sync = "tally sync --db mirror.db --pg tally --token-file token"
    before = {
        "lease write-off": [sync, f"tally lease open {ADA} --amount 5 --ttl 60 --db mirror.db", sync],
        # What the mirror spends is expired on canonical meanwhile.
        "rejected list": ["tally replay spends.jsonl --db mirror.db", "tally replay expires.jsonl --pg tally",
                          f"{sync} || (($? == 1))"],
        "rejected retry": ["tally replay buys.jsonl --pg tally", f"{sync} || (($? == 1))"],
    }

    def setUp(self):
        super().setUp()
        self.server = Postgres(fsync="on")  # The doctor's example finds nothing.
        self.addCleanup(self.server.close)
        self.environment = {
            **os.environ, "HOME": str(self.folder), "PGHOST": self.server.folder, "PGUSER": "postgres",
            "PATH": f"{PROGRAM.parent}:{Postgres.binaries()}:{os.environ['PATH']}"}
        jobs = [cli_test.user(number) for number in (71, 72)]
        project = "c0de0000-0000-4000-8000-000000000001"
        self.write("spends", [cli_test.line(n, "create_job", job_id=job, project_id=project, user_id=ADA)
                              for n, job in enumerate(jobs, 10)]
                   + [cli_test.line(n, "reserve_credits", job_id=job, user_id=ADA, amount=20)
                      for n, job in enumerate(jobs, 20)])
        self.write("expires", [cli_test.line(n, "expire_credits", user_id=ADA, amount=10) for n in range(30, 50)])
        self.write("buys", [cli_test.line(60, "add_credits", user_id=ADA, amount=100, type="purchase")])

    def write(self, name, lines):
        (self.folder / f"{name}.jsonl").write_text("".join(line + "\n" for line in lines))

    def paste(self, lines):
        done = subprocess.run(["bash", "-eu", "-o", "pipefail", "-c", lines], cwd=self.folder, capture_output=True,
                              text=True, timeout=120, env=self.environment)
        self.assertEqual(done.returncode, 0, (lines, done.stdout, done.stderr))
        self.assertNotIn("tally: ", done.stderr)
        return done.stdout

    def paste_examples(self, name):
        for example in described()[name]["examples"]:
            with self.subTest(command=name, example=example["what"]):
                self.paste(example["lines"])

    def test_the_commands(self):
        self.assertEqual({"tally " + name for name in self.story}, set(leaves()))
        for name in self.story:
            for lines in self.before.get(name, []):
                self.paste(lines)
            self.paste_examples("tally " + name)
        installed = ".local/share/bash-completion/completions/tally"
        self.assertEqual((self.folder / installed).read_text(), tally("completion", "bash")[1])

    def test_the_program(self):
        self.paste_examples("tally")
        self.assertIn("in sync", self.paste("tally status --db mirror.db"))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[1:]])
