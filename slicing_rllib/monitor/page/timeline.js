// The events of the run, newest first, each with its evidence; cells that keep missing their SLA stand
// above them.

import { byId, html, makeOption, replace, replaceInPlace } from "./dom.js";
import { makeSaveButton } from "./download.js";
import { formatShort, formatTime } from "./format.js";
import { scheduleDrawing, select, state } from "./store.js";
import { collectEvents, isAcknowledged, isWarning, toggleAcknowledged } from "./warnings.js";
import { isShown, view } from "./view.js";

const SHOWN = 150;
const open = new Set();
let drawn = "";

export function drawTimeline() {
  listKinds(byId("event-kind"));
  const selected = collectEvents(state).filter(isSelected);
  const key = JSON.stringify([state.run, selected.map((event) =>
    [event.serial, event.message, isAcknowledged(event)])]);
  if (key === drawn) return;
  drawn = key;
  const shown = selected.slice(-SHOWN).reverse();
  const more = selected.length - shown.length;
  replace(byId("event-save"), makeSaveButton("events", () => collectRows(selected)));
  replaceInPlace(byId("timeline"),
    shown.length ? shown.map(drawEvent) : html("li", { class: "hint" },
      state.events.length ? "No event of this kind." : "No events yet."),
    more ? html("li", { class: "hint" }, `${more} earlier events are in events.jsonl.`) : null);
}

function isSelected(event) {
  const words = `${event.kind} ${formatWords(event.kind)} ${event.cell} ${event.message}`.toLowerCase();
  return (!view.kind || event.kind === view.kind)
    && (!view.here || event.cell === state.selected)
    && (!view.warnings || isWarning(event))
    && (!view.acked || !isAcknowledged(event))
    && (event.env_step === null || isShown(event.env_step))
    && words.includes(view.text.toLowerCase());
}

function collectRows(events) {
  return [["time", "env_step", "kind", "cell", "message", "acknowledged"], ...events.map((event) =>
    [event.time, event.env_step, event.kind, event.cell, event.message, String(isAcknowledged(event))])];
}

function listKinds(picker) {
  const kinds = [...new Set(collectEvents(state).map((event) => event.kind))].sort();
  const listed = [...picker.options].slice(1).map((each) => each.value);
  if (JSON.stringify(kinds) !== JSON.stringify(listed)) {
    replace(picker, makeOption("", "all"), kinds.map((each) => makeOption(each, formatWords(each))));
  }
  if (kinds.includes(view.kind) || view.kind === "") picker.value = view.kind;
}

function formatWords(kind) {
  return kind === "sla_missed" ? "SLA missed" : kind.replaceAll("_", " ");
}

function drawEvent(event) {
  const warning = isWarning(event);
  const done = isAcknowledged(event);
  const head = [
    html("span", { class: warning ? "kind warning" : "kind" }, warning ? "⚠ " : "● ", formatWords(event.kind)),
    event.cell ? html("button", { type: "button", class: "quiet", "data-key": `cell ${event.serial}`,
      onclick: () => select(event.cell) }, event.cell) : null,
    warning ? html("button", { type: "button", class: "quiet", "data-key": `done ${event.serial}`,
      "aria-pressed": String(done), onclick: () => toggleAcknowledged(event) },
    done ? "acknowledged" : "acknowledge") : null,
    html("span", { class: "when" }, [formatTime(event.time),
      event.env_step === null ? "" : `step ${formatShort(event.env_step)}`].filter(Boolean).join(" · ")),
  ].filter(Boolean);
  return html("li", { class: warning && !done ? "warning" : "" },
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

// The controls above the list choose what of it is seen.
export function followEventControls() {
  const controls = [["event-kind", "kind"], ["event-text", "text"], ["event-warnings", "warnings"],
    ["event-cell", "here"], ["event-acked", "acked"]];
  for (const [id, name] of controls) {
    const node = byId(id);
    const isBox = node.type === "checkbox";
    if (isBox) node.checked = view[name] !== "";
    else node.value = view[name];
    node.addEventListener(id === "event-text" ? "input" : "change", () => {
      view[name] = isBox ? (node.checked ? "1" : "") : node.value;
      scheduleDrawing();
    });
  }
}
