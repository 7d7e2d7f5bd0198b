"""How much of what can be learned an arm has learned: its gain over the ceiling's gain."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slicing_rllib.service.errors import RunError
from slicing_rllib.service.experiments.config import EXPERIMENTS

CEILING_FILE = EXPERIMENTS / "results" / "ceiling-paper.jsonl"
"""Output of `slicing-rllib bench ceiling --json`, on the radio maps of seeds 0 to 9."""


def read_ceiling_gain(path: Path = CEILING_FILE) -> float | None:
    """Reward of the ceiling − that of the traffic-aware baseline; None without a file.

    Raises: RunError for a file without this number.
    """
    if not path.is_file():
        return None
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        row = next(row for row in rows if row["name"] == "ceiling.reward")
        return float(row["value"]) - float(row["reference_value"])
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise RunError(f"{path}: expected the rows of bench ceiling --json") from error


def summarise_learnable_gap(policies: Mapping[str, Any], ceiling_gain: float) -> dict[str, Any]:
    """By policy, the share of the way from traffic-aware to the ceiling, in mean reward.

    The interval is that of the policy's paired gain; the ceiling's gain counts as known.
    """
    closed = {}
    for name, row in policies.items():
        gain = row["less"].get("traffic_aware", {}).get("reward_mean")
        if gain is not None:
            interval = gain["ci95"]
            closed[name] = {
                "mean": gain["mean"] / ceiling_gain,
                "ci95": None if interval is None else [end / ceiling_gain for end in interval],
            }
    return {"ceiling_gain": ceiling_gain, "closed": closed}
