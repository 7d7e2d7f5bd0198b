// What the page knows of the run, and who wants to hear of it.

const MAX_POINTS = 1200;
const MAX_EVENTS = 2000;

export const state = {
  run: null, network: { cells: [], slices: [] }, cells: [], progress: [], latest: {}, events: [],
  summary: null, finished: false, quietS: null, unreadableLines: 0, selected: null, heard: 0,
  indexOf: new Map(),
};

const listeners = [];
let pending = false;

export function onChange(listener) {
  listeners.push(listener);
}

// Many messages between two frames are one drawing.
export function changed() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => {
    pending = false;
    for (const listener of listeners) listener(state);
  });
}

export function takeSnapshot(news) {
  const sameRun = state.run === news.run;
  Object.assign(state, { run: news.run, network: news.network, progress: [], events: [] });
  const known = news.network.cells.map((cell) => cell.id);
  state.cells = known.concat(news.cells.filter((id) => !known.includes(id)));
  state.indexOf = new Map(news.cells.map((id, index) => [id, index]));
  if (!sameRun || !state.cells.includes(state.selected)) state.selected = null;
  takeChange(news);
}

export function takeChange(news) {
  state.latest = news.latest;
  state.progress.push(...news.progress);
  if (state.progress.length > MAX_POINTS) {
    const newest = state.progress.at(-1);
    state.progress = state.progress.filter((_, i) => i % 2 === 0);
    if (state.progress.at(-1) !== newest) state.progress.push(newest);
  }
  state.events = state.events.concat(news.events).slice(-MAX_EVENTS);
  Object.assign(state, {
    summary: news.summary, finished: news.finished, quietS: news.quiet_s,
    unreadableLines: news.unreadable_lines, heard: performance.now(),
  });
  changed();
}

export function select(cell) {
  state.selected = cell;
  changed();
}

export function latestOf(field, cell) {
  const index = state.indexOf.get(cell);
  return index === undefined ? null : state.latest[field]?.[index] ?? null;
}

// Decisions of transfer, the newest of each target: {target, source, distances, ...}
export function decisions() {
  const newest = new Map();
  for (const event of state.events) {
    const evidence = event.evidence ?? {};
    if (!evidence.distances || typeof evidence.distances !== "object") continue;
    const target = evidence.target ?? event.cell;
    if (typeof target === "string") newest.set(target, { ...evidence, target, event });
  }
  return newest;
}
