"""What a step of the simulator costs, on the paper's network and as networks grow."""

import resource
import time
from collections.abc import Callable, Iterator

import numpy as np

from slicing_rllib.radio import Simulator, built_in, hexagonal

Row = dict[str, float | str | int]
GROWTH_SITES = ((2, 2), (4, 4), (8, 8), (16, 16), (32, 32))
"""12, 48, 192, 768, 3,072 cells."""
WARM_UP_STEPS = 20


def rows(
    *,
    turns: int,
    seconds: float,
    cells: int,
    progress: Callable[[str], None] = lambda message: None,
) -> Iterator[Row]:
    """`simulator.step_ms` of the paper's network; per cell and step up to `cells` cells."""
    paper = Simulator(built_in("paper"), 0, map_seed=0)
    yield _row("simulator.step_ms", 1e3 * _median_step_s([paper], turns, seconds)[0], "ms")
    simulators: list[Simulator] = []
    for n_rows, n_columns in GROWTH_SITES:
        if 3 * n_rows * n_columns <= cells:
            progress(f"preparing {3 * n_rows * n_columns} cells")
            scenario = hexagonal(n_rows, n_columns, like=built_in("paper"))
            simulators.append(Simulator(scenario, 0, map_seed=0))
    progress(f"measuring {turns} interleaved turns of {seconds:g} s each")
    costs = _median_step_s(simulators, turns, seconds)
    for simulator, step_s in zip(simulators, costs, strict=True):
        n_cells = len(simulator.scenario.cells)
        smallest = costs[0] / len(simulators[0].scenario.cells)
        yield _row(
            "simulator.us_per_cell_step", 1e6 * step_s / n_cells, "us", "12_cells",
            step_s / n_cells / smallest, n_cells,
        )  # fmt: skip
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    yield _row("simulator.peak_memory", peak_gib, "GiB")


def _row(
    name: str, value: float, unit: str, reference: str = "", ratio: float = 1.0, cells: int = 12
) -> Row:
    return {"name": name, "value": value, "unit": unit, "reference": reference, "ratio": ratio,
            "cells": cells}  # fmt: skip


def _median_step_s(simulators: list[Simulator], turns: int, seconds: float) -> list[float]:
    """Of each simulator, turns interleaved so that all meet the same machine."""
    for simulator in simulators:
        _step_s(simulator, WARM_UP_STEPS, 0.0)
    found = [[_step_s(simulator, 1, seconds) for simulator in simulators] for _ in range(turns)]
    return np.median(np.array(found), axis=0).tolist()


def _step_s(simulator: Simulator, at_least: int, seconds: float) -> float:
    """Mean over steps of random splits, at least so many and at least so long."""
    shape = (len(simulator.scenario.cells), simulator.scenario.n_slices)
    splits = np.random.default_rng(0).dirichlet(np.ones(shape[1]), (8, shape[0]))
    start, steps = time.perf_counter(), 0
    while steps < at_least or time.perf_counter() - start < seconds:
        simulator.step(splits[steps % 8])
        steps += 1
    return (time.perf_counter() - start) / steps
