// Dark red, orange, pale yellow and teal, which can be distinguished with any colour vision and in
// greyscale. The same colours and levels are in slicing_rllib/env/slicing_env.py.

const LEVELS = [0, 0.6, 0.95, 1];
const COLOURS = [[115, 26, 64], [230, 140, 64], [250, 237, 166], [26, 140, 140]];
const PHASES = [[150, 158, 168], [230, 140, 64], [26, 140, 140]];
export const UNKNOWN = [150, 158, 168];

export function colourSatisfaction(value) {
  if (value === null || value === undefined) return UNKNOWN;
  const x = Math.min(Math.max(value, 0), 1);
  const i = Math.max(1, LEVELS.findIndex((level) => x <= level));
  const share = (x - LEVELS[i - 1]) / (LEVELS[i] - LEVELS[i - 1]);
  return mixColours(COLOURS[i - 1], COLOURS[i], share);
}

// A share of steps below the SLA of 0 is as good as a satisfaction of 1; half of them, as 0.6.
export function colourFailRate(value) {
  return value === null || value === undefined ? UNKNOWN : colourSatisfaction(1 - value * 0.8);
}

// Small distances are dark, because they are the ones to look for.
export function colourDistance(share) {
  return mixColours([0, 68, 92], [243, 238, 214], Math.min(Math.max(share, 0), 1));
}

export function colourPhase(phase) {
  return PHASES[phase] ?? UNKNOWN;
}

export function formatCss([r, g, b]) {
  return `rgb(${Math.round(r)} ${Math.round(g)} ${Math.round(b)})`;
}

// Black or white, whichever has more contrast: at least 4.5:1 on any colour.
export function chooseTextColour(colour) {
  return computeLuminance(colour) > 0.179 ? "#000" : "#fff";
}

function mixColours(from, to, share) {
  return from.map((value, i) => value + share * (to[i] - value));
}

function computeLuminance(colour) {
  const [r, g, b] = colour.map((value) => {
    const x = value / 255;
    return x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
