// The distances between each target of a transfer and its candidates; the source is marked.

import { byId, html, replaceInPlace } from "./dom.js";
import { formatCss, colourDistance, chooseTextColour } from "./colours.js";
import { makeSaveButton } from "./download.js";
import { compareNames } from "./format.js";
import { collectDecisions, select } from "./store.js";

const MAX_COLUMNS = 24;
const MIN_COLUMN_PX = 33;
const HEAD_PX = 78;

export function drawSimilarity() {
  const made = [...collectDecisions().values()].sort((a, b) => compareNames(a.target, b.target));
  const box = byId("similarity");
  if (!made.length) {
    replaceInPlace(box, html("p", { class: "hint" },
      "No source has been chosen for a cell yet. The distances to its candidates will be shown here."));
    return;
  }
  const sources = [...new Set(made.flatMap((each) => Object.keys(each.distances)))].sort(compareNames);
  const fits = sources.length <= Math.min(MAX_COLUMNS, (box.clientWidth - HEAD_PX) / MIN_COLUMN_PX);
  const unit = chooseUnit(made);
  replaceInPlace(box, fits ? drawMatrix(made, sources, unit) : made.slice(-MAX_COLUMNS).map((each) => drawRanking(each, unit)),
    html("p", { class: "hint" }, `Distances by ${listMeasures(made)}${formatUnit(unit)}. `
      + "Colours are logarithmic; darker means more similar. ★ source, ☆ runner-up."),
    makeSaveButton("distances", () => [["target", "candidate", "distance", "role"], ...made.flatMap((each) =>
      listDistances(each).map(([source, distance]) => [each.target, source, distance, chooseRole(each, source)]))]));
}

function listMeasures(made) {
  return [...new Set(made.map((each) => each.measure ?? "the run's measure"))].join(", ");
}

function listDistances(decision) {
  return Object.entries(decision.distances).filter(([, distance]) => typeof distance === "number");
}

// The power of ten of the smallest distance, so that all numbers are short.
function chooseUnit(made) {
  const positive = made.flatMap((each) => listDistances(each).map(([, distance]) => distance)).filter((x) => x > 0);
  if (!positive.length) return 0;
  const power = Math.floor(Math.log10(positive.reduce((a, b) => Math.min(a, b))));
  return power < -1 || power > 3 ? power : 0;
}

function formatUnit(power) {
  return power ? `, in units of 10${formatSuperscript(power)}` : "";
}

function formatSuperscript(power) {
  return String(power).replace("-", "⁻").replace(/[0-9]/g, (digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]);
}

function drawMatrix(made, sources, unit) {
  return html("div", { class: "scroll", tabindex: "0", role: "region", "data-key": "similarity",
    "aria-label": "Distances between cells" },
    html("table", { class: "heat" },
      html("caption", { class: "hidden" }, "Rows: targets. Columns: candidates for the source."),
      html("thead", {}, html("tr", {}, html("td", {}, "target"),
        sources.map((source) => html("th", { scope: "col" }, shortenName(source))))),
      html("tbody", {}, made.map((decision) => html("tr", {},
        html("th", { scope: "row" }, makeTargetButton(decision.target)),
        sources.map((source) => drawDistance(decision, source, unit)))))));
}

function shortenName(name) {
  return name.replace(/^cell_/, "").slice(0, 10);
}

function makeTargetButton(target) {
  return html("button", { type: "button", class: "quiet", "data-key": `target ${target}`,
    onclick: () => select(target) }, target);
}

function drawDistance(decision, source, unit) {
  const distance = decision.distances[source];
  if (typeof distance !== "number") return html("td", { class: "none" }, "·");
  const colour = colourDistance(computeShare(decision, distance));
  const cell = html("td", { class: source === decision.source ? "chosen" : "",
    title: `${decision.target} to ${source}: ${distance}` }, chooseMark(decision, source), formatDistance(distance, unit));
  cell.style.background = formatCss(colour);
  cell.style.color = chooseTextColour(colour);
  return cell;
}

function formatDistance(distance, unit) {
  const value = distance / 10 ** unit;
  return Math.abs(value) < 1e4 ? `${+value.toPrecision(2)}` : value.toExponential(0).replace("e+", "e");
}

function chooseMark(decision, source) {
  return { source: "★", "runner-up": "☆", candidate: "" }[chooseRole(decision, source)];
}

function chooseRole(decision, source) {
  if (source === decision.source) return "source";
  return source === decision.runner_up ? "runner-up" : "candidate";
}

// Where the distance lies between the smallest and the largest, on a logarithmic scale.
function computeShare(decision, distance) {
  const logs = listDistances(decision).map(([, each]) => each).filter((each) => each > 0).map(Math.log);
  if (distance <= 0 || !logs.length) return 0;
  const low = logs.reduce((a, b) => Math.min(a, b));
  const high = logs.reduce((a, b) => Math.max(a, b));
  return high > low ? (Math.log(distance) - low) / (high - low) : 0;
}

// The ten nearest candidates, where a matrix does not fit.
function drawRanking(decision, unit) {
  const nearest = listDistances(decision).sort((a, b) => a[1] - b[1]).slice(0, 10);
  return html("div", {}, html("h3", {}, makeTargetButton(decision.target)),
    html("ol", { class: "ranking" }, nearest.map(([source, distance]) => {
      const colour = colourDistance(computeShare(decision, distance));
      const value = html("span", { class: "distance" }, formatDistance(distance, unit));
      value.style.background = formatCss(colour);
      value.style.color = chooseTextColour(colour);
      return html("li", {}, `${source} ${chooseMark(decision, source)}`, value);
    })));
}
