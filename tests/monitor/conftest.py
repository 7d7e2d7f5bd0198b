"""A run directory that a test writes step by step, a monitor that serves it, and a browser."""

import http.client
import json
import shutil
import socket
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from browser_steps import open_page
from selenium import webdriver

from slicing_rllib.monitor import MonitorServer, make_monitor_app

CONFIG = {"scenario": "paper"}


class RunWriter:
    """Writes the files of a training, one iteration at a time.

    Args:
        folder: the run directory.
        n_cells: number of cells in the rows.
    """

    def __init__(self, folder: Path, n_cells: int = 12) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.n_cells = n_cells
        self.iterations = 0
        self._rng = np.random.default_rng(n_cells)
        self.write_config(CONFIG)

    def write_config(self, content: dict[str, Any]) -> None:
        (self.folder / "config.yaml").write_text(yaml.safe_dump(content))

    def append_line(self, name: str, text: str) -> None:
        with (self.folder / name).open("a", encoding="utf-8") as file:
            file.write(text + "\n")

    def add_iterations(self, count: int = 1) -> None:
        for _ in range(count):
            self.iterations += 1
            self.append_line("metrics.jsonl", json.dumps(self.make_row()))

    def make_row(self) -> dict[str, Any]:
        progress = 1 - np.exp(-self.iterations / 15)
        cells = {f"cell_{k}": self._make_cell(k, progress) for k in range(1, self.n_cells + 1)}
        live = [cell for cell in cells.values() if "reward" in cell]
        return {
            "iteration": self.iterations,
            "env_steps": 100 * self.iterations,
            "steps": 100,
            "updates": 90 * self.iterations,
            "time_s": 2.5 * self.iterations,
            "reward_mean": float(np.mean([cell["reward"] for cell in live])),
            "fail_rate_95": float(np.mean([cell["fail_rate_95"] for cell in live])),
            "same_steps": {"equal": 0.5 + 0.001 * self.iterations},
            "evaluation_reward_mean": 0.6 + 0.2 * progress,
            "evaluation_fail_rate_95": 0.4 - 0.2 * progress,
            "references": {"equal": 0.6, "oracle": 0.95},
            "references_fail_rate_95": {"equal": 0.5, "oracle": 0.1},
            "cells": cells,
        }

    def add_event(self, kind: str, cell: str | None, message: str, **evidence: Any) -> None:
        row = {"time": 1.7e9 + self.iterations, "env_step": 100 * self.iterations, "kind": kind,
               "cell": cell, "message": message, "evidence": evidence}  # fmt: skip
        self.append_line("events.jsonl", json.dumps(row))

    def add_transfer(self) -> None:
        """cell_12 joins, cell_5 is chosen as its source, and it is warm-started."""
        distances = {f"cell_{k}": round(0.1 + abs(k - 5) * 0.3, 2) for k in range(1, 12)}
        self.add_event("cell_joined", "cell_12", "cell_12 joined under the default action")
        self.add_event("source_chosen", "cell_12", "cell_12 learns from cell_5", target="cell_12",
                   source="cell_5", runner_up="cell_6", measure="mean_shift", distance=0.1,
                   confidence=0.8, distances=distances)  # fmt: skip
        self.add_event("warm_started", "cell_12", "policy and 500 transitions copied")

    def write_summary(self) -> None:
        def make_policy(reward: float) -> dict[str, Any]:
            return {"reward_mean": reward, "satisfaction_mean": reward, "fail_rate_95": 1 - reward,
                    "delay_max_ms": 2 - reward, "oracle_gap_closed": (reward - 0.8) / 0.15,
                    "ci95": {"reward_mean": [reward - 0.01, reward + 0.01]}}  # fmt: skip

        policies = {
            "equal": 0.8,
            "traffic_aware": 0.84,
            "td3": 0.9,
            "td3_transferred": 0.92,
            "oracle": 0.95,
        }
        summary = {"policies": {name: make_policy(level) for name, level in policies.items()},
                   "env_steps": 100 * self.iterations, "seed": 1}  # fmt: skip
        (self.folder / "summary.json").write_text(json.dumps(summary))

    def _make_cell(self, k: int, progress: float) -> dict[str, Any]:
        if k == 12 and self.iterations < 5:
            return {"phase": "off"}
        level = min(1.0, 0.6 + 0.35 * progress + 0.05 * np.sin(k) + self._rng.normal(0, 0.02))
        shares = self._rng.dirichlet([8, 6, 4, 2])
        return {
            "reward": level,
            "satisfaction": level,
            "fail_rate_95": min(1.0, 2.5 * (1 - level)),
            "exploring": False,
            "phase": "default" if k == 12 and self.iterations < 10 else "controlled",
            "throughput_mbps": (level * np.array([4, 3, 2, 1.1])).tolist(),
            "delay_ms": (np.array([2.8, 2, 1, 0.9]) / level).tolist(),
            "prb_ratio": shares.tolist(),
            "load": (0.6 * shares).tolist(),
            "critic_loss": 0.01 / self.iterations,
            "actor_loss": -level,
            "replay_size": 100 * self.iterations,
        }


class Server:
    """A monitor on a free loopback port, in a thread.

    Args:
        root: the run directory, or the folder of run directories, that it serves.
        allowed_hosts: host names that are served besides the loopback names.
    """

    def __init__(self, root: Path, allowed_hosts: Collection[str] = ()) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._server = MonitorServer(make_monitor_app(root, allowed_hosts=allowed_hosts))
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],))
        self._thread.start()

    def get(self, target: str, host: str | None = None) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body. The target is sent unchanged, so it may contain `..`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.putrequest("GET", target, skip_host=True)
            connection.putheader("Host", host if host is not None else f"127.0.0.1:{self.port}")
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def get_json(self, target: str) -> Any:
        status, _, body = self.get(target)
        assert status == 200, body
        return json.loads(body)

    def open_stream(self, run: str = ".") -> Iterator[tuple[str, dict[str, Any]]]:
        """Kind and content of each server-sent event, as they arrive."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", f"/api/stream?run={run}")
            answer = connection.getresponse()
            kind = ""
            while line := answer.readline().decode().rstrip("\n"):
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    yield kind, json.loads(line.removeprefix("data: "))
                    answer.readline()
        finally:
            connection.close()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._listener.close()


@pytest.fixture
def run(tmp_path: Path) -> RunWriter:
    """A run of the paper's network that has written nothing but its config."""
    return RunWriter(tmp_path / "runs" / "first")


@pytest.fixture
def write_run() -> type[RunWriter]:
    return RunWriter


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts a monitor of a folder; all monitors are stopped after the test."""
    servers: list[Server] = []

    def start(root: Path, **settings: Any) -> Server:
        servers.append(Server(root, **settings))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.add_argument("--window-size=1400,900")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(str(shutil.which("chromedriver")))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: webdriver.Chrome, run: RunWriter, serve: Callable) -> webdriver.Chrome:
    """The page of a run of 12 cells in which cell_12 was warm-started."""
    run.add_iterations(12)
    run.add_transfer()
    open_page(browser, serve(run.folder).url)
    return browser
