"""Starts Ray and publishes the metrics of a made-up run until stdin is closed.

Prints the metrics port of the Ray node.
"""

import select
import sys

import numpy as np
import ray

from slicing_rllib.runs.telemetry import Telemetry

SLICES = ("embb", "urllc")
EVENTS = ("cell_joined", "source_chosen", "warm_started", "worker_lost", "checkpoint_written")


def make_cell(satisfaction: float) -> dict:
    return {
        "reward": 0.5,
        "satisfaction": satisfaction,
        "fail_rate_95": 1.0 - satisfaction,
        "exploring": False,
        "phase": "controlled",
        "throughput_mbps": [2.0 * satisfaction, 1.5],
        "delay_ms": [4.0, 2.0],
        "prb_ratio": [0.7, 0.3],
        "load": [0.4, 0.2],
        "critic_loss": 0.01,
        "actor_loss": -0.4,
        "replay_size": 100,
    }


def make_row(iteration: int) -> dict:
    return {
        "iteration": iteration,
        "env_steps": 100 * iteration,
        "updates": 100 * iteration,
        "time_s": float(iteration),
        "reward_mean": 0.5,
        "evaluation_reward_mean": 0.6,
        "references": {"equal": 0.4, "oracle": 0.8},
        "cells": {"cell_1": make_cell(1.0), "cell_2": make_cell(0.6)},
    }


def main() -> None:
    ray.init(address="local", include_dashboard=False, num_cpus=1, logging_level="ERROR")
    slas = np.array([[2.0, 1.0], [2.0, 1.0]])
    telemetry = Telemetry("live", ("cell_1", "cell_2"), SLICES, slas, 5 * slas, refresh_s=1.0)
    for kind in EVENTS:
        telemetry.count_event(
            kind, "cell_2", {"distance": 0.25} if kind == "source_chosen" else None
        )
    print(ray.nodes()[0]["MetricsExportPort"], flush=True)
    iteration = 0
    while not select.select([sys.stdin], [], [], 1.0)[0]:
        iteration += 1
        telemetry.publish(make_row(iteration))
    telemetry.close()


if __name__ == "__main__":
    main()
