"""The iterations of a run: train, evaluate, record, checkpoint."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from slicing_rllib.learning import TD3, EnvironmentFailed, NonFiniteUpdate
from slicing_rllib.service.config import RunConfig, has_branch
from slicing_rllib.service.errors import Interrupted, RunError
from slicing_rllib.service.runs.algorithm import read_network_state
from slicing_rllib.service.runs.checkpoints import save_checkpoint
from slicing_rllib.service.runs.evaluation import (
    CurvePoint,
    evaluate_curve_point,
    make_trained_policy,
)
from slicing_rllib.service.runs.interruption import Interruption
from slicing_rllib.service.runs.metrics_row import make_metrics_row
from slicing_rllib.service.runs.no_transfer_branch import (
    find_branch_step,
    save_branch_point,
)
from slicing_rllib.service.runs.progress import ProgressListener
from slicing_rllib.service.runs.run_directory import RunDirectory
from slicing_rllib.service.runs.silence_watch import report_silence
from slicing_rllib.service.runs.stall_watch import WORKER_RESTART_TIMEOUT_S, StallWatch
from slicing_rllib.service.telemetry.event_kinds import RunEventKind
from slicing_rllib.service.telemetry.metrics import Telemetry


@dataclass
class TrainingLoop:
    """One run in progress."""

    config: RunConfig
    run: RunDirectory
    algorithm: TD3
    listener: ProgressListener
    references: dict[str, CurvePoint]
    """Mean rewards of known policies on the traffic of the learning curve."""
    telemetry: Telemetry
    seconds_before: float = 0.0
    """Training time of earlier sessions of a resumed run."""

    def __post_init__(self) -> None:
        self._started = time.monotonic()
        self._seconds_by_part: defaultdict[str, float] = defaultdict(float)
        self._saved_at = self.algorithm.env_steps
        self._stalls = StallWatch(self.algorithm, self.write_event)

    @property
    def seconds(self) -> float:
        """Training time of all sessions of the run together."""
        return self.seconds_before + time.monotonic() - self._started

    def run_until_done(self, interruption: Interruption) -> None:
        """Trains to the last step. Raises: Interrupted or RunError, both after a checkpoint."""
        while self.algorithm.env_steps < self.config.total_steps:
            if interruption.is_requested:
                self.write_checkpoint()
                self.write_event(RunEventKind.INTERRUPTED, "asked to stop; checkpoint written")
                raise Interrupted(f"{self.run.path}: stopped at step {self.algorithm.env_steps}")
            self._run_iteration()
        if has_branch(self.config):
            # A run that ends before its branch is due branches at its end.
            save_branch_point(self.run, self.config, self.algorithm)
        self.write_checkpoint()

    def write_checkpoint(self) -> None:
        """Saves the algorithm, unless that has been done at this step."""
        steps = self.algorithm.env_steps
        if steps != self._saved_at:
            keep = self.config.checkpoint.keep
            # RLlib takes a relative path for a URI.
            folder = self.run.checkpoints.resolve()
            with self._measure_time("checkpoint"):
                self.run.sync_logs()
                save_checkpoint(folder, steps, self.algorithm.save_to_path, keep=keep)
            self._saved_at = steps
            self.telemetry.count_event(RunEventKind.CHECKPOINT_WRITTEN.value)

    def summarise(self) -> dict[str, Any]:
        """The part of the run's summary that is about training itself."""
        algorithm = self.algorithm
        seconds_by_part = algorithm.seconds_spent | self._seconds_by_part
        return {
            "env_steps": algorithm.env_steps,
            "updates": algorithm.updates,
            "seconds": round(self.seconds, 3),
            "seconds_by_part": {part: round(spent, 3) for part, spent in seconds_by_part.items()},
            "seed": self.config.seed,
            "env_runner_nodes": algorithm.worker_health.nodes,
        }

    def collect_weights(self) -> dict[str, dict[str, np.ndarray]]:
        """Weights of every policy, by cell and parameter name."""
        return {cell: self.algorithm.policy_weights(cell) for cell in self.algorithm.cells}

    def write_event(
        self,
        kind: str,
        message: str,
        cell: str | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> None:
        """Adds an event to the run directory and counts it in the metrics."""
        step = self.algorithm.env_steps
        self.run.append_event(kind, message, env_step=step, cell=cell, evidence=evidence)
        self.telemetry.count_event(str(kind), cell, evidence)
        self.listener.on_event(str(kind), cell, message, step)

    def stop(self) -> None:
        """Ends the algorithm's processes and the metrics."""
        self.algorithm.stop()
        self.telemetry.close()

    def _run_iteration(self) -> None:
        before = self.algorithm.env_steps
        if has_branch(self.config) and before >= find_branch_step(self.config):
            save_branch_point(self.run, self.config, self.algorithm)
        self._train()
        self._check_progress(before)
        self._write_reported_events()
        self._record_iteration(self._evaluate_if_due(before))
        if _crosses_multiple(before, self.algorithm.env_steps, self.config.checkpoint.every_steps):
            self.write_checkpoint()

    def _train(self) -> None:
        try:
            with report_silence(self._report_silence):
                self.algorithm.train()
        except NonFiniteUpdate as error:
            self.write_event(RunEventKind.NOT_FINITE, str(error))
            raise RunError(
                f"{error}; the last good checkpoint is at step {self._saved_at}"
            ) from error
        except EnvironmentFailed as error:
            self._write_reported_events()
            raise RunError(f"{self.run.path}: {error}") from error

    def _write_reported_events(self) -> None:
        """Writes what the algorithm and its callbacks have reported since the last call."""
        for event in self.algorithm.take_events():
            self.write_event(*event)

    def _report_silence(self, seconds: float) -> None:
        """Called from another thread, while the algorithm trains."""
        message = f"an iteration has taken {seconds:.0f} s so far"
        self.listener.on_message(message)
        # Where the event cannot be written, the next write of the iteration says so.
        with suppress(OSError):
            step = self.algorithm.env_steps
            self.run.append_event(RunEventKind.STALLED, message, env_step=step)

    def _check_progress(self, before: int) -> None:
        if self._stalls.check(before):
            self.write_checkpoint()
            raise RunError(
                f"{self.run.path}: {self._stalls.stalled_iterations} iterations without a step, "
                "expected env runners to answer; checkpoint written"
            )
        if self._stalls.waited_s:
            self.listener.on_wait(self._stalls.waited_s, WORKER_RESTART_TIMEOUT_S)

    def _evaluate_if_due(self, before: int) -> CurvePoint | None:
        """A point of the learning curve, without exploration noise."""
        steps, settings = self.algorithm.env_steps, self.config.evaluation
        is_listed = any(before < step <= steps for step in settings.evaluation_steps)
        if not is_listed and not _crosses_multiple(before, steps, settings.every_steps):
            return None
        policy = make_trained_policy(self.config, self.collect_weights())
        with self._measure_time("curve"):
            return evaluate_curve_point(self.config, policy, seeds=settings.curve_seeds)

    def _record_iteration(self, evaluated: CurvePoint | None) -> None:
        row = make_metrics_row(
            self.algorithm,
            self.config.scenario,
            read_network_state(self.algorithm),
            time_s=self.seconds,
            evaluated=evaluated,
            references=self.references,
        )
        self.run.append_metrics(row)
        self.telemetry.publish(row)
        self.listener.on_iteration(row, self.config.total_steps)

    @contextmanager
    def _measure_time(self, part: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self._seconds_by_part[part] += time.monotonic() - started


def _crosses_multiple(before: int, after: int, every: int) -> bool:
    """Whether a multiple of `every` lies in (before, after]."""
    return before // every < after // every
