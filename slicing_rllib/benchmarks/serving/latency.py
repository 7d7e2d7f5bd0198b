"""Time of decisions over HTTP, beside the same decisions by ONNX Runtime in this process."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from slicing_rllib.benchmarks.rows import (
    SIZES,
    NetworkSize,
    Row,
    list_sizes,
    make_row,
    run_interleaved,
)
from slicing_rllib.benchmarks.serving.answers import AnswerCheck
from slicing_rllib.benchmarks.serving.load import LoadGenerator, Outcome, last
from slicing_rllib.benchmarks.serving.network import (
    add_version,
    configure,
    make_bodies,
    measure_network,
)
from slicing_rllib.benchmarks.serving.service import DECISIONS, start_service
from slicing_rllib.policies import CellPolicy
from slicing_rllib.radio import Scenario, StepKpis
from slicing_rllib.serving.policy_set import PolicySet, SlaRows
from slicing_rllib.serving.requests import KPI_NAMES
from slicing_rllib.storage.errors import RunError

INTERVALS = 20
"""Different requests, which are sent in turn."""
QUANTILES = (0.5, 0.99)
REFERENCE = "onnxruntime"
WARM_UP_S = 0.2
BARE, READY = "bare", "ready"
DIRECT = "direct"
WAYS = ("Ray Serve", DIRECT)
"""Through Ray Serve, and `serve --direct`."""


@dataclass(frozen=True)
class _ServedNetwork:
    """A network whose policies are served, and its KPIs."""

    scenario: Scenario
    recorded: list[StepKpis]
    policies: dict[str, CellPolicy]
    bodies: Callable[[int], list[bytes]]
    """Requests by number of cells."""
    url: str


def run(
    *,
    turns: int,
    seconds: float,
    rate_per_s: float,
    max_cells: int,
    on_message: Callable[[str], None],
) -> Iterator[Row]:
    """Yields latencies of one decision and of twelve, then cells per second in large batches.

    Latencies are measured through Ray Serve and with `serve --direct`, batches through Ray Serve.

    Args:
        turns: Interleaved turns, whose latencies are pooled.
        seconds: Duration of each turn.
        rate_per_s: Requests per second of the load at a fixed rate.
        max_cells: Cells of the largest network.
        on_message: Receives one line of text before each part.

    Raises: RunError if a request is not answered, or answered wrongly.
    """
    loads = {"1 open": 1, "4 open": 4, f"{rate_per_s:g}/s": rate_per_s}
    for way in WAYS:
        on_message(f"starting the service of {SIZES[0].n_cells} cells, {way}")
        with _serve(SIZES[0], is_direct=way == DIRECT) as network:
            for n_cells in (1, SIZES[0].n_cells):
                on_message(f"measuring requests of {n_cells} cells: {turns} turns of {seconds:g} s")
                found = _measure(network, n_cells, loads, turns, seconds)
                yield from _make_latency_rows(found, n_cells, way)
    largest = list(list_sizes(max_cells))[-1]
    on_message(f"starting the service of {largest.n_cells} cells")
    with _serve(largest) as network:
        on_message(f"measuring requests of {largest.n_cells} cells")
        found = _measure(network, largest.n_cells, {"1 open": 1, "2 open": 2}, turns, seconds)
        yield from _make_batch_rows(found, largest.n_cells, turns * seconds)


@contextmanager
def _serve(size: NetworkSize, *, is_direct: bool = False) -> Iterator[_ServedNetwork]:
    config = configure(size)
    recorded = measure_network(config, INTERVALS)
    with TemporaryDirectory() as folder:
        policies = add_version(Path(folder), config, recorded, 1)
        with start_service(Path(folder), is_direct=is_direct) as service:
            bodies = partial(make_bodies, config, recorded)
            yield _ServedNetwork(config.scenario, recorded, policies, bodies, service.url)


def _measure(
    network: _ServedNetwork, n_cells: int, loads: dict[str, float], turns: int, seconds: float
) -> dict[str, list[float]]:
    """Latencies in ms by load, of bare calls of ONNX Runtime, and of requests without work."""
    cells = network.scenario.cells
    check = AnswerCheck({1: network.policies}, network.recorded, cells, cells[:n_cells])
    bodies = network.bodies(n_cells)

    def send(load: float) -> list[float]:
        return asyncio.run(
            _send(LoadGenerator(network.url + DECISIONS, bodies, check), load, seconds)
        )

    measurements = {name: partial(send, load) for name, load in loads.items()}
    bare = partial(_time_bare_calls, network, n_cells, seconds)
    ready = partial(_time_ready_calls, network.url, seconds)
    found = run_interleaved({BARE: bare, READY: ready, **measurements}, turns)
    return {name: list(chain.from_iterable(parts)) for name, parts in found.items()}


async def _send(generator: LoadGenerator, load: float, seconds: float) -> list[float]:
    """Latencies in ms at a rate (float), or with a number of open requests (int)."""

    def send(seconds: float):
        if isinstance(load, int):
            return generator.send_concurrently(load, last(seconds))
        return generator.send_at_rate(load, last(seconds))

    async with generator:
        await send(WARM_UP_S)
        return [_require_right(outcome) for outcome in await send(seconds)]


def _require_right(outcome: Outcome) -> float:
    if outcome.failure or outcome.mistake:
        raise RunError(f"bench serving: {outcome.failure or outcome.mistake}")
    return outcome.latency_ms


def _time_bare_calls(network: _ServedNetwork, n_cells: int, seconds: float) -> list[float]:
    """Latencies in ms of the graph that the service runs, without anything around it."""
    policies = PolicySet(network.policies)
    group, rows = policies.groups[0], list(range(n_cells))
    kpis = network.recorded[-1]
    table = np.stack([getattr(kpis, name) for name in KPI_NAMES], axis=-1)[:n_cells]
    sla = SlaRows(
        network.scenario.sla_throughput_mbps[:n_cells], network.scenario.sla_delay_ms[:n_cells]
    )
    no_messages = np.zeros((n_cells, 0, network.scenario.n_slices))
    is_over, latencies = last(seconds), []
    while not is_over():
        started = time.perf_counter()
        group.compute(rows, table, no_messages, sla)
        latencies.append(1e3 * (time.perf_counter() - started))
    return latencies


def _time_ready_calls(url: str, seconds: float) -> list[float]:
    """Latencies in ms of requests that the service answers without any work of ours."""
    connection = HTTPConnection(url.removeprefix("http://"))
    is_over, latencies = last(seconds), []
    while not is_over():
        started = time.perf_counter()
        connection.request("GET", "/v1/ready")
        connection.getresponse().read()
        latencies.append(1e3 * (time.perf_counter() - started))
    connection.close()
    return latencies


def _make_latency_rows(found: dict[str, list[float]], n_cells: int, way: str) -> Iterator[Row]:
    """A row per load and quantile; `ready` are requests without work, one at a time."""
    bare = found.pop(BARE)
    for load, latencies in found.items():
        for quantile in QUANTILES:
            ours = float(np.quantile(latencies, quantile))
            reference = float(np.quantile(bare, quantile))
            yield make_row(
                "serving.ready_ms" if load == READY else "serving.decision_ms",
                ours,
                "ms",
                reference=REFERENCE,
                ratio=ours / reference,
                reference_value=reference,
                cells=n_cells,
                load=load,
                way=way,
                quantile=quantile,
                requests=len(latencies),
            )


def _make_batch_rows(found: dict[str, list[float]], n_cells: int, seconds: float) -> Iterator[Row]:
    """A row per load: cells per second."""
    del found[READY]
    rates = {load: len(latencies) * n_cells / seconds for load, latencies in found.items()}
    reference = rates.pop(BARE)
    for load, rate in rates.items():
        yield make_row(
            "serving.cells_per_s",
            rate,
            "cells/s",
            reference=REFERENCE,
            ratio=rate / reference,
            reference_value=reference,
            cells=n_cells,
            load=load,
        )
