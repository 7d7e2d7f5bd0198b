// Connects the stream of the run with the functions that draw the page.

import { byId, html, makeOption, replace } from "./dom.js";
import { scheduleDrawing, onChange, select, state, applyChange, applySnapshot } from "./store.js";
import { drawHeadline, drawState } from "./headline.js";
import { drawMap } from "./map.js";
import { drawCell } from "./cell_panel.js";
import { drawCurves } from "./curves.js";
import { drawSimilarity } from "./similarity.js";
import { drawTimeline } from "./timeline.js";

const REFRESH_MS = 5000;
let source = null;

function followRun(run) {
  source?.close();
  source = new EventSource(`/api/stream?run=${encodeURIComponent(run)}`);
  source.addEventListener("snapshot", (message) => applySnapshot(JSON.parse(message.data)));
  source.addEventListener("change", (message) => applyChange(JSON.parse(message.data)));
  source.addEventListener("open", () => setConnected(true));
  source.addEventListener("error", () => setConnected(false));
}

function setConnected(connected) {
  state.connected = connected;
  scheduleDrawing();
}

function readRunFromHash() {
  return new URLSearchParams(location.hash.slice(1)).get("run");
}

function updateHash() {
  const here = new URLSearchParams();
  if (state.run) here.set("run", state.run);
  if (state.selected) here.set("cell", state.selected);
  if (state.run && location.hash.slice(1) !== here.toString()) {
    history.replaceState(null, "", `#${here}`);
  }
}

async function refreshRunList() {
  const picker = byId("run-picker");
  let runs = [];
  try {
    runs = (await (await fetch("/api/runs")).json()).runs;
  } catch {
    return; // The stream notices that the server does not answer.
  }
  const current = picker.value || readRunFromHash();
  const ids = runs.map((run) => run.id);
  const chosen = ids.includes(current) ? current : ids[0];
  const listed = [...picker.options].map((each) => each.value);
  if (JSON.stringify(listed) !== JSON.stringify(ids)) {
    replace(picker, runs.map((run) => makeOption(run.id, run.id === "." ? run.name : run.id)));
  }
  picker.value = chosen ?? "";
  if (chosen === undefined) replace(byId("notices"), html("p", { class: "notice" },
    "There is no run in this folder yet. A run appears when it writes its first file."));
  else if (source === null) followRun(chosen);
}

byId("run-picker").addEventListener("change", (event) => followRun(event.target.value));
byId("find-cell").addEventListener("change", (event) => {
  if (state.cells.includes(event.target.value)) select(event.target.value);
});
for (const id of ["map-field", "curve-field", "event-kind", "event-cell"]) {
  byId(id).addEventListener("change", scheduleDrawing);
}
addEventListener("resize", scheduleDrawing);

let requestedCell = new URLSearchParams(location.hash.slice(1)).get("cell");
onChange(() => {
  if (requestedCell && state.cells.includes(requestedCell)) state.selected = requestedCell;
  requestedCell = null;
});
for (const draw of [drawState, drawHeadline, drawMap, drawCell, drawCurves, drawSimilarity,
  drawTimeline, updateHash]) onChange(draw);
setInterval(() => drawState(state), 1000);
setInterval(refreshRunList, REFRESH_MS);
refreshRunList();
