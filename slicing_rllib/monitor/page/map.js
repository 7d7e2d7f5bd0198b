// The map: sites and sectors, coloured by a mean over the window or by the newest iteration.

import { byId, html, replace, replaceInPlace, svg } from "./dom.js";
import { UNKNOWN, formatCss, chooseTextColour, colourFailRate, colourPhase, colourSatisfaction } from "./colours.js";
import { makeSaveButton } from "./download.js";
import { formatDecimal, formatPercent, formatPhase } from "./format.js";
import { readLatest, readWindow, select, state } from "./store.js";
import { view } from "./view.js";

const LABELLED = 80;
const ARROWS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
let drawn = { key: null, sectors: new Map() };

export function drawMap() {
  const key = JSON.stringify([state.run, state.network.sites_m, state.cells]);
  if (drawn.key !== key) buildMap(key);
  const field = FIELDS[view.colour] ?? FIELDS.fail_rate_95;
  for (const [cell, sector] of drawn.sectors) paintSector(cell, sector, field);
  drawLegend(field);
  drawWorst();
}

const LEVELS = [0, 0.3, 0.6, 0.8, 0.95, 1].map((level) => [level, String(level)]);

// What the map can show: how a cell's value is read, coloured and written.
const FIELDS = {
  fail_rate_95: { read: (cell) => readWindow("fail_rate_95", cell), colour: colourFailRate, format: formatPercent,
    levels: [1, 0.5, 0.25, 0.1, 0].map((rate) => [rate, formatPercent(rate)]) },
  satisfaction: { read: (cell) => readWindow("satisfaction", cell), colour: colourSatisfaction,
    format: formatDecimal, levels: LEVELS },
  satisfaction_now: { read: (cell) => readLatest("satisfaction", cell), colour: colourSatisfaction,
    format: formatDecimal, levels: LEVELS },
  reward: { read: (cell) => readWindow("reward", cell), colour: colourSatisfaction,
    format: formatDecimal, levels: LEVELS },
  phase: { read: (cell) => readLatest("phase", cell), colour: colourPhase, format: formatShortPhase,
    levels: [0, 1, 2].map((phase) => [phase, formatPhase(phase)]) },
};

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
  const value = field.read(cell);
  const isOff = field !== FIELDS.phase && readLatest("phase", cell) === 0;
  const colour = isOff ? UNKNOWN : field.colour(value);
  const words = describeCell(cell);
  const selected = state.selected === cell;
  const look = `${colour.join()}|${value}|${words}|${selected}`;
  if (sector.look === look) return;
  sector.look = look;
  sector.path.setAttribute("fill", formatCss(colour));
  sector.group.setAttribute("aria-label", words);
  sector.group.setAttribute("aria-selected", String(selected));
  sector.group.classList.toggle("default-action", readLatest("phase", cell) === 1);
  sector.group.setAttribute("tabindex", selected || isFirst(cell) ? "0" : "-1");
  if (sector.label) {
    sector.label.setAttribute("fill", chooseTextColour(colour));
    sector.value.textContent = field.format(value);
  }
}

function isFirst(cell) {
  return state.selected === null && cell === state.cells[0];
}

function formatShortPhase(phase) {
  return ["off", "default", "own"][phase] ?? "–";
}

function describeCell(cell) {
  const phase = readLatest("phase", cell);
  if (phase === 0) return `${cell}: off`;
  const satisfaction = formatDecimal(readWindow("satisfaction", cell), 2);
  const rate = formatPercent(readWindow("fail_rate_95", cell));
  return `${nameFully(cell)}: below SLA in ${rate} of steps, satisfaction ${satisfaction}, ${formatPhase(phase)}`;
}

// The name of a cell, and the operator's own where there is one.
function nameFully(cell) {
  const own = state.network.cells.find((each) => each.id === cell)?.cell_id;
  return own && own !== cell ? `${cell} (${own})` : cell;
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

function drawLegend(field) {
  const legend = byId("map-legend");
  if (legend.dataset.field === view.colour) return;
  legend.dataset.field = view.colour;
  const entries = field.levels.map(([level, words]) => [field.colour(level), words]);
  if (field !== FIELDS.phase) entries.push([UNKNOWN, "off or not reported"]);
  replace(legend, entries.map(([colour, words]) => {
    const chip = html("span", { class: "chip" });
    chip.style.background = formatCss(colour);
    return html("span", { class: "entry" }, chip, words);
  }), html("span", { class: "entry" }, html("span", { class: "chip dashed" }), "default action"),
  makeSaveButton("cells", collectRows));
}

function collectRows() {
  const columns = ["fail_rate_95", "satisfaction", "reward"];
  return [["cell", "operator_id", ...columns, "satisfaction_now", "phase"], ...state.cells.map((cell) =>
    [cell, state.network.cells.find((each) => each.id === cell)?.cell_id ?? null,
      ...columns.map((column) => readWindow(column, cell)), readLatest("satisfaction", cell),
      formatPhase(readLatest("phase", cell))])];
}

// The cells that miss their SLA most often in the window.
function drawWorst() {
  const ranked = state.cells
    .map((cell) => [cell, readWindow("fail_rate_95", cell)])
    .filter(([cell, rate]) => rate > 0 && readLatest("phase", cell) !== 0)
    .sort((a, b) => b[1] - a[1]).slice(0, 5);
  const none = state.progress.length ? "No cell fell below its SLA in these steps." : "No iteration has been reported yet.";
  replaceInPlace(byId("worst"), ranked.length ? ranked.map(([cell, rate]) => {
    const chip = html("span", { class: "chip" });
    chip.style.background = formatCss(colourFailRate(rate));
    return html("li", {}, html("button", { type: "button", class: "quiet", "data-key": cell,
      onclick: () => showCell(cell) }, chip, `${cell} ${formatPercent(rate)}`));
  }) : html("li", { class: "hint" }, none));
}
