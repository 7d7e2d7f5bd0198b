"""Trains a learner of another project as an arm, and writes the files of a run."""

import time
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from slicing_rllib.runs import policy_evaluation as evaluation
from slicing_rllib.runs.metrics_row import summarise_learning_service
from slicing_rllib.runs.run_config import RunConfig
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.runs.training import REFERENCES
from slicing_rllib.storage.errors import RunError
from slicing_rllib.studies.foreign.recorded_network import ForeignLearner

LIBRARIES = {"sb3": "stable_baselines3", "rllib": "ray.rllib", "torchrl": "torchrl"}
"""Packages by the name before the colon."""
ROW_STEPS = 50
"""Network steps of a row of `metrics.jsonl`."""


def require_learner(learner: str) -> None:
    """Raises: RunError where the package of a learner is missing."""
    package = LIBRARIES[learner.partition(":")[0]]
    if find_spec(package) is None:
        raise RunError(
            f"learner {learner}: expected the package {package}, which "
            "pip install 'slicing-rllib[peers]' brings"
        )


def make_learner(learner: str, config: RunConfig, *, shared: bool) -> ForeignLearner:
    """The learner at step 0."""
    require_learner(learner)
    library, _, kind = learner.partition(":")
    module = import_module(f"slicing_rllib.studies.foreign.{library}_learner")
    return getattr(module, f"{library.capitalize()}Learner")(config, kind, shared=shared)


def train_foreign(
    config: RunConfig, run: RunDirectory, learner: str, *, shared: bool
) -> dict[str, Any]:
    """Trains, evaluates, and returns the summary. A run that was interrupted begins anew."""
    (run.path / "metrics.jsonl").unlink(missing_ok=True)
    trained = make_learner(learner, config, shared=shared)
    try:
        return _train(config, run, trained)
    finally:
        trained.stop()


def _ignore_progress(policy: str, done: int, total: int) -> None:
    """Trials have no progress bar."""


def _train(config: RunConfig, run: RunDirectory, trained: ForeignLearner) -> dict[str, Any]:
    curve_seeds = config.evaluation.curve_seeds
    references = {
        name: evaluation.evaluate_curve_point(
            config, evaluation.make_named_policy(name, config, run), curve_seeds
        )
        for name in REFERENCES
    }
    known = {
        "references": {name: float(p.rewards.mean()) for name, p in references.items()},
        "references_fail_rate_95": {name: p.fail_rate_95 for name, p in references.items()},
    }
    due = {step for step in config.evaluation.evaluation_steps if step <= config.total_steps}
    rows = {*range(ROW_STEPS, config.total_steps, ROW_STEPS), config.total_steps} | due
    started, cpu_s, written = time.monotonic(), 0.0, 0
    for step in sorted(rows):
        before = time.process_time()
        trained.train_until(step)
        cpu_s += time.process_time() - before
        service = np.array(trained.network.log[written:step])
        written = step
        row: dict[str, Any] = {
            "env_steps": step,
            "steps": len(service),
            "time_s": round(time.monotonic() - started, 3),
            "cpu_s": round(cpu_s, 3),
            "reward_mean": float(service[:, 0].mean()),
            "fail_rate_95": float(service[:, 1].mean()),
            **known,
            "cells": {cell: {} for cell in config.scenario.cells},
        }
        if step in due:
            point = evaluation.evaluate_curve_point(config, trained, curve_seeds, step)
            row["evaluation_reward_mean"] = float(point.rewards.mean())
            row["evaluation_fail_rate_95"] = point.fail_rate_95
            for cell, reward in zip(config.scenario.cells, point.rewards.tolist(), strict=True):
                row["cells"][cell]["evaluation_reward"] = reward
        run.append_metrics(row)
    rollouts = evaluation.evaluate_policies(config, run, _ignore_progress, trained)
    evaluation.save_rollouts(run.path / "evaluation.npz", rollouts)
    service = {str(config.own_policy): summarise_learning_service(run.metrics())}
    summary = {
        **evaluation.summarise_rollouts(rollouts),
        "while_learning": service,
        "transfers": {},
        "env_steps": config.total_steps,
        "seconds": round(time.monotonic() - started, 3),
        "seed": config.seed,
    }
    run.write_summary(summary)
    return summary
