// What the reader has chosen to see. It is kept in the address, so that a link shows the same.

const DEFAULTS = { run: "", cell: "", compare: "", window: "400", from: "", to: "",
  colour: "fail_rate_95", curve: "reward", kind: "", text: "", warnings: "", here: "", acked: "" };

export const view = { ...DEFAULTS };

export function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const name of Object.keys(DEFAULTS)) view[name] = given.get(name) ?? DEFAULTS[name];
}

export function writeAddress() {
  const chosen = Object.entries(view).filter(([name, value]) => value !== DEFAULTS[name]);
  const here = new URLSearchParams(chosen).toString();
  if (location.hash.slice(1) !== here) history.replaceState(null, "", here ? `#${here}` : " ");
}

// Whether a network step is among those that the charts show.
export function isShown(step) {
  if (step === null || step === undefined) return view.from === "" && view.to === "";
  return (view.from === "" || step >= Number(view.from)) && (view.to === "" || step <= Number(view.to));
}

// The query of the server's means: over how many steps, and up to which.
export function makeWindowQuery(run) {
  const query = { run, window: view.window };
  if (/^[0-9]+$/.test(view.to)) query.until = view.to;
  return new URLSearchParams(query).toString();
}

// What means are over, as in "mean over 400 steps".
export function formatWindow() {
  const steps = Number(view.window);
  return steps >= 1e6 ? "the whole run" : `${steps.toLocaleString("en")} steps`;
}
