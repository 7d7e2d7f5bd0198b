"""The only place where benchmarks write the warm-start callback's state into an algorithm."""

from slicing_rllib.learning import TD3
from slicing_rllib.transfer.guard import HarmTest


def start_collecting(algorithm: TD3, cell: str) -> None:
    """Makes the callback choose a source for the cell after the next iteration."""
    algorithm.callback_state["transfer"] = {cell: {"stage": "collecting", "until": 0}}


def start_guarding(algorithm: TD3, cell: str) -> None:
    """Makes the guard test the cell's policy from the next step on, as after a warm start."""
    algorithm.cell_states.set_guarded(cell)
    algorithm.callback_state.setdefault("transfer", {})[cell] = {
        "stage": "guarded",
        "source": "another",
        "attempt": 1,
        "ranking": [],
        "log_wealth": list(HarmTest(0.0, 0.5).log_wealth),
        "watched": 0,
        "lost": 0.0,
        "until": 0,
    }
