"""Time and memory of a simulator step, on the paper's network and as networks grow.

Every network size runs in a process of its own, so that peak memory is measured by size. The sizes
take interleaved turns. In a turn all sizes go through the same slots of the traffic, because the
time of a step depends on the number of active UEs; small networks repeat the slots until the turn
is long enough. All turns together cover one period of the traffic. Processor time is measured,
because other processes on the machine affect it less than the time by the clock.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np

from slicing_rllib.benchmarks.rows import (
    PERIOD_STEPS,
    NetworkSize,
    Row,
    list_sizes,
    make_row,
    measure_medians,
)
from slicing_rllib.radio import Simulator

WARM_UP_STEPS = 5
N_SPLITS = 8
"""Random splits of the carrier that are used in turn."""


class Cost(NamedTuple):
    """What one network size costs."""

    cells: int
    step_ms: float
    """Median over turns of the mean over a turn's slots."""
    setup_s: float
    peak_gib: float
    """Peak memory of the process, with interpreter and libraries."""


def make_rows(costs: list[Cost]) -> Iterator[Row]:
    """Yields time per step, time per cell and step over that of 12 cells, set-up, and memory."""
    smallest_us = 1e3 * costs[0].step_ms / costs[0].cells
    for cells, step_ms, setup_s, peak_gib in costs:
        us = 1e3 * step_ms / cells
        relative = {"reference": "12_cells", "ratio": us / smallest_us}
        yield make_row("simulator.step_ms", step_ms, "ms", cells=cells)
        yield make_row("simulator.us_per_cell_step", us, "us", cells=cells) | relative
        yield make_row("simulator.setup", setup_s, "s", cells=cells)
        yield make_row("simulator.peak_memory", peak_gib, "GiB", cells=cells)


def measure_costs(
    *, turns: int, seconds: float, max_cells: int, on_message: Callable[[str], None]
) -> list[Cost]:
    """The costs of each network size; `turns` are at most 200, `max_cells` at least 12."""
    with ExitStack() as stack:
        setups_s, processes = {}, {}
        for size in list_sizes(max_cells):
            name = str(size.n_cells)
            on_message(f"preparing {name} cells")
            processes[name] = stack.enter_context(_start_process(size))
            setups_s[name] = processes[name].recv()

        def measure(name: str) -> float:
            on_message(f"measuring {name} cells")
            return _ask(processes[name], (PERIOD_STEPS // turns, seconds))

        steps_s = measure_medians({name: partial(measure, name) for name in processes}, turns)
        peaks_gib = {name: _ask(process, None) for name, process in processes.items()}
    return [
        Cost(int(name), 1e3 * steps_s[name], setups_s[name], peaks_gib[name]) for name in processes
    ]


def _ask(process: Connection, request: tuple[int, float] | None) -> float:
    process.send(request)
    return process.recv()


@contextmanager
def _start_process(size: NetworkSize) -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")
    own_end, other_end = context.Pipe()
    process = context.Process(target=_answer_requests, args=(other_end, size))
    process.start()
    other_end.close()
    try:
        yield own_end
    finally:
        own_end.close()
        process.join()


def _answer_requests(requests: Connection, size: NetworkSize) -> None:
    """Sends the set-up time, then a time per step for each request, then the peak memory."""
    start = time.perf_counter()
    simulator = Simulator(size.make_scenario(), 0, map_seed=0)
    requests.send(time.perf_counter() - start)
    _measure_step_s(simulator, WARM_UP_STEPS, 0.0)
    simulator.reset(0)
    while request := requests.recv():
        requests.send(_measure_step_s(simulator, *request))
    # Linux's /proc, because `getrusage` also counts the process that started this one.
    status = Path("/proc/self/status").read_text().splitlines()
    requests.send(next(int(line.split()[1]) for line in status if "VmHWM:" in line) / 2**20)


def _measure_step_s(simulator: Simulator, steps: int, seconds: float) -> float:
    """The mean processor time of the next `steps` steps under random splits.

    The same steps are repeated until `seconds` have passed.
    """
    shape = (len(simulator.scenario.cells), simulator.scenario.n_slices)
    splits = np.random.default_rng(0).dirichlet(np.ones(shape[1]), (N_SPLITS, shape[0]))
    state, spent_s = simulator.state(), []
    while not spent_s or sum(spent_s) < seconds:
        simulator.restore(state)
        start = time.process_time()
        for step in range(steps):
            simulator.step(splits[step % N_SPLITS])
        spent_s.append(time.process_time() - start)
    return sum(spent_s) / len(spent_s) / steps
