#!/usr/bin/env python3
"""Merges what the benchmarks wrote in a folder into results.json, and draws report.html there.

usage: report.py DIR

The standard library alone, and a page that needs nothing but itself.
"""

import html
import json
import math
import pathlib
import sys

PROGRAMS = ("engine_bench", "workload_bench", "bindings_bench", "canonical_bench", "sync_bench")

# In the order of the table: how a row's group begins.
TARGET_ORDER = ("reading", "readers", "another process", "by history", "one durable", "reservation and",
                "callers", "whole jobs", "refused", "memory", "disk", "open", "sustained")

ELSEWHERE = "measured elsewhere: not this machine"

# Published or measured before, on other machines; none of it was repeated in this run.
LEDGER_SERVER = (130_000, 350_000, "purpose-built ledger server (TigerBeetle 0.15/0.16, batches of 8,189)")
PEERS_BY_BATCH = (
    (920, "the same ledger server, one transfer at a time: 920/s"),
    (1_300, "pgledger, a transfer: 1,300/s (hot account 830/s)"),
    (2_500, "the PRD's reserve_credits, 10 entries a user: 2,500/s (1,000 entries: 675/s)"),
)

SERIES_COLORS = 8
WIDTH, HEIGHT = 600, 370
LEFT, RIGHT, TOP, BOTTOM = 66, 26, 18, 50


# ---- numbers ------------------------------------------------------------------------------------

def short(value):
    """Three significant digits or so, as a person would say it."""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    if size >= 1:
        return f"{value:.2f}"
    return f"{value:.3g}"


def tick_label(value):
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:g}{suffix}"
    return f"{value:g}"


class Axis:
    """From values to places between `start` and `end`, by their logarithm or as they are."""

    def __init__(self, values, start, end, log):
        low, high = min(values), max(values)
        if log:
            low, high = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
            high = max(high, low + 1)
        else:
            low, high = 0, (high or 1) * 1.08
        self.low, self.high, self.start, self.end, self.log = low, high, start, end, log

    def at(self, value):
        place = math.log10(value) if self.log else value
        return self.start + (place - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self):
        if self.log:
            parts = (1, 2, 5) if self.high - self.low <= 2 else (1,)
            ticks = [part * 10.0 ** power for power in range(self.low, self.high + 1) for part in parts]
            return [tick for tick in ticks if tick <= 10.0 ** self.high * 1.001]
        step = 10 ** math.floor(math.log10(self.high))
        step = next(step * part for part in (0.1, 0.2, 0.25, 0.5, 1) if self.high / (step * part) <= 7)
        return [i * step for i in range(int(self.high / step) + 1)]


# ---- charts -------------------------------------------------------------------------------------

class Chart:
    def __init__(self, name, title, x_label, y_label, text, x_log=True, y_log=True, peers=(), band=None,
                 tail=False):
        self.name, self.title, self.x_label, self.y_label, self.text = name, title, x_label, y_label, text
        self.x_log, self.y_log, self.peers, self.band, self.tail = x_log, y_log, peers, band, tail


CHARTS = (
    Chart("throughput_by_batch", "Throughput by operations a commit", "operations a commit (canonical: a call)",
          "operations / s", "Half reservations, half settlements, each commit durable. The floor writes the same "
          "rows with raw SQLite and decides nothing.", peers=PEERS_BY_BATCH, band=LEDGER_SERVER),
    Chart("throughput_by_callers", "Throughput by callers", "callers, each waiting for its own durable result",
          "operations / s", "Callers who wait at the same time share a commit. Blocks of all levels took turns.",
          peers=((920, "ledger server, one at a time: 920/s"), (1_300, "pgledger: 1,300/s"))),
    Chart("latency", "Latency of a durable reservation", "percentile", "microseconds",
          "Dashed: closed loop, a caller asks again when it has its answer. Solid: open loop, requests come at a "
          "rate and are timed from when they should have started, so that a stall counts for all whom it delays.",
          tail=True),
    Chart("cost_by_history", "Cost of a balance check against history", "entries of the account", "nanoseconds",
          "The engine answers from memory, whatever the history; a naive mirror adds it all up. canonical's are "
          "calls over a unix socket."),
    Chart("sustained", "Sustained throughput, by fifths of the run", "fifth of the run", "operations / s",
          "Jobs made, reserved for and settled, in thirds, over 100,000 users; the time is that in the engine.",
          x_log=False, y_log=False),
    Chart("wal", "The WAL's size over the run", "share of the run, %", "MiB",
          "Looked at after every commit; the limit is 32 MiB.", x_log=False, y_log=False,
          peers=((32, "limit: 32 MiB"),)),
    Chart("commit_latency", "Latency of a commit in the sustained runs", "percentile", "microseconds",
          "What a submit of so many operations takes, checkpoints included.", tail=True),
    Chart("open_by_history", "Opening a mirror", "entries", "milliseconds",
          "Medians, the file in the page cache. The limit is 20 ms.", peers=((20, "limit: 20 ms"),)),
    Chart("canonical_by_history", "canonical: reserve_credits against history", "entries of the account",
          "calls / s", "One caller on one hot account, each call durable.",
          peers=((2_500, "the PRD's, 10 entries a user: 2,500/s"), (675, "1,000 entries: 675/s"))),
    Chart("sync_push", "Push of a mirror's outbox by operations a call", "operations a call", "operations / s",
          "From the mirror's outbox to the verdicts taken, over a socket and through a proxy that adds 20 ms a "
          "round trip."),
)


def colors_of(names):
    """A class for each series: open loops are steps of one hue, the others hues of their own."""
    classes, plain, steps = {}, 0, 0
    for name in names:
        if name.startswith("open loop"):
            steps += 1
            classes[name] = f"o{min(steps, 5)}"
        else:
            plain += 1
            classes[name] = f"s{(plain - 1) % SERIES_COLORS + 1}" + (" dash" if "loop" in name else "")
    return classes


def tail_label(value):
    """1 / (1 - quantile) as a percentile."""
    return {1: "0", 10: "90", 100: "99", 1_000: "99.9", 10_000: "99.99", 100_000: "99.999"}.get(round(value), "") + " %"


def draw_axes(chart, x, y):
    out = []
    for value in y.ticks():
        at = y.at(value)
        out.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
                   f'<text class="tick" x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{tick_label(value)}</text>')
    for value in x.ticks():
        at = x.at(value)
        label = tail_label(value) if chart.tail else tick_label(value)
        out.append(f'<text class="tick" x="{at:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{label}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    out.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}"/>'
               f'<text class="label" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">'
               f'{html.escape(chart.x_label)}</text>'
               f'<text class="label" transform="translate(16 {middle}) rotate(-90)" text-anchor="middle">'
               f'{html.escape(chart.y_label)}</text>')
    return out


def draw_peers(chart, y):
    out = []
    if chart.band:
        low, high, name = chart.band
        top, bottom = y.at(high), y.at(low)
        out.append(f'<rect class="band" x="{LEFT}" width="{WIDTH - RIGHT - LEFT}" y="{top:.1f}" '
                   f'height="{bottom - top:.1f}"/>'
                   f'<text class="peer" x="{LEFT + 8}" y="{top - 5:.1f}">{html.escape(name)}: '
                   f'{low:,}–{high:,}/s</text>')
    for i, (value, name) in enumerate(chart.peers):
        at = y.at(value)
        # Labels of lines close to each other alternate: below one, above the next.
        below = i + 1 < len(chart.peers) and i % 2 == 0 and len(chart.peers) > 1
        out.append(f'<line class="peer-line" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
                   f'<text class="peer" x="{WIDTH - RIGHT - 4}" y="{at + (13 if below else -5):.1f}" '
                   f'text-anchor="end">{html.escape(name)}</text>')
    return out


def draw_series(name, points, color, x, y):
    places = [(x.at(px), y.at(py), px, py) for px, py in points]
    path = " ".join(f"{'L' if i else 'M'}{px:.1f} {py:.1f}" for i, (px, py, _, _) in enumerate(places))
    out = [f'<path class="line {color}" d="{path}"/>']
    if len(places) > 40:
        return out
    for px, py, vx, vy in places:
        out.append(f'<circle class="dot {color}" cx="{px:.1f}" cy="{py:.1f}" r="3.5">'
                   f'<title>{html.escape(name)}: {short(vy)} at {tick_label(vx)}</title></circle>')
    return out


def draw(chart, series):
    """The chart as a figure; nothing where nobody measured it."""
    series = {name: [p for p in points if p[1] > 0] for name, points in series.items()}
    series = {name: points for name, points in series.items() if points}
    if not series:
        return ""
    ys = [py for points in series.values() for _, py in points] + [value for value, _ in chart.peers]
    ys += list(chart.band[:2]) if chart.band else []
    xs = [px for points in series.values() for px, _ in points]
    x = Axis(xs, LEFT + 6, WIDTH - RIGHT - 6, chart.x_log)
    y = Axis(ys, HEIGHT - BOTTOM, TOP, chart.y_log)
    colors = colors_of(series)
    body = draw_axes(chart, x, y) + draw_peers(chart, y)
    for name, points in series.items():
        body += draw_series(name, points, colors[name], x, y)
    legend = "".join(f'<li><svg width="26" height="10" aria-hidden="true"><path class="line {colors[name]}" '
                     f'd="M1 5 L25 5"/></svg>{html.escape(name)}</li>' for name in series)
    is_peers = chart.band or any("limit" not in name for _, name in chart.peers)
    peers = f'<li class="muted">grey, dashed: {ELSEWHERE}</li>' if is_peers else ""
    return (f'<figure id="{chart.name}"><figcaption><h3>{html.escape(chart.title)}</h3>'
            f'<p>{html.escape(chart.text)}</p></figcaption><ul class="legend">{legend}{peers}</ul>'
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(chart.title)}">'
            f'{"".join(body)}</svg></figure>')


# ---- tables -------------------------------------------------------------------------------------

def badge(row):
    if row["met"] is None:
        return ""
    return '<span class="met">✓ met</span>' if row["met"] else '<span class="missed">✗ missed</span>'


def spread(row):
    if row["low"] is None or row["repetitions"] < 2:
        return ""
    return f'{short(row["low"])}–{short(row["high"])}'


def table(rows):
    out = ['<div class="scroll"><table><thead><tr><th>what</th><th class="n">median</th><th class="n">quartiles</th>'
           '<th class="n">ratio</th><th>to</th><th>target</th><th></th></tr></thead><tbody>']
    for row in rows:
        note = f'<small>{html.escape(row["note"])}</small>' if row["note"] else ""
        out.append(f'<tr><td>{html.escape(row["name"])}{note}</td>'
                   f'<td class="n">{short(row["value"])} {html.escape(row["unit"])}</td>'
                   f'<td class="n muted">{spread(row)}</td>'
                   f'<td class="n">{"" if row["ratio"] is None else short(row["ratio"])}</td>'
                   f'<td class="muted">{html.escape(row["ratio_to"] or "")}</td>'
                   f'<td>{html.escape(row["target"] or "")}</td><td>{badge(row)}</td></tr>')
    return "".join(out) + "</tbody></table></div>"


def target_rank(row):
    for rank, start in enumerate(TARGET_ORDER):
        if row["group"].startswith(start):
            return rank
    return len(TARGET_ORDER)


def targets(rows):
    """Those with a target, in the issue's order, each saying what it is of."""
    judged = sorted((row for row in rows if row["target"]), key=target_rank)
    return [dict(row, name=row["name"] if row["group"] in ("reading", "refused") else
                 row["group"].split(":")[0] + ": " + row["name"]) for row in judged]


def details(rows):
    groups = {}
    for row in rows:
        groups.setdefault(row["group"], []).append(row)
    return "".join(f"<details><summary>{html.escape(group)} <span class='muted'>({len(of)})</span></summary>"
                   f"{table(of)}</details>" for group, of in groups.items())


def tiles(rows):
    judged = [row for row in rows if row["met"] is not None]
    shown = [(f"{sum(row['met'] for row in judged)} of {len(judged)}", "targets met")]
    for start, unit, label in (("balance check, 1", "ns", "balance check, memory"),
                               ("reservation, median", "us", "one durable reservation"),
                               ("64 callers", "ops/s", "64 callers, each durable"),
                               ("engine, 8,000 a commit", "ops/s", "in commits of 8,000"),
                               ("engine, 600 jobs", "jobs/s", "whole jobs")):
        row = next((row for row in rows if row["name"].startswith(start) and row["unit"] == unit), None)
        if row:
            shown.append((f"{short(row['value'])} <small>{unit}</small>", label))
    return "".join(f"<div class='tile'><b>{value}</b><span>{label}</span></div>" for value, label in shown)


# ---- the page -----------------------------------------------------------------------------------

STYLE = """
:root { color-scheme: light dark; --page:#f9f9f7; --card:#fcfcfb; --ink:#0b0b0b; --soft:#52514e; --grid:#e1e0d9;
  --axis:#898781; --good:#006300; --bad:#c22f2f; --s1:#2a78d6; --s2:#eb6834; --s3:#1baf7a; --s4:#c98500; --s5:#d55181;
  --s6:#008300; --s7:#4a3aa7; --s8:#e34948; --o1:#9ec5f4; --o2:#6da7ec; --o3:#3987e5; --o4:#1c5cab; --o5:#0d366b; }
@media (prefers-color-scheme: dark) { :root { --page:#0d0d0d; --card:#1a1a19; --ink:#f5f5f3; --soft:#c3c2b7;
  --grid:#2c2c2a; --axis:#898781; --good:#4fc04f; --bad:#ff8a80; --s1:#3987e5; --s2:#d95926; --s3:#199e70; --s4:#c98500;
  --s5:#d55181; --s6:#4fa34f; --s7:#9085e9; --s8:#e66767; --o1:#184f95; --o2:#256abf; --o3:#3987e5; --o4:#86b6ef;
  --o5:#cde2fb; } }
* { box-sizing: border-box } body { margin:0; background:var(--page); color:var(--ink);
  font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif } main { max-width:1240px; margin:auto; padding:32px 20px }
h1 { font-size:28px; margin:0 } h2 { font-size:20px; margin:36px 0 12px } h3 { font-size:16px; margin:0 }
p { margin:4px 0 } .muted, small, figcaption p { color:var(--soft) } small { display:block; font-size:12px }
.tiles { display:grid; grid-template-columns:repeat(auto-fit,minmax(170px,1fr)); gap:12px; margin:24px 0 }
.tile, figure, .card, details { background:var(--card); border:1px solid var(--grid); border-radius:8px }
.tile { padding:14px 16px } .tile b { display:block; font-size:24px; font-weight:600 } .tile b small { display:inline;
  font-size:14px; font-weight:400 } .tile span { color:var(--soft); font-size:13px }
.card { padding:8px 16px } .scroll { overflow-x:auto }
table { border-collapse:collapse; width:100%; font-size:14px } th { text-align:left; color:var(--soft); font-weight:500 }
th, td { padding:7px 10px 7px 0; border-bottom:1px solid var(--grid); vertical-align:top }
tr:last-child td { border-bottom:0 } .n { text-align:right; white-space:nowrap; font-variant-numeric:tabular-nums }
.met { color:var(--good); white-space:nowrap } .missed { color:var(--bad); font-weight:600; white-space:nowrap }
.charts { display:grid; align-items:start; grid-template-columns:repeat(auto-fit,minmax(min(560px,100%),1fr)); gap:16px }
figure { margin:0; padding:16px } figure svg { width:100%; height:auto; display:block }
.legend { list-style:none; display:flex; flex-wrap:wrap; gap:2px 16px; padding:0; margin:10px 0 4px; font-size:13px }
.legend svg { width:26px; height:10px; display:inline-block; margin-right:6px; vertical-align:middle }
.grid { stroke:var(--grid) } .axis { stroke:var(--axis) } .tick { font-size:12.5px; fill:var(--soft) }
.label { font-size:13px; fill:var(--soft) } .line { fill:none; stroke:var(--c); stroke-width:2; stroke-linejoin:round }
.dot { fill:var(--c); stroke:var(--card); stroke-width:1.5 } .dash { stroke-dasharray:6 4 } .dot.dash { stroke-dasharray:none }
.band { fill:var(--axis); opacity:.14 } .peer-line { stroke:var(--axis); stroke-dasharray:3 4 }
.peer { font-size:11.5px; fill:var(--soft); paint-order:stroke; stroke:var(--card); stroke-width:3px } details { padding:10px 16px; margin:8px 0 } summary { cursor:pointer }
dl { display:grid; grid-template-columns:max-content 1fr; gap:4px 18px; margin:8px 0; font-size:14px }
dt { color:var(--soft) } dd { margin:0; overflow-wrap:anywhere } .notice { border-left:3px solid var(--bad); padding-left:12px }
""" + "".join(f".s{i} {{ --c:var(--s{i}) }}" for i in range(1, SERIES_COLORS + 1)) + "".join(
    f".o{i} {{ --c:var(--o{i}) }}" for i in range(1, 6))


def page(all_results):
    rows, machine = all_results["rows"], all_results["machine"]
    figures = "".join(draw(chart, all_results["charts"].get(chart.name, {})) for chart in CHARTS)
    notice = "" if all_results["size"] == "full" else (
        f'<p class="notice">This is a <b>{html.escape(all_results["size"])}</b> run: smaller histories and fewer '
        "repetitions than the targets speak of.</p>")
    facts = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in machine.items())
    return (f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" '
            f'content="width=device-width"><title>Tallystick: benchmarks</title><style>{STYLE}</style><main>'
            f'<h1>Tallystick: benchmarks</h1><p class="muted">{html.escape(machine.get("date", ""))}, commit '
            f'{html.escape(machine.get("commit", ""))}. Every ratio is of medians taken in this run, in turns.</p>'
            f'{notice}<div class="tiles">{tiles(rows)}</div>'
            f'<h2>Targets</h2><div class="card">{table(targets(rows))}</div>'
            f'<h2>The machine</h2><div class="card"><dl>{facts}</dl></div>'
            f'<h2>Charts</h2><div class="charts">{figures}</div>'
            f'<h2>Every measurement</h2>{details(rows)}</main></html>')


def merge(folder):
    """One object of what the programs wrote; the machine is described by the first, and more by the others."""
    merged = {"size": "full", "machine": {}, "rows": [], "charts": {}}
    sizes = set()
    for program in PROGRAMS:
        path = folder / f"{program}.json"
        if not path.exists():
            continue
        written = json.loads(path.read_text())
        sizes.add(written["size"])
        merged["rows"] += written["rows"]
        for name, value in written["machine"].items():
            merged["machine"].setdefault(name, value)
        for chart, series in written["charts"].items():
            merged["charts"].setdefault(chart, {}).update(series)
    if not sizes:
        raise SystemExit(f"report.py: no benchmark wrote into {folder}")
    merged["size"] = " and ".join(sorted(sizes))
    return merged


def main(folder):
    merged = merge(folder)
    (folder / "results.json").write_text(json.dumps(merged, indent=1, ensure_ascii=False) + "\n", "utf-8")
    (folder / "report.html").write_text(page(merged), "utf-8")
    missed = [row for row in targets(merged["rows"]) if row["met"] is False]
    judged = sum(row["met"] is not None for row in merged["rows"])
    print(f"\n{judged - len(missed)} of {judged} targets met ({merged['size']} run)")
    for row in missed:
        judged_value = row["value"] if row["ratio"] is None else row["ratio"]
        print(f"  missed: {row['name']}: {short(judged_value)}, target {row['target']}")
    print(f"{folder / 'results.json'}\n{folder / 'report.html'}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(pathlib.Path(sys.argv[1]))
