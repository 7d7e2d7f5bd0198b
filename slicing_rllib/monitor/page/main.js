// Wires the run's stream to the parts of the page.

import { byId, html, option, replace } from "./dom.js";
import { changed, onChange, select, state, takeChange, takeSnapshot } from "./store.js";
import { drawHeadline, drawStanding } from "./headline.js";
import { drawMap } from "./map.js";
import { drawCell } from "./cell_panel.js";
import { drawCurves } from "./curves.js";
import { drawSimilarity } from "./similarity.js";
import { drawTimeline } from "./timeline.js";

const RUNS_EVERY_MS = 5000;
let source = null;

function follow(run) {
  source?.close();
  source = new EventSource(`/api/stream?run=${encodeURIComponent(run)}`);
  source.addEventListener("snapshot", (message) => takeSnapshot(JSON.parse(message.data)));
  source.addEventListener("change", (message) => takeChange(JSON.parse(message.data)));
  source.addEventListener("open", () => setConnected(true));
  source.addEventListener("error", () => setConnected(false));
}

function setConnected(connected) {
  state.connected = connected;
  changed();
}

function wantedRun() {
  return new URLSearchParams(location.hash.slice(1)).get("run");
}

function remember() {
  const here = new URLSearchParams();
  if (state.run) here.set("run", state.run);
  if (state.selected) here.set("cell", state.selected);
  if (state.run && location.hash.slice(1) !== here.toString()) {
    history.replaceState(null, "", `#${here}`);
  }
}

async function listRuns() {
  const picker = byId("run-picker");
  let runs = [];
  try {
    runs = (await (await fetch("/api/runs")).json()).runs;
  } catch {
    return; // the stream says that the server is gone
  }
  const current = picker.value || wantedRun();
  const ids = runs.map((run) => run.id);
  const chosen = ids.includes(current) ? current : ids[0];
  const listed = [...picker.options].map((each) => each.value);
  if (JSON.stringify(listed) !== JSON.stringify(ids)) {
    replace(picker, runs.map((run) => option(run.id, run.id === "." ? run.name : run.id)));
  }
  picker.value = chosen ?? "";
  if (chosen === undefined) replace(byId("notices"), html("p", { class: "notice" },
    "No run here yet: a run appears as soon as it writes metrics.jsonl."));
  else if (source === null) follow(chosen);
}

byId("run-picker").addEventListener("change", (event) => follow(event.target.value));
byId("find-cell").addEventListener("change", (event) => {
  if (state.cells.includes(event.target.value)) select(event.target.value);
});
for (const id of ["map-field", "curve-field", "event-kind", "event-cell"]) {
  byId(id).addEventListener("change", changed);
}
addEventListener("resize", changed);

let wantedCell = new URLSearchParams(location.hash.slice(1)).get("cell");
onChange(() => {
  if (wantedCell && state.cells.includes(wantedCell)) state.selected = wantedCell;
  wantedCell = null;
});
for (const draw of [drawStanding, drawHeadline, drawMap, drawCell, drawCurves, drawSimilarity,
  drawTimeline, remember]) onChange(draw);
setInterval(() => drawStanding(state), 1000);
setInterval(listRuns, RUNS_EVERY_MS);
listRuns();
