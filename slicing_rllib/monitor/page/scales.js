// Maps values to pixels: linear, logarithmic, and clipped.

export const MARGIN = { left: 46, right: 10, top: 8, bottom: 26 };
const MAX_DECADES = 6;

// clip: the largest value that the axis shows; larger ones are drawn at its edge.
export function makeScales(x, values, width, height, { isLog = false, clip = Infinity } = {}) {
  const [x0, x1] = findRange(x);
  const shown = values.filter(isNumber).map((value) => Math.min(value, clip));
  const count = Math.max(2, Math.floor(height / 45));
  const ticks = isLog ? chooseDecades(shown) : chooseTicks(...findRange(shown), count);
  const place = isLog ? (value) => Math.log10(Math.max(value, ticks[0])) : (value) => value;
  const [y0, y1] = [place(ticks[0]), place(ticks.at(-1))];
  return {
    ticks, x0, x1, nClipped: values.filter((value) => isNumber(value) && value > clip).length,
    x: (value) => MARGIN.left + (value - x0) / (x1 - x0) * (width - MARGIN.left - MARGIN.right),
    y: (value) => height - MARGIN.bottom
      - (place(Math.min(value, clip)) - y0) / (y1 - y0) * (height - MARGIN.top - MARGIN.bottom),
  };
}

export function isNumber(value) {
  return value !== null && value !== undefined && Number.isFinite(value);
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

// Powers of ten around the positive values; smaller values than the first are drawn at the edge.
function chooseDecades(values) {
  const [low, high] = findRange(values.filter((value) => value > 0));
  const last = Math.ceil(Math.log10(Math.max(high, 1e-9)) - 1e-9);
  const first = Math.max(Math.floor(Math.log10(Math.max(low, 1e-9)) + 1e-9), last - MAX_DECADES);
  const from = first === last ? first - 1 : first;
  return Array.from({ length: last - from + 1 }, (_, i) => +(10 ** (from + i)).toPrecision(10));
}
