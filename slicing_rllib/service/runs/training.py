"""A training run from config to summary. It can be interrupted, killed and resumed at any time."""

from typing import Any

import numpy as np

from slicing_rllib.service.config import PolicyName, RunConfig, has_branch
from slicing_rllib.service.errors import Interrupted
from slicing_rllib.service.ray_session import ray_session
from slicing_rllib.service.runs import evaluation
from slicing_rllib.service.runs.algorithm import build, restore
from slicing_rllib.service.runs.checkpoints import find_newest_valid
from slicing_rllib.service.runs.experience import write_experience
from slicing_rllib.service.runs.figures import draw_run
from slicing_rllib.service.runs.interruption import Interruption, catch_signals
from slicing_rllib.service.runs.learning_service import summarise_learning_service
from slicing_rllib.service.runs.no_transfer_branch import get_branch, make_branch_config
from slicing_rllib.service.runs.progress import ProgressListener
from slicing_rllib.service.runs.run_directory import RunDirectory
from slicing_rllib.service.runs.storage_errors import report_storage_errors
from slicing_rllib.service.runs.training_loop import TrainingLoop
from slicing_rllib.service.runs.transfer_run import load_pretrained_policies
from slicing_rllib.service.telemetry.event_kinds import RunEventKind
from slicing_rllib.service.telemetry.metrics import Telemetry
from slicing_rllib.service.telemetry.trackers import open_sinks
from slicing_rllib.transfer.events import EventKind as TransferEventKind

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
        run.append_event(
            RunEventKind.FINISHED, "evaluated and drawn", env_step=trained["env_steps"]
        )
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
        run.append_event(RunEventKind.NO_COMPARISON, why, env_step=config.total_steps)


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
        if event["kind"] == TransferEventKind.WARM_STARTED
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
    loop.write_event(RunEventKind.STARTED, f"{cells} cells, {config.total_steps} steps")
    return loop


def _resume(config: RunConfig, run: RunDirectory, listener: ProgressListener) -> TrainingLoop:
    checkpoint, passed_over = find_newest_valid(run.checkpoints)
    for why in passed_over:
        run.append_event(RunEventKind.CHECKPOINT_PASSED_OVER, why, env_step=0)
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
    loop.write_event(RunEventKind.RESUMED, f"from {checkpoint.name}")
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
