// What needs a person's attention: events that tell of trouble, and cells that keep missing their SLA.
// The monitor never writes to a run, so this browser remembers what its reader has acknowledged.

import { formatPercent } from "./format.js";
import { scheduleDrawing } from "./store.js";

const WARNING = /nan|not_finite|lost|fail|stall|fell_back|negative|poison|error|corrupt|passed_over/i;
const KEY = "acknowledged";
const MAX_REMEMBERED = 5000;
const acknowledged = new Set(readStored());

function readStored() {
  try {
    const stored = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(stored) ? stored : [];
  } catch {
    return []; // The browser may forbid storage. The set then lasts until the page is closed.
  }
}

export function isWarning(event) {
  return event.kind === "sla_missed" || WARNING.test(event.kind);
}

export function isAcknowledged(event) {
  return acknowledged.has(identify(event));
}

export function toggleAcknowledged(event) {
  const id = identify(event);
  if (!acknowledged.delete(id)) acknowledged.add(id);
  try {
    localStorage.setItem(KEY, JSON.stringify([...acknowledged].slice(-MAX_REMEMBERED)));
  } catch { /* As above. */ }
  scheduleDrawing();
}

function identify(event) {
  return JSON.stringify([event.run, event.kind, event.cell, event.time, event.env_step]);
}

// Cells that miss their SLA in more than a third of the window's steps, in the form of events.
export function collectSustainedMisses(state) {
  const { missing = [], last_step: last, first_step: first, cells = {} } = state.window ?? {};
  return missing.map((cell) => {
    const rate = cells.fail_rate_95?.[state.indexOf.get(cell)];
    return { run: state.run, serial: `miss ${cell}`, kind: "sla_missed", cell, time: null, env_step: null,
      message: `below its SLA in ${formatPercent(rate)} of steps ${first} to ${last}`, evidence: {} };
  });
}

export function collectEvents(state) {
  return state.events.map((event) => ({ run: state.run, ...event })).concat(collectSustainedMisses(state));
}

export function countOpenWarnings(state) {
  return collectEvents(state).filter((event) => isWarning(event) && !isAcknowledged(event)).length;
}
