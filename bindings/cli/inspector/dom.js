// Elements, and bringing what is shown up to what should be. Texts become text nodes, always: none
// of them is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";

function make(element, attributes, children) {
  element.handlers = {};
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element[name] = element.handlers[name] = value;
    else if (name === "css") Object.assign(element.style, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const h = (tag, attributes, ...children) => make(document.createElement(tag), attributes, children);
export const s = (tag, attributes, ...children) => make(document.createElementNS(SVG, tag), attributes, children);

// ---- morphing ----------------------------------------------------------------------------------

// What the reader has set stays: which details are open, what is typed.
const KEPT = new Set(["open"]);

function same(a, b) {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName &&
    (a.nodeType !== 1 || a.getAttribute("data-key") === b.getAttribute("data-key"));
}

function morph_attributes(old, fresh) {
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !KEPT.has(name) && name !== "style") old.removeAttribute(name);
  }
  for (const { name, value } of [...fresh.attributes]) {
    if (name !== "style" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  if (old.style.cssText !== fresh.style.cssText) old.style.cssText = fresh.style.cssText;
  for (const name of Object.keys(old.handlers ?? {})) old[name] = null;
  old.handlers = fresh.handlers ?? {};
  Object.assign(old, old.handlers);
}

// Makes the children of `old` like `fresh`, and keeps every node that can stay: focus, selection and
// scrolling stay with them.
export function morph(old, fresh) {
  const keyed = new Map();
  for (const child of old.childNodes) {
    const key = child.nodeType === 1 && child.getAttribute("data-key");
    if (key) keyed.set(key, child);
  }
  let next = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const key = wanted.nodeType === 1 && wanted.getAttribute("data-key");
    const found = key ? keyed.get(key) : next;
    if (found && same(found, wanted)) {
      if (found === next) next = next.nextSibling;
      else old.insertBefore(found, next);
      if (wanted.nodeType !== 1) {
        if (found.data !== wanted.data) found.data = wanted.data;
      } else {
        morph_attributes(found, wanted);
        morph(found, wanted);
      }
    } else {
      old.insertBefore(wanted, next);
    }
  }
  while (next) {
    const gone = next;
    next = next.nextSibling;
    gone.remove();
  }
}

// ---- texts -------------------------------------------------------------------------------------

export const number = (n) => (n < 0 ? "\u2212" : "") + Math.abs(n).toLocaleString("en-US");
export const signed = (n) => (n > 0 ? "+" : "") + number(n);
export const counted = (n, one, many) => `${number(n)} ${n === 1 ? one : many}`;
export const short_id = (id) => `${id.slice(0, 8)}\u2026${id.slice(-4)}`;
export const us_of = (time) => (time ? Date.parse(time.slice(0, 23) + "Z") * 1000 + Number(time.slice(23, 26)) : NaN);

// `350 ms`, `19 s`, `2 min 05 s`, `1 h 02 min`, `3 d 04 h`
export function duration(us) {
  const two = (n) => String(n).padStart(2, "0");
  const ms = Math.round(us / 1000);
  const seconds = Math.floor(ms / 1000);
  if (ms < 1000) return `${ms} ms`;
  if (seconds < 10) return `${(ms / 1000).toFixed(1)} s`;
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${two(seconds % 60)} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${two(Math.floor(seconds / 60) % 60)} min`;
  return `${number(Math.floor(seconds / 86400))} d ${two(Math.floor(seconds / 3600) % 24)} h`;
}

// UTC, with the local time for who points at it.
export function time(text) {
  if (!text) return h("span", { class: "quiet" }, "\u2013");
  const at = new Date(text);
  const local = at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" });
  return h("time", { datetime: text, title: `${text}\nhere: ${local}` }, `${text.slice(0, 10)} ${text.slice(11, 19)}`);
}
