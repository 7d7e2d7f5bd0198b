"""How fast cells learn: compared with other ways of training, and as networks grow."""

import resource
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch

from slicing_rllib.benchmarks.learning_peers.bare_loop import make_bare_loop
from slicing_rllib.benchmarks.learning_peers.own_td3 import (
    OwnTD3,
    configure_counterfactual,
    configure_td3,
)
from slicing_rllib.benchmarks.learning_peers.peer import Peer
from slicing_rllib.benchmarks.learning_peers.rllib_sac import StockSAC
from slicing_rllib.benchmarks.learning_peers.sb3_td3 import Sb3TD3
from slicing_rllib.benchmarks.learning_peers.separate_updates import make_separate_updates
from slicing_rllib.benchmarks.rows import NetworkSize, Row, list_sizes, make_row, measure_medians
from slicing_rllib.benchmarks.update_widths import measure_widths
from slicing_rllib.radio import Scenario, make_scenario

REFERENCES: Mapping[str, Callable[[Scenario], Peer]] = {
    "stock_sac": StockSAC,
    "sb3_td3": Sb3TD3,
    "loops": make_separate_updates,
    "bare_loop": make_bare_loop,
}
OWN = "own"
ACTORS = ("mlp", "equivariant")
"""Actors of counterfactual learning."""
OWN_ASYNC = "own, one env runner that samples asynchronously"
GROWTH_CAPACITY = 1_000
"""Replay transitions per cell in large networks, so that replay fits into the memory."""
LEARNERS_SIZE = NetworkSize(8, 8)
LEARNERS_UPDATES_PER_STEP = 4
"""With several updates per step, the time goes into the learners and not into the env runner."""


def run(
    *, turns: int, seconds: float, max_cells: int, on_message: Callable[[str], None]
) -> Iterator[Row]:
    """Yields the comparison with references, a second learner's gain, growth and wider networks.

    Args:
        turns: Interleaved turns of which the median counts.
        seconds: Least duration of each turn of each peer.
        max_cells: Largest network, in cells, that is trained.
        on_message: Receives one line of text before each part.
    """
    torch.set_num_threads(1)
    yield from compare_with_references(turns, seconds, on_message)
    yield from compare_learners(turns, seconds, max_cells, on_message)
    yield from measure_growth(turns, seconds, max_cells, on_message)
    yield from measure_widths(turns, on_message)


def compare_with_references(
    turns: int, seconds: float, on_message: Callable[[str], None]
) -> Iterator[Row]:
    """Yields one row per reference, all measured in this call on the paper's network."""
    rates = _measure_rates(
        _build_peers(make_scenario("paper"), on_message), turns, seconds, on_message
    )
    for name in REFERENCES:
        yield _make_rate_row("learning.steps_per_s", rates[OWN], name, rates[name])
    for actor in ACTORS:
        name, rate = f"learning.counterfactual_{actor}_steps_per_s", rates[actor]
        yield _make_rate_row(name, rate, "td3", rates[OWN])
        yield _make_rate_row(name, rate, "bare_loop", rates["bare_loop"])
    yield _make_rate_row(
        "learning.overlapped_steps_per_s", rates[OWN_ASYNC], "bare_loop", rates["bare_loop"]
    )
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield make_row("learning.peak_memory", peak_kib / 2**20, "GiB")


def compare_learners(
    turns: int, seconds: float, max_cells: int, on_message: Callable[[str], None]
) -> Iterator[Row]:
    """Yields the steps per second with two learners over those with one.

    One env runner samples for both. Nothing is yielded if the network has more than `max_cells`.
    """
    n_cells = LEARNERS_SIZE.n_cells
    if n_cells > max_cells:
        return
    scenario = LEARNERS_SIZE.make_scenario()
    on_message(f"preparing one and two learners of {n_cells} cells")
    peers: dict[str, Peer] = {}
    for n_learners in (1, 2):
        config = configure_td3(scenario).env_runners(num_env_runners=1)
        config = config.learners(num_learners=n_learners).training(
            replay_capacity=GROWTH_CAPACITY, updates_per_step=LEARNERS_UPDATES_PER_STEP
        )
        peers[str(n_learners)] = OwnTD3(config)
    rates = _measure_rates(peers, turns, seconds, on_message)
    yield make_row(
        "learning.two_learners_steps_per_s",
        rates["2"],
        "steps/s",
        reference="one learner",
        ratio=rates["2"] / rates["1"],
        cells=n_cells,
    )


def measure_growth(
    turns: int, seconds: float, max_cells: int, on_message: Callable[[str], None]
) -> Iterator[Row]:
    """Yields the time per cell and network step, simulator and update together, by network size."""
    smallest_us = None
    for size in list_sizes(max_cells):
        n_cells = size.n_cells
        on_message(f"preparing {n_cells} cells")
        config = configure_td3(size.make_scenario()).training(replay_capacity=GROWTH_CAPACITY)
        rates = _measure_rates({OWN: OwnTD3(config)}, turns, seconds, on_message)
        us = 1e6 / rates[OWN] / n_cells
        smallest_us = smallest_us or us
        yield make_row(
            "learning.us_per_cell_step",
            us,
            "us",
            reference="12_cells",
            ratio=us / smallest_us,
            cells=n_cells,
        )


def _build_peers(scenario: Scenario, on_message: Callable[[str], None]) -> dict[str, Peer]:
    peers: dict[str, Peer] = {}
    on_message(f"preparing {OWN}")
    peers[OWN] = OwnTD3(configure_td3(scenario))
    for name, build in REFERENCES.items():
        on_message(f"preparing {name}")
        peers[name] = build(scenario)
    for actor in ACTORS:
        on_message(f"preparing counterfactual learning, {actor}")
        peers[actor] = OwnTD3(configure_counterfactual(scenario, actor))
    on_message(f"preparing {OWN_ASYNC}")
    config = configure_td3(scenario).env_runners(num_env_runners=1).training(sample_async=True)
    peers[OWN_ASYNC] = OwnTD3(config)
    return peers


def _measure_rates(
    peers: Mapping[str, Peer], turns: int, seconds: float, on_message: Callable[[str], None]
) -> dict[str, float]:
    """Returns the median steps per second of each peer, and closes the peers."""
    on_message(f"measuring {turns} turns of {seconds:g} s each")
    rates = measure_medians({name: partial(p.run, seconds) for name, p in peers.items()}, turns)
    for peer in peers.values():
        peer.close()
    return rates


def _make_rate_row(name: str, rate: float, reference: str, reference_rate: float) -> Row:
    return make_row(
        name,
        rate,
        "steps/s",
        reference=reference,
        ratio=rate / reference_rate,
        reference_value=reference_rate,
    )
