"""Faults of the training's own process, of its machine and of what it reads."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from slicing_rllib.drill.trial import EXIT_S, Injection, Trial, wait_until

PAUSE_S = 5.0
BLOCK_BYTES = 2**20


def kill_driver(trial: Trial) -> Injection:
    """SIGKILL at a random time."""
    trial.wait_for_checkpoints(1)
    trial.begin()
    trial.driver.send(signal.SIGKILL)
    trial.driver.wait_for_exit()
    allowed = trial.checkpoint_steps + trial.iteration_steps
    return trial.resume("driver killed", "the drill", code=-signal.SIGKILL, allowed_loss=allowed)


def kill_while_checkpointing(trial: Trial) -> Injection:
    """SIGKILL while a checkpoint is being written."""
    trial.wait_for_checkpoints(1)
    folder = trial.driver.run.checkpoints
    wait_until(lambda: list(folder.glob(".step_*.partial")) or None, "no checkpoint was written")
    time.sleep(trial.rng.uniform(0, 0.2))
    trial.begin()
    trial.driver.send(signal.SIGKILL)
    trial.driver.wait_for_exit()
    allowed = trial.checkpoint_steps + trial.iteration_steps
    return trial.resume(
        "driver killed while writing a checkpoint", "the drill",
        code=-signal.SIGKILL, allowed_loss=allowed,
    )  # fmt: skip


def terminate_driver(trial: Trial) -> Injection:
    """SIGTERM, as from a spot instance that ends."""
    return _stop(trial, signal.SIGTERM, "SIGTERM")


def interrupt_driver(trial: Trial) -> Injection:
    """SIGINT, as from Ctrl-C."""
    return _stop(trial, signal.SIGINT, "SIGINT")


def pause_driver(trial: Trial) -> Injection:
    """SIGSTOP for some seconds, as when a virtual machine is migrated."""
    trial.begin()
    trial.driver.send(signal.SIGSTOP)
    trial.driver.watch(PAUSE_S)
    trial.driver.send(signal.SIGCONT)
    return trial.go_on(f"driver paused for {PAUSE_S:.0f} s", None)


def break_kpis(trial: Trial) -> Injection:
    """All KPIs of a step are NaN."""
    trial.wait_for_checkpoints(1)
    trial.begin()
    trial.driver.send(signal.SIGUSR1)
    trial.driver.wait_for_exit()
    return trial.resume(
        "NaN KPIs", _describe_end(trial, "not_finite"), code=1,
        allowed_loss=trial.checkpoint_steps + trial.iteration_steps,
    )  # fmt: skip


def jump_clock(trial: Trial) -> Injection:
    """The clock of the driver is set a day back."""
    trial.begin()
    trial.driver.send(signal.SIGUSR2)
    return trial.go_on("clock set back a day", None)


def fill_disk(trial: Trial) -> Injection:
    """No room on the run's file system; after the training has ended, there is room again."""
    assert trial.disk is not None
    trial.wait_for_checkpoints(1)
    ballast = trial.disk / "ballast"
    trial.begin()
    try:
        _write_until_full(ballast)
        trial.driver.wait_for_exit()
    finally:
        ballast.unlink()
    return trial.resume(
        "disk full", _describe_end(trial, "storage_failed"), code=1,
        allowed_loss=trial.checkpoint_steps + trial.iteration_steps,
    )  # fmt: skip


def take_checkpoints_away(trial: Trial) -> Injection:
    """The checkpoint folder is gone, as when a share is no longer mounted."""
    trial.wait_for_checkpoints(1)
    folder = trial.driver.run.checkpoints
    trial.begin()
    hidden = folder.rename(folder.with_name("hidden"))
    try:
        trial.driver.wait_for_exit()
    finally:
        hidden.rename(folder)
    return trial.resume(
        "checkpoint folder gone", _describe_end(trial, "storage_failed"), code=1,
        allowed_loss=trial.checkpoint_steps + trial.iteration_steps,
    )  # fmt: skip


def start_second_writer(trial: Trial) -> Injection:
    """A second `train --resume` of the same run."""
    trial.begin()
    command = [sys.executable, "-m", "slicing_rllib", *trial.driver.arguments]
    second = subprocess.run(
        command, env=trial.driver.environment, capture_output=True, text=True, check=False,
        timeout=EXIT_S,
    )  # fmt: skip
    report = trial.go_on("second training of the same run", None)
    refused = second.returncode == 1 and "in use by" in second.stderr
    noticed = "the lock: exit code 1, naming the holder"
    return report._replace(noticed=noticed) if refused else report._replace(
        problem=f"expected a refusal, got exit code {second.returncode}"
    )  # fmt: skip


def truncate_checkpoint(trial: Trial) -> Injection:
    """The largest file of the newest checkpoint lost its second half while nothing ran."""

    def damage(data: bytes) -> bytes:
        return data[: len(data) // 2]

    return _damage_checkpoint(trial, "checkpoint truncated", damage)


def flip_checkpoint_bit(trial: Trial) -> Injection:
    """One bit of the newest checkpoint flipped while nothing ran."""

    def damage(data: bytes) -> bytes:
        position = int(trial.rng.integers(len(data)))
        flipped = data[position] ^ (1 << int(trial.rng.integers(8)))
        return data[:position] + bytes([flipped]) + data[position + 1 :]

    return _damage_checkpoint(trial, "checkpoint bit flipped", damage)


def cut_log_short(trial: Trial) -> Injection:
    """The last row of metrics is cut in the middle, as by a power failure."""
    trial.wait_for_checkpoints(1)
    trial.begin()
    trial.driver.send(signal.SIGKILL)
    trial.driver.wait_for_exit()
    log = trial.driver.run.path / "metrics.jsonl"
    os.truncate(log, log.stat().st_size - 100)
    allowed = trial.checkpoint_steps + trial.iteration_steps
    return trial.resume(
        "metrics cut short", "reader: the cut row is left out", code=-signal.SIGKILL,
        allowed_loss=allowed,
    )  # fmt: skip


def _write_until_full(path: Path) -> None:
    """Fills up the file system, which others write to at the same time."""
    block = bytes(BLOCK_BYTES)
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(block)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def _stop(trial: Trial, number: signal.Signals, fault: str) -> Injection:
    trial.begin()
    trial.driver.send(number)
    code = trial.driver.wait_for_exit()
    noticed = f"event interrupted, exit code {code}"
    return trial.resume(fault, noticed, code=130, allowed_loss=0)


def _damage_checkpoint(trial: Trial, fault: str, damage: Callable[[bytes], bytes]) -> Injection:
    trial.wait_for_checkpoints(2)
    trial.begin()
    trial.driver.send(signal.SIGKILL)
    trial.driver.wait_for_exit()
    newest = sorted(trial.driver.run.checkpoints.glob("step_*"))[-1]
    files = [path for path in newest.rglob("*") if path.is_file()]
    victim = max(files, key=lambda path: path.stat().st_size)
    victim.write_bytes(damage(victim.read_bytes()))
    allowed = 2 * trial.checkpoint_steps + trial.iteration_steps
    report = trial.resume(fault, "the drill", code=-signal.SIGKILL, allowed_loss=allowed)
    if "checkpoint_passed_over" in trial.list_new_events():
        return report._replace(noticed="event checkpoint_passed_over, naming the file")
    return report._replace(problem="expected the event checkpoint_passed_over")


def _describe_end(trial: Trial, event: str) -> str:
    """What the training said when it ended."""
    known = f"event {event}, " if event in trial.list_new_events() else ""
    return f"{known}exit code {trial.driver.exit_code} with one line"
