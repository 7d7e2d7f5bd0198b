// The slices of a cell: means over the window beside their SLAs, and how they differ from the window before.

import { html } from "./dom.js";
import { formatPercent, formatShort } from "./format.js";
import { average, listInside } from "./smoothing.js";
import { state } from "./store.js";
import { formatWindow, view } from "./view.js";

const HEADS = ["Slice", "Throughput / SLA", "Delay / SLA", "PRBs", "Load now"];

export function listSliceNames(history) {
  return history.throughput_mbps.map((_, i) => state.network.slices[i] ?? `slice ${i + 1}`);
}

export function drawSliceTable(history, spec) {
  const [inside, before] = chooseSpans(history);
  const read = (values) => ({ mean: average(values, history.steps, inside),
    earlier: average(values, history.steps, before) });
  const rows = listSliceNames(history).map((name, i) => html("tr", { role: "row" },
    html("th", { scope: "row", role: "rowheader" }, html("span", { class: `swatch s${i % 6}` }), name),
    drawAgainstSla(read(history.throughput_mbps[i]), spec.sla_throughput_mbps?.[i], "Mbit/s", (x, y) => x >= y, HEADS[1]),
    drawAgainstSla(read(history.delay_ms[i]), spec.sla_delay_ms?.[i], "ms", (x, y) => x <= y, HEADS[2]),
    drawShare(read(history.prb_ratio[i]), HEADS[3]),
    makeField({ "data-label": HEADS[4] }, formatPercent(history.load[i][inside.at(-1)]))));
  return html("div", {}, html("div", { class: "scroll", tabindex: "0", role: "region",
    "aria-label": "Slices", "data-key": "slices" },
    html("table", { class: "slices", role: "table" },
      html("thead", { role: "rowgroup" }, html("tr", { role: "row" },
        HEADS.map((head) => html("th", { scope: "col", role: "columnheader" }, head)))),
      html("tbody", { role: "rowgroup" }, rows))),
    html("p", { class: "hint" }, `Means over ${formatWindow()}. `
      + "In brackets: the change from the equally long time before, which shows what the controller did and what came of it."));
}

// Indices of the window's iterations, and of those of the equally long time before it.
function chooseSpans({ env_steps: ends }) {
  const until = view.to === "" ? Infinity : Number(view.to);
  const newest = ends.reduce((last, end) => end !== null && end <= until && end > last ? end : last, 0);
  const steps = Number(view.window);
  return [listInside(ends, newest - steps, newest), listInside(ends, newest - 2 * steps, newest - steps)];
}

function drawAgainstSla({ mean, earlier }, sla, unit, met, label) {
  if (mean === null) return makeField({ "data-label": label }, "–");
  const change = earlier === null ? null : drawChange(mean - earlier, formatShort);
  if (sla === undefined) return makeField({ "data-label": label }, `${formatShort(mean)} ${unit}`, change);
  const good = met(mean, sla);
  return makeField({ "data-label": label, class: good ? "met" : "missed" },
    html("span", { class: "sign", "aria-label": good ? "met" : "missed", role: "img" }, good ? "✓" : "✗"),
    ` ${formatShort(mean)} / ${formatShort(sla)} ${unit}`, change);
}

function drawShare({ mean, earlier }, label) {
  const change = mean === null || earlier === null ? null
    : drawChange(mean - earlier, (value) => (100 * value).toFixed(1));
  return makeField({ "data-label": label }, formatPercent(mean), change);
}

function drawChange(change, format) {
  return html("span", { class: "moved" }, ` (${change >= 0 ? "+" : ""}${format(change)})`);
}

function makeField(attributes, ...children) {
  return html("td", { role: "cell", ...attributes }, children);
}
