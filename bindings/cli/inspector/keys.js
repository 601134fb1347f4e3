// The keyboard: every page without a mouse.
import { h } from "./dom.js";

export const NAV = ["overview", "accounts", "jobs", "outbox", "rejected", "sync", "audit"];
const HELP = [
  [["/"], "find an id"], [["j", "k"], "next and previous row; \u2193 and \u2191 do the same there"], [["Enter"], "open the row, look into a step"],
  [["1", "\u2026", "7"], "the pages, from left to right"], [["\u2190", "\u2192"], "in the chart: from step to step; Home and End too"],
  [["t"], "dark or light"], [["Esc"], "leave the search, close this"], [["?"], "this list"],
];

export function show_help() {
  const dialog = document.getElementById("keys");
  dialog.replaceChildren(h("h2", { id: "keys-title" }, "Keys"),
    h("dl", { class: "pairs" }, HELP.map(([keys, what]) => [h("dt", {}, keys.flatMap((key, i) => [i > 0 && " ", h("kbd", {}, key)])), h("dd", {}, what)])),
    h("form", { method: "dialog" }, h("button", { autofocus: true }, "Close")));
  if (!dialog.open) dialog.showModal();
}

function go_to_row(step) {
  const rows = [...document.querySelectorAll("main .row")];
  if (rows.length === 0) return;
  const at = rows.indexOf(document.activeElement);
  const next = at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + step, 0), rows.length - 1);
  rows[next].focus();
  rows[next].scrollIntoView({ block: "nearest" });
}

export function listen_for_keys(toggle_theme) {
  const search = document.getElementById("search-text");
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const target = event.target;
    if (event.key === "Escape" && target === search) return search.blur();
    if (target.closest("input, select, textarea, dialog")) return undefined;
    const on_row = target.classList.contains("row");
    const does = {
      "/": () => { search.focus(); search.select(); },
      "?": show_help,
      t: toggle_theme,
      j: () => go_to_row(1),
      k: () => go_to_row(-1),
    };
    if (on_row) Object.assign(does, { ArrowDown: does.j, ArrowUp: does.k });
    NAV.forEach((page, i) => { does[String(i + 1)] = () => { location.hash = `#/${page}`; }; });
    if (!(event.key in does)) return undefined;
    event.preventDefault();
    return does[event.key]();
  });
}
