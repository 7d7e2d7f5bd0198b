"""A training run from config to summary. It can be interrupted, killed and resumed at any time.

The iterations of a run: train, evaluate, record, checkpoint.

The callbacks through which a run reports its progress.

What a run says when its directory cannot be written any more: one line, and how it goes on.
"""

import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from slicing_rllib.learning import TD3, EnvironmentFailed, NonFiniteUpdate
from slicing_rllib.learning.events import EventKind
from slicing_rllib.runs import policy_evaluation as evaluation
from slicing_rllib.runs.algorithm import build, read_network_state, restore
from slicing_rllib.runs.checkpoints import (
    find_branch_step,
    find_newest_valid,
    get_branch,
    make_branch_config,
    save_branch_point,
    save_checkpoint,
)
from slicing_rllib.runs.config_checks import has_branch
from slicing_rllib.runs.experience import load_pretrained_policies, write_experience
from slicing_rllib.runs.metrics_row import make_metrics_row, summarise_learning_service
from slicing_rllib.runs.policy_evaluation import (
    CurvePoint,
    evaluate_curve_point,
    make_trained_policy,
)
from slicing_rllib.runs.ray_session import ray_session
from slicing_rllib.runs.run_config import PolicyName, RunConfig
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.runs.run_report import draw_run
from slicing_rllib.runs.telemetry import Telemetry, open_sinks
from slicing_rllib.runs.watches import (
    WORKER_RESTART_TIMEOUT_S,
    Interruption,
    StallWatch,
    catch_signals,
    report_silence,
)
from slicing_rllib.storage.errors import CheckpointError, Interrupted, RunError


class ProgressListener:
    """Called while a run trains and evaluates. The methods of this class do nothing."""

    def on_message(self, text: str) -> None:
        """A line for the user, such as that the run was resumed."""

    def on_iteration(self, row: dict[str, Any], total_steps: int) -> None:
        """After every training iteration: its row of `metrics.jsonl`, and the run's last step."""

    def on_event(self, kind: str, cell: str | None, message: str, env_step: int) -> None:
        """An event of `events.jsonl`."""

    def on_wait(self, waited_s: float, limit_s: float) -> None:
        """No env runner answers: how long the run has waited, and how long it will at most."""

    def on_rollout(self, policy: str, done: int, total: int) -> None:
        """After every rollout of the final evaluation: its policy, and how many are done."""


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
                self.write_event(EventKind.INTERRUPTED, "asked to stop; checkpoint written")
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
            self.telemetry.count_event(EventKind.CHECKPOINT_WRITTEN)

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
        kind: EventKind,
        message: str,
        cell: str | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> None:
        """Adds an event to the run directory and counts it in the metrics."""
        step = self.algorithm.env_steps
        self.run.append_event(kind, message, env_step=step, cell=cell, evidence=evidence)
        self.telemetry.count_event(kind, cell, evidence)
        self.listener.on_event(kind, cell, message, step)

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
            self.write_event(EventKind.NOT_FINITE, str(error))
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
            self.run.append_event(EventKind.STALLED, message, env_step=step)

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


@contextmanager
def report_storage_errors(run: RunDirectory) -> Iterator[None]:
    """Turns an error of the operating system in the block into one line.

    Raises: RunError with the reason and the step of the last good checkpoint.
    """
    try:
        yield
    except (ConnectionError, TimeoutError):
        # These are errors of the network.
        raise
    except OSError as error:
        # Libraries put sentences of their own into `strerror`.
        why = os.strerror(error.errno) if error.errno else str(error).splitlines()[0]
        message = (
            f"{run.path}: cannot be written ({why}); {_describe_last_checkpoint(run)}; "
            "train --resume goes on once it can be written"
        )
        # On a full disk, this may not be possible either.
        with suppress(OSError):
            run.append_event(EventKind.STORAGE_FAILED, message, env_step=0)
        raise RunError(message) from error


def _describe_last_checkpoint(run: RunDirectory) -> str:
    try:
        checkpoint, _ = find_newest_valid(run.checkpoints)
    except (CheckpointError, OSError) as error:
        return str(error)
    if checkpoint is None:
        return "there is no checkpoint yet"
    return f"the last good checkpoint is {checkpoint.name}"


LOCK_TIMEOUT_S = 30.0
"""How long a run waits for the process that had it before, such as a trial that is being ended."""
REFERENCES = ("equal", "traffic_aware", "oracle")
"""Policies whose rewards on the evaluation traffic accompany the learning curve."""


def train(
    config: RunConfig,
    run: RunDirectory,
    listener: ProgressListener,
    *,
    resume: bool = False,
    draw_figures: bool = True,
) -> dict[str, Any]:
    """Trains, evaluates, draws figures, and returns the summary.

    With `resume` it continues from the newest checkpoint that verifies.
    Raises: Interrupted after a signal; RunError for a run that cannot go on, that another process
    works on, or that cannot be written.
    """
    with (
        run.lock("slicing-rllib train", LOCK_TIMEOUT_S),
        report_storage_errors(run),
        ray_session(config.cpus),
        catch_signals() as interruption,
    ):
        start = _resume if resume else _start
        trained = _train_to_end(start(config, run, listener), interruption)
        if has_branch(config):
            _train_branch(config, run, listener, interruption)
        summary = _evaluate(config, run, listener, interruption) | trained
        run.write_summary(summary)
        if draw_figures:
            draw_run(run)
        run.append_event(EventKind.FINISHED, "evaluated and drawn", env_step=trained["env_steps"])
        return summary


def _train_to_end(loop: TrainingLoop, interruption: Interruption) -> dict[str, Any]:
    """Trains, and writes policies and experience; the training's part of the summary."""
    try:
        loop.run_until_done(interruption)
        loop.run.write_policies(loop.collect_weights())
        write_experience(loop.run, loop.config, loop.algorithm)
        return loop.summarise()
    finally:
        loop.stop()


def _train_branch(
    config: RunConfig, run: RunDirectory, listener: ProgressListener, interruption: Interruption
) -> None:
    """Trains the branch without transfer, in which cells that join learn from scratch."""
    branch = get_branch(run)
    if not (branch.path / "policies.safetensors").exists():
        listener.on_message("training again from the branch point on without transfer, to compare")
        loop = _resume(make_branch_config(config), branch, listener)
        _train_to_end(loop, interruption)
    if _have_same_policies(run, branch):
        why = "no transfer has changed a policy before the last step: drl and tl are the same"
        listener.on_message(why)
        run.append_event(EventKind.NO_COMPARISON, why, env_step=config.total_steps)


def _have_same_policies(run: RunDirectory, branch: RunDirectory) -> bool:
    theirs = branch.policies()
    return all(
        np.array_equal(array, theirs[cell][name])
        for cell, own in run.policies().items()
        for name, array in own.items()
    )


def _evaluate(
    config: RunConfig, run: RunDirectory, listener: ProgressListener, interruption: Interruption
) -> dict[str, Any]:
    """Evaluates trained policies and baselines on unseen traffic."""

    def on_rollout(policy: str, done: int, total: int) -> None:
        listener.on_rollout(policy, done, total)
        if interruption.is_requested:
            raise Interrupted(f"{run.path}: trained, but stopped while evaluating")

    trained = evaluation.read_trained_policies(config, run)
    names = config.evaluated_policies
    rollouts = evaluation.evaluate_policies(config, trained, names, on_rollout)
    evaluation.save_rollouts(run.path / "evaluation.npz", rollouts)
    transfers = {
        event["cell"]: {"message": event["message"], **event["evidence"]}
        for event in run.events()
        if event["kind"] == EventKind.WARM_STARTED
    }
    return {
        **evaluation.summarise_rollouts(rollouts),
        "while_learning": _summarise_learning(config, run),
        "transfers": transfers,
    }


def _summarise_learning(config: RunConfig, run: RunDirectory) -> dict[str, Any]:
    """By trained policy, the service of the cells while it was learned."""
    found = {str(config.own_policy): summarise_learning_service(run.metrics())}
    if has_branch(config):
        branch = get_branch(run).metrics()
        first = branch[0]["env_steps"] if branch else config.total_steps + 1
        before = [row for row in run.metrics() if row["env_steps"] < first]
        found[str(PolicyName.DRL)] = summarise_learning_service([*before, *branch])
    return found


def _start(config: RunConfig, run: RunDirectory, listener: ProgressListener) -> TrainingLoop:
    run.checkpoints.mkdir(exist_ok=True)
    algorithm = build(config)
    load_pretrained_policies(config, algorithm)
    references, telemetry = _compute_references(config), _open_telemetry(config, run)
    loop = TrainingLoop(config, run, algorithm, listener, references, telemetry)
    cells = len(config.scenario.cells)
    loop.write_event(EventKind.STARTED, f"{cells} cells, {config.total_steps} steps")
    return loop


def _resume(config: RunConfig, run: RunDirectory, listener: ProgressListener) -> TrainingLoop:
    checkpoint, passed_over = find_newest_valid(run.checkpoints)
    for why in passed_over:
        run.append_event(EventKind.CHECKPOINT_PASSED_OVER, why, env_step=0)
        listener.on_message(why)
    if checkpoint is None:
        listener.on_message("no checkpoint that verifies: starting from step 0")
        run.drop_metrics_after(0)
        return _start(config, run, listener)
    algorithm = restore(config, checkpoint)
    run.drop_metrics_after(algorithm.env_steps)
    rows = run.metrics()
    seconds = rows[-1]["time_s"] if rows else 0.0
    references, telemetry = _compute_references(config), _open_telemetry(config, run)
    loop = TrainingLoop(config, run, algorithm, listener, references, telemetry, seconds)
    loop.write_event(EventKind.RESUMED, f"from {checkpoint.name}")
    listener.on_message(f"resumed at step {algorithm.env_steps}")
    return loop


def _compute_references(config: RunConfig) -> dict[str, evaluation.CurvePoint]:
    """What known policies get on the traffic of the learning curve."""
    points = {}
    has_base = config.learning.base_policy != "none"
    for name in (*REFERENCES, *(("base_policy",) if has_base else ())):
        policy = evaluation.make_named_policy(name, config, {})
        seeds = config.evaluation.curve_seeds
        points[name] = evaluation.evaluate_curve_point(config, policy, seeds)
    return points


def _open_telemetry(config: RunConfig, run: RunDirectory) -> Telemetry:
    scenario = config.scenario
    return Telemetry(
        config.name,
        scenario.cells,
        [spec.name for spec in scenario.slices],
        scenario.sla_throughput_mbps,
        scenario.sla_delay_ms,
        sinks=open_sinks(config.tracking, config.name, run.path / "tracking"),
    )
