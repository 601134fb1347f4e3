// What pages are put together from: tables, ids, tags, the track of a job, what is hidden.
import { h, number, signed, short_id, time, duration, us_of } from "./dom.js";

export const STATUSES = ["PENDING", "QUEUED", "SCRIPTING", "VOICE_GEN", "ALIGNMENT", "VISUAL_PLAN", "IMAGE_GEN", "TIMELINE",
  "RENDERING", "PACKAGING", "READY"];

export const id_text = (id) => h("span", { class: "id" }, id);
export const user_link = (id, attributes) => h("a", { class: "id", href: `#/account/${id}`, title: id, ...attributes }, short_id(id));
export const job_link = (id, attributes) => h("a", { class: "id", href: `#/job/${id}`, title: id, ...attributes }, short_id(id));
export const is_hidden = (value) => typeof value === "object" && value !== null && "hidden_bytes" in value;

// Any value of a row: what is hidden says so, and JSON is shown as JSON.
export function shown(value) {
  if (value === null || value === undefined || value === "") return h("span", { class: "quiet" }, "\u2013");
  if (is_hidden(value)) return h("span", { class: "hidden" }, `hidden, ${number(value.hidden_bytes)} bytes`);
  if (typeof value === "object") return h("pre", {}, JSON.stringify(value, null, 1));
  return String(value);
}

export function pairs(entries) {
  return h("dl", { class: "pairs" }, entries.map(([name, value]) => [h("dt", {}, name), h("dd", { dir: "auto" }, value)]));
}

// `columns`: {title, num?, cell(row), sort?}. Each row has a link of class `row`, which j and k go to.
export function table(caption, columns, rows, { key, here, on_sort, order } = {}) {
  const head = (column) => {
    const is_sorted = column.sort && column.sort === order;
    const content = column.sort ? h("button", { type: "button", onclick: () => on_sort(column.sort) }, column.title, is_sorted && " \u2193") : column.title;
    return h("th", { scope: "col", class: column.num && "num", "aria-sort": is_sorted && "descending" }, content);
  };
  return h("div", { class: "scroll" }, h("table", {},
    h("caption", { class: "unseen" }, caption),
    h("thead", {}, h("tr", {}, columns.map(head))),
    h("tbody", {}, rows.map((row) => h("tr", { "data-key": key(row), class: here?.(row) && "here" },
      columns.map((column) => h("td", { class: column.num ? "num" : column.class }, column.cell(row))))))));
}

export function empty(title, ...what) {
  return h("div", { class: "empty" }, h("b", {}, title), ...what.map((each) => h("span", {}, each)));
}

export function panel(title, ...content) {
  return h("section", { class: "panel" }, title && h("h2", {}, title), content);
}

export function facts(entries) {
  return h("dl", { class: "facts" }, entries.filter(Boolean).map(([name, value, more]) =>
    h("div", {}, h("dt", {}, name), h("dd", {}, value, more && h("small", {}, more)))));
}

export const tag = (kind, text) => h("span", { class: `tag ${kind}` }, text);
export function status_tag(status) {
  if (status === "READY") return tag("good", "\u2713 READY");
  if (status === "FAILED") return tag("bad", "\u2715 FAILED");
  if (status === "PENDING") return tag("wait", "\u25cb PENDING");
  return tag("run", `\u25b8 ${status}`);
}

// A status may break behind its underscore where there is little room.
export const breakable = (status) => status.split("_").flatMap((part, i) => (i ? ["_", h("wbr", {}), part] : [part]));

// How far a job is: what is behind it, where it stands, where it failed.
export function place_of(status, failed_step) {
  const failed = status === "FAILED";
  const at = failed ? STATUSES.indexOf(failed_step ?? "PENDING") : STATUSES.indexOf(status);
  return STATUSES.map((_, i) => {
    if (i < at || status === "READY") return "done";
    if (i > at) return "";
    return failed ? "failed" : "now";
  });
}

export function mini_track(job) {
  return h("span", { class: "mini", "aria-hidden": "true" }, place_of(job.status, job.failed_step).map((state) => h("i", { class: state })));
}

const words_of_state = { done: "done", now: "here now", failed: "failed here", "": "not reached" };
export function track(status, failed_step) {
  const places = place_of(status, failed_step);
  return h("ol", { class: "track", "aria-label": "The job's way" }, STATUSES.map((name, i) =>
    h("li", { class: places[i], "aria-current": places[i] === "now" && "step" },
      h("span", {}, breakable(name)), h("span", { class: "unseen" }, `: ${words_of_state[places[i]]}`))));
}

export function job_columns(with_user) {
  return [
    { title: "Job", cell: (job) => [job_link(job.job_id, { class: "id row" }), h("span", { class: "sub", dir: "auto" }, job.title)], class: "wide" },
    { title: "Where it is", cell: (job) => [h("span", { class: "nowrap" }, mini_track(job), status_tag(job.status)),
      job.status === "FAILED" ? h("span", { class: "sub" }, `${job.failed_step ? `at ${job.failed_step}` : "before its first step"}${job.error_code ? `: ${job.error_code}` : ""}`)
        : job.status !== "READY" && job.status_message && h("span", { class: "sub", dir: "auto" }, job.status_message)], class: "mid" },
    { title: "Progress", num: true, cell: (job) => `${job.progress} %` },
    { title: "Held", num: true, cell: (job) => (job.hold ? number(job.hold) : "\u2013") },
    { title: "Cost", num: true, cell: (job) => (job.cost_credits_final === null ? "\u2013" : number(job.cost_credits_final)) },
    with_user && { title: "User", cell: (job) => user_link(job.user_id) },
    { title: "Made (UTC)", cell: (job) => time(job.created_at) },
    { title: "Took", num: true, cell: (job) => (job.started_at && job.finished_at ? duration(us_of(job.finished_at) - us_of(job.started_at)) : "\u2013") },
  ].filter(Boolean);
}

export function entry_columns(user_id) {
  return [
    { title: "Entry", num: true, cell: (entry) => h("a", { class: "row", href: `#/account/${user_id}?seq=${entry.seq}`, title: entry.id }, number(entry.seq)) },
    { title: "When (UTC)", cell: (entry) => time(entry.created_at) },
    { title: "Type", cell: (entry) => entry.type },
    { title: "Amount", num: true, cell: (entry) => h("span", { class: entry.amount > 0 ? "pos" : "neg" }, signed(entry.amount)) },
    { title: "Balance", num: true, cell: (entry) => number(entry.balance_after) },
    { title: "In words", class: "wide", cell: (entry) => h("span", { dir: "auto" }, entry.words) },
    { title: "Job", cell: (entry) => (entry.job_id ? job_link(entry.job_id) : h("span", { class: "quiet" }, "\u2013")) },
  ];
}

// `pages`: [[text, address or null]].
export function pager(text, pages) {
  return h("div", { class: "more" }, h("span", {}, text), h("span", { class: "fill" }),
    pages.map(([name, address]) => address && h("a", { href: address }, name)));
}

export function operation_details(row) {
  const { op, op_id, at, ...fields } = row.operation;
  return h("details", { "data-key": `details-${row.number}` }, h("summary", {}, "fields"),
    pairs(Object.entries(fields).map(([name, value]) => [name, shown(value)])));
}
