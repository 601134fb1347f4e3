// Where answers come from: the program over loopback, or what the kept page has in itself.

const kept_text = document.getElementById("kept");
const kept = kept_text && JSON.parse(kept_text.textContent);
export const is_kept = Boolean(kept);

export class Refusal extends Error {}

// Of a kept list what the query leaves, as the program would.
const kept_queries = {
  accounts(answer, query) {
    const order = query.get("order") ?? "active";
    const by = { balance: "balance", held: "held", entries: "entries", pending: "pending" }[order];
    const rows = [...answer.rows];
    if (by) rows.sort((a, b) => b[by] - a[by]);
    if (order === "id") rows.sort((a, b) => (a.user_id < b.user_id ? -1 : 1));
    return { ...answer, order, rows: rows.slice(Number(query.get("offset") ?? 0)) };
  },
  jobs(answer, query) {
    const state = query.get("state") ?? "all";
    const is_open = (job) => job.status !== "READY" && job.status !== "FAILED";
    const rows = answer.rows.filter((job) => (state === "all" || job.status === state || (state === "open" && is_open(job))) &&
      (!query.get("user") || job.user_id === query.get("user")));
    return { ...answer, state, rows };
  },
  entries(answer, query) {
    const before = Number(query.get("before") ?? Infinity);
    return { ...answer, rows: answer.rows.filter((entry) => entry.seq < before) };
  },
  chart(answer, query) {
    const from = Number(query.get("from") ?? 1);
    const to = Number(query.get("to") ?? answer.total);
    const steps = answer.steps.filter((step) => step.last_seq >= from && step.first_seq <= to);
    const before = answer.steps.filter((step) => step.last_seq < from).at(-1);
    return { ...answer, from, to, steps, before: before?.balance ?? answer.before, held_before: before?.held ?? answer.held_before };
  },
};

function kept_search(begin) {
  const wanted = begin.replaceAll("-", "").toLowerCase();
  if (!/^[0-9a-f]{1,32}$/.test(wanted)) throw new Refusal("an id begins with up to 32 hex digits");
  const rows = [];
  const add = (kind, id, more) => {
    if (id && id.replaceAll("-", "").startsWith(wanted) && !rows.some((row) => row.kind === kind && row.id === id))
      rows.push({ kind, id, user_id: null, job_id: null, seq: null, ...more });
  };
  for (const [path, answer] of Object.entries(kept)) {
    const [what, of] = path.split("/");
    if (what === "account") add("user", of, { user_id: of });
    if (what === "job") {
      add("job", of, { user_id: answer.job.user_id, job_id: of });
      add("project", answer.job.project_id, { user_id: answer.job.user_id, job_id: of });
      for (const asset of answer.assets) add("asset", asset.id, { job_id: of });
    }
    if (what === "entries")
      for (const entry of answer.rows) add("entry", entry.id, { user_id: of, seq: entry.seq, job_id: entry.job_id });
    if (what === "outbox" || what === "rejected")
      for (const row of answer.rows) add("operation", row.op_id, { user_id: row.operation.user_id ?? null });
    if (what === "sync") add("device", answer.device_id);
  }
  return { rows };
}

function from_kept(path) {
  const [base, text] = path.split("?");
  const query = new URLSearchParams(text);
  if (base === "search") return kept_search(query.get("q") ?? "");
  const answer = kept[base];
  if (!answer) throw new Refusal("this file does not hold it: it keeps the first of each list; tally inspect without --html shows all");
  const narrow = kept_queries[base.split("/")[0]];
  return text && narrow ? narrow(answer, query) : answer;
}

// Told, not asked: it arrives also from a page that is being closed.
export const send = (path) => fetch("api/" + path, { keepalive: true, credentials: "omit" }).catch(() => {});

export async function get(path) {
  if (kept) return from_kept(path);
  const answer = await fetch("api/" + path, { cache: "no-store", credentials: "omit" });
  const value = await answer.json().catch(() => ({ error: "this is not the inspector's answer" }));
  if (!answer.ok) throw new Refusal(value.error);
  return value;
}
