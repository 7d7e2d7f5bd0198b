"""A training run from config to summary. It can be interrupted, killed and resumed at any time.

`train` is the run, `TrainingLoop` its iterations. Where a cell learns from another one, the run is
trained a second time from scratch: it continues, without transfer, from a checkpoint before the
first decision, so that both share their beginning and can be compared. `compared_learners` train
all cells of the same network once more.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from slicing_rllib.evaluation.findings import Compared, compare_policies, describe_differences
from slicing_rllib.learning import TD3, EnvironmentFailed, NonFiniteUpdate
from slicing_rllib.policies.baselines import find_missing_law
from slicing_rllib.policies.events import EventKind
from slicing_rllib.runs import policy_evaluation as evaluation
from slicing_rllib.runs.algorithm import (
    build,
    load_pretrained_policies,
    restore,
)
from slicing_rllib.runs.checkpoints import find_newest_valid, save_checkpoint
from slicing_rllib.runs.experience import write_experience
from slicing_rllib.runs.interruption import Interruption, catch_signals
from slicing_rllib.runs.metrics_row import (
    make_metrics_row,
    read_network_state,
    summarise_learning_service,
)
from slicing_rllib.runs.progress import ProgressListener, report_silence
from slicing_rllib.runs.ray_session import ray_session
from slicing_rllib.runs.run_config import RunConfig
from slicing_rllib.runs.run_directory import RunDirectory, report_storage_errors
from slicing_rllib.runs.run_report import draw_run
from slicing_rllib.runs.telemetry import Telemetry, open_tracker
from slicing_rllib.storage.errors import Interrupted, RunError

LOCK_TIMEOUT_S = 30.0
"""How long a run waits for the process that had it before, such as a trial that is being ended."""
REFERENCES = ("equal", "traffic_aware", "smoothed_persistence", "oracle")
"""Policies whose rewards on the evaluation traffic accompany the learning curve."""
MAX_STALLED_ITERATIONS = 3
WORKER_RESTART_TIMEOUT_S = 180.0
"""How long a run waits for Ray to restart the last of its env runners."""
WORKER_POLL_S = 1.0
"""Pause between two iterations while no env runner answers."""


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
        begin = _resume if resume else _start
        trained = _train_to_end(begin(config, run, listener), interruption)
        if config.trains_from_scratch_too:
            _train_from_scratch(config, run, listener, interruption)
        for learner in config.compared_learners:
            _train_compared(config, learner, run, listener, interruption)
        summary = _evaluate(config, run, listener, interruption) | trained
        run.write_summary(summary)
        if draw_figures:
            draw_run(run)
        steps = trained["env_steps"]
        run.append_event(EventKind.FINISHED, "evaluated and drawn", env_step=steps)
        return summary


def _start(config: RunConfig, run: RunDirectory, listener: ProgressListener) -> "TrainingLoop":
    run.checkpoints.mkdir(exist_ok=True)
    algorithm = build(config)
    load_pretrained_policies(config, algorithm)
    loop = TrainingLoop(config, run, algorithm, listener)
    text = f"{len(config.scenario.cells)} cells, {config.total_steps} steps"
    loop.write_event(EventKind.STARTED, text, evidence=loop.evaluate_start())
    return loop


def _resume(config: RunConfig, run: RunDirectory, listener: ProgressListener) -> "TrainingLoop":
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
    seconds, cpu_s = (rows[-1]["time_s"], rows[-1].get("cpu_s", 0.0)) if rows else (0.0, 0.0)
    loop = TrainingLoop(config, run, algorithm, listener, seconds, cpu_s)
    loop.write_event(EventKind.RESUMED, f"from {checkpoint.name}")
    listener.on_message(f"resumed at step {algorithm.env_steps}")
    return loop


def _train_to_end(loop: "TrainingLoop", interruption: Interruption) -> dict[str, Any]:
    """Trains, and writes policies and experience; the training's part of the summary."""
    algorithm = loop.algorithm
    try:
        loop.run_until_done(interruption)
        loop.run.write_policies(loop.collect_weights())
        write_experience(loop.run, loop.config, algorithm)
        # Alerts about training that stands still end here, while the evaluation goes on.
        loop.telemetry.count_event(EventKind.FINISHED)
        return {
            "env_steps": algorithm.env_steps,
            "updates": algorithm.updates,
            "seconds": round(loop.seconds, 3),
            "seconds_by_part": {part: round(s, 3) for part, s in algorithm.seconds_spent.items()},
            "seed": loop.config.seed,
            "env_runner_nodes": algorithm.worker_health.nodes,
        }
    finally:
        algorithm.stop()
        loop.telemetry.close()


def _train_from_scratch(
    config: RunConfig, run: RunDirectory, listener: ProgressListener, interruption: Interruption
) -> None:
    """Trains the run without transfer, in which cells that join learn from scratch."""
    other = run.from_scratch
    if not (other.path / "policies.safetensors").exists():
        listener.on_message("training again without transfer, from scratch, to compare")
        loop = _resume(make_from_scratch_config(config), other, listener)
        _train_to_end(loop, interruption)
    own, theirs = run.policies(), other.policies()
    if all(
        np.array_equal(own[cell][name], theirs[cell][name]) for cell in own for name in own[cell]
    ):
        why = "no transfer has changed a policy before the last step: there is nothing to compare"
        listener.on_message(why)
        run.append_event(EventKind.NO_COMPARISON, why, env_step=config.total_steps)


def make_from_scratch_config(config: RunConfig) -> RunConfig:
    """The run's config without transfer: every cell that joins learns from scratch."""
    plain = config.model_dump() | {"name": f"{config.name[:51]}-from_scratch", "tracking": ()}
    plain["transfer"]["method"] = "none"
    plain["evaluation"]["policies"] = (config.learning.learner,)
    plain["compared_learners"] = {}
    return RunConfig.model_validate(plain)


def _train_compared(
    config: RunConfig,
    learner: str,
    run: RunDirectory,
    listener: ProgressListener,
    interruption: Interruption,
) -> None:
    other = run.compared(learner)
    own = evaluation.make_compared_config(config, learner)
    if (other.path / "policies.safetensors").exists():
        return
    listener.on_message(f"training {learner} from scratch in the same network, to compare")
    if not (other.path / "config.yaml").exists():
        RunDirectory.create(other.path, own)
    _train_to_end(_resume(own, other, listener), interruption)


def find_from_scratch_step(config: RunConfig) -> int:
    """The environment step at which the run from scratch parts from the run.

    It is the first from which an iteration may reach a transfer decision.
    """
    return max(config.first_transfer_step - 2 * config.learning.steps_per_iteration, 0)


def _save_from_scratch_start(run: RunDirectory, config: RunConfig, algorithm: TD3) -> None:
    """Saves the checkpoint from which the run from scratch continues. Later calls do nothing."""
    other = run.from_scratch
    if not (other.path / "config.yaml").exists():
        RunDirectory.create(other.path, make_from_scratch_config(config))
    if find_newest_valid(other.checkpoints)[0] is None:
        folder = other.checkpoints.resolve()
        save_checkpoint(folder, algorithm.env_steps, algorithm.save_to_path, keep=1)


def _evaluate(
    config: RunConfig, run: RunDirectory, listener: ProgressListener, interruption: Interruption
) -> dict[str, Any]:
    """Evaluates trained policies and baselines on unseen traffic."""

    def on_rollout(policy: str, done: int, total: int) -> None:
        listener.on_rollout(policy, done, total)
        if interruption.is_requested:
            raise Interrupted(f"{run.path}: trained, but stopped while evaluating")

    rollouts = evaluation.evaluate_policies(config, run, on_rollout)
    evaluation.save_rollouts(run.path / "evaluation.npz", rollouts)
    transfers = {
        event["cell"]: {"message": event["message"], **event["evidence"]}
        for event in run.events()
        if event["kind"] == EventKind.WARM_STARTED
    }
    rows = run.metrics()
    learning = {config.own_policy: summarise_learning_service(rows)}
    if config.trains_from_scratch_too:
        own = run.from_scratch.metrics()
        first = own[0]["env_steps"] if own else config.total_steps + 1
        shared = [row for row in rows if row["env_steps"] < first]
        learning[config.learning.learner] = summarise_learning_service([*shared, *own])
    for learner in config.compared_learners:
        own = run.compared(learner).metrics()
        learning[learner] = summarise_learning_service(own)
    joined = [each.cell for each in config.joining]
    compared = Compared(
        config.scenario.cells,
        config.own_policy,
        config.learning.learner,
        joined or config.transfer.targets,
        tuple(config.compared_learners),
    )
    differences = compare_policies(compared, rollouts)
    return {
        **evaluation.summarise_rollouts(rollouts),
        "differences": differences,
        "findings": describe_differences(differences, transfers, config.seed),
        "while_learning": learning,
        "transfers": transfers,
    }


@dataclass
class TrainingLoop:
    """One run in progress: train, evaluate, record, checkpoint."""

    config: RunConfig
    run: RunDirectory
    algorithm: TD3
    listener: ProgressListener
    seconds_before: float = 0.0
    """Training time of earlier sessions of a resumed run."""
    cpu_s: float = 0.0
    """CPU seconds of this process in which it learned, without evaluations."""

    def __post_init__(self) -> None:
        config, scenario = self.config, self.config.scenario
        tracking = self.run.path / "tracking"
        base = () if config.learning.base_policy == "none" else ("base_policy",)
        self.references = {
            name: evaluation.evaluate_curve_point(
                config,
                evaluation.make_named_policy(name, config, self.run),
                config.evaluation.curve_seeds,
            )
            for name in (*REFERENCES, *base)
            if not find_missing_law(name, scenario)
        }
        self.telemetry = Telemetry(
            config.name,
            scenario.cells,
            [spec.name for spec in scenario.slices],
            scenario.sla_throughput_mbps,
            scenario.sla_delay_ms,
            sinks=[open_tracker(name, config.name, tracking) for name in config.tracking],
        )
        self._started = self._last_step_at = time.monotonic()
        self._saved_at = self.algorithm.env_steps
        self._stalled_iterations = 0

    @property
    def seconds(self) -> float:
        """Training time of all sessions of the run together."""
        return self.seconds_before + time.monotonic() - self._started

    def evaluate_start(self) -> dict[str, Any]:
        """By cell, the reward of the policy before any update, and of known policies.

        On the traffic of the learning curve, each as a list of rewards per seed.
        """
        policy = evaluation.make_trained_policy(self.config, self.collect_weights())
        seeds, cells = self.config.evaluation.curve_seeds, self.config.scenario.cells
        start = evaluation.evaluate_curve_point(self.config, policy, seeds, 0)
        return {
            name: dict(zip(cells, point.by_seed.T.tolist(), strict=True))
            for name, point in {"start": start, **self.references}.items()
        }

    def run_until_done(self, interruption: Interruption) -> None:
        """Trains to the last step. Raises: Interrupted or RunError, both after a checkpoint."""
        while self.algorithm.env_steps < self.config.total_steps:
            if interruption.is_requested:
                self.write_checkpoint()
                self.write_event(EventKind.INTERRUPTED, "asked to stop; checkpoint written")
                raise Interrupted(f"{self.run.path}: stopped at step {self.algorithm.env_steps}")
            self._run_iteration()
        if self.config.trains_from_scratch_too:
            # A run that ends before that is due parts from it at its end.
            _save_from_scratch_start(self.run, self.config, self.algorithm)
        self.write_checkpoint()

    def _run_iteration(self) -> None:
        config, before = self.config, self.algorithm.env_steps
        if config.trains_from_scratch_too and before >= find_from_scratch_step(config):
            _save_from_scratch_start(self.run, config, self.algorithm)
        cpu_before = time.process_time()
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
        self.cpu_s += time.process_time() - cpu_before
        self._check_progress(before)
        self._write_reported_events()
        self._write_timed_events(before)
        self._record_iteration(before)
        if _crosses_multiple(before, self.algorithm.env_steps, config.checkpoint.every_steps):
            self.write_checkpoint()

    def _report_silence(self, seconds: float) -> None:
        """Called from another thread, while the algorithm trains."""
        message = f"an iteration has taken {seconds:.0f} s so far"
        self.listener.on_message(message)
        # Where the event cannot be written, the next write of the iteration says so.
        with suppress(OSError):
            step = self.algorithm.env_steps
            self.run.append_event(EventKind.STALLED, message, env_step=step)

    def _check_progress(self, before: int) -> None:
        """Raises: RunError, after a checkpoint, for the last of too many iterations without a step.

        While Ray restarts the last env runner, time counts instead: iterations are short then.
        """
        now = time.monotonic()
        if self.algorithm.env_steps > before:
            self._stalled_iterations, self._last_step_at = 0, now
            return
        self._stalled_iterations += 1
        waited_s = now - self._last_step_at
        if self.algorithm.worker_health.lost and waited_s < WORKER_RESTART_TIMEOUT_S:
            if self._stalled_iterations == 1:
                message = "no env runner answers; waiting for Ray to restart one"
                self.write_event(EventKind.STALLED, message)
            time.sleep(WORKER_POLL_S)
            self.listener.on_wait(waited_s, WORKER_RESTART_TIMEOUT_S)
            return
        message = f"iteration {self.algorithm.iteration} made no step"
        self.write_event(EventKind.STALLED, message)
        if self._stalled_iterations >= MAX_STALLED_ITERATIONS:
            self.write_checkpoint()
            raise RunError(
                f"{self.run.path}: {self._stalled_iterations} iterations without a step, "
                "expected env runners to answer; checkpoint written"
            )

    def _record_iteration(self, before: int) -> None:
        """Writes a row, with a point of the learning curve, without exploration noise, if due."""
        steps, settings, evaluated = self.algorithm.env_steps, self.config.evaluation, None
        is_listed = any(before < step <= steps for step in settings.evaluation_steps)
        if is_listed or _crosses_multiple(before, steps, settings.every_steps):
            policy = evaluation.make_trained_policy(self.config, self.collect_weights())
            with self._measure_time("curve"):
                evaluated = evaluation.evaluate_curve_point(
                    self.config, policy, settings.curve_seeds, steps
                )
        row = make_metrics_row(
            self.algorithm,
            evaluation.scenario_at(self.config, before),
            read_network_state(self.algorithm),
            time_s=self.seconds,
            evaluated=evaluated,
            references=self.references,
        )
        row["cpu_s"] = round(self.cpu_s, 3)
        self.run.append_metrics(row)
        self.telemetry.publish(row)
        self.listener.on_iteration(row, self.config.total_steps)

    def write_checkpoint(self) -> None:
        """Saves the algorithm, unless that has been done at this step."""
        steps = self.algorithm.env_steps
        if steps != self._saved_at:
            # RLlib takes a relative path for a URI.
            folder, keep = self.run.checkpoints.resolve(), self.config.checkpoint.keep
            with self._measure_time("checkpoint"):
                self.run.sync_logs()
                save_checkpoint(folder, steps, self.algorithm.save_to_path, keep=keep)
            self._saved_at = steps
            self.telemetry.count_event(EventKind.CHECKPOINT_WRITTEN)

    def _write_reported_events(self) -> None:
        """Writes what the algorithm and its callbacks have reported since the last call."""
        for event in self.algorithm.take_events():
            self.write_event(*event)

    def _write_timed_events(self, before: int) -> None:
        runners = max(self.config.num_env_runners, 1)
        for event in self.config.env.events:
            if before <= event.step * runners < self.algorithm.env_steps:
                message = f"step {event.step}: {event.describe()}"
                self.write_event(EventKind.NETWORK_CHANGED, message, event.cell)

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
        self.telemetry.count_event(kind, cell, evidence)
        self.listener.on_event(kind, cell, message, step)

    def collect_weights(self) -> dict[str, dict[str, np.ndarray]]:
        """Weights of every policy, by cell and parameter name."""
        return {cell: self.algorithm.policy_weights(cell) for cell in self.algorithm.cells}

    @contextmanager
    def _measure_time(self, part: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.algorithm.seconds_spent[part] += time.monotonic() - started


def _crosses_multiple(before: int, after: int, every: int) -> bool:
    """Whether a multiple of `every` lies in (before, after]."""
    return before // every < after // every
