// The learning panel: evaluation without exploration noise beside baselines on the same traffic,
// training beside other splits in the same steps, and how much the controller moved.

import { byId, html, replaceInPlace } from "./dom.js";
import { formatPolicy, formatShare, formatShort } from "./format.js";
import { makeLineChart } from "./line_chart.js";
import { other } from "./comparison.js";
import { smooth } from "./smoothing.js";
import { state } from "./store.js";
import { isWarning } from "./warnings.js";
import { formatWindow, isShown, view } from "./view.js";

const LOOKS = { oracle: "oracle", equal: "equal", traffic_aware: "traffic", best_split: "oracle" };
const QUANTITIES = {
  reward: { title: "Mean reward", evaluated: "evaluation_reward_mean", levels: "references",
    trained: "reward_mean", beside: "same_steps", format: formatShort },
  fail_rate: { title: "Below SLA, share of steps", evaluated: "evaluation_fail_rate_95",
    levels: "references_fail_rate_95", trained: "fail_rate_95", beside: null, format: formatShare },
};

export function drawCurves() {
  const box = byId("curves");
  const rows = state.progress.filter((row) => isShown(row.env_steps));
  if (!rows.length) {
    replaceInPlace(box, html("p", { class: "hint" }, state.progress.length
      ? "No iteration lies between the chosen steps." : "No iteration has been reported yet."));
    return;
  }
  const quantity = QUANTITIES[view.curve] ?? QUANTITIES.reward;
  const width = Math.max(260, box.clientWidth);
  replaceInPlace(box, drawEvaluation(rows, quantity, width), drawTraining(rows, quantity, width),
    drawMoves(rows, width));
}

function drawEvaluation(rows, { title, evaluated, levels, format }, width) {
  const isPoint = (row) => typeof row[evaluated] === "number";
  const own = rows.filter(isPoint);
  if (!own.length) {
    return html("p", { class: "hint" }, "This run has not been evaluated without noise yet.");
  }
  const theirs = (other.data?.progress ?? []).filter((row) => isPoint(row) && isShown(row.env_steps));
  const x = [...new Set(own.concat(theirs).map((row) => row.env_steps))].sort((a, b) => a - b);
  const place = (points) => {
    const at = new Map(points.map((row) => [row.env_steps, row[evaluated]]));
    return x.map((step) => at.get(step) ?? null);
  };
  const series = [{ name: nameRun(state.run), look: "own", values: place(own) }];
  if (theirs.length) series.push({ name: other.run, look: "compared", values: place(theirs) });
  return makeLineChart({ key: "evaluation", width, height: width > 700 ? 260 : 210, x, series, format,
    title: `${title}, evaluated without noise; baselines on the same traffic`, dotted: true,
    levels: Object.entries(own.at(-1)[levels]).map(([name, value]) =>
      ({ name: formatPolicy(name), look: LOOKS[name] ?? "other", value })) });
}

function drawTraining(rows, quantity, width) {
  const x = rows.map((row) => row.env_steps ?? row.iteration);
  const series = [{ name: nameRun(state.run), look: "own", values: smoothRows(rows, (row) => row[quantity.trained]) }];
  if (other.data) series.push(alignOther(x, quantity.trained));
  const names = quantity.beside ? Object.keys(rows.at(-1)[quantity.beside] ?? {}) : [];
  for (const name of names) {
    series.push({ name: formatPolicy(name), look: LOOKS[name] ?? "other",
      values: smoothRows(rows, (row) => row[quantity.beside][name]) });
  }
  return makeLineChart({ key: "training", width, height: 190, x, series, marks: collectMarks(), format: quantity.format,
    title: `${quantity.title} in training, mean over ${formatWindow()}`
      + (names.length ? "; other splits in the same steps" : "") });
}

function smoothRows(rows, read) {
  return smooth(rows.map((row) => read(row) ?? null), rows.map((row) => row.env_steps),
    rows.map((row) => row.steps), Number(view.window));
}

// The other run's means at the steps of this run: the last one before each.
function alignOther(x, key) {
  const rows = other.data.progress;
  const values = smoothRows(rows, (row) => row[key]);
  const last = rows.at(-1)?.env_steps ?? -Infinity;
  let i = -1;
  return { name: other.run, look: "compared", values: x.map((step) => {
    while (i + 1 < rows.length && rows[i + 1].env_steps <= step) i += 1;
    return i < 0 || step > last ? null : values[i];
  }) };
}

function drawMoves(rows, width) {
  if (!rows.some((row) => typeof row.prbs_moved === "number")) return null;
  return makeLineChart({ key: "moves", width, height: 150, format: formatShare, include: [0],
    title: `What the controller did, and what it achieved, means over ${formatWindow()}`,
    x: rows.map((row) => row.env_steps ?? row.iteration), series: [
      { name: "PRBs moved between slices from one iteration to the next", look: "s3",
        values: smoothRows(rows, (row) => row.prbs_moved) },
      { name: "steps below SLA", look: "s1", values: smoothRows(rows, (row) => row.fail_rate_95) }] });
}

export function nameRun(run) {
  return run === null || run === "." ? "this run" : run;
}

function collectMarks() {
  return state.events.slice(-60).map((event) => ({ x: event.env_step, warning: isWarning(event),
    label: [event.kind, event.cell, event.message].filter(Boolean).join(" · ") }));
}
