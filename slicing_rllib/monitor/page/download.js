// Saves what is seen as a file: tables of numbers as CSV.

import { html } from "./dom.js";
import { state } from "./store.js";

// A button that saves rows, which `collectRows` returns when it is pressed; the first has the names.
export function makeSaveButton(name, collectRows) {
  return html("button", { type: "button", class: "quiet save", "data-key": `save ${name}`,
    "aria-label": `Save ${name} as CSV`, onclick: () => save(`${name}.csv`, formatCsv(collectRows())) }, "CSV");
}

function formatCsv(rows) {
  return rows.map((row) => row.map(formatField).join(",")).join("\n") + "\n";
}

// A text that a spreadsheet could take for a formula begins with an apostrophe.
function formatField(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  const text = String(value).replace(/^[=+\-@\t\r]/, "'$&");
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function save(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  const run = String(state.run ?? "").replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[.-]+/, "");
  const link = html("a", { href: url, download: [run, name.replace(/[^A-Za-z0-9._-]+/g, "-")].filter(Boolean).join("-") });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
