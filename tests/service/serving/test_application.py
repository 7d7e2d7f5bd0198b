"""The HTTP service of trained policies, on Ray Serve at a loopback address."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from slicing_rllib.policies.trained_policy import TrainedPolicy
from slicing_rllib.service.config import load_config
from slicing_rllib.service.runs.run_directory import RunDirectory

Answer = tuple[int, dict]


CELLS = tuple(f"cell_{n}" for n in range(1, 13))
OBS, HIDDEN, SLICES = 16, 8, 4


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run directory of `quick` with random policies instead of trained ones."""
    run = RunDirectory.create(tmp_path_factory.mktemp("runs") / "run", load_config("quick"))
    rng = np.random.default_rng(0)
    shapes = {
        "actor.0.weight": (HIDDEN, OBS), "actor.0.bias": (HIDDEN,),
        "actor.2.weight": (SLICES, HIDDEN), "actor.2.bias": (SLICES,),
    }  # fmt: skip
    run.write_policies(
        {
            cell: {
                name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()
            }
            for cell in CELLS
        }
    )
    return run


@pytest.fixture(scope="module")
def url(trained: RunDirectory, ray_folder: str) -> Iterator[str]:
    """URL of `slicing-rllib serve RUN`, which is ended with the signal of Ctrl-C."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "slicing_rllib", "serve", str(trained.path),
         "--port", str(port), "--json"],
        env=os.environ | {"RAY_TMPDIR": ray_folder, "RAY_AUTH_TOKEN": secrets.token_hex(32)},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    yield json.loads(server.stdout.readline())["url"]
    server.send_signal(signal.SIGINT)
    assert server.wait(timeout=60) == 0
    server.stdout.close()


@pytest.fixture(scope="module")
def send_request(url: str) -> Callable[..., Answer]:
    """Status and JSON of a request: POST if there is a body, else GET."""

    def call(path: str, body: str | None = None) -> Answer:
        request = urllib.request.Request(
            url + path, body and body.encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    return call


def test_every_cell_gets_the_action_of_its_actor(send_request, trained: RunDirectory):
    """`/v1/cells` describes the layout of the observations."""
    weights = trained.policies()
    rng = np.random.default_rng(1)
    obs = rng.random((len(weights), OBS), np.float32)
    expected = TrainedPolicy(list(weights), weights).compute_actions(obs)

    body = {"obs": dict(zip(weights, obs.tolist(), strict=True))}
    status, answer = send_request("prb-ratio", json.dumps(body))

    assert status == 200
    assert list(answer["prb_ratio"]) == list(weights)
    assert list(answer["prb_ratio"].values()) == pytest.approx(expected)
    assert send_request("cells")[1]["cell_12"] == {
        "slices": 4, "obs": 16, "throughput": [0, 4], "load": [4, 8], "users": [8, 12],
        "message": [12, 16],
    }  # fmt: skip


def test_health_names_the_source_and_counts_the_cells(send_request, trained: RunDirectory):
    assert send_request("health") == (
        200,
        {"status": "ok", "source": str(trained.path), "version": None, "cells": 12},
    )


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ({"obs": {"cell_99": [0.5] * 16}}, "obs: no policy for 'cell_99', expected one"),
        ({"obs": {"cell_1": [0.5] * 15}}, "obs.cell_1: expected 16 numbers, got 15"),
        ({"obs": {"cell_1": [float("nan")] * 16}}, "obs.cell_1.0: Input should be a finite"),
        ({"obs": {"cell_1": "many"}}, "obs.cell_1: Input should be a valid list"),
        ({"obs": {}}, "obs: Dictionary should have at least 1 item"),
        ({"cells": {}}, "obs: Field required"),
        ([], "body: Input should be a valid dictionary"),
    ],
)
def test_an_invalid_request_gets_one_line(send_request, body, line: str):
    status, answer = send_request("prb-ratio", json.dumps(body))

    assert status == 422
    assert answer["detail"].startswith(line)
    assert "\n" not in answer["detail"]


def test_a_folder_without_policies_gives_one_line(command):
    ended = command("serve", "nothing")

    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "nothing: expected a run directory or a policy library" in ended.stderr
