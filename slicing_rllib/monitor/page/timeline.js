// The events of the run, newest first, each with its evidence.

import { byId, html, makeOption, replace, replaceInPlace } from "./dom.js";
import { formatShort, formatTime } from "./format.js";
import { isWarning } from "./headline.js";
import { select, state } from "./store.js";

const SHOWN = 150;
const open = new Set();
let drawn = "";

export function drawTimeline() {
  const kind = byId("event-kind");
  listKinds(kind);
  const onlySelected = byId("event-cell").checked;
  const selected = state.events.filter((event) => (!kind.value || event.kind === kind.value)
    && (!onlySelected || event.cell === state.selected));
  const key = JSON.stringify([state.run, kind.value, onlySelected && state.selected,
    selected.at(-1)?.serial, selected.length]);
  if (key === drawn) return;
  drawn = key;
  const shown = selected.slice(-SHOWN).reverse();
  const more = selected.length - shown.length;
  replaceInPlace(byId("timeline"),
    shown.length ? shown.map(drawEvent) : html("li", { class: "hint" }, "No events yet."),
    more ? html("li", { class: "hint" }, `${more} earlier events are in events.jsonl.`) : null);
}

function listKinds(picker) {
  const kinds = [...new Set(state.events.map((event) => event.kind))].sort();
  const listed = [...picker.options].slice(1).map((each) => each.value);
  if (JSON.stringify(kinds) === JSON.stringify(listed)) return;
  const chosen = picker.value;
  replace(picker, makeOption("", "all", chosen === ""),
    kinds.map((each) => makeOption(each, formatWords(each), each === chosen)));
}

function formatWords(kind) {
  return kind.replaceAll("_", " ");
}

function drawEvent(event) {
  const warning = isWarning(event);
  const head = [
    html("span", { class: warning ? "kind warning" : "kind" }, warning ? "⚠ " : "● ", formatWords(event.kind)),
    event.cell ? html("button", { type: "button", class: "quiet", "data-key": `cell ${event.serial}`,
      onclick: () => select(event.cell) }, event.cell) : null,
    html("span", { class: "when" }, [formatTime(event.time),
      event.env_step === null ? "" : `step ${formatShort(event.env_step)}`].filter(Boolean).join(" · ")),
  ].filter(Boolean);
  return html("li", { class: warning ? "warning" : "" },
    html("p", { class: "event-head" }, head), html("p", { class: "message" }, event.message), drawEvidence(event));
}

function drawEvidence(event) {
  const facts = Object.entries(event.evidence ?? {});
  if (!facts.length) return null;
  const details = html("details", {}, html("summary", { "data-key": `evidence ${event.serial}` }, "Evidence"),
    html("dl", {}, facts.flatMap(([name, value]) => [html("dt", {}, formatWords(name)), html("dd", {}, formatValue(value))])));
  details.open = open.has(event.serial);
  details.addEventListener("toggle", () => {
    if (details.open) open.add(event.serial);
    else open.delete(event.serial);
  });
  return details;
}

function formatValue(value) {
  if (typeof value === "number") return formatShort(value);
  if (Array.isArray(value)) return value.map(formatValue).join(", ");
  if (value !== null && typeof value === "object") {
    return Object.entries(value).sort(compareValues).map(([name, each]) => `${name} ${formatValue(each)}`).join(", ");
  }
  return String(value);
}

function compareValues([, a], [, b]) {
  return typeof a === "number" && typeof b === "number" ? a - b : 0;
}
