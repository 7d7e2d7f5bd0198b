// The state of the run as the page knows it, and the functions that draw it.

import { view } from "./view.js";

const MAX_POINTS = 1200;
const MAX_EVENTS = 2000;

export const state = {
  run: null, network: { cells: [], slices: [] }, cells: [], progress: [], latest: {}, window: {},
  events: [],
  summary: null, finished: false, quietS: null, unreadableLines: 0, selected: null, receivedMs: 0,
  indexOf: new Map(),
};

const listeners = [];
let pending = false;

export function onChange(listener) {
  listeners.push(listener);
}

// Several changes between two frames cause one drawing.
export function scheduleDrawing() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => {
    pending = false;
    for (const listener of listeners) listener(state);
  });
}

export function applySnapshot(message) {
  const sameRun = state.run === message.run;
  Object.assign(state, { run: message.run, network: message.network, progress: [], events: [] });
  const known = message.network.cells.map((cell) => cell.id);
  state.cells = known.concat(message.cells.filter((id) => !known.includes(id)));
  state.indexOf = new Map(message.cells.map((id, index) => [id, index]));
  if (state.cells.includes(view.cell)) state.selected = view.cell;
  else if (!sameRun || !state.cells.includes(state.selected)) state.selected = null;
  applyChange(message);
}

export function applyChange(message) {
  state.latest = message.latest;
  state.window = message.window;
  state.progress.push(...message.progress);
  if (state.progress.length > MAX_POINTS) {
    // The newer half stays complete: means are over the newest steps.
    const middle = MAX_POINTS / 2;
    state.progress = state.progress.filter((_, i) => i >= middle || i % 2 === 0);
  }
  state.events = state.events.concat(message.events).slice(-MAX_EVENTS);
  Object.assign(state, {
    summary: message.summary, finished: message.finished, quietS: message.quiet_s,
    unreadableLines: message.unreadable_lines, receivedMs: performance.now(),
  });
  scheduleDrawing();
}

export function select(cell) {
  state.selected = cell;
  view.cell = cell ?? "";
  scheduleDrawing();
}

export function readLatest(field, cell) {
  const index = state.indexOf.get(cell);
  return index === undefined ? null : state.latest[field]?.[index] ?? null;
}

// A cell's mean over the window: satisfaction, reward or fail_rate_95.
export function readWindow(field, cell) {
  const index = state.indexOf.get(cell);
  return index === undefined ? null : state.window.cells?.[field]?.[index] ?? null;
}

// The newest transfer decision of each target: {target, source, distances, ...}.
export function collectDecisions() {
  const newest = new Map();
  for (const event of state.events) {
    const evidence = event.evidence ?? {};
    if (!evidence.distances || typeof evidence.distances !== "object") continue;
    const target = evidence.target ?? event.cell;
    if (typeof target === "string") newest.set(target, { ...evidence, target, event });
  }
  return newest;
}
