"""How fast cells learn: beside other ways to do it, and as networks grow."""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from slicing_rllib.benchmarks.learning_peers import PEERS, Ours, Peer, medians
from slicing_rllib.radio import built_in, hexagonal

OVERLAPPED = "one env runner, overlapping"
SHARED_SITES = (8, 8)
SHARED_UPDATES_PER_STEP = 4
"""Learners have most of the work, the env runner little."""

Row = dict[str, float | str | int]
OURS = "slicing_rllib"
GROWTH_SITES = ((2, 2), (4, 4), (8, 8), (16, 16), (32, 32))
"""12, 48, 192, 768, 3,072 cells."""
GROWTH_CAPACITY = 1_000
"""Transitions per cell in the growth curve, so that replay does not fill the machine."""


def rows(
    *,
    turns: int,
    seconds: float,
    cells: int,
    progress: Callable[[str], None] = lambda message: None,
) -> Iterator[Row]:
    """The paper's network against peers; then the growth curve up to `cells` cells."""
    torch.set_num_threads(1)
    yield from against_peers(turns, seconds, progress)
    yield from learners(turns, seconds, cells, progress)
    yield from growth(turns, seconds, cells, progress)


def against_peers(turns: int, seconds: float, progress: Callable[[str], None]) -> Iterator[Row]:
    """One row per reference, all measured in this call."""
    scenario = built_in("paper")
    peers: dict[str, Peer] = {}
    for name, build in {OURS: Ours, **PEERS}.items():
        progress(f"preparing {name}")
        peers[name] = build(scenario)
    progress(f"preparing {OVERLAPPED}")
    peers[OVERLAPPED] = Ours(scenario, env_runners=1, sample_async=True)
    progress(f"measuring {turns} interleaved turns of {seconds:g} s each")
    rates = dict(medians(peers, turns, seconds))
    for peer in peers.values():
        peer.close()
    for name in PEERS:
        yield {
            "name": "learning.steps_per_s",
            "value": rates[OURS],
            "unit": "steps/s",
            "reference": name,
            "ratio": rates[OURS] / rates[name],
            "reference_value": rates[name],
        }
    yield {
        "name": "learning.overlapped_steps_per_s",
        "value": rates[OVERLAPPED],
        "unit": "steps/s",
        "reference": "bare_loop",
        "ratio": rates[OVERLAPPED] / rates["bare_loop"],
        "reference_value": rates["bare_loop"],
    }
    yield {
        "name": "learning.peak_memory",
        "value": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "unit": "GiB",
        "reference": "",
        "ratio": 1.0,
    }


def learners(
    turns: int, seconds: float, cells: int, progress: Callable[[str], None]
) -> Iterator[Row]:
    """Two learners beside one, both fed by an env runner; cores are what limits them here."""
    n_cells = 3 * SHARED_SITES[0] * SHARED_SITES[1]
    if n_cells > cells:
        return
    progress(f"learners that share {n_cells} cells")
    scenario = hexagonal(*SHARED_SITES, like=built_in("paper"))
    settings = {
        "env_runners": 1,
        "replay_capacity": GROWTH_CAPACITY,
        "updates_per_step": SHARED_UPDATES_PER_STEP,
    }
    peers: dict[str, Peer] = {str(n): Ours(scenario, learners=n, **settings) for n in (1, 2)}
    rates = dict(medians(peers, turns, seconds))
    for peer in peers.values():
        peer.close()
    yield {
        "name": "learning.two_learners_steps_per_s",
        "value": rates["2"],
        "unit": "steps/s",
        "reference": "one learner",
        "ratio": rates["2"] / rates["1"],
        "cells": n_cells,
    }


def whole_run(progress: Callable[[str], None]) -> Iterator[Row]:
    """`train paper` as its user runs it, from the shell and back: where its seconds go."""
    with tempfile.TemporaryDirectory() as folder:
        progress("the paper's run: 8,500 network steps and the evaluation")
        command = [sys.executable, "-m", "slicing_rllib"]
        command += ["train", "paper", "--out", f"{folder}/paper"]
        began, started = time.time(), time.monotonic()
        subprocess.run(command, check=True, capture_output=True)
        total = time.monotonic() - started
        run = Path(folder) / "paper"
        summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
        lines = (run / "events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    ready = next(event for event in events if event["kind"] == "started")
    start_up = ready["time"] - began
    parts = {"start_up": start_up, **summary["seconds_by_part"]}
    parts["training_beside"] = summary["seconds"] - sum(summary["seconds_by_part"].values())
    parts["evaluation_and_pictures"] = total - start_up - summary["seconds"]
    for part, value in {"total": total, **parts}.items():
        yield {
            "name": f"learning.paper_run.{part}",
            "value": value,
            "unit": "s",
            "reference": "total",
            "ratio": value / total,
        }


def growth(
    turns: int, seconds: float, cells: int, progress: Callable[[str], None]
) -> Iterator[Row]:
    """Microseconds per cell and network step, simulator and update together, by network size."""
    smallest = None
    for n_rows, n_columns in GROWTH_SITES:
        n_cells = 3 * n_rows * n_columns
        if n_cells > cells:
            return
        progress(f"growth: {n_cells} cells")
        scenario = hexagonal(n_rows, n_columns, like=built_in("paper"))
        peer = Ours(scenario, replay_capacity=GROWTH_CAPACITY)
        ((_, rate),) = medians({OURS: peer}, turns, seconds)
        peer.close()
        value = 1e6 / rate / n_cells
        smallest = smallest or value
        yield {
            "name": "learning.us_per_cell_step",
            "value": value,
            "unit": "us",
            "reference": "12_cells",
            "ratio": value / smallest,
            "cells": n_cells,
        }
