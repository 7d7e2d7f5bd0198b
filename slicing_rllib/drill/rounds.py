"""The drill: rounds of training, each with faults at random times, until the time is over."""

import itertools
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from slicing_rllib.drill import cluster_faults, driver_faults
from slicing_rllib.drill.checkpoint_drill import drill_checkpoints
from slicing_rllib.drill.cluster import N_NODES, DrillCluster
from slicing_rllib.drill.driver import Driver
from slicing_rllib.drill.errors import DrillError
from slicing_rllib.drill.hosts import explain_missing_namespaces, make_hosts
from slicing_rllib.drill.result import FAILURES, DrillResult
from slicing_rllib.drill.small_disk import mount_small_disk
from slicing_rllib.drill.trial import Injection, Trial
from slicing_rllib.runs.checkpoints import find_newest_valid, list_checkpoints
from slicing_rllib.runs.run_directory import RunDirectory

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
NETWORK_FAULTS: tuple[Fault, ...] = (cluster_faults.cut_off_node,)
"""Where network namespaces are permitted."""
STEPS = 4000
"""Of a training on the driver alone."""
ENDLESS = 1_000_000
STEPS_PER_FAULT = 600
"""So many steps are left when the last fault is chosen: some wait for checkpoints first."""
ITERATION_STEPS, CHECKPOINT_STEPS = 20, 100
PAUSE_S = (0.2, 3.0)
"""Bounds of the random time before each fault."""
MAX_FAILURES = 3
"""The drill ends after so many failures outside of faults: its cluster may be unusable."""


def run_drill(
    folder: Path, ray_folder: Path, *, minutes: float, seed: int, kills: int, result: DrillResult
) -> None:
    """Injects faults for some minutes. Whatever ends the drill, `result` has what it found before.

    Args:
        folder: empty folder for the trainings.
        ray_folder: empty folder with a short path, for Ray's sockets.
        minutes: after this time no further fault is injected. The undisturbed training and the
            kills before do not count.
        seed: of the order and times of the faults.
        kills: number of processes to kill while they write a checkpoint, before the rest. 0: none,
            and no power failures.
        result: receives what happens.
    """
    with result.record_failure("drill"), ExitStack() as stack:
        missing = explain_missing_namespaces()
        if missing:
            result.on_message(f"no node is cut off from the network here ({missing})")
        hosts = [] if missing else stack.enter_context(make_hosts(N_NODES))
        cluster = stack.enter_context(DrillCluster(ray_folder, hosts))
        disk = stack.enter_context(mount_small_disk(folder / "disk"))
        if disk is None:
            result.on_message("mounting is not permitted here: no full disks")
        drill = _Drill(folder, cluster, disk, np.random.default_rng(seed), result)
        drill.prepare(kills)
        drill.run_rounds(time.monotonic() + 60 * minutes)


@dataclass
class _Drill:
    """The parts of a drill, and what they share."""

    folder: Path
    cluster: DrillCluster
    disk: Path | None
    rng: np.random.Generator
    result: DrillResult
    reference: RunDirectory = field(init=False)
    """The undisturbed training."""
    deck: Iterator[Fault] = field(init=False)
    """Faults of the driver, without end."""

    def prepare(self, kills: int) -> None:
        """The training to compare with, and kills while its checkpoints are written."""
        self.result.on_message(f"an undisturbed training of {STEPS} steps, to compare with")
        self.reference = self._train_undisturbed("undisturbed")
        if kills:
            # The newest checkpoint is that of the end, from which there is nothing to continue.
            older, newer, _ = list_checkpoints(self.reference.checkpoints)
            where = self.folder / "checkpoints"
            where.mkdir()
            self.result.checkpoints = drill_checkpoints(
                (older, newer), where, kills, self.rng, self.result.on_message, self._continue_from
            )

    def _train_undisturbed(self, name: str) -> RunDirectory:
        """A training on the driver alone to its end, or what is left of one."""
        config = self.folder / f"{name}.yaml"
        config.write_text(yaml.safe_dump(_make_config()))
        log = self.folder / f"{name}.log"
        driver = Driver(config, self.folder / name, log, self.cluster.environment)
        driver.start()
        try:
            if driver.wait_for_exit(timeout_s=1800):
                raise DrillError(f"the training {name} failed: {driver.read_last_line()}")
        finally:
            driver.stop()
        return driver.run

    def _continue_from(self, checkpoints: Path) -> str:
        """Continues the undisturbed training from these checkpoints; what is wrong with its end."""
        where = self.folder / f"continued-{checkpoints.name}"
        of_the_end = shutil.ignore_patterns("checkpoints", "policies.safetensors", "summary.json")
        shutil.copytree(self.reference.path, where, ignore=of_the_end)
        shutil.copytree(checkpoints, where / "checkpoints")
        continued = self._train_undisturbed(where.name)
        resumed = [event["kind"] for event in continued.events()].count("resumed") == 1
        if not resumed:
            return "the training started again instead of being resumed"
        same = _have_same_policies(self.reference, continued)
        return "" if same else "the training that was continued ends with other weights"

    def run_rounds(self, deadline: float) -> None:
        """Trainings on the cluster and on the driver alone, in turn."""
        self.deck = _shuffle_for_ever(DRIVER_FAULTS + (DISK_FAULTS if self.disk else ()), self.rng)
        for number in itertools.count(1):
            run_round = self._run_on_cluster if number % 2 else self._run_on_driver
            if time.monotonic() > deadline or len(self.result.failures) >= MAX_FAILURES:
                return
            name = f"training-{number}"
            with self.result.record_failure(name):
                run_round(name, deadline)

    def _run_on_cluster(self, name: str, deadline: float) -> None:
        """Every fault of the cluster once, in random order; then checks the last checkpoint."""
        self.cluster.add_nodes()
        faults = CLUSTER_FAULTS + (NETWORK_FAULTS if self.cluster.nodes[0].host else ())
        config = _make_config(num_env_runners=2, num_learners=1)
        trial = self._start_trial(self.folder / name, None, config)
        driver = trial.driver
        try:
            for index in self.rng.permutation(len(faults)):
                self._pause(trial)
                if time.monotonic() > deadline or not self._inject(faults[index], trial):
                    break
        finally:
            driver.stop()
        checkpoint, passed_over = find_newest_valid(driver.run.checkpoints)
        if checkpoint is None and driver.read_step() > 2 * CHECKPOINT_STEPS:
            raise DrillError("; ".join(["no checkpoint verifies", *passed_over]))

    def _run_on_driver(self, name: str, deadline: float) -> None:
        """Faults while there are steps and time left; then the training has to finish.

        After a fault from which it did not recover, it is abandoned.
        """
        trial = self._start_trial((self.disk or self.folder) / name, self.disk, _make_config())
        driver = trial.driver
        try:
            while time.monotonic() < deadline and self._pause(trial) < STEPS - STEPS_PER_FAULT:
                if not self._inject(next(self.deck), trial):
                    return
            driver.wait_for_step(STEPS)
            if driver.wait_for_exit():
                raise DrillError(f"the training failed: {driver.read_last_line()}")
        finally:
            driver.stop()
        steps = [row["env_steps"] for row in driver.run.metrics()]
        if steps != sorted(set(steps)) or steps[-1] != STEPS:
            raise DrillError("rows of metrics are missing or stand twice")
        self.result.add_comparison(name, _have_same_policies(self.reference, driver.run))

    def _start_trial(self, where: Path, disk: Path | None, config: dict[str, Any]) -> Trial:
        """A training that has made its first steps."""
        path = self.folder / f"{where.name}.yaml"
        path.write_text(yaml.safe_dump(config))
        log = self.folder / f"{where.name}.log"
        driver = Driver(path, where, log, self.cluster.environment)
        driver.start()
        try:
            driver.wait_for_step(1)
        except BaseException:
            driver.stop()
            raise
        return Trial(driver, self.cluster, self.rng, CHECKPOINT_STEPS, ITERATION_STEPS, disk)

    def _pause(self, trial: Trial) -> int:
        """Lets a random time pass; the step after it."""
        time.sleep(self.rng.uniform(*PAUSE_S))
        return trial.driver.read_step()

    def _inject(self, fault: Fault, trial: Trial) -> bool:
        """Injects a fault; whether the training recovered."""
        trial.begin()
        try:
            self.result.add_injection(fault(trial))
        except FAILURES as error:
            name = fault.__name__.replace("_", " ")
            self.result.add_injection(trial.make_failed_injection(name, str(error)))
            return False
        return True


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


def _shuffle_for_ever(faults: Sequence[Fault], rng: np.random.Generator) -> Iterator[Fault]:
    """All faults in random order, then all in another one, and so on."""
    while True:
        for index in rng.permutation(len(faults)):
            yield faults[index]


def _have_same_policies(one: RunDirectory, other: RunDirectory) -> bool:
    name = "policies.safetensors"
    return (one.path / name).read_bytes() == (other.path / name).read_bytes()
