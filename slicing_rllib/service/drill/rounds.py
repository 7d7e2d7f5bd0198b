"""The drill: rounds of training, each with faults at random times, until the time is over."""

import itertools
import subprocess
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from slicing_rllib.service.drill import cluster_faults, driver_faults
from slicing_rllib.service.drill.checkpoint_drill import CheckpointDrill, drill_checkpoints
from slicing_rllib.service.drill.cluster import DrillCluster
from slicing_rllib.service.drill.driver import Driver
from slicing_rllib.service.drill.errors import DrillError
from slicing_rllib.service.drill.trial import Injection, Trial
from slicing_rllib.service.runs.checkpoints import find_newest_valid, list_checkpoints
from slicing_rllib.service.runs.run_directory import RunDirectory

Fault = Callable[[Trial], Injection]
DRIVER_FAULTS: tuple[Fault, ...] = (
    driver_faults.kill_driver,
    driver_faults.kill_while_checkpointing,
    driver_faults.terminate_driver,
    driver_faults.interrupt_driver,
    driver_faults.pause_driver,
    driver_faults.break_kpis,
    driver_faults.jump_clock,
    driver_faults.take_checkpoints_away,
    driver_faults.start_second_writer,
    driver_faults.truncate_checkpoint,
    driver_faults.flip_checkpoint_bit,
    driver_faults.cut_log_short,
)
DISK_FAULTS: tuple[Fault, ...] = (driver_faults.fill_disk,)
"""Where mounting is permitted."""
CLUSTER_FAULTS: tuple[Fault, ...] = (
    cluster_faults.kill_env_runner,
    cluster_faults.pause_env_runner,
    cluster_faults.kill_learner,
    cluster_faults.kill_node,
    cluster_faults.silence_node,
    driver_faults.kill_driver,
)
STEPS = 4000
"""Of a training on the driver alone."""
ENDLESS = 1_000_000
STEPS_PER_FAULT = 700
"""So many steps are left when the last fault strikes."""
ITERATION_STEPS, CHECKPOINT_STEPS = 20, 100
DISK_BYTES = 400_000_000
PAUSE_S = (0.2, 3.0)
"""Bounds of the random time before each fault."""


class DrillResult(NamedTuple):
    """What a drill found."""

    injections: list[Injection]
    comparisons: list[bool]
    """Per finished training on the driver alone: whether its weights are bit for bit those of an
    undisturbed training."""
    minutes: float
    checkpoints: CheckpointDrill | None
    """Kills and power failures while a checkpoint is written, where asked for."""


def run_drill(
    folder: Path,
    ray_folder: Path,
    *,
    minutes: float,
    seed: int,
    kills: int,
    on_message: Callable[[str], None],
) -> DrillResult:
    """Injects faults for some minutes.

    Args:
        folder: empty folder for the trainings.
        ray_folder: empty folder with a short path, for Ray's sockets.
        minutes: after this time no further fault is injected.
        seed: of the order and times of the faults.
        kills: number of processes to kill while they write a checkpoint, before the rest. 0: none,
            and no power failures.
        on_message: receives a line per fault.

    Raises: DrillError where a training does not recover.
    """
    started = time.monotonic()
    deadline = started + 60 * minutes
    rng = np.random.default_rng(seed)
    injections: list[Injection] = []
    comparisons: list[bool] = []

    def record(injection: Injection) -> None:
        injections.append(injection)
        on_message(describe(injection))

    with DrillCluster(ray_folder) as cluster, _mount_disk(folder / "disk") as disk:
        reference = _train_undisturbed(folder, cluster, on_message)
        checkpoints = _drill_checkpoints(reference, folder, kills, rng, on_message)
        faults = DRIVER_FAULTS + (DISK_FAULTS if disk else ())
        if disk is None:
            on_message("mounting is not permitted here: no full disks")
        deck = _shuffle_for_ever(faults, rng)
        for number in itertools.count(1):
            if time.monotonic() > deadline:
                break
            where = (disk or folder) / f"driver-{number}"
            trial = _make_trial(folder, where, cluster, rng, disk, _make_config())
            if _inject_until_last_step(trial, deck, deadline, record):
                comparisons.append(_have_same_policies(reference, trial.driver.run))
                on_message(f"training {number} finished: {_describe_comparison(comparisons[-1])}")
            if time.monotonic() > deadline:
                break
            config = _make_config(num_env_runners=2, num_learners=1)
            trial = _make_trial(folder, folder / f"cluster-{number}", cluster, rng, None, config)
            _inject_each_once(trial, deadline, record)
    return DrillResult(injections, comparisons, (time.monotonic() - started) / 60, checkpoints)


def describe(injection: Injection) -> str:
    """A line for people."""
    outcome = f"PROBLEM: {injection.problem}" if injection.problem else "as promised"
    return (
        f"{injection.fault} at step {injection.step}: noticed by {injection.noticed}; goes on "
        f"after {injection.recovery_s:.1f} s, {injection.steps_lost} steps lost; {outcome}"
    )


def _make_config(**changes: Any) -> dict[str, Any]:
    last = ENDLESS if changes else STEPS
    return {
        "name": "drill",
        "learning": {
            "exploration_steps": 100,
            "training_steps": last - 100,
            "steps_per_iteration": ITERATION_STEPS,
            "actor_hiddens": [16],
            "critic_hiddens": [16],
            "batch_size": 16,
            "replay_capacity": 1000,
        },
        "evaluation": {
            "policies": ["drl", "equal"],
            "steps": 2,
            "seeds": 1,
            "every_steps": 100_000_000,
        },
        "checkpoint": {"every_steps": CHECKPOINT_STEPS, "keep": 3},
        **changes,
    }


def _make_trial(
    folder: Path,
    where: Path,
    cluster: DrillCluster,
    rng: np.random.Generator,
    disk: Path | None,
    config: dict[str, Any],
) -> Trial:
    """A training that has made its first steps."""
    path = folder / f"{where.name}.yaml"
    path.write_text(yaml.safe_dump(config))
    driver = Driver(path, where, folder / f"{where.name}.log", cluster.environment)
    driver.start()
    trial = Trial(driver, cluster, rng, CHECKPOINT_STEPS, ITERATION_STEPS, disk)
    driver.wait_for_step(1)
    return trial


def _train_undisturbed(
    folder: Path, cluster: DrillCluster, on_message: Callable[[str], None]
) -> RunDirectory:
    on_message(f"an undisturbed training of {STEPS} steps, to compare with")
    path = folder / "undisturbed.yaml"
    path.write_text(yaml.safe_dump(_make_config()))
    log = folder / "undisturbed.log"
    driver = Driver(path, folder / "undisturbed", log, cluster.environment)
    driver.start()
    if driver.wait_for_exit(timeout_s=1800):
        raise DrillError(f"the undisturbed training failed: {driver.read_last_line()}")
    return driver.run


def _drill_checkpoints(
    run: RunDirectory,
    folder: Path,
    kills: int,
    rng: np.random.Generator,
    on_message: Callable[[str], None],
) -> CheckpointDrill | None:
    if not kills:
        return None
    older, newer = list_checkpoints(run.checkpoints)[-2:]
    where = folder / "checkpoints"
    where.mkdir()
    return drill_checkpoints((older, newer), where, kills, rng, on_message)


def _inject_until_last_step(
    trial: Trial, deck: Iterator[Fault], deadline: float, record: Callable[[Injection], None]
) -> bool:
    """Injects faults while there are steps and time left, then lets the training finish.

    Returns whether it did; after a fault from which it did not recover, it is abandoned.
    """
    driver = trial.driver
    try:
        while time.monotonic() < deadline and driver.read_step() < STEPS - STEPS_PER_FAULT:
            if not _inject(next(deck), trial, record):
                return False
        driver.wait_for_step(STEPS)
        if driver.wait_for_exit():
            raise DrillError(f"the training failed: {driver.read_last_line()}")
    finally:
        driver.stop()
    steps = [row["env_steps"] for row in driver.run.metrics()]
    if steps != sorted(set(steps)) or steps[-1] != STEPS:
        raise DrillError("rows of metrics are missing or stand twice")
    return True


def _inject(fault: Fault, trial: Trial, record: Callable[[Injection], None]) -> bool:
    """Injects a fault after a random time; whether the training recovered."""
    time.sleep(trial.rng.uniform(*PAUSE_S))
    try:
        record(fault(trial))
    except DrillError as error:
        name = fault.__name__.replace("_", " ")
        took = time.monotonic() - trial.started
        silence = trial.driver.longest_silence_s
        record(Injection(name, trial.step, "nothing", took, 0, silence, str(error)))
        return False
    return True


def _inject_each_once(trial: Trial, deadline: float, record: Callable[[Injection], None]) -> None:
    """Injects every fault of the cluster in random order, then checks the last checkpoint."""
    driver = trial.driver
    try:
        for index in trial.rng.permutation(len(CLUSTER_FAULTS)):
            if time.monotonic() > deadline:
                break
            if not _inject(CLUSTER_FAULTS[index], trial, record):
                return
    finally:
        driver.stop()
    is_due = driver.read_step() > 2 * CHECKPOINT_STEPS
    if is_due and find_newest_valid(driver.run.checkpoints)[0] is None:
        raise DrillError("no checkpoint verifies")


def _shuffle_for_ever(faults: Sequence[Fault], rng: np.random.Generator) -> Iterator[Fault]:
    """All faults in random order, then all in another one, and so on."""
    while True:
        for index in rng.permutation(len(faults)):
            yield faults[index]


def _have_same_policies(one: RunDirectory, other: RunDirectory) -> bool:
    name = "policies.safetensors"
    return (one.path / name).read_bytes() == (other.path / name).read_bytes()


def _describe_comparison(is_same: bool) -> str:
    same = "bit for bit those of the undisturbed training"
    return f"its weights are {same}" if is_same else f"PROBLEM: its weights are not {same}"


@contextmanager
def _mount_disk(where: Path) -> Generator[Path | None]:
    """A small file system of its own; None where mounting is not permitted."""
    where.mkdir()
    size = f"size={DISK_BYTES}"
    command = ["mount", "-t", "tmpfs", "-o", size, "slicing-rllib-drill", str(where)]
    try:
        is_mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        is_mounted = False
    try:
        yield where if is_mounted else None
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(where)], check=False)
