"""Has a cell's world changed? Its newest steps against those before, over whole periods."""

from typing import Any

import numpy as np

from slicing_rllib.learning.td3 import TD3
from slicing_rllib.transfer.settings import DriftSettings
from slicing_rllib.transfer.similarity import permutation_p_value, standardised

TESTS_PER_WINDOW = 4
_SPAWN_DRIFT = 78


class Drift:
    """Tests each cell a few times per window; two findings in a row count."""

    def __init__(self, settings: DriftSettings) -> None:
        self._settings = settings

    def found(self, algorithm: TD3, cell: str) -> str:
        """What was found, else nothing. Remembers in the algorithm's notes where it stands."""
        window = self._settings.window_steps
        if not window:
            return ""
        notes: dict[str, Any] = algorithm.callback_state.setdefault("drift", {})
        mine = notes.setdefault(cell, {"next": 2 * window, "hits": 0})
        if algorithm.env_steps < mine["next"]:
            return ""
        mine["next"] = algorithm.env_steps + window // TESTS_PER_WINDOW
        p_value = self._p_value(algorithm, cell)
        mine["hits"] = mine["hits"] + 1 if p_value < self._settings.alpha else 0
        if mine["hits"] < 2:
            return ""
        notes[cell] = {"next": algorithm.env_steps + 3 * window, "hits": 0}
        return f"its last {window} steps differ from those before, p = {p_value:.3f}"

    def _p_value(self, algorithm: TD3, cell: str) -> float:
        window = self._settings.window_steps
        recent = algorithm.replay.last(cell, 2 * window)
        if len(recent.reward) < 2 * window:
            return 1.0
        joint = np.concatenate([recent.obs, recent.reward[:, None]], axis=1)
        before, after = standardised([joint[:window], joint[window:]])
        key = (_SPAWN_DRIFT, algorithm.cell_states.row(cell), algorithm.env_steps)
        seed = np.random.SeedSequence(algorithm.config.seed or 0, spawn_key=key)
        return permutation_p_value(before, after, np.random.default_rng(seed), rounds=199)
