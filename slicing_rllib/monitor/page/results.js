// Tables: the final evaluation of all policies, and two runs side by side.

import { byId, html, replaceInPlace } from "./dom.js";
import { other } from "./comparison.js";
import { nameRun } from "./curves.js";
import { makeSaveButton } from "./download.js";
import { formatDecimal, formatPercent, formatPolicy } from "./format.js";
import { findOwnResult } from "./headline.js";
import { state } from "./store.js";
import { formatWindow } from "./view.js";

const COLUMNS = [
  ["reward", "reward_mean", (value) => formatDecimal(value, 3)],
  ["satisfaction", "satisfaction_mean", (value) => formatDecimal(value, 3)],
  ["below SLA", "fail_rate_95", (value) => formatPercent(value, 1)],
  ["max delay, ms", "delay_max_ms", (value) => formatDecimal(value, 2)],
  ["gap closed", "oracle_gap_closed", (value) => formatPercent(value)],
];
const COMPARED = COLUMNS.slice(0, 3);

export function drawResults() {
  const policies = Object.entries(state.summary?.policies ?? {})
    .filter(([, row]) => row && typeof row === "object");
  replaceInPlace(byId("results"), drawComparison(), policies.length ? drawPolicies(policies) : null);
}

function drawPolicies(policies) {
  const collectRows = () => [["policy", ...COLUMNS.map(([, key]) => key)],
    ...policies.map(([name, row]) => [name, ...COLUMNS.map(([, key]) => row[key])])];
  return html("div", {}, html("h3", {}, "Final evaluation: all policies on the same traffic ",
    makeSaveButton("evaluation", collectRows)),
  makeTable("Evaluated policies", "results", ["policy", ...COLUMNS.map(([head]) => head)],
    policies.map(([name, row]) => [formatPolicy(name), ...COLUMNS.map(([, key, format]) => [
      typeof row[key] === "number" ? format(row[key]) : "–", formatInterval(row.ci95?.[key], format)])])));
}

function drawComparison() {
  if (!other.run) return null;
  if (!other.data) return html("p", { class: "hint" }, `Reading ${other.run} …`);
  const rows = COMPARED.flatMap(([head, key, format]) => [
    [`${head}, ${formatWindow()}`, ...compare(state.window[key], other.data.window[key], format)],
    [`${head}, evaluated`, ...compare(findOwnResult(state.summary)?.row[key],
      findOwnResult(other.data.summary)?.row[key], format)]]);
  return html("div", {}, html("h3", {}, "Two runs"),
    makeTable("Two runs", "compared", ["", nameRun(state.run), other.run, "difference"], rows));
}

function compare(own, theirs, format) {
  const known = typeof own === "number" && typeof theirs === "number";
  const sign = known && own - theirs >= 0 ? "+" : "";
  return [format(own), format(theirs), known ? `${sign}${format(own - theirs)}` : "–"];
}

function makeTable(label, key, heads, rows) {
  return html("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label, "data-key": key },
    html("table", { class: "wide" },
      html("thead", {}, html("tr", {}, heads.map((head, i) => head === "" ? html("td") :
        html("th", { scope: "col", class: i ? "num" : null }, head)))),
      html("tbody", {}, rows.map(([first, ...rest]) => html("tr", {}, html("th", { scope: "row" }, first),
        rest.map((content) => html("td", { class: "num" }, content)))))));
}

function formatInterval(bounds, format) {
  if (!Array.isArray(bounds) || bounds.length !== 2 || !bounds.every((x) => typeof x === "number")) return null;
  return html("span", { class: "interval" }, ` [${format(bounds[0])}, ${format(bounds[1])}]`);
}
