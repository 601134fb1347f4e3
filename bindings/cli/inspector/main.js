// The address bar chooses a page; the page follows the mirror.
import { h, morph, number } from "./dom.js";
import { get, is_kept, Refusal } from "./source.js";
import { empty } from "./lists.js";
import { pages } from "./pages.js";
import { NAV, listen_for_keys, show_help } from "./keys.js";

const main = document.getElementById("main");
const live = document.getElementById("live");
const POLL_MS = 1000;
let shown_address = null;
let shown_answers = null;
let shown_route = null;
let asked = 0;
let change = null;

function route_now() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, id] = path.split("/");
  return { name: name in pages ? name : "overview", id, query: new URLSearchParams(query) };
}

// ---- the frame ---------------------------------------------------------------------------------

function nav(overview, name) {
  const current = pages[name].nav ?? name;
  const rejected = overview?.sync.rejected ?? 0;
  const counts = overview && { accounts: overview.users, jobs: Object.values(overview.jobs).reduce((a, b) => a + b, 0), outbox: overview.pending, rejected };
  const kind = { rejected: rejected > 0 && "bad", outbox: overview?.pending > 0 && "wait" };
  return h("div", {}, h("ul", {}, NAV.map((page) => h("li", {}, h("a", { href: `#/${page}`, "aria-current": page === current && "page" },
    pages[page].title, counts && page in counts && h("span", { class: `count ${kind[page] || ""}` }, number(counts[page])))))));
}

function frame(overview, name) {
  morph(document.getElementById("nav"), nav(overview, name));
  if (!overview) return;
  document.getElementById("file").textContent = overview.file;
  const prompts = overview.show_prompts ? "Prompts, drafts, settings and e-mail addresses are shown: --show-prompts was given."
    : "Prompts, transcripts, drafts, settings and e-mail addresses are hidden, and never left the program; tally inspect --show-prompts shows them.";
  const kept = is_kept ? ` Kept at ${overview.now.slice(0, 19).replace("T", " ")} UTC: the first hundred of each list.` : "";
  document.getElementById("foot").textContent = `Read-only. Times are UTC. ${prompts}${kept}`;
}

function say(state, text) {
  live.dataset.state = state;
  if (live.textContent !== text) live.textContent = text;
}

// ---- showing -----------------------------------------------------------------------------------

function draw(route, answers) {
  const page = pages[route.name];
  const fresh = h("div", {}, page.render(answers, route, () => draw(route, answers)));
  morph(main, fresh);
  frame(answers.overview, route.name);
}

function arrive(route) {
  document.title = `${pages[route.name].title}${route.id ? ` ${route.id.slice(0, 8)}` : ""} \u00b7 Tallystick inspector`;
  // In a narrow window the pages' names scroll, and the one that is shown may be out of sight.
  document.querySelector("#nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  const here = main.querySelector("tr.here");
  if (here) here.scrollIntoView({ block: "center" });
  else scrollTo(0, 0);
}

async function show() {
  const route = route_now();
  const is_new = shown_address !== location.hash;
  const mine = ++asked;
  main.setAttribute("aria-busy", "true");
  try {
    const asks = { overview: "overview", ...pages[route.name].asks(route) };
    const values = await Promise.all(Object.values(asks).map(get));
    if (mine !== asked) return;
    shown_answers = Object.fromEntries(Object.keys(asks).map((name, i) => [name, values[i]]));
    change = shown_answers.overview.change;
    // Another chart of the same account is no other page.
    const same_page = shown_address?.split("?")[0] === location.hash.split("?")[0];
    const is_first = shown_address === null;
    shown_address = location.hash;
    shown_route = route;
    if (is_new && !same_page) main.replaceChildren();
    draw(route, shown_answers);
    if (is_new && (!same_page || route.query.get("seq"))) arrive(route);
    if (is_new && !same_page && !is_first && document.activeElement?.closest("main, nav") === null) main.focus({ preventScroll: true });
    say(is_kept ? "kept" : "live", is_kept ? "kept page" : "live");
  } catch (error) {
    if (mine !== asked) return;
    if (error instanceof Refusal) {
      shown_address = location.hash;
      shown_route = null;
      main.replaceChildren(h("section", { class: "panel" }, empty("Nothing to show here", error.message)));
      frame(null, route.name);
    } else {
      lost(error);
    }
  } finally {
    if (mine === asked) main.removeAttribute("aria-busy");
  }
}

function lost(error) {
  if (!(error instanceof TypeError)) throw error;
  say("lost", "no answer: tally inspect has ended");
}

async function follow() {
  // An audit that nobody asks for is ended.
  const is_awaited = shown_answers?.overview?.audit?.state === "running";
  if (!document.hidden || is_awaited) {
    try {
      const now = await get("changes");
      if (now.change !== change || now.audit_running || live.dataset.state === "lost" || shown_answers?.audit?.state === "running") await show();
    } catch (error) {
      lost(error);
    }
  }
  setTimeout(follow, POLL_MS);
}

// ---- light and dark ----------------------------------------------------------------------------

const theme_button = document.getElementById("theme");
const dark_wanted = matchMedia("(prefers-color-scheme: dark)");
const is_dark = () => (document.documentElement.dataset.theme ?? (dark_wanted.matches ? "dark" : "light")) === "dark";
const name_theme = () => { theme_button.textContent = is_dark() ? "Light" : "Dark"; theme_button.setAttribute("aria-label", `Use ${is_dark() ? "light" : "dark"} colours`); };
function toggle_theme() {
  document.documentElement.dataset.theme = is_dark() ? "light" : "dark";
  name_theme();
}

theme_button.onclick = toggle_theme;
dark_wanted.onchange = name_theme;
name_theme();
document.getElementById("help").onclick = show_help;
document.getElementById("search").onsubmit = (event) => {
  event.preventDefault();
  const text = document.getElementById("search-text").value.trim();
  if (text) location.hash = `#/search?${new URLSearchParams({ q: text })}`;
};
document.querySelector(".skip").onclick = (event) => { event.preventDefault(); main.focus(); };
listen_for_keys(toggle_theme);
addEventListener("hashchange", show);
addEventListener("resize", () => { if (shown_route?.name === "account") draw(shown_route, shown_answers); });
if (!location.hash) history.replaceState(null, "", "#/overview");
await show();
if (!is_kept) follow();
