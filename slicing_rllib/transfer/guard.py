"""Tests of a cell's own experience: whether its policy does harm, and whether its world changed.

The harm test is sequential: it may be looked at after every step. It guards a cell after its warm
start, and with `guard.every_cell` all cells that are settled. The drift test compares the newest
steps of a settled cell with those before.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from slicing_rllib.learning.td3 import TD3, Event
from slicing_rllib.policies.events import EventKind
from slicing_rllib.random_streams import Stream, make_generator
from slicing_rllib.transfer.distances import permutation_p_value, standardise
from slicing_rllib.transfer.transfer_settings import DriftSettings, GuardSettings

BETS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Fractions of its wealth that each bet stakes on harm, dimensionless.

Under the null hypothesis each bet is fair, and so is their mean.
"""
INITIAL_LOG_WEALTH = (0.0,) * len(BETS)
"""Natural logarithm of each bet's wealth before the first step."""


def observe_losses(
    losses: Iterable[float], settings: GuardSettings, log_wealth: Sequence[float]
) -> tuple[tuple[float, ...], bool]:
    """Continues a test with losses of successive steps: its state, and whether harm is shown.

    The hypothesis is that the mean loss per step does not exceed the margin. A loss is the
    fallback's reward minus the policy's; it is clipped to [-1, 1]. Each bet stakes part of its
    wealth on every loss exceeding the margin. Harm is shown once the mean wealth has grown to
    1 / alpha; later losses are ignored. If the expected loss never exceeds the margin given the
    past, the probability that harm is ever shown is at most alpha, however often one looks.

    Source: Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by betting";
    Ville 1939.
    """
    wealth, enough = np.array(log_wealth), 1.0 / settings.alpha
    stakes = np.array(BETS) / (1.0 + settings.margin)
    for loss in losses:
        wealth += np.log1p(stakes * (np.clip(loss, -1.0, 1.0) - settings.margin))
        if np.exp(wealth).mean() >= enough:
            break
    return tuple(wealth.tolist()), bool(np.exp(wealth).mean() >= enough)


@dataclass(frozen=True, kw_only=True)
class GuardWindow:
    """What the harm test of a cell has seen since its window began."""

    log_wealth: tuple[float, ...] = INITIAL_LOG_WEALTH
    """State of the test."""
    steps: int = 0
    """Network steps that were compared."""
    lost_reward: float = 0.0
    """Sum over those steps of the fallback's reward minus the policy's."""

    @property
    def mean_loss(self) -> float:
        """Reward per step that the policy has lost to the fallback; negative for a gain."""
        return self.lost_reward / max(self.steps, 1)

    def describe(self, settings: GuardSettings) -> dict[str, float]:
        """Evidence for an event."""
        return {"mean_loss": self.mean_loss, "steps": self.steps, "alpha": settings.alpha}

    def extend(
        self, algorithm: TD3, cell: str, settings: GuardSettings
    ) -> tuple["GuardWindow", bool]:
        """The window with the iteration that has ended, and whether harm is shown."""
        losses = [-gain for gain in algorithm.last_advantages.get(cell, []) if not np.isnan(gain)]
        log_wealth, is_harmful = observe_losses(losses, settings, self.log_wealth)
        lost_reward = self.lost_reward + float(np.sum(losses))
        steps = self.steps + len(losses)
        extended = GuardWindow(log_wealth=log_wealth, steps=steps, lost_reward=lost_reward)
        return extended, is_harmful


START_GUARD_KEY = "start_guard"
"""Entry of `callback_state`: the window of every cell that is tested."""
_WINDOW = TypeAdapter(GuardWindow)


def guard_settled_cells(algorithm: TD3, cells: Iterable[str], settings: GuardSettings) -> None:
    """Tests settled cells against their initial policies, in one window after another.

    On evidence of harm a cell gets its initial policy back and goes on learning from there. Needs
    a base policy and `every_cell`, and does nothing without one of them.
    """
    if not settings.every_cell or not algorithm.has_initial_policy:
        return
    records: dict[str, Any] = algorithm.callback_state.setdefault(START_GUARD_KEY, {})
    for cell in cells:
        window = _WINDOW.validate_python(records.get(cell, {}))
        window, is_harmful = window.extend(algorithm, cell, settings)
        if is_harmful:
            restore_initial_policy(algorithm, cell)
            message = (
                f"loses {window.mean_loss:.3f} of reward to its initial policy, which is restored"
            )
            evidence = window.describe(settings)
            algorithm.report(Event(EventKind.POLICY_RESTORED, message, cell, evidence))
        if is_harmful or window.steps >= settings.window_steps:
            window = GuardWindow()
        records[cell] = _WINDOW.dump_python(window, mode="json")
        algorithm.cell_states.set_guarded(cell)


def restore_initial_policy(algorithm: TD3, cell: str) -> None:
    """Give a cell back the weights that it started from, with a fresh optimiser."""
    algorithm.set_policy_weights(cell, algorithm.fresh_weights(cell, 0))
    algorithm.reset_optimizer(cell)


DRIFT_KEY = "drift"
"""Entry of `callback_state`: by cell, the environment step from which the next test is due, and
the significant tests in a row so far."""
TESTS_PER_WINDOW = 4
ROUNDS = 199
"""Permutations per test: the smallest p-value is 1 / (1 + ROUNDS)."""
HITS_NEEDED = 2
"""Significant tests in a row that make a detection."""


def detect_drift(algorithm: TD3, cell: str, settings: DriftSettings) -> str:
    """A sentence that states how the cell's environment has changed; empty if it has not.

    Compares the newest window of [s, r] with the window before it.
    """
    window = settings.window_steps
    if not window:
        return ""
    records = algorithm.callback_state.setdefault(DRIFT_KEY, {})
    progress = records.get(cell, {"next": 2 * window, "hits": 0})
    if algorithm.env_steps < progress["next"]:
        return ""
    p_value = _compute_p_value(algorithm, cell, window)
    hits = progress["hits"] + 1 if p_value < settings.alpha else 0
    is_detected = hits >= HITS_NEEDED
    # After a detection, wait until both windows lie after the change.
    wait = 3 * window if is_detected else window // TESTS_PER_WINDOW
    records[cell] = {"next": algorithm.env_steps + wait, "hits": 0 if is_detected else hits}
    if not is_detected:
        return ""
    return f"its last {window} steps differ from those before, p = {p_value:.3f}"


def _compute_p_value(algorithm: TD3, cell: str, window: int) -> float:
    recent = algorithm.replay.last(cell, 2 * window)
    if len(recent.reward) < 2 * window:
        return 1.0
    joint = np.concatenate([recent.obs, recent.reward[:, None]], axis=1)
    before, after = standardise([joint[:window], joint[window:]])
    row, seed = algorithm.cell_states.row(cell), algorithm.config.seed or 0
    rng = make_generator(seed, Stream.DRIFT_TEST, row, algorithm.env_steps)
    return permutation_p_value(before, after, rng, rounds=ROUNDS)
