// A balance's line: a step an entry, what is held hatched above it, and each step in words.
import { h, s, number, time, us_of, counted } from "./dom.js";

const HEIGHT = 260;
const ROOM = { top: 14, right: 16, bottom: 26 };

function ticks(most) {
  const raw = Math.max(most, 1) / 4;
  const size = 10 ** Math.floor(Math.log10(raw));
  const each = Math.max([1, 2, 5, 10].find((n) => n * size >= raw) * size, 1);
  const out = [];
  for (let at = 0; at <= most + each * 0.999; at += each) out.push(at);
  return out;
}

// A line that stays level until the next step.
function level(points) {
  return points.map(([x, y], i) => (i === 0 ? `M${x},${y}` : `H${x}V${y}`)).join("");
}

function time_labels(first, last) {
  const a = new Date(first / 1000).toISOString();
  const b = new Date(last / 1000).toISOString();
  const from = a.slice(0, 10) === b.slice(0, 10) ? 11 : 0;
  const text = (at) => (from ? at.slice(11, 19) : at.slice(0, 16).replace("T", " "));
  return [text(a), text(b)];
}

// Half of the steps have a place of their own, at least a quarter as wide as if all were alike.
export function is_readable_by_time(steps) {
  if (steps.length < 3) return true;
  const times = steps.map((step) => us_of(step.to));
  const gaps = times.slice(1).map((at, i) => at - times[i]).sort((a, b) => a - b);
  return gaps[gaps.length >> 1] >= 0.25 * ((Math.max(...times) - Math.min(...times)) / gaps.length);
}

// Clocks differ and entries keep their order: none is drawn before the one that it follows.
function times_in_order(steps) {
  let latest = -Infinity;
  return new Map(steps.map((step) => [step.last_seq, (latest = Math.max(latest, us_of(step.to)))]));
}

function scales(data, width, by_time) {
  const values = data.steps.flatMap((step) => [step.high + step.held, step.balance + step.held]);
  const lowest = Math.min(0, ...data.steps.map((step) => step.low));
  const marks = ticks(Math.max(data.before + data.held_before, ...values));
  const most = marks.at(-1);
  const left = Math.max(34, number(most).length * 7.4 + 12);
  const first = by_time ? us_of(data.steps[0].from) : data.steps[0].first_seq - 1;
  const times = times_in_order(data.steps);
  const last = by_time ? times.get(data.steps.at(-1).last_seq) : data.steps.at(-1).last_seq;
  const span = Math.max(last - first, 1);
  const fix = (n) => Math.round(n * 10) / 10;
  return {
    marks, left, first, last,
    x: (at) => fix(left + ((at - first) / span) * (width - left - ROOM.right - 6)),
    y: (credits) => fix(ROOM.top + ((most - credits) / (most - lowest)) * (HEIGHT - ROOM.top - ROOM.bottom)),
    at: (step) => (by_time ? times.get(step.last_seq) : step.last_seq),
  };
}

function drawing(data, width, scale, by_time) {
  const { x, y, at, left } = scale;
  const right = width - ROOM.right;
  const start = [left, y(data.before)];
  const line = [start, ...data.steps.map((step) => [x(at(step)), y(step.balance)])];
  const held = [[left, y(data.before + data.held_before)], ...data.steps.map((step) => [x(at(step)), y(step.balance + step.held)])];
  const ends = by_time ? time_labels(scale.first, scale.last)
    : [`entry ${number(data.steps[0].first_seq)}`, `entry ${number(data.steps.at(-1).last_seq)}`];
  const back = [...line].reverse();
  const under = `${level(line)}H${right}V${y(0)}H${left}Z`;
  const backwards = back.map(([px, py], i) => (i === 0 ? `L${right},${py}` : `H${back[i - 1][0]}V${py}`)).join("") + `H${left}`;
  const holds = `${level(held)}H${right}${backwards}Z`;
  const runs = data.steps.filter((step) => step.high > step.low);
  const bar = Math.max((right - left) / data.steps.length, 1.5);
  return [
    s("defs", {}, s("pattern", { id: "hatch", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      s("line", { x1: 0, y1: 0, x2: 0, y2: 6, class: "hatch" }))),
    scale.marks.map((mark) => [
      s("line", { class: "grid", x1: left, x2: right, y1: y(mark), y2: y(mark) }),
      s("text", { x: left - 7, y: y(mark) + 4, "text-anchor": "end" }, number(mark))]),
    s("text", { x: left, y: HEIGHT - 6 }, ends[0]),
    s("text", { x: right, y: HEIGHT - 6, "text-anchor": "end" }, ends[1]),
    s("path", { class: "under", d: under }),
    s("path", { class: "held", d: holds }),
    s("path", { fill: "url(#hatch)", d: holds }),
    runs.map((step) => s("rect", { class: "spread", x: x(at(step)) - bar / 2, width: bar, y: y(step.high), height: Math.max(y(step.low) - y(step.high), 1) })),
    s("path", { class: "balance", d: `${level(line)}H${right}` }),
    data.steps.length <= 60 && data.steps.map((step) => s("circle", { class: "dot", r: 3, cx: x(at(step)), cy: y(step.balance) })),
  ];
}

function label(step) {
  const when = step.from === step.to ? step.to.slice(0, 19) : `${step.from.slice(0, 19)} to ${step.to.slice(0, 19)}`;
  return `Step of entry ${step.last_seq}, ${when.replaceAll("T", " ")} UTC: ${step.words}`;
}

function explained(step, on_open) {
  const is_run = step.first_seq !== step.last_seq;
  return [
    h("div", {}, h("b", {}, step.words)),
    h("div", { class: "quiet" },
      is_run ? [time(step.from), " to ", time(step.to), " \u00b7 "] : [`entry ${number(step.first_seq)} \u00b7 `, time(step.to), " UTC \u00b7 "],
      step.job_id && [h("a", { href: `#/job/${step.job_id}` }, "its job"), " \u00b7 "],
      h("a", { href: on_open(step) }, is_run ? "look into these" : "in the list")),
  ];
}

// Which step is explained, while the page is refreshed; of the chart that is shown.
const chosen = { of: null, seq: null };

// `on_open(step)`: the address that a step leads to.
export function chart(data, { key, width, by_time, on_open }) {
  if (data.steps.length === 0)
    return h("div", { class: "empty" }, h("b", {}, "No entries yet"), h("span", {}, "The line starts with the first credits that come in."));
  const scale = scales(data, width, by_time);
  if (chosen.of !== key) Object.assign(chosen, { of: key, seq: null });
  let current = data.steps.findIndex((step) => step.last_seq === chosen.seq);
  if (current < 0) current = data.steps.length - 1;
  const says = h("div", { class: "says-box", "data-key": "says" }, explained(data.steps[current], on_open));
  const cursor = s("line", { class: "cursor", y1: ROOM.top, y2: HEIGHT - ROOM.bottom });
  const mark = s("circle", { class: "marked", r: 5 });
  const place = (step) => {
    const px = scale.x(scale.at(step));
    for (const name of ["x1", "x2"]) cursor.setAttribute(name, px);
    mark.setAttribute("cx", px);
    mark.setAttribute("cy", scale.y(step.balance));
  };
  place(data.steps[current]);
  // The nodes that are in the page by now may be others than those made here.
  const choose = (svg, index, focus) => {
    const step = data.steps[Math.min(Math.max(index, 0), data.steps.length - 1)];
    chosen.seq = step.last_seq;
    const px = scale.x(scale.at(step));
    const line = svg.querySelector(".cursor");
    for (const name of ["x1", "x2"]) line.setAttribute(name, px);
    const dot = svg.querySelector(".marked");
    dot.setAttribute("cx", px);
    dot.setAttribute("cy", scale.y(step.balance));
    const all = svg.querySelectorAll(".step");
    all.forEach((each) => each.setAttribute("tabindex", "-1"));
    all[data.steps.indexOf(step)].setAttribute("tabindex", "0");
    if (focus) all[data.steps.indexOf(step)].focus({ preventScroll: true });
    svg.parentNode.querySelector(".says-box").replaceChildren(...explained(step, on_open).flat());
  };
  const index_of = (element) => Number(element.dataset.index);
  const nearest = (svg, event) => {
    const px = event.clientX - svg.getBoundingClientRect().left;
    let best = 0;
    data.steps.forEach((step, i) => {
      if (Math.abs(scale.x(scale.at(step)) - px) <= Math.abs(scale.x(scale.at(data.steps[best])) - px)) best = i;
    });
    return best;
  };
  const moves = { ArrowRight: 1, ArrowLeft: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
  const steps = data.steps.map((step, i) => s("rect", {
    class: "step", "data-index": i, "data-key": `step-${step.last_seq}`, role: "img", "aria-label": label(step), tabindex: i === current ? 0 : -1,
    x: scale.x(scale.at(step)) - 5, width: 10, y: ROOM.top, height: HEIGHT - ROOM.top - ROOM.bottom,
    onfocus: (event) => choose(event.target.ownerSVGElement, index_of(event.target), false),
    onkeydown: (event) => {
      if (event.key in moves) {
        event.preventDefault();
        choose(event.target.ownerSVGElement, index_of(event.target) + moves[event.key], true);
      } else if (event.key === "Enter") {
        location.hash = on_open(step);
      }
    },
  }));
  return h("div", { class: "chart", "data-key": key },
    s("svg", {
      viewBox: `0 0 ${width} ${HEIGHT}`, role: "group", "data-key": "svg",
      "aria-label": `Balance over ${counted(data.to - data.from + 1, "entry", "entries")}; the arrow keys go from step to step`,
      onmousemove: (event) => choose(event.currentTarget, nearest(event.currentTarget, event), false),
      onclick: (event) => { location.hash = on_open(data.steps[nearest(event.currentTarget, event)]); },
    }, drawing(data, width, scale, by_time), cursor, mark, steps),
    says);
}
