// A second run, beside the one that the page shows.

import { scheduleDrawing } from "./store.js";
import { makeWindowQuery, view } from "./view.js";

const REFRESH_MS = 10_000;

// data: the snapshot of the run of that name; null while none is chosen or it is being read.
export const other = { run: "", data: null };
let asked = 0;

export async function readOther() {
  if (view.compare !== other.run) Object.assign(other, { run: view.compare, data: null });
  if (!other.run) { scheduleDrawing(); return; }
  const [run, serial] = [other.run, ++asked];
  try {
    const answer = await fetch(`/api/run?${makeWindowQuery(run)}`);
    if (serial !== asked || run !== other.run) return; // A newer question is on its way.
    other.data = answer.ok ? await answer.json() : null;
  } catch {
    return; // The header shows that the connection is lost.
  }
  scheduleDrawing();
}

setInterval(() => { if (view.compare) readOther(); }, REFRESH_MS);
