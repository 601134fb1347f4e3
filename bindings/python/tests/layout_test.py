"""The ABI as ctypes sees it is the ABI that a C compiler sees."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import tempfile
import unittest

from support import ROOT

from tally import _abi, _library, _metrics

HEADER = ROOT / "bindings" / "c" / "tally.h"


def printed_by_c(expressions: list[str]) -> list[int]:
    """What a C program says that these are."""
    lines = "\n".join(f'  printf("%lld\\n", (long long)({text}));' for text in expressions)
    with tempfile.TemporaryDirectory() as folder:
        source, binary = f"{folder}/layout.c", f"{folder}/layout"
        with open(source, "w", encoding="utf-8") as out:
            out.write(f'#include <stdio.h>\n#include "{HEADER}"\nint main(void) {{\n{lines}\n}}\n')
        compiler = os.environ.get("TALLY_CC", "cc")
        subprocess.run([compiler, source, "-o", binary], check=True)
        done = subprocess.run([binary], check=True, capture_output=True, text=True)
    return [int(line) for line in done.stdout.split()]


class Layout(unittest.TestCase):
    def test_structs_have_cs_sizes_and_offsets(self) -> None:
        expected, expressions = [], []
        for name, struct in _abi.STRUCTS.items():
            expressions.append(f"sizeof({name})")
            expected.append((name, ctypes.sizeof(struct)))
            for field in struct._fields_:
                offset = getattr(struct, field[0])
                expressions += [
                    f"offsetof({name}, {field[0]})",
                    f"sizeof((({name}*)0)->{field[0]})",
                ]
                expected += [
                    (f"{name}.{field[0]} at", offset.offset),
                    (f"{name}.{field[0]} size", offset.size),
                ]
        found = printed_by_c(expressions)
        self.assertEqual([(what, n) for (what, _), n in zip(expected, found)], expected)

    def test_structs_have_all_of_cs_fields(self) -> None:
        text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(encoding="utf-8"), flags=re.DOTALL)
        structs = dict(re.findall(r"typedef struct \w+ \{(.*?)\} (\w+);", text, flags=re.DOTALL))
        bodies = {name: body for body, name in structs.items()}
        # A batch goes as JSON, so its struct is not needed; an id is an array of bytes.
        self.assertEqual(set(bodies) - set(_abi.STRUCTS), {"tally_operation", "tally_uuid"})
        for name, struct in _abi.STRUCTS.items():
            fields = re.findall(r"(?:\(\*(\w+)\)\(|(\w+)(?:\[\d+\])?;)", bodies[name])
            names = [pointer or plain for pointer, plain in fields]
            self.assertEqual(names, [field[0] for field in struct._fields_], name)

    def test_constants_are_cs(self) -> None:
        names = [
            "ABI_VERSION", "CALL_OP_ID", "CALL_AT", "RECEIPT_BALANCE", "RECEIPT_ID",
            "SYNC_DEVICE_ID", "BALANCE_NONE",
        ]  # fmt: skip
        found = printed_by_c([f"TALLY_{name}" for name in names])
        self.assertEqual(found, [getattr(_abi, name) for name in names])

    def test_kinds_of_metrics_are_cs(self) -> None:
        kinds = [f"TALLY_METRIC_KIND_{kind.upper()}" for kind in _metrics.KINDS]
        self.assertEqual(printed_by_c(kinds), list(range(len(kinds))))

    def test_defaults_are_those_of_the_init_macros(self) -> None:
        import inspect

        import tally

        for struct, macro, kind in (
            ("tally_options", "TALLY_OPTIONS_INIT", tally.Engine),
            ("tally_sync_options", "TALLY_SYNC_OPTIONS_INIT", tally.Syncer),
        ):
            defaults = {
                name: parameter.default
                for name, parameter in inspect.signature(kind).parameters.items()
                if type(parameter.default) is int
            }
            self.assertGreater(len(defaults), 3)
            with self.subTest(struct=struct):
                # A compound literal, so that the macro is C's own reading of it.
                found = printed_by_c([f"(({struct}){macro}).{name}" for name in defaults])
                self.assertEqual(dict(zip(defaults, found)), defaults)

    def test_every_function_of_the_header_is_here_or_known_to_be_left_out(self) -> None:
        text = HEADER.read_text(encoding="utf-8")
        declared = set(re.findall(r"TALLY_C_API [\w\s*]*?\b(tally_\w+)\(", text))
        left_out = {
            "tally_batch",  # A batch is JSON here.
            "tally_uuid_parse",  # uuid.UUID's own.
            "tally_uuid_format",
            "tally_code_sentence",  # The exceptions' docstrings.
        }
        self.assertEqual(declared - set(_abi.FUNCTIONS), left_out)
        self.assertLessEqual(set(_abi.FUNCTIONS), declared)

    def test_the_loaded_library_is_of_this_release(self) -> None:
        version = (ROOT / "VERSION").read_text(encoding="utf-8").strip()
        self.assertEqual(_library.library_version(), version)
        self.assertRegex(_library.sqlite_version(), r"^3\.\d+\.\d+$")


if __name__ == "__main__":
    unittest.main()
