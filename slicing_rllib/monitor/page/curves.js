// The learning curve with baselines and oracle, and the table of the final evaluation.

import { byId, html, replaceInPlace } from "./dom.js";
import { formatDecimal, formatPercent, formatPolicy } from "./format.js";
import { isWarning } from "./headline.js";
import { makeLineChart } from "./line_chart.js";
import { state } from "./store.js";

const TITLES = { reward_mean: "Mean reward of the cells", satisfaction_mean: "Mean satisfaction",
  share_below: "Share of cells below 0.95" };
const IN_SUMMARY = { reward_mean: "reward_mean", satisfaction_mean: "satisfaction_mean",
  share_below: "fail_rate_95" };
const LOOKS = { oracle: "oracle", equal: "equal", traffic_aware: "traffic" };

export function drawCurves() {
  const field = byId("curve-field").value;
  const box = byId("curves");
  if (!state.progress.length) {
    replaceInPlace(box, html("p", { class: "hint" }, "No iteration has been reported yet."));
  } else {
    const width = Math.max(280, box.clientWidth);
    replaceInPlace(box, makeLineChart({ key: "curve", title: TITLES[field], width,
      height: width > 700 ? 260 : 210, x: state.progress.map((row) => row.env_steps ?? row.iteration),
      series: [{ name: "this run, in training", look: "own", values: state.progress.map((row) => readValue(row, field)) },
        ...collectReferences(field)],
      levels: collectLevels(field), marks: collectMarks() }));
  }
  drawResults();
}

function readValue(row, field) {
  if (field !== "share_below") return row[field] ?? null;
  return row.cells_live ? row.cells_below / row.cells_live : null;
}

// Rewards of other policies on the same steps, if the run reports them.
function collectReferences(field) {
  if (field !== "reward_mean") return [];
  const names = new Set(state.progress.flatMap((row) => Object.keys(row.references ?? {})));
  return [...names].map((name) => ({ name: formatPolicy(name), look: LOOKS[name] ?? "other",
    values: state.progress.map((row) => row.references?.[name] ?? null) }));
}

function collectLevels(field) {
  const policies = state.summary?.policies ?? {};
  const drawn = new Set(field === "reward_mean"
    ? state.progress.flatMap((row) => Object.keys(row.references ?? {})) : []);
  return Object.keys(LOOKS).filter((name) => !drawn.has(name))
    .map((name) => ({ name: formatPolicy(name), look: LOOKS[name], value: policies[name]?.[IN_SUMMARY[field]] }))
    .filter((level) => typeof level.value === "number");
}

function collectMarks() {
  return state.events.slice(-60).map((event) => ({ x: event.env_step, warning: isWarning(event),
    label: [event.kind, event.cell, event.message].filter(Boolean).join(" · ") }));
}

const COLUMNS = [
  ["reward", "reward_mean", (value) => formatDecimal(value, 3)],
  ["satisfaction", "satisfaction_mean", (value) => formatDecimal(value, 3)],
  ["below 0.95", "fail_rate_95", (value) => formatPercent(value, 1)],
  ["max delay, ms", "delay_max_ms", (value) => formatDecimal(value, 2)],
  ["gap closed", "oracle_gap_closed", (value) => formatPercent(value)],
];

function drawResults() {
  const policies = Object.entries(state.summary?.policies ?? {})
    .filter(([, row]) => row && typeof row === "object");
  if (!policies.length) { replaceInPlace(byId("results")); return; }
  replaceInPlace(byId("results"), html("h3", {}, "Evaluation of all policies on the same traffic"),
    html("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Evaluated policies",
      "data-key": "results" },
      html("table", {},
        html("thead", {}, html("tr", {}, html("th", { scope: "col" }, "policy"),
          COLUMNS.map(([head]) => html("th", { scope: "col", class: "num" }, head)))),
        html("tbody", {}, policies.map(([name, row]) => html("tr", {},
          html("th", { scope: "row" }, formatPolicy(name)), COLUMNS.map(([, key, format]) =>
            html("td", { class: "num" }, typeof row[key] === "number" ? format(row[key]) : "–",
              formatInterval(row.ci95?.[key], format)))))))));
}

function formatInterval(bounds, format) {
  if (!Array.isArray(bounds) || bounds.length !== 2 || !bounds.every((x) => typeof x === "number")) return null;
  return html("span", { class: "interval" }, ` [${format(bounds[0])}, ${format(bounds[1])}]`);
}
