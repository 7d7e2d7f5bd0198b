"""What watching costs: training with metrics, run directory and live page, and without."""

import math
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from slicing_rllib.learning import TD3
from slicing_rllib.service.config import RunConfig, load_config
from slicing_rllib.service.runs.algorithm import build, network_now
from slicing_rllib.service.runs.metrics_row import metrics_row
from slicing_rllib.service.runs.run_directory import RunDirectory
from slicing_rllib.service.telemetry.metrics import Telemetry

Row = dict[str, float | str | int]
WARM_UP_STEPS = 200
PAGE_UP_WITHIN_S = 30
CLI = "slicing_rllib"


def rows(
    *, turns: int, seconds: float, progress: Callable[[str], None] = lambda text: None
) -> Iterator[Row]:
    """Steps per second of both, turn about; the median of the turns' ratios."""
    config = load_config("quick", ["learning.exploration_steps=100", "env.deployments=[]"])
    progress("preparing two trainings of the same network")
    alone, watched = _warm(config), _warm(config)
    with TemporaryDirectory() as folder:
        run, telemetry = RunDirectory.create(Path(folder) / "run", config), _telemetry(config)
        run.append_metrics(_row(watched, config))
        progress(f"measuring {turns} turns of {seconds:g} s each")
        with _page(Path(folder)) as port:
            on, off = _rates(
                turns,
                lambda: _watched_rate(watched, seconds, port, config, run, telemetry),
                lambda: _rate(alone, seconds, lambda: None),
            )
        telemetry.close()
    for algorithm in (alone, watched):
        algorithm.stop()
    ratios = sorted(np.divide(on, off).tolist())
    low, high = _interval_of_median(turns)
    yield {
        "name": "telemetry.steps_per_s",
        "value": statistics.median(on),
        "unit": "steps/s",
        "reference": "off",
        "ratio": statistics.median(ratios),
        "reference_value": statistics.median(off),
        "ratio_low": ratios[low],
        "ratio_high": ratios[high],
    }


def _warm(config: RunConfig) -> TD3:
    algorithm = build(config)
    while algorithm.env_steps < WARM_UP_STEPS:
        algorithm.train()
    return algorithm


def _rates(
    turns: int, on: Callable[[], float], off: Callable[[], float]
) -> tuple[list[float], list[float]]:
    """Both as often first: a machine that slows down would favour the first."""
    found: tuple[list[float], list[float]] = [], []
    for turn in range(turns):
        for which in (0, 1) if turn % 2 else (1, 0):
            found[which].append((on, off)[which]())
    return found


def _watched_rate(
    algorithm: TD3,
    seconds: float,
    port: int,
    config: RunConfig,
    run: RunDirectory,
    telemetry: Telemetry,
) -> float:
    with _browser(port):
        return _rate(algorithm, seconds, lambda: _tell(algorithm, config, run, telemetry))


def _interval_of_median(n: int) -> tuple[int, int]:
    """Places, among n sorted values, of the ends of the median's 95 % interval.

    The normal approximation to the binomial: n/2 -+ 1.96 sqrt(n)/2.
    """
    half = 0.98 * math.sqrt(n)
    return max(0, math.floor(n / 2 - half)), min(n - 1, math.ceil(n / 2 + half))


def _rate(algorithm: TD3, seconds: float, after_each: Callable[[], None]) -> float:
    """Network steps per second of whole iterations."""
    begun, steps = time.perf_counter(), algorithm.env_steps
    while time.perf_counter() - begun < seconds:
        algorithm.train()
        after_each()
    return (algorithm.env_steps - steps) / (time.perf_counter() - begun)


def _tell(algorithm: TD3, config: RunConfig, run: RunDirectory, telemetry: Telemetry) -> None:
    row = _row(algorithm, config)
    run.append_metrics(row)
    telemetry.publish(row)


def _row(algorithm: TD3, config: RunConfig) -> dict[str, Any]:
    return metrics_row(
        algorithm,
        config.scenario,
        network_now(algorithm),
        time_s=time.monotonic(),
        evaluated=None,
        references={},
    )


def _telemetry(config: RunConfig) -> Telemetry:
    scenario = config.scenario
    names = [spec.name for spec in scenario.slices]
    return Telemetry(
        "cost", scenario.cells, names, scenario.sla_throughput_mbps, scenario.sla_delay_ms
    )


@contextmanager
def _page(folder: Path) -> Iterator[int]:
    """The monitor, by its port. Until a browser comes, it does nothing."""
    port = _free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", CLI, "monitor", str(folder), "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port)
        yield port
    finally:
        server.terminate()
        server.wait()


@contextmanager
def _browser(port: int) -> Iterator[None]:
    """Somebody who watches: reads the page's event stream as it comes."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PAGE_UP_WITHIN_S)
    connection.request("GET", "/api/stream?run=run")
    line, stream = connection.sock, connection.getresponse()
    reader = threading.Thread(target=_read, args=(stream,), daemon=True)
    reader.start()
    try:
        yield
    finally:
        line.shutdown(socket.SHUT_RDWR)
        reader.join()
        connection.close()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + PAGE_UP_WITHIN_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _read(stream: HTTPResponse) -> None:
    with suppress(OSError, ValueError, HTTPException):
        while stream.read1(4096):
            pass


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
