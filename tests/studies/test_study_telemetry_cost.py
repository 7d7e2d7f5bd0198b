"""What observation costs: training with metrics, run directory and live page, and without.

The READMEs of `benchmarks` and `clusters` have the results of
`SLICING_RLLIB_FULL_STUDIES=1 pytest -n 0 -m slow tests/studies/test_study_telemetry_cost.py`.
"""

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
import pytest

from slicing_rllib.benchmarks.rows import Row, make_row, run_interleaved
from slicing_rllib.learning import TD3
from slicing_rllib.runs.algorithm import build
from slicing_rllib.runs.config_loading import load_config
from slicing_rllib.runs.metrics_row import make_metrics_row, read_network_state
from slicing_rllib.runs.run_config import RunConfig
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.runs.telemetry import Telemetry

WARM_UP_STEPS = 200
RUN_NAME = "run"
SETTINGS = ["learning.exploration_steps=100", "env.deployments=[]"]


def run(*, turns: int, seconds: float, on_message: Callable[[str], None]) -> Iterator[Row]:
    """Yields steps per second with observation, and the median of the turns' ratios to without.

    `ratio_low` and `ratio_high` are the 95 % interval of that median.

    Args:
        turns: Interleaved turns of both.
        seconds: Least duration of each turn.
        on_message: Receives one line of text before each part.
    """
    config = load_config("quick", SETTINGS)
    on_message("preparing two trainings of the same network")
    plain, observed = _train_warm_up(config), _train_warm_up(config)
    with TemporaryDirectory() as folder:
        observation = _Observation(config, Path(folder) / RUN_NAME)
        # The page shows a run only from its first row on.
        observation.publish(observed)
        on_message(f"measuring {turns} turns of {seconds:g} s each")
        with serve_live_page(Path(folder)) as port:

            def measure_observed() -> float:
                with read_live_page(port, RUN_NAME):
                    return _measure_rate(observed, seconds, observation.publish)

            def measure_plain() -> float:
                return _measure_rate(plain, seconds, _publish_nothing)

            rates = run_interleaved({"off": measure_plain, "on": measure_observed}, turns)
        observation.close()
    for algorithm in (plain, observed):
        algorithm.stop()
    yield _make_rate_row(rates["on"], rates["off"])


class _Observation:
    """Run directory and metrics of a training."""

    def __init__(self, config: RunConfig, run_folder: Path) -> None:
        scenario = config.scenario
        names = [spec.name for spec in scenario.slices]
        self._config = config
        self._run = RunDirectory.create(run_folder, config)
        self._telemetry = Telemetry(
            "cost", scenario.cells, names, scenario.sla_throughput_mbps, scenario.sla_delay_ms
        )

    def publish(self, algorithm: TD3) -> None:
        """Writes the row of the last iteration to the run directory and to Ray's metrics."""
        row = self._make_metrics_row(algorithm)
        self._run.append_metrics(row)
        self._telemetry.publish(row)

    def close(self) -> None:
        self._telemetry.close()

    def _make_metrics_row(self, algorithm: TD3) -> dict[str, Any]:
        return make_metrics_row(
            algorithm,
            self._config.scenario,
            read_network_state(algorithm),
            time_s=time.monotonic(),
            evaluated=None,
            references={},
        )


def _publish_nothing(algorithm: TD3) -> None:
    """Does nothing: training without observation."""


def _train_warm_up(config: RunConfig) -> TD3:
    algorithm = build(config)
    while algorithm.env_steps < WARM_UP_STEPS:
        algorithm.train()
    return algorithm


def _measure_rate(algorithm: TD3, seconds: float, publish: Callable[[TD3], None]) -> float:
    """Returns network steps per second of whole iterations, with `publish` after each of them."""
    started, steps = time.perf_counter(), algorithm.env_steps
    while time.perf_counter() - started < seconds:
        algorithm.train()
        publish(algorithm)
    return (algorithm.env_steps - steps) / (time.perf_counter() - started)


def _make_rate_row(on: list[float], off: list[float]) -> Row:
    ratios = sorted(np.divide(on, off).tolist())
    low, high = _find_median_interval(len(ratios))
    return make_row(
        "telemetry.steps_per_s",
        statistics.median(on),
        "steps/s",
        reference="off",
        ratio=statistics.median(ratios),
        reference_value=statistics.median(off),
        ratio_low=ratios[low],
        ratio_high=ratios[high],
    )


def _find_median_interval(n: int) -> tuple[int, int]:
    """Returns the indices, among n sorted values, that enclose the median's 95 % interval.

    Normal approximation to the binomial distribution: n/2 -+ 1.96 sqrt(n)/2.
    """
    half = 0.98 * math.sqrt(n)
    return max(0, math.floor(n / 2 - half)), min(n - 1, math.ceil(n / 2 + half))


TIMEOUT_S = 30
RETRY_S = 0.2


@contextmanager
def serve_live_page(folder: Path) -> Iterator[int]:
    """Runs `slicing-rllib monitor` on a folder of runs; gives the port once it accepts connections.

    Raises: OSError if the page cannot be reached within TIMEOUT_S.
    """
    port = find_free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "slicing_rllib", "monitor", str(folder), "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for_server(port)
        yield port
    finally:
        server.terminate()
        server.wait()


@contextmanager
def read_live_page(port: int, run_name: str) -> Iterator[None]:
    """Reads the page's event stream of one run in a thread, until the context ends."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    connection.request("GET", f"/api/stream?run={run_name}")
    # getresponse() takes the socket away from the connection.
    stream_socket, stream = connection.sock, connection.getresponse()
    reader = threading.Thread(target=_read_stream, args=(stream,), daemon=True)
    reader.start()
    try:
        yield
    finally:
        stream_socket.shutdown(socket.SHUT_RDWR)
        reader.join()
        connection.close()


def _wait_for_server(port: int) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(RETRY_S)


def _read_stream(stream: HTTPResponse) -> None:
    # The stream ends with an error when the socket is shut down.
    with suppress(OSError, ValueError, HTTPException):
        while stream.read1(4096):
            pass


def find_free_port() -> int:
    """Returns a port of this machine that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_the_interval_of_a_median_follows_the_binomial_distribution():
    """100 values: 50 -+ 1.96 * 10 / 2 is 40.2 to 59.8, rounded outwards."""
    assert _find_median_interval(100) == (40, 60)
    assert _find_median_interval(4) == (0, 3)


def test_the_median_of_the_turns_ratios_counts():
    """Ratios of 0.5, 1 and 2 have the median 1, although the medians are 20 and 10 steps/s."""
    row = _make_rate_row(on=[5.0, 20.0, 20.0], off=[10.0, 20.0, 10.0])
    assert row["ratio"] == pytest.approx(1.0)
    assert (row["value"], row["reference_value"]) == (20.0, 10.0)
    assert (row["ratio_low"], row["ratio_high"]) == (0.5, 2.0)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("ray_session")
def test_observation_costs_less_than_a_fifth_of_the_speed(is_full_study, show_rows):
    """The interval of five short turns is wide: its upper end is what is tested."""
    turns, seconds = (100, 1.0) if is_full_study else (5, 0.5)
    found = show_rows(run(turns=turns, seconds=seconds, on_message=print))
    assert found["telemetry.steps_per_s"]["ratio_high"] > 0.8
