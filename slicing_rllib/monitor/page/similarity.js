// Distances from each newcomer to the cells that it could learn from, the chosen one marked.

import { byId, html, replaceInPlace } from "./dom.js";
import { css, distanceColour, inkOn } from "./colours.js";
import { brief, byName } from "./format.js";
import { decisions, select } from "./store.js";

const WIDEST = 24;

export function drawSimilarity() {
  const made = [...decisions().values()].sort((a, b) => byName(a.target, b.target));
  const box = byId("similarity");
  if (!made.length) {
    replaceInPlace(box, html("p", { class: "hint" },
      "No cell has chosen a source yet. When one comes up, its distances to all candidates stand here."));
    return;
  }
  const sources = [...new Set(made.flatMap((each) => Object.keys(each.distances)))].sort(byName);
  const wide = sources.length > WIDEST;
  replaceInPlace(box, wide ? made.slice(-WIDEST).map(ranking) : matrix(made, sources),
    html("p", { class: "hint" }, `Distance by ${measures(made)}: the darker, the more alike. `
      + "★ learned from, ☆ runner-up."));
}

function measures(made) {
  return [...new Set(made.map((each) => each.measure ?? "the run's measure"))].join(", ");
}

function matrix(made, sources) {
  return html("div", { class: "scroll", tabindex: "0", role: "region", "data-key": "similarity",
    "aria-label": "Distances between cells" },
    html("table", { class: "heat" },
      html("caption", { class: "hidden" }, "Rows: cells that came up. Columns: candidate sources."),
      html("thead", {}, html("tr", {}, html("td", {}, "target"),
        sources.map((source) => html("th", { scope: "col" }, short(source))))),
      html("tbody", {}, made.map((decision) => html("tr", {},
        html("th", { scope: "row" }, targetButton(decision.target)),
        sources.map((source) => distanceCell(decision, source)))))));
}

function short(name) {
  return name.replace(/^cell_/, "").slice(0, 10);
}

function targetButton(target) {
  return html("button", { type: "button", class: "quiet", "data-key": `target ${target}`,
    onclick: () => select(target) }, target);
}

function distanceCell(decision, source) {
  const distance = decision.distances[source];
  if (typeof distance !== "number") return html("td", { class: "none" }, "·");
  const colour = distanceColour(shareOf(decision, distance));
  const cell = html("td", { class: source === decision.source ? "chosen" : "",
    title: `${decision.target} to ${source}: ${distance}` }, markOf(decision, source), brief(distance));
  cell.style.background = css(colour);
  cell.style.color = inkOn(colour);
  return cell;
}

function markOf(decision, source) {
  if (source === decision.source) return "★ ";
  return source === decision.runner_up ? "☆ " : "";
}

function shareOf(decision, distance) {
  const all = Object.values(decision.distances).filter((each) => typeof each === "number");
  const low = all.reduce((a, b) => Math.min(a, b));
  const high = all.reduce((a, b) => Math.max(a, b));
  return high > low ? (distance - low) / (high - low) : 0;
}

// Where a matrix would be too wide: the ten nearest.
function ranking(decision) {
  const nearest = Object.entries(decision.distances)
    .filter(([, distance]) => typeof distance === "number")
    .sort((a, b) => a[1] - b[1]).slice(0, 10);
  return html("div", {}, html("h3", {}, targetButton(decision.target)),
    html("ol", {}, nearest.map(([source, distance]) =>
      html("li", {}, markOf(decision, source), `${source} ${brief(distance)}`))));
}
