"""The only place where benchmarks write the warm-start callback's state into an algorithm."""

from slicing_rllib.learning import TD3
from slicing_rllib.transfer.stages import Collecting, Guarded, StageRecords, WarmStartPlan


def start_collecting(algorithm: TD3, cell: str) -> None:
    """Makes the callback choose a source for the cell after the next iteration."""
    algorithm.callback_state.pop("transfer", None)
    StageRecords(algorithm.callback_state).write(cell, Collecting(until=0))


def start_guarding(algorithm: TD3, cell: str) -> None:
    """Makes the guard test the cell's policy from the next step on, as after a warm start."""
    algorithm.cell_states.set_guarded(cell)
    stage = Guarded(source="another", plan=WarmStartPlan(attempts=1))
    StageRecords(algorithm.callback_state).write(cell, stage)
