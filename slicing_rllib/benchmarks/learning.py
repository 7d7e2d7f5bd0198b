"""How fast cells learn: beside other ways to do it, and as networks grow."""

import resource
from collections.abc import Callable, Iterator

import torch

from slicing_rllib.benchmarks.learning_peers import PEERS, Ours, Peer, medians
from slicing_rllib.radio import built_in, hexagonal

Row = dict[str, float | str | int]
OURS = "slicing_rllib"
GROWTH_SITES = ((2, 2), (4, 4), (8, 8), (16, 16), (32, 32))
"""12, 48, 192, 768, 3,072 cells."""
GROWTH_CAPACITY = 1_000
"""Transitions per cell in the growth curve, so that replay does not fill the machine."""


def rows(
    *,
    turns: int,
    seconds: float,
    cells: int,
    progress: Callable[[str], None] = lambda message: None,
) -> Iterator[Row]:
    """The paper's network against peers; then the growth curve up to `cells` cells."""
    torch.set_num_threads(1)
    yield from against_peers(turns, seconds, progress)
    yield from growth(turns, seconds, cells, progress)


def against_peers(turns: int, seconds: float, progress: Callable[[str], None]) -> Iterator[Row]:
    """One row per reference, all measured in this call."""
    scenario = built_in("paper")
    peers: dict[str, Peer] = {}
    for name, build in {OURS: Ours, **PEERS}.items():
        progress(f"preparing {name}")
        peers[name] = build(scenario)
    progress(f"measuring {turns} interleaved turns of {seconds:g} s each")
    rates = dict(medians(peers, turns, seconds))
    for peer in peers.values():
        peer.close()
    for name in PEERS:
        yield {
            "name": "learning.steps_per_s",
            "value": rates[OURS],
            "unit": "steps/s",
            "reference": name,
            "ratio": rates[OURS] / rates[name],
            "reference_value": rates[name],
        }
    yield {
        "name": "learning.peak_memory",
        "value": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "unit": "GiB",
        "reference": "",
        "ratio": 1.0,
    }


def growth(
    turns: int, seconds: float, cells: int, progress: Callable[[str], None]
) -> Iterator[Row]:
    """Microseconds per cell and network step, simulator and update together, by network size."""
    smallest = None
    for n_rows, n_columns in GROWTH_SITES:
        n_cells = 3 * n_rows * n_columns
        if n_cells > cells:
            return
        progress(f"growth: {n_cells} cells")
        scenario = hexagonal(n_rows, n_columns, like=built_in("paper"))
        peer = Ours(scenario, replay_capacity=GROWTH_CAPACITY)
        ((_, rate),) = medians({OURS: peer}, turns, seconds)
        peer.close()
        value = 1e6 / rate / n_cells
        smallest = smallest or value
        yield {
            "name": "learning.us_per_cell_step",
            "value": value,
            "unit": "us",
            "reference": "12_cells",
            "ratio": value / smallest,
            "cells": n_cells,
        }
