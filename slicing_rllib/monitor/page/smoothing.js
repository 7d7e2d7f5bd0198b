// Means over network steps, in which an iteration counts as often as it has steps.

import { isNumber } from "./scales.js";

// Mean of the values over the last `window` steps at each row, whose step and number of steps are given.
export function smooth(values, ends, counts, window) {
  let [first, sum, weight] = [0, 0, 0];
  const add = (i, sign) => {
    if (!isNumber(values[i])) return;
    sum += sign * values[i] * (counts[i] ?? 0);
    weight += sign * (counts[i] ?? 0);
  };
  return values.map((_, i) => {
    add(i, 1);
    while (first < i && ends[first] <= ends[i] - window) { add(first, -1); first += 1; }
    return weight > 0 ? sum / weight : null;
  });
}

// Indices of the rows that end within (first, last].
export function listInside(ends, first, last) {
  return ends.flatMap((end, i) => isNumber(end) && end > first && end <= last ? [i] : []);
}

export function average(values, counts, indices) {
  let [sum, weight] = [0, 0];
  for (const i of indices) {
    if (!isNumber(values[i])) continue;
    sum += values[i] * (counts[i] ?? 0);
    weight += counts[i] ?? 0;
  }
  return weight > 0 ? sum / weight : null;
}
