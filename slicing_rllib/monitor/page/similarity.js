// The distances between each target of a transfer and its candidates; the source is marked.

import { byId, html, replaceInPlace } from "./dom.js";
import { formatCss, colourDistance, chooseTextColour } from "./colours.js";
import { formatShort, compareNames } from "./format.js";
import { collectDecisions, select } from "./store.js";

const MAX_COLUMNS = 24;

export function drawSimilarity() {
  const made = [...collectDecisions().values()].sort((a, b) => compareNames(a.target, b.target));
  const box = byId("similarity");
  if (!made.length) {
    replaceInPlace(box, html("p", { class: "hint" },
      "No source has been chosen for a cell yet. The distances to its candidates will be shown here."));
    return;
  }
  const sources = [...new Set(made.flatMap((each) => Object.keys(each.distances)))].sort(compareNames);
  const wide = sources.length > MAX_COLUMNS;
  replaceInPlace(box, wide ? made.slice(-MAX_COLUMNS).map(drawRanking) : drawMatrix(made, sources),
    html("p", { class: "hint" }, `Distances by ${listMeasures(made)}; darker means more similar. `
      + "★ source, ☆ runner-up."));
}

function listMeasures(made) {
  return [...new Set(made.map((each) => each.measure ?? "the run's measure"))].join(", ");
}

function drawMatrix(made, sources) {
  return html("div", { class: "scroll", tabindex: "0", role: "region", "data-key": "similarity",
    "aria-label": "Distances between cells" },
    html("table", { class: "heat" },
      html("caption", { class: "hidden" }, "Rows: targets. Columns: candidates for the source."),
      html("thead", {}, html("tr", {}, html("td", {}, "target"),
        sources.map((source) => html("th", { scope: "col" }, shortenName(source))))),
      html("tbody", {}, made.map((decision) => html("tr", {},
        html("th", { scope: "row" }, makeTargetButton(decision.target)),
        sources.map((source) => drawDistance(decision, source)))))));
}

function shortenName(name) {
  return name.replace(/^cell_/, "").slice(0, 10);
}

function makeTargetButton(target) {
  return html("button", { type: "button", class: "quiet", "data-key": `target ${target}`,
    onclick: () => select(target) }, target);
}

function drawDistance(decision, source) {
  const distance = decision.distances[source];
  if (typeof distance !== "number") return html("td", { class: "none" }, "·");
  const colour = colourDistance(computeShare(decision, distance));
  const cell = html("td", { class: source === decision.source ? "chosen" : "",
    title: `${decision.target} to ${source}: ${distance}` }, chooseMark(decision, source), formatShort(distance));
  cell.style.background = formatCss(colour);
  cell.style.color = chooseTextColour(colour);
  return cell;
}

function chooseMark(decision, source) {
  if (source === decision.source) return "★ ";
  return source === decision.runner_up ? "☆ " : "";
}

function computeShare(decision, distance) {
  const all = Object.values(decision.distances).filter((each) => typeof each === "number");
  const low = all.reduce((a, b) => Math.min(a, b));
  const high = all.reduce((a, b) => Math.max(a, b));
  return high > low ? (distance - low) / (high - low) : 0;
}

// The ten nearest candidates, if there are too many for a matrix.
function drawRanking(decision) {
  const nearest = Object.entries(decision.distances)
    .filter(([, distance]) => typeof distance === "number")
    .sort((a, b) => a[1] - b[1]).slice(0, 10);
  return html("div", {}, html("h3", {}, makeTargetButton(decision.target)),
    html("ol", {}, nearest.map(([source, distance]) =>
      html("li", {}, chooseMark(decision, source), `${source} ${formatShort(distance)}`))));
}
