// Runs before the first paint, so that a dark page does not appear white at first.
const THEMES = ["system", "light", "dark"];

function applyTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

function readStoredTheme() {
  try {
    const theme = localStorage.getItem("theme");
    return THEMES.includes(theme) ? theme : "system";
  } catch {
    return "system"; // The browser may forbid storage.
  }
}

applyTheme(readStoredTheme());

addEventListener("DOMContentLoaded", () => {
  const button = document.getElementById("theme");
  let theme = readStoredTheme();
  const showTheme = () => { button.textContent = `Theme: ${theme}`; };
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    applyTheme(theme);
    try { localStorage.setItem("theme", theme); } catch { /* The theme then lasts until the page is closed. */ }
    showTheme();
  });
  showTheme();
});
