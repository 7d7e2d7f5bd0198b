// The KPIs of a cell's slices over time. The SLA is the bold line.

import { html } from "./dom.js";
import { makeLineChart } from "./line_chart.js";
import { listSliceNames } from "./slice_table.js";
import { isShown } from "./view.js";

const SLA = [{ name: "SLA", value: 1, look: "sla" }];
const CLIP = 3;

export function drawCharts(history, spec, width) {
  const shown = history.env_steps.flatMap((step, i) => isShown(step) ? [i] : []);
  if (!shown.length) return html("p", { class: "hint" }, "No iteration lies between the chosen steps.");
  const x = shown.map((i) => history.env_steps[i] ?? history.iteration[i]);
  const pick = (values) => shown.map((i) => values[i]);
  const lines = (field, sla) => listSliceNames(history).map((name, k) => ({ name, look: `s${k % 6}`,
    values: pick(history[field][k]).map((value) => value === null || !sla ? value : value / sla[k]) }));
  const half = width > 620 ? Math.floor(width / 2) - 10 : width;
  const chart = (key, title, series, options = {}) =>
    makeLineChart({ key, title, x, series, width: half, height: 150, include: [0], ...options });
  return html("div", { class: "charts" },
    spec.sla_throughput_mbps
      ? chart("phi", "Throughput, share of SLA", lines("throughput_mbps", spec.sla_throughput_mbps), { levels: SLA, clip: CLIP })
      : chart("phi", "Throughput, Mbit/s", lines("throughput_mbps")),
    spec.sla_delay_ms
      ? chart("delay", "Delay, share of SLA (logarithmic)", lines("delay_ms", spec.sla_delay_ms), { levels: SLA, isLog: true, include: [] })
      : chart("delay", "Delay, ms (logarithmic)", lines("delay_ms"), { isLog: true, include: [] }),
    chart("prb", "What the controller did: PRB share", lines("prb_ratio")),
    chart("learning", "What it achieved", [
      { name: "reward", values: pick(history.reward), look: "s0" },
      { name: "satisfaction", values: pick(history.satisfaction), look: "s1" },
      { name: "steps below SLA", values: pick(history.fail_rate_95), look: "s2" }], { include: [0, 1] }));
}
