// One cell: the KPIs of its slices and their SLAs, charts, its neighbours and its transfer.

import { byId, html, replace, replaceInPlace } from "./dom.js";
import { drawCharts } from "./cell_charts.js";
import { formatShort, formatDecimal, formatPercent, formatPhase } from "./format.js";
import { drawSliceTable } from "./slice_table.js";
import { collectDecisions, readLatest, readWindow, select, state } from "./store.js";

let history = null;
let fetchedVersion = "";
let isFetching = false;

export function drawCell() {
  const cell = state.selected;
  byId("cell-title").textContent = cell ?? "Cell";
  if (cell === null) {
    replace(byId("cell-body"), html("p", { class: "hint" },
      "Choose a cell on the map (click, or arrow keys and Enter) to see its slices."));
    history = null;
    fetchedVersion = "";
    return;
  }
  const version = `${state.run}|${cell}|${state.progress.at(-1)?.serial}`;
  if (version !== fetchedVersion) fetchHistory(version, cell);
  if (history?.cell === cell && history.run === state.run) drawDetails(cell);
}

async function fetchHistory(version, cell) {
  if (isFetching) return;
  isFetching = true;
  fetchedVersion = version;
  try {
    const run = state.run;
    const query = new URLSearchParams({ run, cell });
    const answer = await fetch(`/api/cell?${query}`);
    history = answer.ok ? { ...(await answer.json()), run } : { cell, run, iteration: [] };
  } catch {
    history = null; // The header shows that the connection is lost.
  } finally {
    isFetching = false;
  }
  drawCell();
}

function drawDetails(cell) {
  const spec = state.network.cells.find((each) => each.id === cell) ?? {};
  const body = byId("cell-body");
  const width = Math.max(260, body.clientWidth);
  if (!history.iteration.length) {
    replace(body, html("p", { class: "hint" }, "The run has not reported this cell yet."));
    return;
  }
  replaceInPlace(body,
    html("p", { class: "badges" },
      makeBadge("phase", formatPhase(readLatest("phase", cell))),
      spec.cell_id && spec.cell_id !== cell ? makeBadge("operator's name", spec.cell_id) : null,
      makeBadge("below SLA", `${formatPercent(readWindow("fail_rate_95", cell))} of steps`),
      makeBadge("satisfaction", formatDecimal(readWindow("satisfaction", cell), 3)),
      makeBadge("reward", formatDecimal(readWindow("reward", cell), 3)),
      makeBadge("critic loss", formatShort(history.critic_loss?.at(-1))),
      makeBadge("replay", formatShort(history.replay_size?.at(-1)))),
    describeSource(cell), drawSliceTable(history, spec), drawCharts(history, spec, width), drawNeighbours());
}

function makeBadge(name, value) {
  return html("span", { class: "badge" }, html("span", {}, name), ` ${value}`);
}

function describeSource(cell) {
  const decision = collectDecisions().get(cell);
  if (!decision) return null;
  const distance = typeof decision.distance === "number" ? `, distance ${formatShort(decision.distance)}` : "";
  const measure = decision.measure ? ` by ${decision.measure}` : "";
  return html("p", { class: "source" }, decision.source
    ? `Source of the transfer: ${decision.source}${distance}${measure}.`
    : "No candidate was similar enough to be a source.",
    typeof decision.runner_up === "string" ? ` Runner-up: ${decision.runner_up}.` : "");
}

function drawNeighbours() {
  if (history.neighbours === null) {
    return html("p", { class: "hint" }, "Neighbours are not available: the network is too large, or its config cannot be read.");
  }
  return html("div", {}, html("h3", {}, "Neighbours' load"), html("ul", { class: "bars" },
    history.neighbours.map(({ cell, load }) => {
      const bar = html("span", { class: "bar-fill" });
      bar.style.width = `${100 * Math.min(Math.max(load ?? 0, 0), 1)}%`;
      return html("li", {}, html("button", { type: "button", class: "quiet", "data-key": `to ${cell}`,
        onclick: () => select(cell) }, cell), html("span", { class: "bar-track" }, bar),
        html("span", {}, formatPercent(load)));
    })));
}
