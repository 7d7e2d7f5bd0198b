"""Kills and power failures at the file operations that write a checkpoint."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from slicing_rllib.drill.checkpoint_writer import copy_content
from slicing_rllib.drill.errors import DrillError
from slicing_rllib.drill.lossy_disk import LossyDisk, write_tree
from slicing_rllib.runs.checkpoints import (
    find_newest_valid,
    list_checkpoints,
    read_manifest,
    save_checkpoint,
)

EVERY = 50
"""A line of progress after so many kills."""


class CheckpointDrill(NamedTuple):
    """What was found after kills and power failures."""

    kills: int
    points: int
    """Points at which a kill could strike."""
    power_moments: int
    """Moments at which power could fail."""
    power_states: int
    """Different states of the disk that it left."""
    found_older: int
    """How often the older checkpoint was the newest that verifies."""
    found_newer: int
    """How often the one that was being written was."""
    continued: int
    """States after a power failure from which the training was continued to its end."""
    problems: list[str]


def drill_checkpoints(
    templates: tuple[Path, Path],
    folder: Path,
    kills: int,
    rng: np.random.Generator,
    on_message: Callable[[str], None],
    continue_from: Callable[[Path], str],
) -> CheckpointDrill:
    """Writes the second checkpoint over the first, again and again, and kills or cuts the power.

    Every time, one of them has to verify with the bytes of its template. From one state of each
    kind the training is continued to its end: a kind is which checkpoint was found, and whether
    unfinished files lie beside it.

    Args:
        templates: two checkpoints of one training, the older one first.
        folder: empty folder to write in.
        kills: number of processes that are killed, at points spread evenly.
        rng: decides what unsynced data survives a power failure.
        on_message: receives lines of progress.
        continue_from: continues the training from a folder of checkpoints, and returns what is
            wrong with the outcome, or nothing.
    """
    found = {path.name: 0 for path in templates}
    problems: list[str] = []

    def check(where: Path, what: str) -> str:
        problem, name = _find_problem(where, templates)
        if problem:
            problems.append(f"{what}: {problem}")
        else:
            found[name] += 1
        return name

    points = _count_points(templates, folder / "whole")
    for number, point in enumerate(np.linspace(0, points - 1, kills).round().astype(int)):
        where = folder / f"kill-{number}"
        if _write(templates, where, int(point)).returncode != -signal.SIGKILL:
            problems.append(f"point {point}: the writer was not killed")
        check(where, f"kill at point {point}")
        shutil.rmtree(where)
        if (number + 1) % EVERY == 0:
            on_message(f"{number + 1} of {kills} kills")
    disk = _lose_power(templates, folder / "power", rng)
    on_message(f"{len(disk.states)} states of the disk after a power failure")
    kinds: set[tuple[str, bool]] = set()
    for number, state in enumerate(disk.states.values()):
        where = folder / f"state-{number}"
        write_tree(state, where)
        kind = (check(where, f"state {number} after a power failure"), len(os.listdir(where)) > 1)
        if kind[0] and kind not in kinds:
            kinds.add(kind)
            if problem := continue_from(where):
                problems.append(f"state {number} after a power failure: {problem}")
        shutil.rmtree(where)
    on_message(f"continued to the end from {len(kinds)} of them")
    older, newer = (found[path.name] for path in templates)
    return CheckpointDrill(
        kills, points, disk.moments, len(disk.states), older, newer, len(kinds), problems
    )  # fmt: skip


def _prepare(templates: tuple[Path, Path], where: Path) -> None:
    where.mkdir()
    shutil.copytree(templates[0], where / templates[0].name)


def _write(
    templates: tuple[Path, Path], where: Path, point: int
) -> subprocess.CompletedProcess[str]:
    """Lets another process write the second checkpoint, which is killed at the point."""
    _prepare(templates, where)
    step = read_manifest(templates[1])["env_steps"]
    command = [sys.executable, "-m", "slicing_rllib.drill.checkpoint_writer"]
    command += [str(where), str(templates[1]), str(step), str(point)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _count_points(templates: tuple[Path, Path], where: Path) -> int:
    whole = _write(templates, where, -1)
    if whole.returncode:
        raise DrillError(f"a checkpoint cannot be written: {whole.stderr.strip()[-300:]}")
    shutil.rmtree(where)
    return int(whole.stdout)


def _lose_power(templates: tuple[Path, Path], where: Path, rng: np.random.Generator) -> LossyDisk:
    _prepare(templates, where)
    disk = LossyDisk(where, rng)
    step = read_manifest(templates[1])["env_steps"]
    with disk.watch():
        save_checkpoint(where, step, lambda to: copy_content(templates[1], to), keep=1)
    return disk


def _find_problem(where: Path, templates: tuple[Path, Path]) -> tuple[str, str]:
    """What is wrong with the checkpoint that a training would resume from, and its name."""
    checkpoint, _ = find_newest_valid(where)
    if checkpoint is None:
        return f"no checkpoint verifies of {[p.name for p in list_checkpoints(where)]}", ""
    template = next(path for path in templates if path.name == checkpoint.name)
    if read_manifest(checkpoint)["sha256"] != read_manifest(template)["sha256"]:
        return f"{checkpoint.name} has other bytes than were written", ""
    return "", checkpoint.name
