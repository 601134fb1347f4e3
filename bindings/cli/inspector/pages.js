// The pages: what each asks for, and how it looks.
import { h, number, time, duration, us_of, counted } from "./dom.js";
import { chart, is_readable_by_time } from "./chart.js";
import { is_kept, send } from "./source.js";
import { STATUSES, id_text, user_link, job_link, shown, pairs, table, empty, panel, facts, tag, status_tag, breakable, track, job_columns, entry_columns, pager, operation_details } from "./lists.js";

const address = (path, query) => {
  const text = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "")).toString();
  return `#/${path}${text ? `?${text}` : ""}`;
};
const head = (title, ...more) => h("div", { class: "head" }, h("h1", {}, title), more);
const lead = (text) => h("p", { class: "quiet" }, text);
const hint = (text) => h("code", {}, text);

// ---- overview ----------------------------------------------------------------------------------

const sync_verdict = (sync) => {
  if (!sync.device_id) return ["", "\u25cb", "No device yet", ["Nothing is pushed or pulled: ", hint("tally sync --token-file FILE"), " makes this mirror a device."]];
  if (sync.in_sync) return ["good", "\u2713", "In sync", `Canonical answered last at ${sync.synced_at.slice(0, 19).replace("T", " ")} UTC.`];
  return [sync.rejected > 0 || sync.error_class ? "bad" : "wait", sync.rejected > 0 || sync.error_class ? "!" : "\u2026", "Not in sync", `${sync.why}.`];
};
const audit_verdict = (audit, entries) => {
  if (audit.state === "none") return ["", "?", "Not audited yet", "An audit adds up every entry anew and compares."];
  if (audit.state === "running") return ["wait", "\u2026", "The audit is running", `It adds up ${counted(entries, "entry", "entries")}.`];
  if (audit.state === "ended") return ["", "?", "The audit was ended", "It has no verdict: it did not get through all entries."];
  if (audit.error) return ["bad", "!", "The audit could not be made", audit.error];
  const { findings, users, jobs } = audit.report;
  const what = `${counted(audit.report.entries, "entry", "entries")} of ${counted(users, "user", "users")} and ${counted(jobs, "job", "jobs")} were recomputed in ${duration(audit.took_us)}.`;
  if (findings.length === 0) return ["good", "\u2713", "Nothing is wrong", what];
  return ["bad", "!", counted(findings.length, "finding", "findings"), what];
};
const verdict = ([kind, sign, title, text], ...more) =>
  h("div", { class: `verdict ${kind}` }, h("span", { class: "sign", "aria-hidden": "true" }, sign), h("div", {}, h("b", {}, title), h("span", { class: "quiet" }, text), more));

function jobs_track(jobs) {
  return h("ol", { class: "track", "aria-label": "Jobs by status" }, STATUSES.map((name) =>
    h("li", { class: jobs[name] === 0 ? "" : name === "READY" ? "done" : "now" },
      h("span", {}, breakable(name)), h("a", { class: "n", href: address("jobs", { state: name }), "aria-label": `${jobs[name]} jobs are ${name}` }, number(jobs[name])))));
}

const overview = {
  title: "Overview",
  asks: () => ({ overview: "overview" }),
  render({ overview: o }) {
    const jobs = Object.values(o.jobs).reduce((sum, n) => sum + n, 0);
    return [
      head("Overview", lead(`The mirror ${o.file}, as it is on disk now.`)),
      o.users === 0 && h("section", { class: "panel" }, empty("This mirror is empty", ["Operations fill it: ", hint("tally replay TRACE --db FILE")],
        "or a sync brings what canonical has. This page follows by itself.")),
      facts([
        ["Users", number(o.users)],
        ["Spendable credits", number(o.balance), "all balances"],
        ["Held credits", number(o.held), "open holds and leases"],
        ["Entries", number(o.entries)],
        ["Jobs", number(jobs), `${number(o.projects)} projects, ${number(o.drafts)} drafts`],
        ["Pending operations", number(o.pending), "wait to be pushed"],
      ]),
      h("section", { class: "panel" }, h("div", { class: "panel-head" }, h("h2", {}, "Jobs by status"),
        h("a", { href: address("jobs", { state: "FAILED" }) }, o.jobs.FAILED ? tag("bad", `\u2715 ${number(o.jobs.FAILED)} FAILED`) : "0 FAILED")),
        h("div", { class: "body" }, jobs_track(o.jobs))),
      h("div", { class: "columns even" },
        panel("Sync", verdict(sync_verdict(o.sync), h("div", {}, h("a", { href: "#/sync" }, "State and leases")))),
        panel("Audit", verdict(audit_verdict(o.audit, o.entries), h("div", {}, h("a", { href: "#/audit" }, "Audit"))))),
    ];
  },
};

// ---- accounts ----------------------------------------------------------------------------------

const accounts = {
  title: "Accounts",
  asks: ({ query }) => ({ accounts: "accounts?" + new URLSearchParams({ order: query.get("order") ?? "active", offset: query.get("offset") ?? "0" }) }),
  render({ accounts: a }) {
    const last = a.offset + a.rows.length;
    const columns = [
      { title: "User", sort: "id", class: "wide", cell: (row) => [user_link(row.user_id, { class: "id row" }), h("span", { class: "sub" }, h("bdi", {}, row.display_name ?? ""), row.email && [row.display_name && " \u00b7 ", shown(row.email)])] },
      { title: "Balance", sort: "balance", num: true, cell: (row) => h("b", {}, number(row.balance)) },
      { title: "Held", sort: "held", num: true, cell: (row) => number(row.held) },
      { title: "Entries", sort: "entries", num: true, cell: (row) => number(row.entries) },
      { title: "Pending", sort: "pending", num: true, cell: (row) => number(row.pending) },
      { title: "Last entry (UTC)", sort: "active", cell: (row) => time(row.last_entry_at) },
    ];
    const on_sort = (order) => { location.hash = address("accounts", { order }); };
    return [
      head("Accounts", lead(`${counted(a.total, "account", "accounts")}. The balance is what can be spent; what is held is taken off already.`)),
      h("section", { class: "panel" }, a.rows.length === 0 ? empty("No accounts", ["A user is made by the operation ", hint("create_user"), ", or comes with a sync."])
        : [table("Accounts", columns, a.rows, { key: (row) => row.user_id, on_sort, order: a.order }),
          pager(`${number(a.offset + 1)} to ${number(last)} of ${number(a.total)}`, [
            ["\u2190 before", a.offset > 0 && address("accounts", { order: a.order, offset: Math.max(a.offset - 100, 0) })],
            ["next \u2192", last < a.total && !is_kept && address("accounts", { order: a.order, offset: last })]])]),
    ];
  },
};

// ---- one account -------------------------------------------------------------------------------

// Until somebody chooses: by time, but by entry where by time most steps would lie on each other.
const chart_choice = { by_time: null };

function chart_panel(c, route, redraw) {
  const id = route.id;
  const here = (more) => address(`account/${id}`, { from: route.query.get("from"), to: route.query.get("to"), seq: route.query.get("seq"), ...more });
  const n = c.to - c.from + 1;
  const is_all = c.from <= 1 && c.to >= c.total;
  const range = (from, to) => here({ from: Math.max(from, 1), to: Math.min(to, c.total) });
  const on_open = (step) => (step.first_seq === step.last_seq ? here({ seq: step.last_seq }) : range(step.first_seq, step.last_seq));
  const by_time = chart_choice.by_time ?? is_readable_by_time(c.steps);
  const choice = (chosen, text) => h("button", { type: "button", "aria-pressed": String(by_time === chosen), onclick: () => { chart_choice.by_time = chosen; redraw(); } }, text);
  const width = Math.max(document.getElementById("main").clientWidth - (innerWidth > 640 ? 42 : 26), 280);
  return h("section", { class: "panel", "data-key": "chart-panel" },
    h("div", { class: "panel-head" }, h("h2", {}, "Balance"), choice(true, "by time"), choice(false, "by entry")),
    chart(c, { key: `chart-${id}`, width, by_time, on_open }),
    c.steps.length > 0 && h("div", { class: "more" },
      h("span", { class: "legend" }, h("span", {}, h("i", {}), "balance"), h("span", {}, h("i", { class: "held" }), "held for jobs"),
        c.steps.some((step) => step.high > step.low) && h("span", {}, h("i", { class: "spread" }), "from low to high within a step")),
      h("span", { class: "fill" }),
      h("span", {}, `${counted(n, "entry", "entries")} in ${counted(c.steps.length, "step", "steps")}`),
      !is_all && c.from > 1 && h("a", { href: range(c.from - n, c.from - 1) }, "\u2190 earlier"),
      !is_all && c.to < c.total && h("a", { href: range(c.to + 1, c.to + n) }, "later \u2192"),
      !is_all && h("a", { href: address(`account/${id}`, {}) }, "all"),
      c.total > 400 && h("a", { href: range(c.total - 399, c.total) }, "the newest 400")));
}

function holds_panel(a) {
  if (a.holds.length === 0) return panel("Open holds", empty("Nothing is held", "A hold opens when credits are reserved for a job."));
  return panel("Open holds", table("Open holds", [
    { title: "Job", class: "wide", cell: (hold) => [job_link(hold.job_id, { class: "id row" }), h("span", { class: "sub", dir: "auto" }, hold.title)] },
    { title: "Status", cell: (hold) => status_tag(hold.status) },
    { title: "Held", num: true, cell: (hold) => number(hold.hold) },
  ], a.holds, { key: (hold) => `hold-${hold.job_id}` }), a.holds_total > a.holds.length && pager(`the latest ${number(a.holds.length)} of ${number(a.holds_total)}`, [["jobs under way", address("jobs", { state: "open", user: a.user_id })]]));
}

function lease_panel(a) {
  if (!a.lease) return panel("Lease", empty("No lease is open", ["A lease sets credits aside for this device: ", hint("tally lease open USER")]));
  return panel("Lease", h("div", { class: "body" }, pairs([
    ["lease", id_text(a.lease.lease_id)], ["unspent", number(a.lease.unspent)], ["ends (UTC)", time(a.lease.expires_at)],
    ["state", a.lease.returning ? "it is being returned: nothing more is drawn on it" : "open"]])));
}

const account = {
  title: "Account", nav: "accounts",
  asks: ({ id, query }) => {
    const range = new URLSearchParams();
    for (const name of ["from", "to"]) if (query.get(name)) range.set(name, query.get(name));
    const seq = Number(query.get("seq"));
    const before = query.get("before") ?? (seq ? seq + 6 : null);
    return { account: `account/${id}`, chart: `chart/${id}${range.toString() ? `?${range}` : ""}`, entries: `entries/${id}${before ? `?before=${before}` : ""}` };
  },
  render({ account: a, chart: c, entries: e }, route, redraw) {
    const id = a.user_id;
    const seq = Number(route.query.get("seq"));
    const keep = { from: route.query.get("from"), to: route.query.get("to") };
    const first = e.rows[0]?.seq;
    const last = e.rows.at(-1)?.seq;
    return [
      h("div", { class: "head" }, h("p", { class: "crumb" }, h("a", { href: "#/accounts" }, "Accounts")),
        h("h1", { dir: "auto" }, a.display_name || "Account"), id_text(id), a.email && h("span", { class: "quiet" }, "e-mail: ", shown(a.email))),
      facts([
        ["Balance", number(a.balance), "can be spent"], ["Held", number(a.held), counted(a.holds_total, "open hold", "open holds") + (a.lease ? ", and the lease" : "")],
        ["Lease", a.lease ? number(a.lease.unspent) : "\u2013", a.lease ? "unspent on this device" : "none"],
        ["Entries", number(a.entries)], ["Pending", number(a.pending), "not confirmed by canonical"]]),
      chart_panel(c, route, redraw),
      h("div", { class: "columns" }, holds_panel(a), lease_panel(a)),
      h("section", { class: "panel" }, h("div", { class: "panel-head" }, h("h2", {}, "Newest jobs"), h("a", { href: address("jobs", { user: id }) }, "all jobs of this user")),
        a.jobs.length === 0 ? empty("No jobs", ["A job is made in one of the user's projects, by ", hint("create_job"), "."]) : table("Newest jobs", job_columns(false), a.jobs, { key: (job) => `job-${job.job_id}` })),
      h("section", { class: "panel", id: "entries", "data-key": "entries" }, h("h2", {}, "Entries"),
        e.rows.length === 0 ? empty("No entries", "They appear with the first credits that come in.")
          : [table("Entries", entry_columns(id), e.rows, { key: (entry) => `entry-${entry.id}`, here: (entry) => entry.seq === seq }),
            pager(`${number(last)} to ${number(first)} of ${number(e.total)}`, [
              ["\u2191 newest", first < e.total && address(`account/${id}`, keep)],
              ["newer", first < e.total && address(`account/${id}`, { ...keep, before: Math.min(first + 101, e.total + 1) })],
              ["older \u2192", last > 1 && !is_kept && address(`account/${id}`, { ...keep, before: last })]])]),
    ];
  },
};

// ---- jobs --------------------------------------------------------------------------------------

const jobs = {
  title: "Jobs",
  asks: ({ query }) => {
    const asked = new URLSearchParams();
    for (const name of ["state", "user", "before"]) if (query.get(name)) asked.set(name, query.get(name));
    return { jobs: `jobs${asked.toString() ? `?${asked}` : ""}`, overview: "overview" };
  },
  render({ jobs: j, overview: o }, { query }) {
    const user = query.get("user");
    const all = Object.values(o.jobs).reduce((sum, n) => sum + n, 0);
    const open = all - o.jobs.READY - o.jobs.FAILED;
    const counts = user ? {} : { all, open, ...o.jobs };
    const choices = ["all", "open", ...STATUSES, "FAILED"].map((state) =>
      h("option", { value: state, selected: state === j.state }, `${state}${state in counts ? ` (${number(counts[state])})` : ""}`));
    return [
      head("Jobs", lead(user ? ["Of the user ", user_link(user), ", the latest first. ", h("a", { href: "#/jobs" }, "Of all users")] : `${counted(all, "job", "jobs")}, ${number(open)} of them under way; the latest first.`)),
      h("div", { class: "bar" }, h("label", { for: "state" }, "Status"),
        h("select", { id: "state", onchange: (event) => { location.hash = address("jobs", { state: event.target.value, user }); } }, choices)),
      h("section", { class: "panel" }, j.rows.length === 0
        ? empty(all === 0 ? "No jobs" : `No jobs here are ${j.state === "all" ? "this user's" : j.state}`, ["A job is made in a project, by the operation ", hint("create_job"), "."])
        : [table("Jobs", job_columns(true), j.rows, { key: (job) => job.job_id }),
          pager(counted(j.rows.length, "job", "jobs") + " shown", [
            ["\u2191 the latest", query.get("before") && address("jobs", { state: j.state, user })],
            ["older \u2192", j.next && !is_kept && address("jobs", { state: j.state, user, before: j.next })]])]),
    ];
  },
};

// ---- one job -----------------------------------------------------------------------------------

const words_of_step = { pending: "not started", started: "under way", succeeded: "done", failed: "failed" };

function timeline(job, steps, now) {
  const begun = steps.filter((step) => step.started_at);
  const first = Math.min(...begun.map((step) => us_of(step.started_at)));
  const ends = begun.map((step) => (step.finished_at ? us_of(step.finished_at) : step.state === "started" ? Math.max(now, us_of(step.started_at)) : us_of(step.started_at)));
  const span = Math.max(Math.max(...ends) - first, 1);
  let before = null;
  return h("ol", { class: "timeline" }, steps.map((step) => {
    const start = us_of(step.started_at);
    const end = step.finished_at ? us_of(step.finished_at) : step.state === "started" ? Math.max(now, start) : start;
    const gap = step.started_at && before !== null && start - before > 1e6 ? `waited ${duration(start - before)} before it` : "";
    if (step.started_at) before = end;
    const percent = (us) => `${(us / span) * 100}%`;
    const says = [words_of_step[step.state], step.state === "started" && `${step.progress_pct} %`, step.started_at && h("span", {}, "from ", time(step.started_at)), gap, step.status_message && h("bdi", {}, step.status_message), step.error_message && h("bdi", {}, step.error_message)]
      .filter(Boolean).flatMap((each, i) => (i ? [" \u00b7 ", each] : [each]));
    return h("li", { class: step.state, "data-key": step.step_name },
      h("span", { class: "name" }, step.state === "started" && "\u25b8 ", step.state === "failed" && "\u2715 ", step.state === "succeeded" && "\u2713 ", step.step_name),
      h("span", { class: "lane", "aria-hidden": "true" }, step.started_at && h("i", { css: { left: `min(${percent(start - first)}, calc(100% - 3px))`, width: percent(end - start) } })),
      h("span", { class: "num" }, step.started_at ? duration(end - start) : "\u2013"),
      h("span", { class: "says" }, says),
      step.logs_url && h("span", { class: "says" }, "logs: ", step.logs_url));
  }));
}

const remedy_list = (remedies) => h("ol", { class: "remedies" }, remedies.map(({ what, command }) => h("li", {}, h("b", {}, what), command && h("pre", {}, command))));

const job = {
  title: "Job", nav: "jobs",
  asks: ({ id }) => ({ job: `job/${id}`, why: `why/${id}`, overview: "overview" }),
  render({ job: view, why, overview: o }) {
    const { job: j, steps, assets, entries } = view;
    const failed_step = j.failed_step ?? steps.find((step) => step.state === "failed")?.step_name ?? steps.findLast((step) => step.started_at)?.step_name;
    const now = us_of(o.now);
    const took = j.started_at ? (j.finished_at ? us_of(j.finished_at) : now) - us_of(j.started_at) : null;
    const size = (bytes) => (bytes === null ? "\u2013" : `${number(bytes)} bytes`);
    return [
      h("div", { class: "head" }, h("p", { class: "crumb" }, h("a", { href: "#/jobs" }, "Jobs")),
        h("h1", { dir: "auto" }, view.title || "Job"), h("p", { class: "bar" }, status_tag(j.status), id_text(j.id)),
        h("p", { class: "quiet" }, "of ", user_link(j.user_id))),
      j.status === "FAILED" && h("p", { class: "note bad-note", role: "note" }, h("b", {}, `Failed at ${failed_step ?? "PENDING"}`), j.error_code && [": ", h("bdi", {}, j.error_code)], j.error_message && h("span", { dir: "auto" }, ` \u2014 ${j.error_message}`)),
      facts([
        ["Progress", `${j.progress} %`, j.status_message ?? ""], ["Held now", number(view.hold), j.cost_credits_reserved === null ? "nothing reserved yet" : `${number(j.cost_credits_reserved)} reserved at last`],
        ["Cost", j.cost_credits_final === null ? "\u2013" : number(j.cost_credits_final), j.cost_credits_final === null ? "not settled" : "settled"],
        ["Took", took === null ? "\u2013" : duration(took), j.started_at === null ? "not started" : j.finished_at ? "from start to end" : "so far"]]),
      panel("Why it is where it is", h("div", { class: "body" }, h("p", { class: "why", dir: "auto" }, why.why), why.remedies.length > 0 && remedy_list(why.remedies))),
      h("section", { class: "panel" }, h("h2", {}, "Its way"), h("div", { class: "body" }, track(j.status, failed_step))),
      h("div", { class: "columns" },
        panel("Steps", steps.length === 0 ? empty("No steps", "They are made when the job enters its first stage.") : timeline(j, steps, now)),
        h("section", { class: "panel" }, h("h2", {}, "What the credits did"), h("div", { class: "body" }, h("ol", { class: "story" }, view.story.map((sentence) => h("li", {}, sentence)))))),
      panel("Entries", entries.length === 0 ? empty("No entries", [hint("reserve_credits"), " opens a hold, with the first of them."]) : table("The job's entries", entry_columns(j.user_id).slice(0, -1), entries, { key: (entry) => entry.id })),
      panel("Assets", assets.length === 0 ? empty("No assets yet", ["They are added while the job is made, by ", hint("add_asset"), "."]) : table("Assets", [
        { title: "Type", cell: (asset) => asset.type },
        { title: "Where", class: "wide", cell: (asset) => [asset.url, h("span", { class: "sub" }, asset.storage_path)] },
        { title: "Size", num: true, cell: (asset) => size(asset.size_bytes) },
        { title: "Kind", cell: (asset) => shown(asset.mime_type) },
        { title: "Made (UTC)", cell: (asset) => time(asset.created_at) },
      ], assets, { key: (asset) => asset.id })),
      panel("All that the row has", h("div", { class: "body" }, pairs(Object.entries(j).map(([name, value]) => [name, shown(value)])))),
    ];
  },
};

// ---- outbox, rejected, sync --------------------------------------------------------------------

const state_tags = { waiting: ["wait", "\u25cb waiting"], sent: ["run", "\u25b8 sent"], queued: ["wait", "\u25cb queued, no effect yet"], blocked: ["bad", "\u2715 blocked"] };
const operation_columns = (state) => [
  { title: "Number", num: true, cell: (row) => h("a", { class: "row", href: `#/search?q=${row.op_id}`, title: row.op_id }, number(row.number)) },
  { title: "Operation", cell: (row) => [h("b", {}, row.op), h("span", { class: "sub id" }, row.op_id)], class: "wide" },
  state,
  { title: "Made (UTC)", cell: (row) => time(row.at ?? row.operation.at) },
  { title: "About", cell: (row) => [row.operation.user_id && h("span", { class: "nowrap" }, "user ", user_link(row.operation.user_id)), row.operation.job_id && h("span", { class: "sub nowrap" }, "job ", job_link(row.operation.job_id))] },
  { title: "Fields", class: "wide", cell: operation_details },
];

const outbox = {
  title: "Outbox",
  asks: ({ query }) => ({ outbox: `outbox${query.get("after") ? `?after=${query.get("after")}` : ""}` }),
  render({ outbox: o }, { query }) {
    return [
      head("Outbox", lead(`${counted(o.total, "operation", "operations")} that canonical has not judged yet, in the order in which they are pushed.`)),
      h("section", { class: "panel" }, o.rows.length === 0 ? empty("The outbox is empty", "Every operation here has canonical's verdict, or nothing was done yet.")
        : [table("Pending operations", operation_columns({ title: "State", cell: (row) => [tag(...state_tags[row.state]), row.code && h("span", { class: "sub" }, `${row.code}: ${row.sentence}`)] }), o.rows, { key: (row) => String(row.number) }),
          pager(`${number(o.rows[0].number)} to ${number(o.rows.at(-1).number)}`, [
            ["\u2191 the first", query.get("after") && "#/outbox"], ["next \u2192", o.next && !is_kept && address("outbox", { after: o.next })]])]),
    ];
  },
};

const rejected = {
  title: "Rejected",
  asks: ({ query }) => ({ rejected: `rejected${query.get("after") ? `?after=${query.get("after")}` : ""}` }),
  render({ rejected: r }, { query }) {
    return [
      head("Rejected operations", lead(`${counted(r.total, "operation", "operations")} that canonical did not apply. Each is undone here and kept until somebody has seen to it.`)),
      r.rows.length > 0 && h("p", { class: "note" }, h("b", {}, "What to do: "), hint("tally rejected retry N --db FILE"), " applies one anew, ", hint("tally rejected dismiss N --db FILE"), " forgets it."),
      h("section", { class: "panel" }, r.rows.length === 0 ? empty("Nothing is rejected", "What canonical does not apply would be listed here, with the reason.")
        : [table("Rejected operations", operation_columns({ title: "Why", class: "wide", cell: (row) => [tag("bad", `\u2715 ${row.code}`), h("span", { class: "sub" }, row.sentence, row.index !== null && ` It is operation ${row.index} of the batch, from 0.`)] }), r.rows, { key: (row) => String(row.number) }),
          pager(`${number(r.rows.length)} shown`, [["\u2191 the first", query.get("after") && "#/rejected"], ["next \u2192", r.next && !is_kept && address("rejected", { after: r.next })]])]),
    ];
  },
};

function lag(s, now) {
  if (!s.synced_at) return "never";
  return `${duration(Math.max(now - us_of(s.synced_at), 0))} ago`;
}

const sync = {
  title: "Sync",
  asks: () => ({ sync: "sync", overview: "overview" }),
  render({ sync: s, overview: o }) {
    const now = us_of(o.now);
    const title = head("Sync", lead("How far this mirror and canonical are, from the mirror alone: no server is asked."));
    if (!s.device_id) return [title, panel("State", verdict(sync_verdict(s))), facts([["Pending", number(o.pending), "they are pushed once it is a device"]])];
    return [
      title,
      panel("State", verdict(sync_verdict(s))),
      facts([
        ["Last answer", s.synced_at ? h("span", { class: "nowrap" }, lag(s, now)) : "never", s.synced_at && time(s.synced_at)],
        ["Pending", number(s.pending), "wait for a verdict"], ["Blocked", number(s.blocked), "no effect here any more"],
        ["Rejected", number(s.rejected), s.rejected ? h("a", { href: "#/rejected" }, "why") : "none kept"], ["Acknowledged", number(s.acked), "operations with a verdict"]]),
      s.error_class && h("p", { class: "note bad-note", role: "note" }, h("b", {}, `The last attempt failed, ${s.error_class}: `), s.error),
      h("div", { class: "columns" },
        panel("Device", h("div", { class: "body" }, pairs([
          ["device", id_text(s.device_id)], ["capabilities", s.capabilities.join(", ")], ["scope", s.scope ? ["the user ", user_link(s.scope)] : "all users"],
          ["next attempt", s.next_attempt], ["failed attempts", number(s.attempts)], ["cursor", h("code", {}, s.cursor === null ? "none" : JSON.stringify(s.cursor))]]))),
        panel("Open leases", s.leases.length === 0 ? empty("No lease is open", ["A lease sets credits aside for this device: ", hint("tally lease open USER")]) : table("Open leases", [
          { title: "User", cell: (lease) => user_link(lease.user_id, { class: "id row" }) },
          { title: "Unspent", num: true, cell: (lease) => number(lease.unspent) },
          { title: "Ends (UTC)", cell: (lease) => [time(lease.expires_at), us_of(lease.expires_at) < now && h("span", { class: "sub" }, "over")] },
          { title: "State", cell: (lease) => (lease.returning ? tag("wait", "being returned") : tag("good", "\u2713 open")) },
        ], s.leases, { key: (lease) => lease.lease_id }))),
    ];
  },
};

// ---- audit, search -----------------------------------------------------------------------------

const audit = {
  title: "Audit",
  asks({ query }) {
    const order = ["run", "end"].find((name) => query.get(name));
    // Whoever began it ends it with the page.
    if (order === "run") addEventListener("pagehide", () => send("audit?end=1"), { once: true });
    return { audit: `audit${order ? `?${order}=1` : ""}`, overview: "overview" };
  },
  render({ audit: a, overview: o }, route) {
    // Asked for once: what follows only looks.
    if ([...route.query].length > 0) history.replaceState(null, "", "#/audit");
    const running = a.state === "running";
    const findings = a.report?.findings ?? [];
    return [
      head("Audit", lead("Every user's entries are added up anew and compared: balance and sum, each entry's number and the balance after it, each job's hold, status and costs.")),
      panel(null, verdict(audit_verdict(a, o.entries),
        a.started_at && h("div", { class: "quiet" }, "started ", time(a.started_at), " UTC", a.changed_since && a.state === "done" && ", and the mirror has changed since"),
        running && h("div", {}, h("progress", { "aria-label": "The audit is running" }), ` ${duration(a.took_us)}`)),
        !is_kept && h("div", { class: "more" }, running ? ["It reads the whole mirror, in a snapshot of its own. ", h("a", { class: "row", href: "#/audit?end=1" }, "End it")] : h("a", { class: "row", href: "#/audit?run=1" }, a.state === "none" ? "Run the audit" : "Run it again"))),
      findings.length > 0 && panel("Findings", table("Findings", [
        { title: "Invariant", cell: (f) => tag("bad", f.invariant) },
        { title: "User", cell: (f) => (f.user_id ? user_link(f.user_id, { class: "id row" }) : shown(null)) },
        { title: "What is wrong", class: "wide", cell: (f) => f.detail },
      ], findings.slice(0, 200).map((f, i) => ({ ...f, i })), { key: (f) => String(f.i) }), findings.length > 200 && pager(`200 of ${number(findings.length)} findings`, [])),
    ];
  },
};

function found_address(row) {
  if (row.kind === "job" || row.kind === "asset") return `#/job/${row.job_id}`;
  if (row.kind === "device") return "#/sync";
  if (row.seq !== null && row.user_id) return `#/account/${row.user_id}?seq=${row.seq}`;
  if (row.kind === "project") return address("jobs", { user: row.user_id });
  if (row.job_id) return `#/job/${row.job_id}`;
  return row.user_id ? `#/account/${row.user_id}` : null;
}

const search = {
  title: "Search",
  asks: ({ query }) => ({ search: "search?" + new URLSearchParams({ q: query.get("q") ?? "" }) }),
  render({ search: found }, { query }) {
    const kinds = { voice_profile: "voice profile" };
    const link = (row) => {
      const to = found_address(row);
      return to ? h("a", { class: "id row", href: to }, row.id) : id_text(row.id);
    };
    return [
      head("Search", lead(["Ids that begin with ", h("code", {}, query.get("q") ?? ""), "."])),
      h("section", { class: "panel" }, found.rows.length === 0
        ? empty("Nothing begins like this", "It finds users, jobs, projects, entries, operations, drafts, voice profiles, assets, leases and the device, by the first digits of their ids.")
        : [table("Found", [
          { title: "What", cell: (row) => kinds[row.kind] ?? row.kind },
          { title: "Id", cell: link, class: "wide" },
          { title: "Of the user", cell: (row) => (row.user_id && row.kind !== "user" ? user_link(row.user_id) : shown(null)) },
          { title: "Of the job", cell: (row) => (row.job_id && row.kind !== "job" ? job_link(row.job_id) : shown(null)) },
          { title: "Entry", num: true, cell: (row) => (row.seq === null ? shown(null) : number(row.seq)) },
        ], found.rows, { key: (row) => row.kind + row.id }), pager("at most eight of a kind", [])]),
    ];
  },
};

export const pages = { overview, accounts, account, jobs, job, outbox, rejected, sync, audit, search };
