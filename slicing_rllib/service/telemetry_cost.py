"""What watching costs: training with metrics, run directory and live page, and without."""

import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from slicing_rllib.learning import TD3
from slicing_rllib.service.algorithm import build, network_now
from slicing_rllib.service.config import RunConfig, load_config
from slicing_rllib.service.rows import metrics_row
from slicing_rllib.service.run_directory import RunDirectory
from slicing_rllib.service.telemetry import Telemetry

Row = dict[str, float | str | int]
WARM_UP_STEPS = 200
PAGE_UP_WITHIN_S = 30


def rows(
    *, turns: int, seconds: float, progress: Callable[[str], None] = lambda text: None
) -> Iterator[Row]:
    """Steps per second of both, turn about; the median of the turns' ratios."""
    config = load_config("quick", ["learning.exploration_steps=100", "env.deployments=[]"])
    progress("preparing two trainings of the same network")
    alone, watched = build(config), build(config)
    with TemporaryDirectory() as folder:
        run = RunDirectory.create(Path(folder) / "run", config)
        telemetry = _telemetry(config)
        for algorithm in (alone, watched):
            while algorithm.env_steps < WARM_UP_STEPS:
                algorithm.train()
        run.append_metrics(_row(watched, config))
        rates: dict[str, list[float]] = {"off": [], "on": []}
        progress(f"measuring {turns} turns of {seconds:g} s each")
        for _ in range(turns):
            rates["off"].append(_rate(alone, seconds, lambda: None))
            with _page(Path(folder)):
                rates["on"].append(
                    _rate(watched, seconds, lambda: _tell(watched, config, run, telemetry))
                )
        telemetry.close()
    for algorithm in (alone, watched):
        algorithm.stop()
    ratios = [on / off for on, off in zip(rates["on"], rates["off"], strict=True)]
    yield {
        "name": "telemetry.steps_per_s",
        "value": statistics.median(rates["on"]),
        "unit": "steps/s",
        "reference": "off",
        "ratio": statistics.median(ratios),
        "reference_value": statistics.median(rates["off"]),
    }


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
def _page(folder: Path) -> Iterator[None]:
    """The monitor, with a browser's event stream open on it."""
    command = [sys.executable, "-m", "slicing_rllib.service.cli", "monitor", str(folder)]
    port = _free_port()
    server = subprocess.Popen(
        [*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        stream = _opened(f"http://127.0.0.1:{port}/api/stream?run=run")
        reader = threading.Thread(target=_read, args=(stream,), daemon=True)
        reader.start()
        yield
    finally:
        server.terminate()
        server.wait()


def _opened(url: str) -> Any:
    deadline = time.monotonic() + PAGE_UP_WITHIN_S
    while True:
        try:
            return urllib.request.urlopen(url, timeout=PAGE_UP_WITHIN_S)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _read(stream: Any) -> None:
    try:
        while stream.read(4096):
            pass
    except (OSError, ValueError):
        return


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
