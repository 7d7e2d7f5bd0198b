"""A training run from config to summary: it can be interrupted, killed and resumed anywhere."""

import itertools
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from slicing_rllib.learning import TD3, NonFiniteUpdate
from slicing_rllib.policies.trained_policy import TrainedPolicy
from slicing_rllib.service.config import RunConfig
from slicing_rllib.service.errors import Interrupted, RunError
from slicing_rllib.service.ray_session import ray_session
from slicing_rllib.service.runs import evaluation as evaluating
from slicing_rllib.service.runs.algorithm import build, network_now, restored
from slicing_rllib.service.runs.checkpoints import newest_valid, save_checkpoint
from slicing_rllib.service.runs.experience import write_experience
from slicing_rllib.service.runs.figures import draw_run
from slicing_rllib.service.runs.interruption import Interruption, interruptible
from slicing_rllib.service.runs.metrics_row import metrics_row
from slicing_rllib.service.runs.no_transfer_branch import (
    fork,
    fork_step,
    forks,
    scratch_config,
    scratch_run,
)
from slicing_rllib.service.runs.progress import ProgressListener
from slicing_rllib.service.runs.run_directory import RunDirectory
from slicing_rllib.service.runs.transfer_run import take_over
from slicing_rllib.service.telemetry.metrics import Telemetry
from slicing_rllib.service.telemetry.trackers import open_sinks

REFERENCES = ("equal", "traffic_aware", "oracle")
"""Policies whose level on the evaluation traffic accompanies the learning curve."""
STALLED_ITERATIONS = 3
WORKERS_BACK_WITHIN_S = 180.0
"""How long a run waits for Ray to restart the last of its env runners."""
BETWEEN_LOOKS_S = 1.0


@dataclass
class Training:
    """One run in progress."""

    config: RunConfig
    run: RunDirectory
    algorithm: TD3
    watcher: ProgressListener
    references: dict[str, float]
    telemetry: Telemetry
    seconds_before: float = 0.0

    def __post_init__(self) -> None:
        self._started = time.monotonic()
        self._stalled, self._moved_at = 0, time.monotonic()
        self._spent: defaultdict[str, float] = defaultdict(float)
        self._saved_at = self.algorithm.env_steps

    @property
    def seconds(self) -> float:
        """Of training, all sessions of the run together."""
        return self.seconds_before + time.monotonic() - self._started

    def until_done(self, interruption: Interruption) -> None:
        """Iterations up to the last. Raises: Interrupted, RunError; both leave a checkpoint."""
        while self.algorithm.env_steps < self.config.total_steps:
            if interruption.wanted:
                self.checkpoint()
                self.event("interrupted", "asked to stop; checkpoint written")
                raise Interrupted(f"{self.run.path}: stopped at step {self.algorithm.env_steps}")
            self._iterate()
        if forks(self.config):
            # A run that ends before its fork is due has nothing else to compare with.
            fork(self.run, self.config, self.algorithm)
        self.checkpoint()

    def checkpoint(self) -> None:
        """Nothing to do where this step has one."""
        steps = self.algorithm.env_steps
        if steps != self._saved_at:
            keep = self.config.checkpoint.keep
            # RLlib takes a path without a root for a URI.
            folder = self.run.checkpoints.resolve()
            with self._timed("checkpoint"):
                save_checkpoint(folder, steps, self.algorithm.save_to_path, keep=keep)
            self._saved_at = steps
            self.telemetry.event("checkpoint_written")

    def done(self) -> dict[str, Any]:
        """What the summary says about the training itself."""
        algorithm = self.algorithm
        return {
            "env_steps": algorithm.env_steps,
            "updates": algorithm.updates,
            "seconds": round(self.seconds, 3),
            "seconds_by_part": {
                part: round(spent, 3)
                for part, spent in (algorithm.seconds_spent | self._spent).items()
            },
            "seed": self.config.seed,
            "env_runner_nodes": algorithm.worker_health.nodes,
        }

    def weights(self) -> dict[str, dict[str, np.ndarray]]:
        return {cell: self.algorithm.policy_weights(cell) for cell in self.algorithm.cells}

    def _iterate(self) -> None:
        before = self.algorithm.env_steps
        if forks(self.config) and before >= fork_step(self.config):
            fork(self.run, self.config, self.algorithm)
        try:
            self.algorithm.train()
        except NonFiniteUpdate as error:
            self.event("not_finite", str(error))
            raise RunError(
                f"{error}; the last good checkpoint is at step {self._saved_at}"
            ) from error
        self._watch_for_stalls(before)
        for event in self.algorithm.take_events():
            self.event(*event)
        row = metrics_row(
            self.algorithm,
            self.config.scenario,
            network_now(self.algorithm),
            time_s=self.seconds,
            evaluated=self._evaluated(before),
            references=self.references,
        )
        self.run.append_metrics(row)
        self.telemetry.publish(row)
        self.watcher.trained(row, self.config.total_steps)
        if _crossed(before, self.algorithm.env_steps, self.config.checkpoint.every_steps):
            self.checkpoint()

    def _evaluated(self, before: int) -> dict[str, float] | None:
        """By cell, a point of the learning curve without exploration noise, where one is due."""
        steps, wanted = self.algorithm.env_steps, self.config.evaluation
        also = any(before < at <= steps for at in wanted.evaluation_steps)
        if not also and not _crossed(before, steps, wanted.every_steps):
            return None
        policy = TrainedPolicy(self.config.scenario.cells, self.weights())
        with self._timed("curve"):
            rewards = evaluating.cell_rewards(self.config, policy, seeds=wanted.curve_seeds)
        return dict(zip(self.config.scenario.cells, rewards.tolist(), strict=True))

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self._spent[part] += time.monotonic() - started

    def _watch_for_stalls(self, before: int) -> None:
        """Workers that are gone make iterations without steps: RLlib goes on in silence.

        While Ray restarts the last of them, time counts, not iterations.
        """
        now = time.monotonic()
        if self.algorithm.env_steps > before:
            self._stalled, self._moved_at = 0, now
            return
        self._stalled += 1
        if self.algorithm.worker_health.lost and now - self._moved_at < WORKERS_BACK_WITHIN_S:
            if self._stalled == 1:
                self.event("stalled", "no env runner answers; waiting for Ray to restart one")
            time.sleep(BETWEEN_LOOKS_S)
            return
        self.event("stalled", f"iteration {self.algorithm.iteration} made no step")
        if self._stalled >= STALLED_ITERATIONS:
            self.checkpoint()
            raise RunError(
                f"{self.run.path}: {self._stalled} iterations without a step, expected env "
                "runners to answer; checkpoint written"
            )

    def event(
        self,
        kind: str,
        message: str,
        cell: str | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> None:
        """Into the run's record and its metrics."""
        step = self.algorithm.env_steps
        self.run.append_event(kind, message, env_step=step, cell=cell, evidence=evidence)
        self.telemetry.event(kind, cell, evidence)

    def stop(self) -> None:
        self.algorithm.stop()
        self.telemetry.close()


def train(
    config: RunConfig,
    run: RunDirectory,
    watcher: ProgressListener,
    *,
    resume: bool = False,
    draws: bool = True,
) -> dict:
    """Trains, evaluates, draws, and returns the summary.

    Raises: Interrupted after a signal; RunError for a run that cannot go on.
    """
    with ray_session(config.cpus), interruptible() as interruption:
        training = _resumed(config, run, watcher) if resume else _begun(config, run, watcher)
        done = _completed(training, interruption)
        if forks(config):
            _learn_from_scratch(config, run, watcher, interruption)
        summary = _evaluated(config, run, watcher, interruption) | done
        run.write_summary(summary)
        if draws:
            draw_run(run)
        run.append_event("finished", "evaluated and drawn", env_step=done["env_steps"])
        return summary


def _completed(training: Training, interruption: Interruption) -> dict[str, Any]:
    """Trains to the end and leaves policies and experience behind."""
    try:
        training.until_done(interruption)
        training.run.write_policies(training.weights())
        write_experience(training.run, training.config, training.algorithm)
        return training.done()
    finally:
        training.stop()


def _learn_from_scratch(
    config: RunConfig, run: RunDirectory, watcher: ProgressListener, interruption: Interruption
) -> None:
    """The other way from the fork on: the cells that came up learn by themselves."""
    branch = scratch_run(run)
    if not (branch.path / "policies.safetensors").exists():
        watcher.says("the same from the fork on, without transfer, to compare with")
        _completed(_resumed(scratch_config(config), branch, watcher), interruption)


def _evaluated(
    config: RunConfig, run: RunDirectory, watcher: ProgressListener, interruption: Interruption
) -> dict[str, Any]:
    """The trained policies beside the baselines on traffic that no training saw."""
    names = config.evaluated_policies
    total = len(names) * config.evaluation.seeds
    counted = itertools.count(1)

    def advance(policy: str) -> None:
        watcher.evaluates(policy, next(counted), total)
        if interruption.wanted:
            raise Interrupted(f"{run.path}: trained, but stopped while evaluating")

    trained = evaluating.trained_policies(config, run)
    rollouts = evaluating.evaluate_policies(config, trained, names, advance)
    evaluating.save_rollouts(run.path / "evaluation.npz", rollouts)
    transfers = {
        event["cell"]: {"message": event["message"], **event["evidence"]}
        for event in run.events()
        if event["kind"] == "warm_started"
    }
    return {"policies": evaluating.summary_of(config, rollouts), "transfers": transfers}


def _begun(config: RunConfig, run: RunDirectory, watcher: ProgressListener) -> Training:
    algorithm = build(config)
    take_over(config, algorithm)
    training = Training(
        config, run, algorithm, watcher, _references(config), _telemetry(config, run)
    )
    training.event("started", f"{len(config.scenario.cells)} cells, {config.total_steps} steps")
    return training


def _resumed(config: RunConfig, run: RunDirectory, watcher: ProgressListener) -> Training:
    checkpoint, passed_over = newest_valid(run.checkpoints)
    for why in passed_over:
        run.append_event("checkpoint_passed_over", why, env_step=0)
        watcher.says(why)
    if checkpoint is None:
        watcher.says("no checkpoint that verifies: starting from step 0")
        run.forget_metrics_after(0)
        return _begun(config, run, watcher)
    algorithm = restored(config, checkpoint)
    run.forget_metrics_after(algorithm.env_steps)
    rows = run.metrics()
    seconds = rows[-1]["time_s"] if rows else 0.0
    training = Training(
        config, run, algorithm, watcher, _references(config), _telemetry(config, run), seconds
    )
    training.event("resumed", f"from {checkpoint.name}")
    watcher.says(f"resumed at step {algorithm.env_steps}")
    return training


def _references(config: RunConfig) -> dict[str, float]:
    """What known policies get on the traffic of the learning curve."""
    return {
        name: evaluating.mean_reward(config, evaluating.named_policy(name, config, {}), seeds=1)
        for name in REFERENCES
    }


def _telemetry(config: RunConfig, run: RunDirectory) -> Telemetry:
    scenario = config.scenario
    return Telemetry(
        config.name,
        scenario.cells,
        [spec.name for spec in scenario.slices],
        scenario.sla_throughput_mbps,
        scenario.sla_delay_ms,
        sinks=open_sinks(config.tracking, config.name, run.path / "tracking"),
    )


def _crossed(before: int, after: int, every: int) -> bool:
    return before // every < after // every
