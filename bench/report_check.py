#!/usr/bin/env python3
"""Runs report.py on what the benchmarks' tiny forms wrote, and checks what comes out of it."""

import json
import pathlib
import re
import subprocess
import sys

KEYS = {"program", "group", "name", "value", "unit", "low", "high", "repetitions", "ratio", "ratio_to", "target",
        "met", "note", "size"}

folder = pathlib.Path(sys.argv[1])
subprocess.run([sys.executable, pathlib.Path(__file__).with_name("report.py"), folder], check=True)
results = json.loads((folder / "results.json").read_text("utf-8"))
page = (folder / "report.html").read_text("utf-8")

assert results["rows"], "no rows"
for row in results["rows"]:
    assert set(row) == KEYS, f"{row}: not the keys of a row"
    assert isinstance(row["value"], (int, float)), f"{row['name']}: no value"
    assert (row["ratio"] is None) == (row["ratio_to"] is None), f"{row['name']}: a ratio to nothing"
    assert (row["target"] is None) == (row["met"] is None), f"{row['name']}: a target that nobody judged"
names = [(row["group"], row["name"]) for row in results["rows"]]
assert len(names) == len(set(names)), "two rows of one name"
for name in ("throughput_by_batch", "throughput_by_callers", "latency", "cost_by_history", "sustained", "wal"):
    assert f'<figure id="{name}">' in page, f"no chart {name}"
for outside in (r"https?://", r"\b(src|href)\s*=", r"<script", r"@import", r"url\("):
    assert not re.search(outside, page), f"the report refers to something outside: {outside}"
