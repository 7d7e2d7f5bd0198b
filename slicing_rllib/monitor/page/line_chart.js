// A line chart. It shows the values at the pointer, or at the position of the arrow keys.

import { html, replace, svg } from "./dom.js";
import { NO_VALUE, formatShort } from "./format.js";

const MARGIN = { left: 46, right: 10, top: 8, bottom: 26 };

// series: [{name, values, look}], where look is the CSS class of the line; levels: horizontal lines,
// [{name, value, look}]; marks: triangles on the x axis, [{x, label, warning}]; include: values that
// the y axis must contain.
export function makeLineChart({ key, title, x, series, levels = [], marks = [], width, height = 190,
  xName = "environment steps", format = formatShort, include = [] }) {
  const values = series.flatMap((each) => each.values).concat(levels.map((each) => each.value), include);
  const scale = makeScales(x, values, width, height);
  const cross = svg("line", { class: "cross", y1: MARGIN.top, y2: height - MARGIN.bottom, x1: -9, x2: -9 });
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img",
    tabindex: "0", "aria-label": describeChart(title, series, levels, format), "data-key": key },
    drawAxes(scale, width, height, xName, format),
    levels.map((each) => drawLevel(each, scale, width)),
    series.map((each) => svg("path", { class: `line ${each.look}`, d: makePath(x, each.values, scale) })),
    marks.map((mark) => drawMark(mark, scale, height)), cross);
  const reading = html("p", { class: "reading" });
  const read = (index) => showReading(index, { x, series, levels, scale, cross, reading, format, xName });
  read(x.length - 1);
  followPointer(drawing, x, scale, width, read);
  return html("figure", { class: "chart-box" }, html("figcaption", {}, title), drawing, reading);
}

function makeScales(x, values, width, height) {
  const [x0, x1] = findRange(x);
  const ticks = chooseTicks(...findRange(values), Math.max(2, Math.floor(height / 45)));
  const [y0, y1] = [ticks[0], ticks.at(-1)];
  return {
    ticks, x0, x1,
    x: (value) => MARGIN.left + (value - x0) / (x1 - x0) * (width - MARGIN.left - MARGIN.right),
    y: (value) => height - MARGIN.bottom
      - (value - y0) / (y1 - y0) * (height - MARGIN.top - MARGIN.bottom),
  };
}

function findRange(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (!isNumber(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) return [0, 1];
  return low === high ? [low - 0.5, high + 0.5] : [low, high];
}

export function chooseTicks(low, high, count) {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= raw * 0.999);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.ceil(high / step - 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => +((first + i) * step).toPrecision(10));
}

function isNumber(value) {
  return value !== null && value !== undefined && Number.isFinite(value);
}

function drawAxes(scale, width, height, xName, format) {
  const rows = scale.ticks.map((tick) => svg("g", {},
    svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right,
      y1: scale.y(tick), y2: scale.y(tick) }),
    svg("text", { class: "tick", x: MARGIN.left - 6, y: scale.y(tick), dy: "0.32em",
      "text-anchor": "end" }, format(tick))));
  const foot = height - 8;
  return rows.concat(
    svg("text", { class: "tick", x: MARGIN.left, y: foot }, formatShort(scale.x0)),
    svg("text", { class: "tick", x: (width + MARGIN.left) / 2, y: foot, "text-anchor": "middle" }, xName),
    svg("text", { class: "tick", x: width - MARGIN.right, y: foot, "text-anchor": "end" },
      formatShort(scale.x1)));
}

function makePath(x, values, scale) {
  let path = "";
  let down = false;
  x.forEach((at, i) => {
    if (!isNumber(at) || !isNumber(values[i])) { down = false; return; }
    path += `${down ? "L" : "M"}${scale.x(at).toFixed(1)} ${scale.y(values[i]).toFixed(1)}`;
    down = true;
  });
  return path;
}

function drawLevel(level, scale, width) {
  const y = scale.y(level.value);
  return svg("line", { class: `line level ${level.look}`, x1: MARGIN.left, x2: width - MARGIN.right,
    y1: y, y2: y });
}

function drawMark(mark, scale, height) {
  if (!isNumber(mark.x) || mark.x < scale.x0 || mark.x > scale.x1) return null;
  const [x, y] = [scale.x(mark.x), height - MARGIN.bottom];
  return svg("path", { class: mark.warning ? "mark warning" : "mark",
    d: `M${x.toFixed(1)} ${y - 8}l5 8h-10z` }, svg("title", {}, mark.label));
}

function describeChart(title, series, levels, format) {
  const ends = series.map((each) => `${each.name} ${formatReading(each.values.findLast(isNumber), format)}`);
  const across = levels.map((each) => `${each.name} ${formatReading(each.value, format)}`);
  return `${title}; last: ${ends.concat(across).join(", ")}. Arrow keys show earlier values.`;
}

function formatReading(value, format) {
  return isNumber(value) ? format(value) : NO_VALUE;
}

function showReading(index, { x, series, levels, scale, cross, reading: node, format, xName }) {
  const at = x[index];
  const entry = (look, words) => html("span", { class: "entry" },
    html("span", { class: `swatch ${look}` }), words);
  replace(node,
    series.map((each) => entry(each.look, `${each.name} ${formatReading(each.values[index], format)}`)),
    levels.map((each) => entry(`level ${each.look}`, `${each.name} ${formatReading(each.value, format)}`)),
    isNumber(at) ? html("span", { class: "entry at" }, `at ${formatShort(at)} ${xName}`) : null);
  const atEnd = index === x.length - 1;
  cross.setAttribute("x1", isNumber(at) && !atEnd ? scale.x(at) : -9);
  cross.setAttribute("x2", isNumber(at) && !atEnd ? scale.x(at) : -9);
}

function followPointer(drawing, x, scale, width, read) {
  let index = x.length - 1;
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    index = findNearest(x, scale, (event.clientX - box.left) / box.width * width);
    read(index);
  });
  drawing.addEventListener("pointerleave", () => { index = x.length - 1; read(index); });
  drawing.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, Home: -x.length, End: x.length }[event.key];
    if (by === undefined || !x.length) return;
    index = Math.min(Math.max(index + by, 0), x.length - 1);
    read(index);
    event.preventDefault();
  });
}

function findNearest(x, scale, at) {
  let best = x.length - 1;
  x.forEach((value, i) => {
    if (isNumber(value) && Math.abs(scale.x(value) - at) < Math.abs(scale.x(x[best]) - at)) best = i;
  });
  return best;
}
