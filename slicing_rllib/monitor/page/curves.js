// The learning curve against the baselines and the oracle, and the final table.

import { byId, html, replaceInPlace } from "./dom.js";
import { decimal, percent, policyName } from "./format.js";
import { isTrouble } from "./headline.js";
import { lineChart } from "./line_chart.js";
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
    replaceInPlace(box, lineChart({ key: "curve", title: TITLES[field], width,
      height: width > 700 ? 260 : 210, x: state.progress.map((row) => row.env_steps ?? row.iteration),
      series: [{ name: "this run, while learning", look: "own", values: state.progress.map((row) => valueOf(row, field)) },
        ...references(field)],
      levels: levels(field), marks: marks() }));
  }
  drawResults();
}

function valueOf(row, field) {
  if (field !== "share_below") return row[field] ?? null;
  return row.cells_live ? row.cells_below / row.cells_live : null;
}

// Policies that the run evaluated on the same steps, if it says so.
function references(field) {
  if (field !== "reward_mean") return [];
  const names = new Set(state.progress.flatMap((row) => Object.keys(row.references ?? {})));
  return [...names].map((name) => ({ name: policyName(name), look: LOOKS[name] ?? "other",
    values: state.progress.map((row) => row.references?.[name] ?? null) }));
}

function levels(field) {
  const policies = state.summary?.policies ?? {};
  const running = new Set(field === "reward_mean"
    ? state.progress.flatMap((row) => Object.keys(row.references ?? {})) : []);
  return Object.keys(LOOKS).filter((name) => !running.has(name))
    .map((name) => ({ name: policyName(name), look: LOOKS[name], value: policies[name]?.[IN_SUMMARY[field]] }))
    .filter((level) => typeof level.value === "number");
}

function marks() {
  return state.events.slice(-60).map((event) => ({ x: event.env_step, trouble: isTrouble(event),
    label: [event.kind, event.cell, event.message].filter(Boolean).join(" · ") }));
}

const COLUMNS = [
  ["reward", "reward_mean", (value) => decimal(value, 3)],
  ["satisfaction", "satisfaction_mean", (value) => decimal(value, 3)],
  ["below 0.95", "fail_rate_95", (value) => percent(value, 1)],
  ["max delay, ms", "delay_max_ms", (value) => decimal(value, 2)],
  ["gap closed", "oracle_gap_closed", (value) => percent(value)],
];

function drawResults() {
  const policies = Object.entries(state.summary?.policies ?? {})
    .filter(([, row]) => row && typeof row === "object");
  if (!policies.length) { replaceInPlace(byId("results")); return; }
  replaceInPlace(byId("results"), html("h3", {}, "Evaluated on the same traffic"),
    html("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Evaluated policies",
      "data-key": "results" },
      html("table", {},
        html("thead", {}, html("tr", {}, html("th", { scope: "col" }, "policy"),
          COLUMNS.map(([head]) => html("th", { scope: "col", class: "num" }, head)))),
        html("tbody", {}, policies.map(([name, row]) => html("tr", {},
          html("th", { scope: "row" }, policyName(name)), COLUMNS.map(([, key, tell]) =>
            html("td", { class: "num" }, typeof row[key] === "number" ? tell(row[key]) : "–",
              interval(row.ci95?.[key], tell)))))))));
}

function interval(bounds, tell) {
  if (!Array.isArray(bounds) || bounds.length !== 2 || !bounds.every((x) => typeof x === "number")) return null;
  return html("span", { class: "interval" }, ` [${tell(bounds[0])}, ${tell(bounds[1])}]`);
}
