"""RLlib callback that warm-starts cells in a running training.

After every iteration it begins the warm start of cells that join, have changed or were requested,
advances each cell through its stages (`stages.py`), and guards settled cells (`guard.py`).
"""

import functools
from typing import Any

from ray.rllib.callbacks.callbacks import RLlibCallback

from slicing_rllib.learning.td3 import TD3, Event
from slicing_rllib.policies.events import EventKind
from slicing_rllib.radio import Phase
from slicing_rllib.transfer.guard import detect_drift, guard_settled_cells
from slicing_rllib.transfer.stages import (
    CellWarmStart,
    Collecting,
    StageRecords,
    count_network_steps,
    list_deployments,
)
from slicing_rllib.transfer.transfer_settings import TransferSettings

REQUESTS_KEY = "transfer_requests"
"""Key in `callback_state` of the cells whose warm start was requested."""


class WarmStartCallback(RLlibCallback):
    """Warm-starts every cell that a `Deployment` of the environment puts on the air.

    It runs on the driver after each iteration, so a decision is made in the last iteration that
    ends before the cell's own policy takes over. Its state is in the algorithm's checkpointed
    `callback_state`. Events are reported by `TD3.report`; `events.py` lists their kinds.

    Usage: `config.callbacks(WarmStartCallback.bind(settings))`.
    """

    def __init__(self, settings: TransferSettings | None = None) -> None:
        super().__init__()
        self.settings = settings or TransferSettings()

    @classmethod
    def bind(cls, settings: TransferSettings) -> Any:
        """A factory of callbacks with these settings, for `AlgorithmConfig.callbacks`."""
        return functools.partial(cls, settings)

    @staticmethod
    def request(algorithm: TD3, cell: str) -> None:
        """Request a new warm start of a cell; it begins at the end of the next iteration."""
        algorithm.callback_state.setdefault(REQUESTS_KEY, []).append(cell)

    def on_train_result(self, *, algorithm: Any, **_: Any) -> None:
        """Advance every cell that is being warm-started, and begin new warm starts."""
        records = StageRecords(algorithm.callback_state)
        for cell in algorithm.callback_state.pop(REQUESTS_KEY, []):
            self.begin(algorithm, cell, "requested")
        self._begin_deployed_cells(algorithm, records)
        # Listed once: a cell that is warm-started now has learned nothing to teach the next one.
        unsettled = records.list_unsettled()
        for cell in unsettled:
            warm_start = CellWarmStart(algorithm, cell, self.settings, unsettled)
            records.write(cell, warm_start.advance(records.read(cell)))
        for cell in filter(records.is_settled, algorithm.cells):
            if change := detect_drift(algorithm, cell, self.settings.drift):
                self.begin(algorithm, cell, change)
        settled = (cell for cell in algorithm.module_ids if records.is_settled(cell))
        guard_settled_cells(algorithm, settled, self.settings.guard)

    def begin(self, algorithm: TD3, cell: str, reason: str) -> None:
        """Begin the warm start of a cell that is already on the air, for a reason.

        The default action governs the cell while new samples are collected; then a source is
        chosen for it.
        """
        steps = self.settings.drift.default_action_steps
        algorithm.default_action_replay.clear(cell)
        algorithm.set_phase(cell, Phase.DEFAULT)
        algorithm.cell_states.set_guarded(cell, False)
        collecting = Collecting(until=count_network_steps(algorithm) + steps)
        StageRecords(algorithm.callback_state).write(cell, collecting)
        message = f"{reason}; default action for {steps} steps"
        algorithm.report(Event(EventKind.CELL_CHANGED, message, cell))

    def _begin_deployed_cells(self, algorithm: TD3, records: StageRecords) -> None:
        """Begin the warm start of cells that have come on the air, and of configured targets."""
        now = count_network_steps(algorithm)
        for deployment in list_deployments(algorithm):
            cell = deployment.cell
            is_target = deployment.off_until > 0 or cell in self.settings.targets
            if is_target and cell not in records and now >= deployment.off_until:
                records.write(cell, Collecting(until=deployment.default_action_until))
                message = f"on the air since step {deployment.off_until}"
                algorithm.report(Event(EventKind.CELL_JOINED, message, cell))
