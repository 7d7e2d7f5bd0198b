// Connects the stream of the run with the functions that draw the page.

import { byId, html, makeOption, replace } from "./dom.js";
import { readOther } from "./comparison.js";
import { scheduleDrawing, onChange, select, state, applyChange, applySnapshot } from "./store.js";
import { drawHeadline, drawState } from "./headline.js";
import { drawMap } from "./map.js";
import { drawCell } from "./cell_panel.js";
import { drawCurves } from "./curves.js";
import { drawSimilarity } from "./similarity.js";
import { drawResults } from "./results.js";
import { drawTimeline, followEventControls } from "./timeline.js";
import { makeWindowQuery, readAddress, view, writeAddress } from "./view.js";

const REFRESH_MS = 5000;
let source = null;

function followRun(run) {
  source?.close();
  view.run = run;
  source = new EventSource(`/api/stream?${makeWindowQuery(run)}`);
  source.addEventListener("snapshot", (message) => applySnapshot(JSON.parse(message.data)));
  source.addEventListener("change", (message) => applyChange(JSON.parse(message.data)));
  source.addEventListener("open", () => setConnected(true));
  source.addEventListener("error", () => setConnected(false));
}

function setConnected(connected) {
  state.connected = connected;
  scheduleDrawing();
}

async function refreshRunList() {
  const picker = byId("run-picker");
  let runs = [];
  try {
    runs = (await (await fetch("/api/runs")).json()).runs;
  } catch {
    return; // The stream notices that the server does not answer.
  }
  const current = picker.value || view.run;
  const ids = runs.map((run) => run.id);
  const chosen = ids.includes(current) ? current : ids[0];
  const listed = [...picker.options].map((each) => each.value);
  if (JSON.stringify(listed) !== JSON.stringify(ids)) {
    const options = () => runs.map((run) => makeOption(run.id, run.id === "." ? run.name : run.id));
    replace(picker, options());
    replace(byId("compare-picker"), makeOption("", "none"), options());
    byId("compare-picker").closest("label").hidden = runs.length < 2;
    byId("compare-picker").value = view.compare;
  }
  picker.value = chosen ?? "";
  if (chosen === undefined) replace(byId("notices"), html("p", { class: "notice" },
    "There is no run in this folder yet. A run appears when it writes its first file."));
  else if (source === null) followRun(chosen);
}

// Reads the chosen window and steps anew, and asks the server for their means.
function restart() {
  if (source !== null) followRun(view.run);
  readOther();
}

function follow(id, name, then) {
  const node = byId(id);
  node.value = view[name];
  node.addEventListener("change", () => {
    view[name] = node.value;
    then();
  });
}

async function copyLink() {
  writeAddress();
  const button = byId("copy-link");
  try {
    await navigator.clipboard.writeText(location.href);
    button.textContent = "Link copied";
  } catch {
    button.textContent = "The link is in the address bar";
  }
  setTimeout(() => { button.textContent = "Copy link"; }, 2000);
}

readAddress();
addEventListener("hashchange", () => location.reload());
byId("run-picker").addEventListener("change", (event) => followRun(event.target.value));
byId("find-cell").addEventListener("change", (event) => {
  const asked = event.target.value;
  const found = state.network.cells.find((cell) => cell.cell_id === asked)?.id ?? asked;
  if (state.cells.includes(found)) select(found);
});
for (const [id, name] of [["window", "window"], ["from-step", "from"], ["to-step", "to"]]) follow(id, name, restart);
for (const [id, name] of [["map-field", "colour"], ["curve-field", "curve"]]) follow(id, name, scheduleDrawing);
follow("compare-picker", "compare", readOther);
followEventControls();
byId("copy-link").addEventListener("click", copyLink);
addEventListener("resize", scheduleDrawing);

for (const draw of [drawState, drawHeadline, drawMap, drawCell, drawCurves, drawResults, drawSimilarity,
  drawTimeline, writeAddress]) onChange(draw);
setInterval(() => drawState(state), 1000);
setInterval(refreshRunList, REFRESH_MS);
refreshRunList();
readOther();
