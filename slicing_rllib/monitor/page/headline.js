// The state of the run in a few words, and its key numbers. A tile leads with the mean over the window,
// which all tiles share; beside it stand the newest iteration ("now") and, of a finished run, the final
// evaluation.

import { byId, html, replace } from "./dom.js";
import { formatShort, formatDecimal, formatDuration, formatPercent, formatPolicy } from "./format.js";
import { countOpenWarnings } from "./warnings.js";
import { view } from "./view.js";

const SILENT_AFTER_S = 60;
const LEARNERS = ["td3", "counterfactual", "blend", "per_slice"];
const OWN_POLICIES = [...LEARNERS.map((name) => `${name}_transferred`), ...LEARNERS];

export function drawState(state) {
  const [kind, words] = describeState(state);
  const node = byId("run-state");
  if (node.textContent === words) return;
  node.textContent = words;
  node.dataset.kind = kind;
}

function describeState(state) {
  if (state.run === null) return ["waiting", "waiting for a run"];
  if (state.connected === false) return ["lost", "connection lost, reconnecting"];
  if (state.finished) return ["done", "finished"];
  if (state.quietS === null) return ["waiting", "nothing written yet"];
  const quiet = state.quietS + (performance.now() - state.receivedMs) / 1000;
  if (quiet > SILENT_AFTER_S) return ["silent", `nothing written for ${formatDuration(quiet)}`];
  return ["live", "live"];
}

export function drawHeadline(state) {
  const now = state.progress.at(-1) ?? {};
  const window = state.window ?? {};
  const final = findOwnResult(state.summary);
  const percent = (value) => formatPercent(value, 1);
  const decimal = (value) => formatDecimal(value, 3);
  const missing = window.missing?.length ?? 0;
  const nWarnings = countOpenWarnings(state);
  replace(byId("headline"),
    makeTile("Below SLA, share of steps", percent(window.fail_rate_95),
      [`now ${percent(now.fail_rate_95)}`, formatFinal(final, "fail_rate_95", percent)]),
    makeTile("Mean satisfaction", decimal(window.satisfaction_mean),
      [`now ${decimal(now.satisfaction_mean)}`, formatFinal(final, "satisfaction_mean", decimal)]),
    makeTile("Mean reward", decimal(window.reward_mean),
      [`now ${decimal(now.reward_mean)}`, formatFinal(final, "reward_mean", decimal),
        formatGapClosed(final), formatSameSteps(window)]),
    makeTile("Cells that keep missing their SLA", formatMissing(window, now),
      ["below it in more than a third of the steps", missing ? listBriefly(window.missing) : null],
      missing ? "warn" : "good"),
    makeTile("Environment steps", formatShort(now.env_steps), [formatSpeed(state)]),
    makeTile("Warnings", String(nWarnings), ["not acknowledged, under Events"], nWarnings ? "warn" : "good"));
  drawClock(window);
  drawNotices(state);
}

function makeTile(name, value, notes, kind = "") {
  return html("div", { class: `tile ${kind}` }, html("span", { class: "name" }, name),
    html("strong", {}, value), notes.filter(Boolean).map((note) => html("span", { class: "note" }, note)));
}

function drawClock(window) {
  const known = typeof window.last_step === "number";
  byId("clock").textContent = known
    ? `Means over steps ${formatStep(window.first_step)} to ${formatStep(window.last_step)}`
      + `${window.is_exploring ? ", exploration included" : ""}. “Now” is ${view.to ? "the run's newest" : "the newest"} iteration.`
    : "";
}

function formatStep(step) {
  return step.toLocaleString("en");
}

function drawNotices(state) {
  const notices = [];
  if (state.network.problem) notices.push(`No map: ${state.network.problem}`);
  if (state.unreadableLines) notices.push(`${state.unreadableLines} lines of the run's files cannot be read and are skipped`);
  replace(byId("notices"), notices.map((text) => html("p", { class: "notice" }, text)));
}

// The final evaluation of the policies that the run trained: {name, row}.
export function findOwnResult(summary) {
  const policies = summary?.policies ?? {};
  const name = OWN_POLICIES.find((each) => typeof policies[each]?.reward_mean === "number");
  return name ? { name, row: policies[name] } : null;
}

function formatFinal(final, key, format) {
  const value = final?.row[key];
  return typeof value === "number" ? `evaluated ${format(value)}` : null;
}

function formatGapClosed(final) {
  const share = final?.row.oracle_gap_closed;
  return typeof share === "number" ? `evaluated: ${formatPercent(share)} of the gap to the oracle` : null;
}

function formatSameSteps(window) {
  const known = Object.entries(window.same_steps ?? {}).filter(([, value]) => typeof value === "number");
  return known.length ? `same steps: ${known.map(([name, value]) =>
    `${formatPolicy(name)} ${formatDecimal(value, 3)}`).join(", ")}` : null;
}

function formatMissing(window, now) {
  if (!now.cells_live) return "–";
  if (window.is_exploring) return "exploring";
  return `${window.missing.length} of ${now.cells_live}`;
}

function listBriefly(names) {
  return names.length > 4 ? `${names.slice(0, 4).join(", ")}, …` : names.join(", ");
}

function formatSpeed(state) {
  const [from, to] = [state.progress.at(-6) ?? state.progress[0], state.progress.at(-1)];
  if (!from || from === to || from.time_s === null || to.time_s === null) return null;
  const rate = (to.env_steps - from.env_steps) / (to.time_s - from.time_s);
  return Number.isFinite(rate) && rate >= 0 ? `${formatShort(rate)} per second` : null;
}
