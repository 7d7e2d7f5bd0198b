// A line chart. It shows the values at the pointer, or at the position of the arrow keys.

import { html, replace, svg } from "./dom.js";
import { makeSaveButton } from "./download.js";
import { NO_VALUE, formatShort } from "./format.js";
import { MARGIN, isNumber, makeScales } from "./scales.js";

// series: [{name, values, look}], where look is the CSS class of the line; levels: horizontal lines,
// [{name, value, look}]; marks: triangles on the x axis, [{x, label, warning}]; include: values that
// the y axis must contain; isLog: logarithmic y axis; clip: largest value that it shows; dotted:
// every value is marked.
export function makeLineChart({ key, title, x, series, levels = [], marks = [], width, height = 190,
  xName = "environment steps", format = formatShort, include = [], isLog = false, clip = Infinity,
  dotted = false }) {
  const values = series.flatMap((each) => each.values).concat(levels.map((each) => each.value), include);
  const scale = makeScales(x, values, width, height, { isLog, clip });
  const cross = svg("line", { class: "cross", y1: MARGIN.top, y2: height - MARGIN.bottom, x1: -9, x2: -9 });
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img",
    tabindex: "0", "aria-label": describeChart(title, series, levels, format), "data-key": key },
    drawAxes(scale, width, height, xName, format),
    levels.map((each) => drawLevel(each, scale, width)),
    series.map((each) => svg("path", { class: `line ${each.look}`, d: makePath(x, each.values, scale) })),
    dotted ? series.flatMap((each) => drawDots(x, each, scale)) : [],
    marks.map((mark) => drawMark(mark, scale, height)), cross);
  const reading = html("p", { class: "reading" });
  const read = (index) => showReading(index, { x, series, levels, scale, cross, reading, format, xName });
  read(x.length - 1);
  followPointer(drawing, x, scale, width, read);
  const collectRows = () => [[xName, ...series.map((each) => each.name), ...levels.map((each) => each.name)],
    ...x.map((at, i) => [at, ...series.map((each) => each.values[i]), ...levels.map((each) => each.value)])];
  return html("figure", { class: "chart-box" },
    html("figcaption", {}, html("span", {}, title), makeSaveButton(title, collectRows)), drawing,
    scale.nClipped ? html("p", { class: "hint" },
      `${scale.nClipped} values above ${format(clip)} are drawn at the upper edge.`) : null, reading);
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

function drawDots(x, { values, look }, scale) {
  return x.flatMap((at, i) => isNumber(at) && isNumber(values[i]) ? [svg("circle", {
    class: `dot ${look}`, cx: scale.x(at).toFixed(1), cy: scale.y(values[i]).toFixed(1), r: 3.5 })] : []);
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
