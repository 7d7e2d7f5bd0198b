// What happened, newest first, each with its evidence.

import { byId, html, option, replace, replaceInPlace } from "./dom.js";
import { brief, clock } from "./format.js";
import { isTrouble } from "./headline.js";
import { select, state } from "./store.js";

const SHOWN = 150;
const open = new Set();
let drawn = "";

export function drawTimeline() {
  const kind = byId("event-kind");
  listKinds(kind);
  const onlySelected = byId("event-cell").checked;
  const wanted = state.events.filter((event) => (!kind.value || event.kind === kind.value)
    && (!onlySelected || event.cell === state.selected));
  const key = JSON.stringify([state.run, kind.value, onlySelected && state.selected,
    wanted.at(-1)?.serial, wanted.length]);
  if (key === drawn) return;
  drawn = key;
  const shown = wanted.slice(-SHOWN).reverse();
  const more = wanted.length - shown.length;
  replaceInPlace(byId("timeline"),
    shown.length ? shown.map(entry) : html("li", { class: "hint" }, "Nothing yet."),
    more ? html("li", { class: "hint" }, `${more} earlier events are in events.jsonl.`) : null);
}

function listKinds(picker) {
  const kinds = [...new Set(state.events.map((event) => event.kind))].sort();
  const listed = [...picker.options].slice(1).map((each) => each.value);
  if (JSON.stringify(kinds) === JSON.stringify(listed)) return;
  const chosen = picker.value;
  replace(picker, option("", "all", chosen === ""),
    kinds.map((each) => option(each, words(each), each === chosen)));
}

function words(kind) {
  return kind.replaceAll("_", " ");
}

function entry(event) {
  const trouble = isTrouble(event);
  const head = [
    html("span", { class: trouble ? "kind trouble" : "kind" }, trouble ? "⚠ " : "● ", words(event.kind)),
    event.cell ? html("button", { type: "button", class: "quiet", "data-key": `cell ${event.serial}`,
      onclick: () => select(event.cell) }, event.cell) : null,
    html("span", { class: "when" }, [clock(event.time),
      event.env_step === null ? "" : `step ${brief(event.env_step)}`].filter(Boolean).join(" · ")),
  ].filter(Boolean);
  return html("li", { class: trouble ? "trouble" : "" },
    html("p", { class: "event-head" }, head), html("p", { class: "message" }, event.message), evidence(event));
}

function evidence(event) {
  const facts = Object.entries(event.evidence ?? {});
  if (!facts.length) return null;
  const details = html("details", {}, html("summary", { "data-key": `evidence ${event.serial}` }, "Evidence"),
    html("dl", {}, facts.flatMap(([name, value]) => [html("dt", {}, words(name)), html("dd", {}, told(value))])));
  details.open = open.has(event.serial);
  details.addEventListener("toggle", () => {
    if (details.open) open.add(event.serial);
    else open.delete(event.serial);
  });
  return details;
}

function told(value) {
  if (typeof value === "number") return brief(value);
  if (Array.isArray(value)) return value.map(told).join(", ");
  if (value !== null && typeof value === "object") {
    return Object.entries(value).sort(byValue).map(([name, each]) => `${name} ${told(each)}`).join(", ");
  }
  return String(value);
}

function byValue([, a], [, b]) {
  return typeof a === "number" && typeof b === "number" ? a - b : 0;
}
