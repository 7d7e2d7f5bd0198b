"""A real Ray with a run that reports to it; says its metrics port, ends with its stdin."""

import select
import sys

import numpy as np
import ray

from slicing_rllib.service.telemetry.metrics import Telemetry

SLICES = ("embb", "urllc")
HAPPENED = ("cell_joined", "source_chosen", "warm_started", "worker_lost", "checkpoint_written")


def cell(satisfaction: float) -> dict:
    return {
        "reward": 0.5,
        "satisfaction": satisfaction,
        "phase": "controlled",
        "throughput_mbps": [2.0 * satisfaction, 1.5],
        "delay_ms": [4.0, 2.0],
        "prb_ratio": [0.7, 0.3],
        "load": [0.4, 0.2],
        "critic_loss": 0.01,
        "actor_loss": -0.4,
        "replay_size": 100,
    }


def row(iteration: int) -> dict:
    return {
        "iteration": iteration,
        "env_steps": 100 * iteration,
        "updates": 100 * iteration,
        "time_s": float(iteration),
        "reward_mean": 0.5,
        "evaluation_reward_mean": 0.6,
        "references": {"equal": 0.4, "oracle": 0.8},
        "cells": {"cell_1": cell(1.0), "cell_2": cell(0.6)},
    }


def main() -> None:
    ray.init(address="local", include_dashboard=False, num_cpus=1, logging_level="ERROR")
    slas = np.array([[2.0, 1.0], [2.0, 1.0]])
    told = Telemetry("live", ("cell_1", "cell_2"), SLICES, slas, 5 * slas, refresh_s=1.0)
    for kind in HAPPENED:
        told.event(kind, "cell_2", {"distance": 0.25} if kind == "source_chosen" else None)
    print(ray.nodes()[0]["MetricsExportPort"], flush=True)
    iteration = 0
    while not select.select([sys.stdin], [], [], 1.0)[0]:
        iteration += 1
        told.publish(row(iteration))
    told.close()


if __name__ == "__main__":
    main()
