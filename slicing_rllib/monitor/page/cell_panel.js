// One cell: its slices against their SLA, how they moved, its neighbours, from whom it learned.

import { byId, html, replace, replaceInPlace } from "./dom.js";
import { brief, decimal, percent, phaseName } from "./format.js";
import { lineChart } from "./line_chart.js";
import { decisions, latestOf, select, state } from "./store.js";

let history = null;
let asked = "";
let busy = false;

export function drawCell() {
  const cell = state.selected;
  byId("cell-title").textContent = cell ?? "Cell";
  if (cell === null) {
    replace(byId("cell-body"), html("p", { class: "hint" },
      "Choose a cell on the map (click, or arrow keys and Enter) to see its slices."));
    history = null;
    asked = "";
    return;
  }
  const wanted = `${state.run}|${cell}|${state.progress.at(-1)?.serial}`;
  if (wanted !== asked) fetchHistory(wanted, cell);
  if (history?.cell === cell && history.run === state.run) show(cell);
}

async function fetchHistory(wanted, cell) {
  if (busy) return;
  busy = true;
  asked = wanted;
  try {
    const run = state.run;
    const query = new URLSearchParams({ run, cell });
    const answer = await fetch(`/api/cell?${query}`);
    history = answer.ok ? { ...(await answer.json()), run } : { cell, run, iteration: [] };
  } catch {
    history = null; // the header says that the connection is lost
  } finally {
    busy = false;
  }
  drawCell();
}

function show(cell) {
  const spec = state.network.cells.find((each) => each.id === cell) ?? {};
  const steps = history.env_steps ?? [];
  const body = byId("cell-body");
  const width = Math.max(260, body.clientWidth);
  if (!history.iteration.length) {
    replace(body, html("p", { class: "hint" }, "This cell has reported nothing yet."));
    return;
  }
  replaceInPlace(body,
    html("p", { class: "badges" },
      badge("phase", phaseName(latestOf("phase", cell))),
      badge("satisfaction", decimal(latestOf("satisfaction", cell), 3)),
      badge("reward", decimal(latestOf("reward", cell), 3)),
      badge("critic loss", brief(history.critic_loss?.at(-1))),
      badge("replay", brief(history.replay_size?.at(-1)))),
    origin(cell), sliceTable(spec), charts(spec, steps, width), neighbours());
}

function badge(name, value) {
  return html("span", { class: "badge" }, html("span", {}, name), ` ${value}`);
}

function origin(cell) {
  const decision = decisions().get(cell);
  if (!decision) return null;
  const distance = typeof decision.distance === "number" ? ` at distance ${brief(decision.distance)}` : "";
  const measure = decision.measure ? ` by ${decision.measure}` : "";
  return html("p", { class: "origin" }, decision.source
    ? `Learned from ${decision.source}${distance}${measure}.` : "No source was good enough.",
    typeof decision.runner_up === "string" ? ` Runner-up: ${decision.runner_up}.` : "");
}

function sliceNames() {
  return history.throughput_mbps.map((_, i) => state.network.slices[i] ?? `slice ${i + 1}`);
}

function sliceTable(spec) {
  const rows = sliceNames().map((name, i) => html("tr", {},
    html("th", { scope: "row" }, html("span", { class: `swatch s${i % 6}` }), name),
    against(history.throughput_mbps[i].at(-1), spec.sla_throughput_mbps?.[i], "Mbit/s", (x, y) => x >= y),
    against(history.delay_ms[i].at(-1), spec.sla_delay_ms?.[i], "ms", (x, y) => x <= y),
    html("td", {}, percent(history.prb_ratio[i].at(-1))),
    html("td", {}, percent(history.load[i].at(-1)))));
  const heads = ["Slice", "Throughput / SLA", "Delay / SLA", "PRBs", "Load"];
  return html("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Slices now",
    "data-key": "slices" },
    html("table", { class: "slices" },
      html("thead", {}, html("tr", {}, heads.map((head) => html("th", { scope: "col" }, head)))),
      html("tbody", {}, rows)));
}

function against(value, sla, unit, met) {
  if (value === null || value === undefined) return html("td", {}, "–");
  if (sla === undefined) return html("td", {}, `${brief(value)} ${unit}`);
  const good = met(value, sla);
  return html("td", { class: good ? "met" : "missed" },
    html("span", { class: "sign", "aria-label": good ? "met" : "missed", role: "img" }, good ? "✓" : "✗"),
    ` ${brief(value)} / ${brief(sla)} ${unit}`);
}

function charts(spec, x, width) {
  const half = width > 620 ? Math.floor(width / 2) - 10 : width;
  const lines = (field, sla, share) => sliceNames().map((name, i) => ({
    name, look: `s${i % 6}`, values: history[field][i].map((value) => share(value, sla?.[i])) }));
  const ratio = (value, promised) => value === null || !promised ? null : value / promised;
  const one = [{ name: "SLA", value: 1, look: "sla" }];
  const chart = (key, title, series, levels, include) =>
    lineChart({ key, title, x, series, levels, width: half, height: 150, include });
  const kept = (value) => value;
  const promised = spec.sla_throughput_mbps !== undefined;
  return html("div", { class: "charts" },
    promised ? chart("phi", "Throughput, share of SLA", lines("throughput_mbps", spec.sla_throughput_mbps, ratio), one, [0])
      : chart("phi", "Throughput, Mbit/s", lines("throughput_mbps", null, kept), [], [0]),
    promised ? chart("delay", "Delay, share of SLA", lines("delay_ms", spec.sla_delay_ms, ratio), one, [0])
      : chart("delay", "Delay, ms", lines("delay_ms", null, kept), [], [0]),
    chart("prb", "PRB share", lines("prb_ratio", null, kept), [], [0]),
    chart("learning", "Reward and satisfaction", [
      { name: "reward", values: history.reward, look: "s0" },
      { name: "satisfaction", values: history.satisfaction, look: "s1" }], [], [1]));
}

function neighbours() {
  if (history.neighbours === null) {
    return html("p", { class: "hint" }, "Neighbours are not listed for a network of this size or kind.");
  }
  return html("div", {}, html("h3", {}, "Neighbours' load"), html("ul", { class: "bars" },
    history.neighbours.map(({ cell, load }) => {
      const bar = html("span", { class: "bar-fill" });
      bar.style.width = `${100 * Math.min(Math.max(load ?? 0, 0), 1)}%`;
      return html("li", {}, html("button", { type: "button", class: "quiet", "data-key": `to ${cell}`,
        onclick: () => select(cell) }, cell), html("span", { class: "bar-track" }, bar),
        html("span", {}, percent(load)));
    })));
}
