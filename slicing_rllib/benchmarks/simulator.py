"""What a step of the simulator costs, on the paper's network and as networks grow.

Every size has a process of its own, so that its peak memory is its own, and they take turns, so
that all meet the same machine. In a turn all sizes go through the same slots, because a step costs
what its active UEs cost: small networks as often as it takes to fill the turn. All turns together
are one period of the traffic. Time is that of the processor: on a quiet machine, which keeps nobody
waiting, that on the clock.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np

from slicing_rllib.radio import Simulator, built_in, hexagonal

Row = dict[str, float | str | int]
GROWTH_SITES = ((2, 2), (4, 4), (8, 8), (16, 16), (32, 32))
"""12, 48, 192, 768, 3,072 cells."""
PERIOD_STEPS = 200
WARM_UP_STEPS = 5


class Cost(NamedTuple):
    """Of one size."""

    cells: int
    step_ms: float
    """Median over turns of the mean over a turn's slots."""
    setup_s: float
    peak_gib: float
    """Of its process, interpreter and libraries included."""


def rows(costs: list[Cost]) -> Iterator[Row]:
    """Per size: a step, a step per cell over that of 12 cells, set-up, and memory."""
    smallest = costs[0].step_ms / costs[0].cells
    for cost in costs:
        cells = cost.cells
        per_cell_us = 1e3 * cost.step_ms / cells
        ratio = cost.step_ms / cells / smallest
        yield _row("simulator.step_ms", cost.step_ms, "ms", cells)
        yield _row("simulator.us_per_cell_step", per_cell_us, "us", cells, "12_cells", ratio)
        yield _row("simulator.setup", cost.setup_s, "s", cells)
        yield _row("simulator.peak_memory", cost.peak_gib, "GiB", cells)


def measure(
    *,
    turns: int,
    seconds: float,
    cells: int,
    progress: Callable[[str], None] = lambda message: None,
) -> list[Cost]:
    """Costs of all sizes up to `cells` cells, in `turns` turns of at least `seconds` each."""
    sizes = [size for size in GROWTH_SITES if 3 * size[0] * size[1] <= cells]
    with ExitStack() as stack:
        setups_s, peers = [], []
        for n_rows, n_columns in sizes:
            progress(f"preparing {3 * n_rows * n_columns} cells")
            peers.append(stack.enter_context(_peer(n_rows, n_columns)))
            setups_s.append(peers[-1].recv())
        found_s = np.empty((turns, len(sizes)))
        for turn in range(turns):
            progress(f"turn {turn + 1} of {turns}")
            found_s[turn] = [_asked(peer, (PERIOD_STEPS // turns, seconds)) for peer in peers]
        peaks_gib = [_asked(peer, None) for peer in peers]
    step_ms = 1e3 * np.median(found_s, axis=0)
    return [
        Cost(3 * size[0] * size[1], float(each_ms), setup_s, peak_gib)
        for size, each_ms, setup_s, peak_gib in zip(
            sizes, step_ms, setups_s, peaks_gib, strict=True
        )
    ]


def _asked(peer: Connection, question: tuple[int, float] | None) -> float:
    peer.send(question)
    return peer.recv()


@contextmanager
def _peer(n_rows: int, n_columns: int) -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, n_rows, n_columns))
    process.start()
    there.close()
    try:
        yield here
    finally:
        here.close()
        process.join()


def _serve(questions: Connection, n_rows: int, n_columns: int) -> None:
    """Answers with set-up seconds, then with seconds per step, at last with peak memory."""
    start = time.perf_counter()
    simulator = Simulator(hexagonal(n_rows, n_columns, like=built_in("paper")), 0, map_seed=0)
    questions.send(time.perf_counter() - start)
    _step_s(simulator, WARM_UP_STEPS, 0.0)
    simulator.reset(0)
    while question := questions.recv():
        questions.send(_step_s(simulator, *question))
    questions.send(_peak_gib())


def _peak_gib() -> float:
    """From Linux's /proc: what `getrusage` says counts the process that started this one too."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 2**20
    return float("nan")


def _step_s(simulator: Simulator, steps: int, seconds: float) -> float:
    """Mean over the next slots under random splits, gone through again until the time is up."""
    shape = (len(simulator.scenario.cells), simulator.scenario.n_slices)
    splits = np.random.default_rng(0).dirichlet(np.ones(shape[1]), (8, shape[0]))
    state, found = simulator.state(), []
    while not found or sum(found) < seconds:
        simulator.restore(state)
        start = time.process_time()
        for step in range(steps):
            simulator.step(splits[step % 8])
        found.append(time.process_time() - start)
    return sum(found) / len(found) / steps


def _row(
    name: str, value: float, unit: str, cells: int, reference: str = "", ratio: float = 1.0
) -> Row:
    return {"name": name, "value": value, "unit": unit, "reference": reference, "ratio": ratio,
            "cells": cells}  # fmt: skip
