// The state of the run in a line, and its key numbers.

import { byId, html, replace } from "./dom.js";
import { brief, decimal, duration, percent } from "./format.js";

const SILENT_AFTER_S = 60;
const TROUBLE = /nan|lost|fail|stall|fell_back|negative|poison|error|corrupt|passed_over/i;

export function isTrouble(event) {
  return TROUBLE.test(event.kind);
}

export function drawStanding(state) {
  const [kind, words] = standing(state);
  const node = byId("standing");
  if (node.textContent === words) return;
  node.textContent = words;
  node.dataset.kind = kind;
}

function standing(state) {
  if (state.run === null) return ["waiting", "waiting for a run"];
  if (state.connected === false) return ["lost", "connection lost, trying again"];
  if (state.finished) return ["done", "finished"];
  if (state.quietS === null) return ["waiting", "nothing written yet"];
  const quiet = state.quietS + (performance.now() - state.heard) / 1000;
  if (quiet > SILENT_AFTER_S) return ["silent", `no news for ${duration(quiet)}`];
  return ["live", "live"];
}

export function drawHeadline(state) {
  const now = state.progress.at(-1) ?? {};
  const live = now.cells_live ?? 0;
  const served = live - (now.cells_below ?? 0);
  const transfers = state.events.filter((event) => /warm|transfer/i.test(event.kind)).length;
  const trouble = state.events.filter(isTrouble).length;
  replace(byId("headline"),
    tile("Cells that meet their SLA", live ? `${served} of ${live}` : "–", "at 0.95 or more",
      live && served < live ? "warn" : "good"),
    tile("Mean satisfaction", decimal(now.satisfaction_mean, 3), "1 = every slice served"),
    tile("Mean reward", decimal(now.reward_mean, 3), gapClosed(state)),
    tile("Environment steps", brief(now.env_steps), speed(state)),
    tile("Warm starts", String(transfers), "cells that learned from another"),
    tile("Warnings", String(trouble), "see Events", trouble ? "warn" : "good"));
  const notices = [];
  if (state.network.problem) notices.push(`No map: ${state.network.problem}`);
  if (state.unreadableLines) notices.push(`${state.unreadableLines} unreadable lines passed over`);
  replace(byId("notices"), notices.map((text) => html("p", { class: "notice" }, text)));
}

function tile(name, value, note, kind = "") {
  return html("div", { class: `tile ${kind}` }, html("span", { class: "name" }, name),
    html("strong", {}, value), html("span", { class: "note" }, note ?? ""));
}

function speed(state) {
  const [from, to] = [state.progress.at(-6) ?? state.progress[0], state.progress.at(-1)];
  if (!from || from === to || from.time_s === null || to.time_s === null) return "";
  const rate = (to.env_steps - from.env_steps) / (to.time_s - from.time_s);
  return Number.isFinite(rate) && rate >= 0 ? `${brief(rate)} per second` : "";
}

function gapClosed(state) {
  const policies = state.summary?.policies ?? {};
  const best = ["tl", "drl"].find((name) => policies[name]?.oracle_gap_closed !== undefined);
  const share = best && policies[best].oracle_gap_closed;
  return typeof share === "number" ? `${percent(share)} of the gap to the oracle closed` : "";
}
