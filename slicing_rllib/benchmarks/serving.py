"""Time of decisions over HTTP, beside the same decisions computed in this process.

A network with random policies is served by `slicing-rllib serve` in a process of its own. A bounded
load generator posts its KPIs, and every answer is compared with what NumPy decides.
"""

import asyncio
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import aiohttp
import numpy as np
from jaxtyping import Float32

from slicing_rllib.benchmarks.rows import (
    SIZES,
    NetworkSize,
    Row,
    list_sizes,
    make_row,
    run_interleaved,
)
from slicing_rllib.policies import CellPolicy
from slicing_rllib.policies.encoder import recall_intervals, stack_kpis
from slicing_rllib.radio import StepKpis
from slicing_rllib.runs.config_loading import load_config
from slicing_rllib.runs.policy_evaluation import (
    Weights,
    make_cell_policies,
    make_network,
    record_kpis,
)
from slicing_rllib.runs.run_config import RunConfig
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.serving.closed_loop import make_request
from slicing_rllib.serving.decisions import PolicySet
from slicing_rllib.storage.errors import RunError

INTERVALS = 20
"""Different requests, which are sent in turn."""
QUANTILES = (0.5, 0.99)
REFERENCE = "numpy"
LARGEST_DIFFERENCE = 1e-6
"""Of a share from NumPy's: shares are float32."""
WARM_UP_S = 0.2
BARE, READY = "bare", "ready"
WAYS = {"Ray Serve": False, "direct": True}
"""Through Ray Serve, and `serve --direct`."""


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
    The latencies of all turns are pooled. `rate_per_s` is that of the load at a fixed rate.

    Raises: RunError if a request is not answered, or answered wrongly.
    """
    loads = {"1 open": 1, "4 open": 4, f"{rate_per_s:g}/s": rate_per_s}
    for way, is_direct in WAYS.items():
        on_message(f"starting the service of {SIZES[0].n_cells} cells, {way}")
        with _serve(SIZES[0], is_direct=is_direct) as network:
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


class ServedNetwork(NamedTuple):
    """A network whose policies are served, and its KPIs."""

    config: RunConfig
    recorded: list[StepKpis]
    policies: dict[str, CellPolicy]
    url: str


@contextmanager
def _serve(size: NetworkSize, *, is_direct: bool = False) -> Iterator[ServedNetwork]:
    config = configure(size)
    recorded, weights = measure_network(config, INTERVALS), draw_weights(config, 1)
    policies = make_cell_policies(config, weights, recorded)
    with TemporaryDirectory() as folder:
        run = RunDirectory.create(Path(folder) / "run", config)
        run.write_policies(weights)
        with start_service(run.path, is_direct=is_direct) as service:
            yield ServedNetwork(config, recorded, policies, service.url)


def _measure(
    network: ServedNetwork, n_cells: int, loads: dict[str, float], turns: int, seconds: float
) -> dict[str, list[float]]:
    """Latencies in ms by load, of bare calls in this process, and of requests without work."""
    bodies = make_bodies(network.config, network.recorded, n_cells)
    generator = LoadGenerator(network.url + DECISIONS, bodies, AnswerCheck(network, n_cells))
    found = run_interleaved(
        {
            BARE: partial(_repeat, _make_bare_call(network, n_cells), seconds),
            READY: partial(_time_ready_calls, network.url, seconds),
            **{name: partial(_send, generator, load, seconds) for name, load in loads.items()},
        },
        turns,
    )
    return {name: list(itertools.chain.from_iterable(parts)) for name, parts in found.items()}


def _send(generator: "LoadGenerator", load: float, seconds: float) -> list[float]:
    """Latencies in ms at a rate (float), or with a number of open requests (int)."""
    send = generator.send_concurrently if isinstance(load, int) else generator.send_at_rate

    async def send_all() -> list[Outcome]:
        async with generator:
            await send(load, last(WARM_UP_S))
            return await send(load, last(seconds))

    outcomes = asyncio.run(send_all())
    for outcome in outcomes:
        if outcome.failure or outcome.mistake:
            raise RunError(f"bench serving: {outcome.failure or outcome.mistake}")
    return [outcome.latency_ms for outcome in outcomes]


def _make_bare_call(network: ServedNetwork, n_cells: int) -> Callable[[], object]:
    """The call with which the service decides, without anything around it."""
    group, kpis = PolicySet(network.policies).groups[0], network.recorded[-1]
    encoders = [policy.encoder for policy in group.policies[:n_cells]]
    columns = {name: getattr(kpis, name)[:n_cells] for name in group.encoder.required_kpis}
    no_messages = np.zeros((n_cells, 0, network.config.scenario.n_slices))
    return lambda: group.decide(encoders, columns, no_messages)


def _time_ready_calls(url: str, seconds: float) -> list[float]:
    """Latencies in ms of requests that the service answers without any work of ours."""
    connection = HTTPConnection(url.removeprefix("http://"))

    def ask() -> None:
        connection.request("GET", "/v1/ready")
        connection.getresponse().read()

    latencies = _repeat(ask, seconds)
    connection.close()
    return latencies


def _repeat(call: Callable[[], object], seconds: float) -> list[float]:
    """Times in ms of calls one after the other."""
    is_over, latencies = last(seconds), []
    while not is_over():
        started = time.perf_counter()
        call()
        latencies.append(1e3 * (time.perf_counter() - started))
    return latencies


def _make_latency_rows(found: dict[str, list[float]], n_cells: int, way: str) -> Iterator[Row]:
    """A row per load and quantile; `ready` are requests without work, one at a time."""
    bare = found.pop(BARE)
    for load, latencies in found.items():
        for quantile in QUANTILES:
            ours = float(np.quantile(latencies, quantile))
            reference = float(np.quantile(bare, quantile))
            yield make_row(
                "serving.ready_ms" if load == READY else "serving.decision_ms", ours, "ms",
                reference=REFERENCE, ratio=ours / reference, reference_value=reference,
                cells=n_cells, load=load, way=way, quantile=quantile, requests=len(latencies),
            )  # fmt: skip


def _make_batch_rows(found: dict[str, list[float]], n_cells: int, seconds: float) -> Iterator[Row]:
    """A row per load: cells per second."""
    del found[READY]
    rates = {load: len(latencies) * n_cells / seconds for load, latencies in found.items()}
    reference = rates.pop(BARE)
    for load, rate in rates.items():
        yield make_row(
            "serving.cells_per_s", rate, "cells/s", reference=REFERENCE, ratio=rate / reference,
            reference_value=reference, cells=n_cells, load=load,
        )  # fmt: skip


def configure(size: NetworkSize, settings: Sequence[str] = ()) -> RunConfig:
    """A run of `quick` in a network of this size."""
    config = load_config("quick", ["env.deployments=[]", *settings])
    return config.model_copy(update={"scenario": size.make_scenario()})


def draw_weights(config: RunConfig, seed: int) -> Weights:
    """Random actors with small corrections, so that shares stay sensible."""
    rng = np.random.default_rng(seed)
    widths = config.actor_form.compute_widths(make_network(config).obs_size, (48, 24))
    shapes = {
        f"actor.{2 * n}.{part}": (b, a) if part == "weight" else (b,)
        for n, (a, b) in enumerate(itertools.pairwise(widths))
        for part in ("weight", "bias")
    }
    return {
        cell: {n: rng.normal(0, 0.2, shape).astype(np.float32) for n, shape in shapes.items()}
        for cell in config.scenario.cells
    }


def measure_network(config: RunConfig, steps: int) -> list[StepKpis]:
    """KPIs of the network in `steps` intervals, under random policies."""
    return record_kpis(config, draw_weights(config, 0), steps - 1)


def make_bodies(config: RunConfig, recorded: Sequence[StepKpis], n_cells: int) -> list[bytes]:
    """A request per interval, with the KPIs of the first `n_cells` cells."""
    slices, cells = [spec.name for spec in config.scenario.slices], config.scenario.cells
    bodies = []
    for kpis in recorded:
        request = make_request(kpis, cells, slices)
        asked = {cell: request["cells"][cell] for cell in cells[:n_cells]}
        bodies.append(json.dumps({"cells": asked}).encode())
    return bodies


DECISIONS = "/v1/decisions"


@dataclass(frozen=True)
class Service:
    """`slicing-rllib serve` in a process of its own."""

    process: subprocess.Popen[str]
    url: str


@contextmanager
def start_service(source: Path, *, replicas: int = 1, is_direct: bool = False) -> Iterator[Service]:
    """Serves policies on a free port for the block, with `serve --direct` if `is_direct`.

    Raises: RunError if the command ends before it serves.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "slicing_rllib", "serve", str(source), "--port", str(port),
         "--replicas", str(replicas), "--json", *(["--direct"] if is_direct else [])],
        stdout=subprocess.PIPE, text=True,
        env={key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise RunError("serve: the command has ended before it served")
        yield Service(process, json.loads(line)["url"].removesuffix("/v1/"))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60.0)
        process.stdout.close()


class AnswerCheck:
    """Compares answers with the shares that NumPy computes for the same KPIs.

    Args:
        network: request number n has its KPIs of interval n.
        n_cells: the requests contain its first cells.
    """

    def __init__(self, network: ServedNetwork, n_cells: int) -> None:
        cells = network.config.scenario.cells
        self.shares = {
            cell: decide_in_numpy(network.policies[cell], network.recorded, cells)
            for cell in cells[:n_cells]
        }

    def __call__(self, number: int, content: bytes) -> str | None:
        """What is wrong with the answer to request `number`; None if nothing is."""
        decisions: dict[str, dict[str, Any]] = json.loads(content)["decisions"]
        if decisions.keys() != self.shares.keys():
            return f"{len(decisions)} cells are answered, expected {len(self.shares)}"
        for cell, decision in decisions.items():
            if decision["fallback"] is not None:
                return f"{cell}: fallback {decision['fallback']['reason']}"
            found, expected = list(decision["shares"].values()), self.shares[cell][number]
            if not np.allclose(found, expected, rtol=0.0, atol=LARGEST_DIFFERENCE):
                return f"{cell}: shares {found}, expected {expected.tolist()}"
        return None


def decide_in_numpy(
    policy: CellPolicy, recorded: Sequence[StepKpis], cells: Sequence[str]
) -> Float32[np.ndarray, "interval slice"]:
    """The shares that a policy computes in each interval; `cells` are the rows of KPIs."""
    encoder = policy.encoder
    columns = stack_kpis(recorded, cells.index(encoder.cell), encoder.required_kpis)
    rows = [cells.index(name) for name in encoder.neighbours]
    load = np.stack([step.load[rows] for step in recorded])
    return policy.decide(columns, load, recall_intervals(columns) if encoder.remembers else ())


TIMEOUT_S = 30.0
MOST_OPEN = 64
"""Requests that may be open at a time; further ones wait, which counts as latency."""
PAUSE_S = 0.05
"""Time between a failed request and the next one in its place."""
HEADERS = {"Content-Type": "application/json"}

CheckAnswer = Callable[[int, bytes], str | None]
"""From the number of a body and the answer to what is wrong with the answer; None if nothing is."""
IsOver = Callable[[], bool]


class Outcome(NamedTuple):
    """What became of one request."""

    ended_s: float
    """Time of the answer, by `time.perf_counter`."""
    latency_ms: float
    """From the time at which the request was due until its answer had arrived."""
    failure: str | None
    """Why there was no answer; None if there was one."""
    mistake: str | None
    """What is wrong with the answer; None if nothing is."""


class LoadGenerator:
    """Sends bodies in turn to one address, on connections that stay open.

    Args:
        url: address that the bodies are posted to.
        bodies: JSON bodies.
        check: tells what is wrong with an answer.
    """

    def __init__(self, url: str, bodies: Sequence[bytes], check: CheckAnswer) -> None:
        self._url, self._bodies, self._check = url, bodies, check
        self._sent = 0

    async def __aenter__(self) -> "LoadGenerator":
        self._session = aiohttp.ClientSession(
            headers=HEADERS,
            connector=aiohttp.TCPConnector(limit=MOST_OPEN),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._session.close()

    async def send_concurrently(self, n_open: float, is_over: IsOver) -> list[Outcome]:
        """Keeps `n_open` requests open, each followed by the next one, until `is_over`."""
        outcomes: list[Outcome] = []

        async def send_in_turn() -> None:
            while not is_over():
                outcomes.append(await self._send(time.perf_counter()))
                if outcomes[-1].failure:
                    await asyncio.sleep(PAUSE_S)

        await asyncio.gather(*(send_in_turn() for _ in range(int(n_open))))
        return outcomes

    async def send_at_rate(self, rate_per_s: float, is_over: IsOver) -> list[Outcome]:
        """Sends requests at fixed times, whether or not earlier ones are answered."""
        tasks: list[asyncio.Task[Outcome]] = []
        started = time.perf_counter()
        while not is_over():
            due = started + len(tasks) / rate_per_s
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.create_task(self._send(due)))
        return list(await asyncio.gather(*tasks))

    async def _send(self, due: float) -> Outcome:
        number = self._sent % len(self._bodies)
        self._sent += 1
        try:
            async with self._session.post(self._url, data=self._bodies[number]) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            return _conclude(due, f"{type(error).__name__}: {error}", None)
        if answer.status != 200:
            line = content.decode(errors="replace")[:200]
            return _conclude(due, f"status {answer.status}: {line}", None)
        outcome = _conclude(due, None, None)
        return outcome._replace(mistake=self._check(number, content))


def last(seconds: float) -> IsOver:
    """True once `seconds` have passed since this call."""
    end = time.perf_counter() + seconds
    return lambda: time.perf_counter() >= end


def _conclude(due: float, failure: str | None, mistake: str | None) -> Outcome:
    now = time.perf_counter()
    return Outcome(now, 1e3 * (now - due), failure, mistake)
