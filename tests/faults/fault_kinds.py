"""The 19 kinds of faults: each strikes a training and returns how it went on.

A fault raises AssertionError where the training does not go on as promised.
"""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from disturbed_training import (
    ALLOWED_LOSS,
    CHECKPOINT_STEPS,
    EXIT_S,
    DisturbedTraining,
    Recovery,
)
from ray_nodes import Node, send_signal

DRIVER_PAUSE_S, ENV_RUNNER_PAUSE_S = 5.0, 20.0
NODE_PAUSE_S = 40.0
"""Longer than the cluster waits for a node that does not answer."""
ENV_RUNNER, LEARNER = "EnvRunner", "update_cells"
"""Parts of the titles of Ray's processes."""
Fault = Callable[[DisturbedTraining], Recovery]


def kill_driver(training: DisturbedTraining) -> Recovery:
    """SIGKILL at a random time."""
    training.wait_for_checkpoints(1)
    training.kill()
    return training.expect_resume("whoever started it", code=-signal.SIGKILL)


def kill_while_checkpointing(training: DisturbedTraining) -> Recovery:
    """SIGKILL while a checkpoint is being written."""
    training.wait_for_checkpoints(1)
    folder = training.run.checkpoints
    training.wait_until(
        lambda: list(folder.glob(".step_*.partial")) or None, "no checkpoint was written"
    )
    time.sleep(training.rng.uniform(0, 0.2))
    training.kill()
    return training.expect_resume("whoever started it", code=-signal.SIGKILL)


def terminate_driver(training: DisturbedTraining) -> Recovery:
    """SIGTERM, as from a spot instance that ends."""
    return _stop(training, signal.SIGTERM)


def interrupt_driver(training: DisturbedTraining) -> Recovery:
    """SIGINT, as from Ctrl-C."""
    return _stop(training, signal.SIGINT)


def _stop(training: DisturbedTraining, number: signal.Signals) -> Recovery:
    training.begin_fault()
    training.send(number)
    code = training.wait_for_exit()
    noticed = f"event interrupted, exit code {code}"
    return training.expect_resume(noticed, code=130, allowed_loss=0)


def pause_driver(training: DisturbedTraining) -> Recovery:
    """SIGSTOP for some seconds, as when a virtual machine is migrated."""
    training.begin_fault()
    training.send(signal.SIGSTOP)
    training.watch(DRIVER_PAUSE_S)
    training.send(signal.SIGCONT)
    return training.expect_progress()


def break_kpis(training: DisturbedTraining) -> Recovery:
    """All KPIs of a step are NaN."""
    training.wait_for_checkpoints(1)
    training.begin_fault()
    training.send(signal.SIGUSR1)
    training.wait_for_exit()
    return training.expect_resume(training.describe_end("not_finite"), code=1)


def set_clock_back(training: DisturbedTraining) -> Recovery:
    """The clock of the driver is set a day back."""
    training.begin_fault()
    training.send(signal.SIGUSR2)
    return training.expect_progress()


def fill_disk(training: DisturbedTraining) -> Recovery:
    """No room on the run's file system; after the training has ended, there is room again."""
    training.wait_for_checkpoints(1)
    ballast = training.run.path.with_name("ballast")
    training.begin_fault()
    try:
        _write_until_full(ballast)
        training.wait_for_exit()
    finally:
        ballast.unlink()
    return training.expect_resume(training.describe_end("storage_failed"), code=1)


def _write_until_full(path: Path) -> None:
    """Fills up the file system, which others write to at the same time."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(2**20))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def take_checkpoints_away(training: DisturbedTraining) -> Recovery:
    """The checkpoint folder is gone, as when a share is no longer mounted."""
    training.wait_for_checkpoints(1)
    folder = training.run.checkpoints
    training.begin_fault()
    hidden = folder.rename(folder.with_name("hidden"))
    try:
        training.wait_for_exit()
    finally:
        hidden.rename(folder)
    return training.expect_resume(training.describe_end("storage_failed"), code=1)


def start_second_writer(training: DisturbedTraining) -> Recovery:
    """A second `train --resume` of the same run."""
    training.begin_fault()
    command = [sys.executable, "-m", "slicing_rllib", *training.arguments]
    second = subprocess.run(
        command, env=training.nodes.environment, capture_output=True, text=True, check=False,
        timeout=EXIT_S,
    )  # fmt: skip
    recovery = training.expect_progress()
    is_refused = second.returncode == 1 and "in use by" in second.stderr
    assert is_refused, f"expected a refusal, got exit code {second.returncode}"
    return recovery._replace(noticed="the lock: exit code 1, naming the holder")


def truncate_checkpoint(training: DisturbedTraining) -> Recovery:
    """The largest file of the newest checkpoint lost its second half while nothing ran."""
    return _damage_checkpoint(training, lambda data: data[: len(data) // 2])


def flip_checkpoint_bit(training: DisturbedTraining) -> Recovery:
    """One bit of the newest checkpoint flipped while nothing ran."""

    def flip(data: bytes) -> bytes:
        position = int(training.rng.integers(len(data)))
        flipped = data[position] ^ (1 << int(training.rng.integers(8)))
        return data[:position] + bytes([flipped]) + data[position + 1 :]

    return _damage_checkpoint(training, flip)


def _damage_checkpoint(training: DisturbedTraining, damage: Callable[[bytes], bytes]) -> Recovery:
    training.wait_for_checkpoints(2)
    training.kill()
    newest = sorted(training.run.checkpoints.glob("step_*"))[-1]
    files = [path for path in newest.rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    largest.write_bytes(damage(largest.read_bytes()))
    recovery = training.expect_resume(
        "event checkpoint_passed_over, naming the file",
        code=-signal.SIGKILL, allowed_loss=CHECKPOINT_STEPS + ALLOWED_LOSS,
    )  # fmt: skip
    assert "checkpoint_passed_over" in training.list_new_events()
    return recovery


def cut_metrics_short(training: DisturbedTraining) -> Recovery:
    """The last row of metrics is cut in the middle, as by a power failure."""
    training.wait_for_checkpoints(1)
    training.kill()
    log = training.run.path / "metrics.jsonl"
    os.truncate(log, log.stat().st_size - 100)
    return training.expect_resume("reader: the cut row is left out", code=-signal.SIGKILL)


def kill_env_runner(training: DisturbedTraining) -> Recovery:
    """SIGKILL of an env runner."""
    _, process = _choose_process(training, ENV_RUNNER)
    training.begin_fault()
    process.kill()
    return training.expect_progress("worker_lost")


def pause_env_runner(training: DisturbedTraining) -> Recovery:
    """SIGSTOP of an env runner for some seconds."""
    _, process = _choose_process(training, ENV_RUNNER)
    training.begin_fault()
    process.suspend()
    try:
        training.watch(ENV_RUNNER_PAUSE_S)
    finally:
        process.resume()
    return training.expect_progress()


def kill_learner(training: DisturbedTraining) -> Recovery:
    """SIGKILL of a process that makes updates."""
    _, process = _choose_process(training, LEARNER)
    training.begin_fault()
    process.kill()
    return training.expect_progress()._replace(noticed="Ray: the task is run again")


def kill_node(training: DisturbedTraining) -> Recovery:
    """All processes of a node with an env runner end at once; a new node joins afterwards."""
    node, _ = _choose_process(training, ENV_RUNNER)
    training.begin_fault()
    training.nodes.remove(node)
    training.nodes.add_missing()
    return training.expect_progress("worker_lost")


def pause_node(training: DisturbedTraining) -> Recovery:
    """All processes of a node are paused until the cluster has given it up, then go on."""
    node, _ = _choose_process(training, ENV_RUNNER)
    processes = node.list_processes()
    training.begin_fault()
    send_signal(processes, signal.SIGSTOP)
    try:
        training.watch(NODE_PAUSE_S)
    finally:
        send_signal(processes, signal.SIGCONT)
    return _replace_node(training, node)


def cut_off_node(training: DisturbedTraining) -> Recovery:
    """The network of a node with an env runner is down until the cluster has given it up."""
    node, _ = _choose_process(training, ENV_RUNNER)
    assert node.host is not None
    training.begin_fault()
    node.host.cut_off()
    try:
        training.watch(NODE_PAUSE_S)
    finally:
        node.host.reconnect()
    return _replace_node(training, node)


def _replace_node(training: DisturbedTraining, node: Node) -> Recovery:
    """The recovery; the cluster does not take a node back that it has given up."""
    try:
        return training.expect_progress("worker_lost")
    finally:
        training.nodes.remove(node)
        training.nodes.add_missing()


def _choose_process(training: DisturbedTraining, name: str) -> tuple[Node, psutil.Process]:
    """A random process of this name and its node, once all env runners are there."""
    training.wait_for_env_runners()
    found = training.wait_until(
        lambda: training.nodes.find_processes(name) or None, f"no {name} was seen"
    )
    return found[int(training.rng.integers(len(found)))]


DRIVER_FAULTS: dict[str, Fault] = {
    "driver killed": kill_driver,
    "driver killed while writing a checkpoint": kill_while_checkpointing,
    "SIGTERM": terminate_driver,
    "SIGINT": interrupt_driver,
    f"driver paused for {DRIVER_PAUSE_S:.0f} s": pause_driver,
    "NaN KPIs": break_kpis,
    "clock set back a day": set_clock_back,
    "disk full": fill_disk,
    "checkpoint folder gone": take_checkpoints_away,
    "second training of the same run": start_second_writer,
    "checkpoint truncated": truncate_checkpoint,
    "checkpoint bit flipped": flip_checkpoint_bit,
    "metrics cut short": cut_metrics_short,
}
"""Faults of a training in one process, of its machine and of what it reads."""
CLUSTER_FAULTS: dict[str, Fault] = {
    "env runner killed": kill_env_runner,
    f"env runner paused for {ENV_RUNNER_PAUSE_S:.0f} s": pause_env_runner,
    "learner killed": kill_learner,
    "node killed": kill_node,
    f"node paused for {NODE_PAUSE_S:.0f} s": pause_node,
    f"node cut off for {NODE_PAUSE_S:.0f} s": cut_off_node,
    "driver killed": kill_driver,
}
"""Faults of the processes and nodes of a cluster, and of the driver that uses it."""
NEEDS_DISK, NEEDS_HOSTS = fill_disk, cut_off_node
