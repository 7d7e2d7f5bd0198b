"""Faults at random times strike trainings on a Ray cluster of local nodes: `pytest -m faults`.

Kills, pauses and interrupts the training, its env runners, learners and nodes, fills its disk,
damages its checkpoints, breaks its KPIs and clock. A training must go on, lose no more than the
steps since its last checkpoint, and end with the weights of an undisturbed one. Only processes and
files of the tests themselves are touched. `fault_report.py` has the options and the table.
"""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pytest
from checkpoint_kills import Templates, kill_writers, lose_power
from disturbed_training import CHECKPOINT_STEPS, ITERATION_STEPS, STEPS, DisturbedTraining
from fault_kinds import CLUSTER_FAULTS, DRIVER_FAULTS, NEEDS_DISK, NEEDS_HOSTS
from hosts import explain_missing_namespaces, make_hosts
from ray_nodes import N_NODES, RayNodes

from slicing_rllib.runs.checkpoints import find_newest_valid, list_checkpoints

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]

ROUND_MINUTES = 8.0
"""About how long a round takes, in which every kind of fault strikes once."""
FAULTS_PER_TRAINING = 5
"""Of a training on the driver alone, before it has to end."""
STEPS_PER_FAULT = 600
"""Steps that must be left for a fault: some wait for checkpoints first."""
ENDLESS = 1_000_000
PAUSE_S = (0.1, 1.5)
"""Bounds of the random time before each fault."""
DISK_BYTES = 400_000_000
END = "its end"
"""What follows the last fault of a training."""


class Planned(NamedTuple):
    """A training, and the faults that strike it one after the other."""

    name: str
    faults: tuple[str, ...]
    is_on_cluster: bool
    """With env runners and a learner on the nodes; else in one process."""
    seed: tuple[int, int]
    """Of the times and victims of its faults."""


def plan_trainings(minutes: float, seed: int) -> Iterator[Planned]:
    """The trainings of a run: every kind of fault once per round, in random order."""
    rng = np.random.default_rng(seed)
    for number in range(max(1, round(minutes / ROUND_MINUTES))):
        faults = tuple(rng.permutation(list(CLUSTER_FAULTS)).tolist())
        yield Planned(f"cluster-{number}", faults, True, (seed, 100 * number))
        faults = rng.permutation(list(DRIVER_FAULTS)).tolist()
        for part, first in enumerate(range(0, len(faults), FAULTS_PER_TRAINING)):
            own = tuple(faults[first : first + FAULTS_PER_TRAINING])
            yield Planned(f"driver-{number}-{part}", own, False, (seed, 100 * number + part + 1))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test per fault of each training, in the order in which they strike, and one of its end."""
    if "planned" in metafunc.fixturenames:
        minutes, seed = (metafunc.config.getoption(f"fault_{key}") for key in ("minutes", "seed"))
        turns = [
            (planned, fault)
            for planned in plan_trainings(minutes, seed)
            for fault in (*planned.faults, END)
        ]
        ids = [f"{planned.name}: {fault}" for planned, fault in turns]
        metafunc.parametrize(("planned", "fault"), turns, ids=ids)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="faults-") as path:
        yield Path(path)


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayNodes]:
    """A cluster, each of whose nodes is a host of its own where that is permitted."""
    with (
        TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as ray_folder,
        ExitStack() as stack,
    ):
        is_permitted = not explain_missing_namespaces()
        hosts = stack.enter_context(make_hosts(N_NODES)) if is_permitted else []
        yield stack.enter_context(RayNodes(Path(ray_folder), hosts))


@pytest.fixture(scope="module")
def disk(folder: Path) -> Iterator[Path | None]:
    """A small file system that can be filled up without harm; None where none can be mounted."""
    where = folder / "disk"
    where.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "faults", str(where)]
    is_mounted = (
        bool(shutil.which("mount"))
        and not subprocess.run(command, capture_output=True, check=False).returncode
    )
    yield where if is_mounted else None
    if is_mounted:
        subprocess.run(["umount", "--lazy", str(where)], check=False)


@pytest.fixture(scope="module")
def undisturbed(folder: Path, nodes: RayNodes) -> DisturbedTraining:
    """A training that no fault strikes, at its end."""
    training = DisturbedTraining(folder / "undisturbed", folder, nodes, np.random.default_rng(0))
    train_to_the_end(training)
    return training


class Trainings:
    """The training that faults strike now; one at a time runs."""

    def __init__(self, folder: Path, nodes: RayNodes, disk: Path | None) -> None:
        self._folder, self._nodes, self._runs = folder, nodes, disk or folder
        self._current: tuple[Planned, DisturbedTraining] | None = None

    def switch_to(self, planned: Planned) -> DisturbedTraining:
        """The planned training, which has made its first steps; any other one is stopped."""
        if self._current and self._current[0] == planned:
            return self._current[1]
        self.stop()
        self._nodes.add_missing()
        on_cluster = {"num_env_runners": 2, "num_learners": 1, "steps": ENDLESS}
        training = DisturbedTraining(
            self._runs / planned.name, self._folder, self._nodes,
            np.random.default_rng(planned.seed), **(on_cluster if planned.is_on_cluster else {}),
        )  # fmt: skip
        self._current = planned, training
        with training.until_it_recovers():
            training.start()
            training.wait_for_step(1)
        return training

    def stop(self) -> None:
        if self._current:
            self._current[1].stop()


@pytest.fixture(scope="module")
def trainings(folder: Path, nodes: RayNodes, disk: Path | None) -> Iterator[Trainings]:
    found = Trainings(folder, nodes, disk)
    yield found
    found.stop()


def test_a_training_recovers_from(
    planned: Planned,
    fault: str,
    trainings: Trainings,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
):
    training = trainings.switch_to(planned)
    if training.has_failed:
        pytest.skip("the training did not recover from an earlier fault")
    if fault == END:
        with training.until_it_recovers():
            check_end(training, planned, request)
        return
    strike = (CLUSTER_FAULTS | DRIVER_FAULTS)[fault]
    if strike is NEEDS_DISK and not request.getfixturevalue("disk"):
        pytest.skip("mounting is not permitted here")
    if strike is NEEDS_HOSTS and (missing := explain_missing_namespaces()):
        pytest.skip(missing)
    time.sleep(training.rng.uniform(*PAUSE_S))
    if not planned.is_on_cluster and training.read_step() > STEPS - STEPS_PER_FAULT:
        pytest.skip("this machine is too fast: the training has too few steps left")
    record_property("fault", fault)
    with training.until_it_recovers():
        for key, value in strike(training)._asdict().items():
            record_property(key, value)


def check_end(
    training: DisturbedTraining, planned: Planned, request: pytest.FixtureRequest
) -> None:
    """The weights are those of the undisturbed training, or the last checkpoint verifies."""
    if planned.is_on_cluster:
        training.stop()
        checkpoint, passed_over = find_newest_valid(training.run.checkpoints)
        assert checkpoint or training.read_step() <= 2 * CHECKPOINT_STEPS, passed_over
        return
    train_to_the_end(training, is_started=True)
    steps = [row["env_steps"] for row in training.run.metrics()]
    assert steps == list(range(ITERATION_STEPS, STEPS + 1, ITERATION_STEPS))
    undisturbed: DisturbedTraining = request.getfixturevalue("undisturbed")
    assert training.read_policies() == undisturbed.read_policies(), "the weights differ"


def test_a_training_continues_from_every_state_that_a_power_failure_leaves(
    undisturbed: DisturbedTraining,
    folder: Path,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
):
    """And from every point at which a process is killed that writes a checkpoint."""
    # The newest checkpoint is that of the end, from which there is nothing to continue.
    templates = Templates(*list_checkpoints(undisturbed.run.checkpoints)[:2])
    rng = np.random.default_rng(request.config.getoption("fault_seed"))
    where = folder / "checkpoints"
    where.mkdir()
    kills = request.config.getoption("fault_kills")
    killed = kill_writers(templates, where, kills)
    continued: list[DisturbedTraining] = []

    def continue_from(state: Path) -> None:
        run = folder / f"continued-{len(continued)}"
        of_the_end = shutil.ignore_patterns("checkpoints", "policies.safetensors", "summary.json")
        shutil.copytree(undisturbed.run.path, run, ignore=of_the_end)
        shutil.copytree(state, run / "checkpoints")
        training = DisturbedTraining(run, folder, undisturbed.nodes, rng)
        train_to_the_end(training)
        assert [event["kind"] for event in training.run.events()].count("resumed") == 1
        assert training.read_policies() == undisturbed.read_policies(), "the weights differ"
        continued.append(training)

    power = lose_power(templates, where, rng, continue_from)
    older, newer = killed.older + power.older, killed.newer + power.newer
    states = power.older + power.newer
    record_property(
        "sentence",
        f"While a checkpoint was written over an older one, {kills} processes were killed with "
        f"SIGKILL at points spread over {killed.moments} before and after its file operations. "
        f"Power failed at {power.moments} moments, which left {states} different states of the "
        f"disk: {older} times the older and {newer} times the newer checkpoint was found, verified "
        f"and had the bytes that were written. From {len(continued)} of these states, one of each "
        "kind (which checkpoint was found, with and without unfinished files beside it), the "
        "training was continued to its end, with the weights of the undisturbed one.",
    )


def train_to_the_end(training: DisturbedTraining, *, is_started: bool = False) -> None:
    """Waits for the end of a training. Raises: AssertionError where it fails."""
    try:
        if not is_started:
            training.start()
        training.wait_for_step(STEPS)
        assert not training.wait_for_exit(), training.read_last_line()
    finally:
        training.stop()
