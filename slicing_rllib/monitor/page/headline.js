// The state of the run in a few words, and its key numbers.

import { byId, html, replace } from "./dom.js";
import { formatShort, formatDecimal, formatDuration, formatPercent } from "./format.js";

const SILENT_AFTER_S = 60;
const WARNING = /nan|lost|fail|stall|fell_back|negative|poison|error|corrupt|passed_over/i;

export function isWarning(event) {
  return WARNING.test(event.kind);
}

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
  const live = now.cells_live ?? 0;
  const nMet = live - (now.cells_below ?? 0);
  const transfers = state.events.filter((event) => /warm|transfer/i.test(event.kind)).length;
  const warnings = state.events.filter(isWarning).length;
  replace(byId("headline"),
    makeTile("Cells that meet their SLA", live ? `${nMet} of ${live}` : "–", "satisfaction of at least 0.95",
      live && nMet < live ? "warn" : "good"),
    makeTile("Mean satisfaction", formatDecimal(now.satisfaction_mean, 3), "1: every slice meets its SLA"),
    makeTile("Mean reward", formatDecimal(now.reward_mean, 3), formatGapClosed(state)),
    makeTile("Environment steps", formatShort(now.env_steps), formatSpeed(state)),
    makeTile("Warm starts", String(transfers), "events of transfers"),
    makeTile("Warnings", String(warnings), "listed under Events", warnings ? "warn" : "good"));
  const notices = [];
  if (state.network.problem) notices.push(`No map: ${state.network.problem}`);
  if (state.unreadableLines) notices.push(`${state.unreadableLines} lines of the run's files cannot be read and are skipped`);
  replace(byId("notices"), notices.map((text) => html("p", { class: "notice" }, text)));
}

function makeTile(name, value, note, kind = "") {
  return html("div", { class: `tile ${kind}` }, html("span", { class: "name" }, name),
    html("strong", {}, value), html("span", { class: "note" }, note ?? ""));
}

function formatSpeed(state) {
  const [from, to] = [state.progress.at(-6) ?? state.progress[0], state.progress.at(-1)];
  if (!from || from === to || from.time_s === null || to.time_s === null) return "";
  const rate = (to.env_steps - from.env_steps) / (to.time_s - from.time_s);
  return Number.isFinite(rate) && rate >= 0 ? `${formatShort(rate)} per second` : "";
}

function formatGapClosed(state) {
  const policies = state.summary?.policies ?? {};
  const best = ["tl", "drl"].find((name) => policies[name]?.oracle_gap_closed !== undefined);
  const share = best && policies[best].oracle_gap_closed;
  return typeof share === "number" ? `${formatPercent(share)} of the gap to the oracle closed` : "";
}
