"""Sequential test of whether a transferred policy is worse than the default action.

Detects that a cell's environment has changed, from its own recent experience.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from slicing_rllib.learning.td3 import TD3
from slicing_rllib.random_streams import Stream, make_generator
from slicing_rllib.transfer.distances import permutation_p_value, standardise
from slicing_rllib.transfer.transfer_settings import DriftSettings

BETS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Fractions of its wealth that each bet stakes on harm, dimensionless.

Under the null hypothesis each bet is fair, and so is their mean.
"""
INITIAL_LOG_WEALTH = (0.0,) * len(BETS)
"""Natural logarithm of each bet's wealth before the first step."""


@dataclass
class HarmTest:
    """Test of the hypothesis that the mean loss per step does not exceed `margin`.

    Each bet stakes part of its wealth on every loss exceeding the margin. Harm is shown once the
    mean wealth has grown to 1 / alpha. If the expected loss never exceeds the margin given the
    past, the probability that harm is ever shown is at most alpha, however often one looks.

    Source: Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by betting";
    Ville 1939.

    Args:
        margin: tolerated mean loss of reward per step, at least 0.
        alpha: probability of a false alarm, between 0 and 1.
        log_wealth: the state of the test, one entry per bet; `observe` updates it.
    """

    margin: float
    alpha: float
    log_wealth: tuple[float, ...] = INITIAL_LOG_WEALTH

    def observe(self, losses: Iterable[float]) -> bool:
        """Update the test with losses of successive steps; True once harm is shown.

        A loss is the default action's reward minus the policy's; it is clipped to [-1, 1]. Losses
        after the one that shows harm are ignored.
        """
        wealth = np.array(self.log_wealth)
        stakes = np.array(BETS) / (1.0 + self.margin)
        for loss in losses:
            wealth += np.log1p(stakes * (np.clip(loss, -1.0, 1.0) - self.margin))
            if self._shows_harm(wealth):
                break
        self.log_wealth = tuple(wealth.tolist())
        return self._shows_harm(wealth)

    def _shows_harm(self, log_wealth: np.ndarray) -> bool:
        return bool(np.exp(log_wealth).mean() >= 1.0 / self.alpha)


DRIFT_KEY = "drift"
"""Key of the progress of all cells in `callback_state`."""
TESTS_PER_WINDOW = 4
ROUNDS = 199
"""Permutations per test: the smallest p-value is 1 / (1 + ROUNDS)."""
HITS_NEEDED = 2
"""Significant tests in a row that make a detection."""


@dataclass(frozen=True, kw_only=True)
class DriftProgress:
    """How far the tests of one cell have come."""

    next_test: int
    """Environment step from which the next test is due."""
    hits: int = 0
    """Significant tests in a row so far."""


class DriftDetector:
    """Compares each cell's newest window of [s, r] with the window before it.

    Args:
        settings: length of the window and significance level; `window_steps` = 0 disables tests.
    """

    def __init__(self, settings: DriftSettings) -> None:
        self._settings = settings

    def detect(self, algorithm: TD3, cell: str) -> str:
        """A sentence that states the detected change; empty if there is none.

        The progress of the cell's tests is written to `algorithm.callback_state["drift"]`.
        """
        window = self._settings.window_steps
        if not window:
            return ""
        records = algorithm.callback_state.setdefault(DRIFT_KEY, {})
        progress = _read_progress(records, cell, DriftProgress(next_test=2 * window))
        if algorithm.env_steps < progress.next_test:
            return ""
        p_value = self._compute_p_value(algorithm, cell)
        hits = progress.hits + 1 if p_value < self._settings.alpha else 0
        is_detected = hits >= HITS_NEEDED
        # After a detection, wait until both windows lie after the change.
        wait = 3 * window if is_detected else window // TESTS_PER_WINDOW
        records[cell] = {"next": algorithm.env_steps + wait, "hits": 0 if is_detected else hits}
        if not is_detected:
            return ""
        return f"its last {window} steps differ from those before, p = {p_value:.3f}"

    def _compute_p_value(self, algorithm: TD3, cell: str) -> float:
        window = self._settings.window_steps
        recent = algorithm.replay.last(cell, 2 * window)
        if len(recent.reward) < 2 * window:
            return 1.0
        joint = np.concatenate([recent.obs, recent.reward[:, None]], axis=1)
        before, after = standardise([joint[:window], joint[window:]])
        row, seed = algorithm.cell_states.row(cell), algorithm.config.seed or 0
        rng = make_generator(seed, Stream.DRIFT_TEST, row, algorithm.env_steps)
        return permutation_p_value(before, after, rng, rounds=ROUNDS)


def _read_progress(
    records: dict[str, dict[str, Any]], cell: str, initial: DriftProgress
) -> DriftProgress:
    if cell not in records:
        return initial
    return DriftProgress(next_test=records[cell]["next"], hits=records[cell]["hits"])
