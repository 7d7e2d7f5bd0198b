// Numbers, times and names as texts.

export const NO_VALUE = "–";

export function formatDecimal(value, digits = 2) {
  return value === null || value === undefined ? NO_VALUE : value.toFixed(digits);
}

export function formatShort(value) {
  if (value === null || value === undefined) return NO_VALUE;
  const size = Math.abs(value);
  if (size >= 1e6) return `${+(value / 1e6).toPrecision(3)} M`;
  if (size >= 1e4) return `${+(value / 1e3).toPrecision(3)} k`;
  return `${+value.toPrecision(3)}`;
}

export function formatPercent(value, digits = 0) {
  return value === null || value === undefined ? NO_VALUE : `${(100 * value).toFixed(digits)} %`;
}

// At most one decimal, so that the labels of an axis are short.
export function formatShare(value) {
  return value === null || value === undefined ? NO_VALUE : `${+(100 * value).toFixed(1)} %`;
}

export function formatDuration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

export function formatTime(time) {
  if (time === null || time === undefined) return "";
  const date = typeof time === "number" ? new Date(time * 1000) : new Date(time);
  if (Number.isNaN(date.getTime())) return String(time);
  return date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

export const PHASE_NAMES = ["off", "default action", "own policy"];

export function formatPhase(phase) {
  return PHASE_NAMES[phase] ?? "not reported";
}

export function formatPolicy(name) {
  const known = {
    oracle: "oracle",
    equal: "equal shares", traffic_aware: "traffic-aware", sla_weighted: "SLA-weighted",
    best_static: "best static split", persistence: "persistence",
    smoothed_persistence: "smoothed persistence", load_proportional: "load-proportional", best_split: "best split", base_policy: "policy before training",
    pretrained: "pretrained actor", pretrained_curves: "pretrained curves",
    td3: "TD3", counterfactual: "counterfactual", blend: "blend", per_slice: "critic per slice",
  };
  const learner = name.replace(/_transferred$/, "");
  return (known[learner] ?? learner) + (learner === name ? "" : ", transferred");
}

// Orders cell_2 before cell_10.
export function compareNames(a, b) {
  return a.localeCompare(b, "en", { numeric: true });
}
