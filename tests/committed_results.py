"""Where the committed results of experiments lie, and how a test reads their summaries."""

import json
from pathlib import Path

TUNE_CONFIGS = Path(__file__).parents[1] / "tune_configs"
RESULTS = sorted(path.parent for path in TUNE_CONFIGS.glob("results/*/results.csv"))


def read_summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))
