"""Mutants of C++: all of a file's are compiled at once, and TALLY_MUTANT chooses one of them as the program runs."""

import json
import re
import shlex
import subprocess
from collections import Counter
from pathlib import Path

from variants import swapped

CHOICE = """#include <cstdlib>
namespace {
bool tally_mutant(int n) {
  static const int chosen = [] {
    const char* text = std::getenv("TALLY_MUTANT");
    return text == nullptr ? 0 : std::atoi(text);
  }();
  return chosen == n;
}
}  // namespace
"""


class Unit:
    """A piece of a file that can be replaced: a statement, or the expression of a condition, result or value."""

    def __init__(self, kind, start, end, text):
        self.kind, self.start, self.end, self.text = kind, start, end, text


def closing(text, at):
    """Where the bracket at `at` is closed."""
    depth = 0
    while at < len(text):
        if text[at] in "\"'" and not (text[at] == "'" and text[at - 1].isdigit()):
            quote = text[at]
            at += 1
            while text[at] != quote:
                at += 2 if text[at] == "\\" else 1
        depth += text[at] in "([{"
        depth -= text[at] in ")]}"
        if depth == 0:
            return at
        at += 1
    raise ValueError("a bracket is not closed")


def units(text):
    """Those of all function bodies, which clang-format begins with two spaces."""
    found = []
    for match in re.finditer(r"^ +(?:\} else )?if (?:constexpr )?\(", text, re.M):
        if "constexpr" in match.group():
            continue
        start, end = match.end(), closing(text, match.end() - 1)
        inner = text[start:end]
        if ";" in inner:
            start += inner.rindex(";") + 1
        elif re.match(r"const |auto ", inner):
            continue
        found.append(Unit("check", start, end, text[start:end].strip()))
    for match in re.finditer(r"\breturn ([^;{}]+);", text):
        found.append(Unit("result", match.start(1), match.end(1), match.group(1)))
    for match in re.finditer(r"^ +const [\w:]+ \w+ = ([^;{}]+);", text, re.M):
        found.append(Unit("value", match.start(1), match.end(1), match.group(1)))
    # A call or an assignment; a declaration has a type before its name.
    statement = r"^ +((?:if \([^;\n]*\) )?)((?!return\b|assert\b|const\b|case\b|else\b|using\b)(?:std::)?[a-z_][\w.>\[\]-]*(?:\((?:[^;{}]|\{[^;{}]*\})*\)| [+-]?= [^;{}]+);)"
    for match in re.finditer(statement, text, re.M):
        found.append(Unit("statement", match.start(2), match.end(2), match.group(2)))
    # Of pieces within one another the outer one is left out, so that each place has one text.
    found.sort(key=lambda unit: (unit.start, -unit.end))
    return [u for i, u in enumerate(found)
            if not any(u.start <= v.start and v.end <= u.end for v in found[i + 1:])]


def variants(unit, words):
    texts = swapped(unit.text, words)
    if unit.kind == "check":
        texts.append("false")
    if unit.kind == "statement":
        texts.append(";")
    return [text for text in dict.fromkeys(texts) if text != unit.text]


def function_at(text, at):
    """The function around a place: its name stands in the last line before that clang-format left at the margin."""
    names = re.findall(r"^[A-Za-z_][^\n;={]*?([\w:~]+)\(", text[:at], re.M)
    return names[-1].rpartition("::")[2] if names else "-"


class Mutant:
    def __init__(self, number, file, line, function, unit, after):
        self.number, self.file, self.line, self.after = number, file, line, after
        flat = lambda text: re.sub(r"\s+", " ", text)
        dropped = after == {"statement": ";", "check": "false"}.get(unit.kind)
        self.name = f"{file} {function}: {flat(unit.text)} => {'(dropped)' if dropped else flat(after)}"


class MutatedFile:
    """One source with all of its mutants, compiled to an object of its own."""

    def __init__(self, root, file, words, first_number):
        self.root, self.file = root, file
        self.source = (root / file).read_text()
        self.choices = []  # Per unit: the unit, and its mutants.
        number = first_number
        places = Counter()
        for unit in units(self.source):
            line = self.source.count("\n", 0, unit.start) + 1
            function = function_at(self.source, unit.start)
            mutants = []
            for after in variants(unit, words):
                mutant = Mutant(number, file, line, function, unit, after)
                places[mutant.name] += 1
                if places[mutant.name] > 1:  # The same words once more in the same function.
                    mutant.name += f" [{places[mutant.name]}]"
                mutants.append(mutant)
                number += 1
            self.choices.append((unit, mutants))
        self.next_number = number

    @property
    def mutants(self):
        return [mutant for _, mutants in self.choices for mutant in mutants]

    def text(self):
        """Every line stays where it is, so that the compiler's lines are ours."""
        out, at = "", 0
        for unit, mutants in self.choices:
            if not mutants:
                continue
            if unit.kind == "statement":
                new = "".join(f"if (tally_mutant({m.number})) {{ {m.after} }} else " for m in mutants)
                new = "{ " + new + "{ " + unit.text + " } }"
            else:
                new = "".join(f"tally_mutant({m.number}) ? ({m.after}) : " for m in mutants) + f"({unit.text})"
            new = re.sub(r"\s*\n\s*", " ", new) + "\n" * self.source.count("\n", unit.start, unit.end)
            out += self.source[at:unit.start] + new
            at = unit.end
        return CHOICE.replace("\n", " ", CHOICE.count("\n")).replace("#include <cstdlib> ", "#include <cstdlib>\n") + \
            "\n#line 1\n" + out + self.source[at:]

    def compile(self, command, folder):
        """Mutants that are no C++ are left out. Returns the object."""
        source = folder / (Path(self.file).stem + ".mutated.cpp")
        target = folder / (Path(self.file).stem + ".o")
        words = shlex.split(command)
        words[words.index("-o") + 1] = str(target)
        words[words.index("-c") + 1] = str(source)
        words = [w for w in words if w not in ("-Werror", "-Wall", "-Wextra", "-Wconversion", "-g")]
        words += ["-w", "-O1", "-fmax-errors=0", f"-I{(self.root / self.file).parent}"]
        for _ in range(12):
            source.write_text(self.text())
            done = subprocess.run(words, capture_output=True, text=True, cwd=folder)
            if done.returncode == 0:
                return target
            wrong = {int(n) for n in re.findall(rf"^{re.escape(str(source))}:(\d+):\d+: error", done.stderr, re.M)}
            if not self.leave_out(wrong):
                raise RuntimeError(f"{self.file} does not compile, mutated:\n{done.stderr[:3000]}")
        raise RuntimeError(f"{self.file} does not compile")

    def leave_out(self, lines):
        left_out = False
        for i, (unit, mutants) in enumerate(self.choices):
            first = self.source.count("\n", 0, unit.start) + 1
            last = self.source.count("\n", 0, unit.end) + 1
            if mutants and any(first <= line <= last for line in lines):
                # One that is alone in its place is at fault; else one after the other is tried.
                self.choices[i] = (unit, mutants[:-1] if len(mutants) > 1 else [])
                left_out = True
        return left_out


def compile_command(build, root, file):
    for entry in json.loads((build / "compile_commands.json").read_text()):
        if Path(entry["file"]) == root / file and "tally_engine_objects" in entry["command"]:
            return entry["command"]
    raise RuntimeError(f"{build} does not compile {file}")


def link(build, target, objects, program):
    """The same program, but for these objects: they come before the library that holds the others."""
    commands = subprocess.run(["ninja", "-C", build, "-t", "commands", target], check=True, capture_output=True, text=True)
    command = next(line for line in reversed(commands.stdout.splitlines()) if f" -o {target}" in line or f"/{target}" in line)
    words = shlex.split(command.split("&&")[1] if "&&" in command else command)
    words[words.index("-o") + 1] = str(program)
    first = next(i for i, word in enumerate(words) if word.endswith(".o"))
    subprocess.run(words[:first] + [str(o) for o in objects] + words[first:], check=True, cwd=build)
