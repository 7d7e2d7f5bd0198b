"""One training run, from config to report. README.md here says what a run directory holds."""
