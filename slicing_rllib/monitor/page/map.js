// The map: sites and sectors, coloured by satisfaction, reward or phase.

import { byId, html, replace, replaceInPlace, svg } from "./dom.js";
import { UNKNOWN, formatCss, chooseTextColour, colourPhase, colourSatisfaction } from "./colours.js";
import { formatDecimal, formatPhase } from "./format.js";
import { readLatest, select, state } from "./store.js";

const LABELLED = 80;
const ARROWS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
let drawn = { key: null, sectors: new Map() };

export function drawMap() {
  const key = JSON.stringify([state.run, state.network.sites_m, state.cells]);
  if (drawn.key !== key) buildMap(key);
  const field = byId("map-field").value;
  for (const [cell, sector] of drawn.sectors) paintSector(cell, sector, field);
  drawLegend(field);
  drawLowest();
}

function buildMap(key) {
  const shapes = placeCells(state.network, state.cells);
  const sectors = new Map();
  const layer = svg("g", { role: "listbox", "aria-label": "Cells of the network" });
  for (const shape of shapes) {
    const sector = makeSector(shape, shapes.length <= LABELLED);
    sectors.set(shape.id, sector);
    layer.append(sector.group);
  }
  const masts = (state.network.sites_m ?? []).map(([x, y]) =>
    svg("circle", { class: "mast", cx: x, cy: -y, r: computeMastRadius(shapes) }));
  replace(byId("map"), svg("svg", { viewBox: computeViewBox(shapes), class: "network" }, layer, masts));
  replace(byId("cell-names"), state.cells.map((id) => html("option", { value: id })));
  drawn = { key, sectors };
}

// Where each cell is drawn: at its site, or in rows below if the config does not contain it.
function placeCells(network, cells) {
  const known = network.cells.map((cell) => {
    const [x, y] = network.sites_m[cell.site];
    return makeShape(cell.id, x, -y, network.reach_m[cell.site], cell);
  });
  const ids = new Set(known.map((shape) => shape.id));
  const unplaced = cells.filter((id) => !ids.has(id));
  if (!unplaced.length) return known;
  const size = known[0]?.size ?? 100;
  const floor = known.length ? Math.max(...known.map((shape) => shape.cy)) + 3 * size : 0;
  const perRow = Math.ceil(Math.sqrt(2 * unplaced.length));
  return known.concat(unplaced.map((id, i) => {
    const x = 2 * size * (i % perRow + 0.5 * (Math.floor(i / perRow) % 2));
    const y = floor + 1.75 * size * Math.floor(i / perRow);
    return makeShape(id, x, y, size, { azimuth_deg: 30, half_width_deg: 180 });
  }));
}

function makeShape(id, x, y, size, { azimuth_deg: azimuth, half_width_deg: half }) {
  const step = Math.min(60, half);
  const points = half < 180 ? [[x, y]] : [];
  for (let turn = -half; turn <= half + 1e-9; turn += step) {
    const angle = (azimuth + turn) * Math.PI / 180;
    points.push([x + size * Math.cos(angle), y - size * Math.sin(angle)]);
  }
  const out = half < 180 ? 0.55 * size : 0;
  const angle = azimuth * Math.PI / 180;
  return { id, points, size, cx: x + out * Math.cos(angle), cy: y - out * Math.sin(angle) };
}

function makeSector(shape, labelled) {
  const path = svg("path", { class: "sector", d: makeOutline(shape) });
  const label = labelled ? svg("text", { x: shape.cx, y: shape.cy, "font-size": 0.21 * shape.size },
    svg("tspan", { x: shape.cx, dy: "-0.15em" }, shortenName(shape.id)),
    svg("tspan", { x: shape.cx, dy: "1.15em", class: "value" })) : null;
  const group = svg("g", { role: "option", tabindex: "-1", class: "cell",
    onclick: () => showCell(shape.id),
    onkeydown: (event) => handleKey(event, shape.id) }, path, label);
  return { group, path, label, shape, value: label?.lastChild };
}

function shortenName(id) {
  const name = id.replace(/^cell_/, "");
  return name.length > 8 ? `${name.slice(0, 7)}…` : name;
}

function makeOutline(shape) {
  const scaled = shape.points.map(([x, y]) => [
    shape.cx + 0.975 * (x - shape.cx), shape.cy + 0.975 * (y - shape.cy)]);
  return `M${scaled.map((point) => point.map((x) => x.toFixed(1)).join(" ")).join("L")}Z`;
}

function computeViewBox(shapes) {
  if (!shapes.length) return "0 0 1 1";
  const xs = shapes.flatMap((shape) => shape.points.map(([x]) => x));
  const ys = shapes.flatMap((shape) => shape.points.map(([, y]) => y));
  const low = (values) => values.reduce((a, b) => Math.min(a, b));
  const high = (values) => values.reduce((a, b) => Math.max(a, b));
  const margin = 0.08 * shapes[0].size;
  return [low(xs) - margin, low(ys) - margin, high(xs) - low(xs) + 2 * margin,
    high(ys) - low(ys) + 2 * margin].map((x) => x.toFixed(1)).join(" ");
}

function computeMastRadius(shapes) {
  return 0.07 * (shapes[0]?.size ?? 1);
}

function paintSector(cell, sector, field) {
  const value = readLatest(field, cell);
  const colour = chooseColour(field, cell, value);
  const words = describeCell(cell);
  const selected = state.selected === cell;
  const look = `${colour.join()}|${words}|${selected}`;
  if (sector.look === look) return;
  sector.look = look;
  sector.path.setAttribute("fill", formatCss(colour));
  sector.group.setAttribute("aria-label", words);
  sector.group.setAttribute("aria-selected", String(selected));
  sector.group.classList.toggle("default-action", readLatest("phase", cell) === 1);
  sector.group.setAttribute("tabindex", selected || isFirst(cell) ? "0" : "-1");
  if (sector.label) {
    sector.label.setAttribute("fill", chooseTextColour(colour));
    sector.value.textContent = field === "phase" ? formatShortPhase(value) : formatDecimal(value, 2);
  }
}

function isFirst(cell) {
  return state.selected === null && cell === state.cells[0];
}

function formatShortPhase(phase) {
  return ["off", "default", "own"][phase] ?? "–";
}

function chooseColour(field, cell, value) {
  if (field === "phase") return colourPhase(value);
  return readLatest("phase", cell) === 0 ? UNKNOWN : colourSatisfaction(value);
}

function describeCell(cell) {
  const phase = readLatest("phase", cell);
  if (phase === 0) return `${cell}: off`;
  const satisfaction = formatDecimal(readLatest("satisfaction", cell), 2);
  return `${cell}: satisfaction ${satisfaction}, ${formatPhase(phase)}`;
}

function showCell(cell) {
  select(cell);
  const panel = byId("cell");
  if (panel.getBoundingClientRect().top > innerHeight) panel.scrollIntoView({ behavior: "auto" });
}

function handleKey(event, cell) {
  if (event.key === "Enter" || event.key === " ") showCell(cell);
  else if (ARROWS[event.key]) step(cell, ARROWS[event.key]);
  else return;
  event.preventDefault();
}

// The nearest cell within 60 degrees of where the arrow points.
function step(cell, [dx, dy]) {
  const from = drawn.sectors.get(cell).shape;
  let best = null;
  for (const { group, shape } of drawn.sectors.values()) {
    const [x, y] = [shape.cx - from.cx, shape.cy - from.cy];
    const distance = Math.hypot(x, y);
    const along = x * dx + y * dy;
    if (along <= 0.5 * distance || distance === 0) continue;
    const cost = distance * distance / along;
    if (best === null || cost < best.cost) best = { cost, group };
  }
  if (!best) return;
  for (const { group } of drawn.sectors.values()) group.setAttribute("tabindex", "-1");
  best.group.setAttribute("tabindex", "0");
  best.group.focus();
}

const MARKS = { satisfaction: [0, 0.3, 0.6, 0.8, 0.95, 1], reward: [0, 0.3, 0.6, 0.8, 0.95, 1] };

function drawLegend(field) {
  const entries = field === "phase"
    ? [0, 1, 2].map((phase) => [colourPhase(phase), formatPhase(phase)])
    : MARKS[field].map((level) => [colourSatisfaction(level), String(level)])
      .concat([[UNKNOWN, "off or not reported"]]);
  const legend = byId("map-legend");
  if (legend.dataset.field === field) return;
  legend.dataset.field = field;
  replace(legend, entries.map(([colour, words]) => {
    const chip = html("span", { class: "chip" });
    chip.style.background = formatCss(colour);
    return html("span", { class: "entry" }, chip, words);
  }), html("span", { class: "entry" }, html("span", { class: "chip dashed" }), "default action"));
}

function drawLowest() {
  const ranked = state.cells
    .map((cell) => [cell, readLatest("satisfaction", cell)])
    .filter(([cell, value]) => value !== null && readLatest("phase", cell) !== 0)
    .sort((a, b) => a[1] - b[1]).slice(0, 5);
  replaceInPlace(byId("lowest"), ranked.map(([cell, value]) => {
    const chip = html("span", { class: "chip" });
    chip.style.background = formatCss(colourSatisfaction(value));
    return html("li", {}, html("button", { type: "button", class: "quiet", "data-key": cell,
      onclick: () => showCell(cell) }, chip, `${cell} ${formatDecimal(value, 2)}`));
  }));
}
