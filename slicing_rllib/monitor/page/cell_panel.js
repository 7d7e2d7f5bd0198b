// One cell: the KPIs of its slices and their SLAs, charts, its neighbours and its transfer.

import { byId, html, replace, replaceInPlace } from "./dom.js";
import { formatShort, formatDecimal, formatPercent, formatPhase } from "./format.js";
import { makeLineChart } from "./line_chart.js";
import { collectDecisions, readLatest, select, state } from "./store.js";

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
  const steps = history.env_steps ?? [];
  const body = byId("cell-body");
  const width = Math.max(260, body.clientWidth);
  if (!history.iteration.length) {
    replace(body, html("p", { class: "hint" }, "The run has not reported this cell yet."));
    return;
  }
  replaceInPlace(body,
    html("p", { class: "badges" },
      makeBadge("phase", formatPhase(readLatest("phase", cell))),
      makeBadge("satisfaction", formatDecimal(readLatest("satisfaction", cell), 3)),
      makeBadge("reward", formatDecimal(readLatest("reward", cell), 3)),
      makeBadge("critic loss", formatShort(history.critic_loss?.at(-1))),
      makeBadge("replay", formatShort(history.replay_size?.at(-1)))),
    describeSource(cell), drawSliceTable(spec), drawCharts(spec, steps, width), drawNeighbours());
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

function listSliceNames() {
  return history.throughput_mbps.map((_, i) => state.network.slices[i] ?? `slice ${i + 1}`);
}

function drawSliceTable(spec) {
  const rows = listSliceNames().map((name, i) => html("tr", {},
    html("th", { scope: "row" }, html("span", { class: `swatch s${i % 6}` }), name),
    drawAgainstSla(history.throughput_mbps[i].at(-1), spec.sla_throughput_mbps?.[i], "Mbit/s", (x, y) => x >= y),
    drawAgainstSla(history.delay_ms[i].at(-1), spec.sla_delay_ms?.[i], "ms", (x, y) => x <= y),
    html("td", {}, formatPercent(history.prb_ratio[i].at(-1))),
    html("td", {}, formatPercent(history.load[i].at(-1)))));
  const heads = ["Slice", "Throughput / SLA", "Delay / SLA", "PRBs", "Load"];
  return html("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Slices now",
    "data-key": "slices" },
    html("table", { class: "slices" },
      html("thead", {}, html("tr", {}, heads.map((head) => html("th", { scope: "col" }, head)))),
      html("tbody", {}, rows)));
}

function drawAgainstSla(value, sla, unit, met) {
  if (value === null || value === undefined) return html("td", {}, "–");
  if (sla === undefined) return html("td", {}, `${formatShort(value)} ${unit}`);
  const good = met(value, sla);
  return html("td", { class: good ? "met" : "missed" },
    html("span", { class: "sign", "aria-label": good ? "met" : "missed", role: "img" }, good ? "✓" : "✗"),
    ` ${formatShort(value)} / ${formatShort(sla)} ${unit}`);
}

function drawCharts(spec, x, width) {
  const half = width > 620 ? Math.floor(width / 2) - 10 : width;
  const lines = (field, sla, share) => listSliceNames().map((name, i) => ({
    name, look: `s${i % 6}`, values: history[field][i].map((value) => share(value, sla?.[i])) }));
  const ratio = (value, sla) => value === null || !sla ? null : value / sla;
  const slaLevel = [{ name: "SLA", value: 1, look: "sla" }];
  const chart = (key, title, series, levels, include) =>
    makeLineChart({ key, title, x, series, levels, width: half, height: 150, include });
  const unchanged = (value) => value;
  const hasSla = spec.sla_throughput_mbps !== undefined;
  return html("div", { class: "charts" },
    hasSla ? chart("phi", "Throughput, share of SLA", lines("throughput_mbps", spec.sla_throughput_mbps, ratio), slaLevel, [0])
      : chart("phi", "Throughput, Mbit/s", lines("throughput_mbps", null, unchanged), [], [0]),
    hasSla ? chart("delay", "Delay, share of SLA", lines("delay_ms", spec.sla_delay_ms, ratio), slaLevel, [0])
      : chart("delay", "Delay, ms", lines("delay_ms", null, unchanged), [], [0]),
    chart("prb", "PRB share", lines("prb_ratio", null, unchanged), [], [0]),
    chart("learning", "Reward and satisfaction", [
      { name: "reward", values: history.reward, look: "s0" },
      { name: "satisfaction", values: history.satisfaction, look: "s1" }], [], [1]));
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
