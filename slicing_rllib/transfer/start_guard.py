"""Keeps every cell from falling below the policy that it started from."""

from typing import Any

import numpy as np

from slicing_rllib.learning.td3 import TD3, Event
from slicing_rllib.transfer.apply_warm_start import restore_initial_policy
from slicing_rllib.transfer.events import EventKind
from slicing_rllib.transfer.guard import INITIAL_LOG_WEALTH, HarmTest
from slicing_rllib.transfer.settings import GuardSettings
from slicing_rllib.transfer.stages import StageRecords

STATE_KEY = "start_guard"
"""Entry of `callback_state`: by cell, the state of its test."""


class StartGuard:
    """Tests cells without a warm start under way against their initial policies, again and again.

    Each test lasts `window_steps`; on evidence of harm the cell gets its initial policy back and
    goes on learning from there. It needs a base policy and does nothing without one.
    """

    def __init__(self, settings: GuardSettings) -> None:
        """`settings.every_cell` switches it on."""
        self._settings = settings

    def test_cells(self, algorithm: TD3, records: StageRecords) -> None:
        """Test the iteration that has ended."""
        if not self._settings.every_cell or not algorithm.has_initial_policy:
            return
        states: dict[str, Any] = algorithm.callback_state.setdefault(STATE_KEY, {})
        for cell in algorithm.module_ids:
            if records.is_settled(cell):
                states[cell] = self._test_cell(algorithm, cell, states.get(cell))
                algorithm.cell_states.set_guarded(cell)

    def _test_cell(self, algorithm: TD3, cell: str, state: dict[str, Any] | None) -> dict[str, Any]:
        fresh = {"log_wealth": list(INITIAL_LOG_WEALTH), "steps": 0, "lost": 0.0}
        state = state or fresh
        gains = algorithm.last_advantages.get(cell, [])
        losses = [-gain for gain in gains if not np.isnan(gain)]
        test = HarmTest(self._settings.margin, self._settings.alpha, tuple(state["log_wealth"]))
        steps, lost = state["steps"] + len(losses), state["lost"] + float(np.sum(losses))
        if test.observe(losses):
            restore_initial_policy(algorithm, cell)
            mean_loss = lost / steps
            message = f"loses {mean_loss:.3f} of reward to its initial policy, which is restored"
            evidence = {"mean_loss": mean_loss, "steps": steps, "alpha": self._settings.alpha}
            algorithm.report(Event(EventKind.POLICY_RESTORED, message, cell, evidence))
            return fresh
        if steps >= self._settings.window_steps:
            return fresh
        return {"log_wealth": list(test.log_wealth), "steps": steps, "lost": lost}
