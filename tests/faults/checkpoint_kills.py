"""Kills and power failures at the file operations that write a checkpoint over an older one.

`python checkpoint_kills.py FOLDER TEMPLATE STEP POINT` writes a copy of the template as the
checkpoint of a step. It kills itself before or after one of its file operations; with a negative
point it writes to the end and prints the number of points.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from lossy_disk import WATCHED, LossyDisk, write_tree

from slicing_rllib.runs.checkpoints import (
    MANIFEST,
    find_newest_valid,
    list_checkpoints,
    read_manifest,
    save_checkpoint,
)


class Templates(NamedTuple):
    """Two checkpoints of one training; the newer one is written over the older one."""

    older: Path
    newer: Path

    @property
    def newer_step(self) -> int:
        return read_manifest(self.newer).env_steps

    def find_survivor(self, folder: Path) -> Path:
        """The template of the checkpoint that a training would resume from.

        Raises: AssertionError where none verifies, or it has other bytes than the template.
        """
        checkpoint, _ = find_newest_valid(folder)
        left = [path.name for path in list_checkpoints(folder)]
        assert checkpoint is not None, f"no checkpoint verifies of {left}"
        template = next(path for path in self if path.name == checkpoint.name)
        written, found = (read_manifest(path).sha256 for path in (template, checkpoint))
        assert found == written, f"{checkpoint.name} has other bytes than were written"
        return template


class Survivors(NamedTuple):
    """What was found after kills or power failures."""

    moments: int
    """Points at which a kill could strike, or moments at which power could fail."""
    older: int
    """How often the older checkpoint was the newest that verifies."""
    newer: int
    """How often the one that was being written was."""


def kill_writers(templates: Templates, folder: Path, kills: int) -> Survivors:
    """Kills processes that write the newer checkpoint, at points spread evenly.

    Raises: AssertionError where a writer is not killed, or no checkpoint is found afterwards.
    """
    whole = _write(templates, folder / "whole", -1)
    assert whole.returncode == 0, whole.stderr
    points = int(whole.stdout)
    found = []
    for number, point in enumerate(np.linspace(0, points - 1, kills).round().astype(int)):
        where = folder / f"kill-{number}"
        assert _write(templates, where, int(point)).returncode == -signal.SIGKILL, point
        found.append(templates.find_survivor(where))
        shutil.rmtree(where)
    return Survivors(points, found.count(templates.older), found.count(templates.newer))


def lose_power(
    templates: Templates, folder: Path, rng: np.random.Generator, seen: Callable[[Path], None]
) -> Survivors:
    """Finds a checkpoint in each state in which a power failure can leave the folder.

    Args:
        templates: the checkpoints.
        folder: empty folder to write in.
        rng: decides which unsynced changes reached the disk.
        seen: receives the folder of one state of each kind: which checkpoint is found, and whether
            unfinished files lie beside it.
    """
    disk = LossyDisk(_prepare(templates, folder / "power"), rng)
    with disk.watch():
        _save(templates.newer, folder / "power", templates.newer_step)
    found: list[Path] = []
    kinds: set[tuple[Path, bool]] = set()
    for where in _write_states(disk, folder):
        found.append(templates.find_survivor(where))
        kind = (found[-1], len(os.listdir(where)) > 1)
        if kind not in kinds:
            kinds.add(kind)
            seen(where)
    return Survivors(disk.moments, found.count(templates.older), found.count(templates.newer))


def _write_states(disk: LossyDisk, folder: Path) -> Iterator[Path]:
    for number, state in enumerate(disk.states.values()):
        where = folder / f"state-{number}"
        write_tree(state, where)
        yield where
        shutil.rmtree(where)


def _prepare(templates: Templates, where: Path) -> Path:
    where.mkdir()
    shutil.copytree(templates.older, where / templates.older.name)
    return where


def _write(templates: Templates, where: Path, point: int) -> subprocess.CompletedProcess[str]:
    """Lets another process write the newer checkpoint, which is killed at the point."""
    arguments = [_prepare(templates, where), templates.newer, templates.newer_step, point]
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _save(template: Path, folder: Path, step: int) -> None:
    """Writes the checkpoint of `step`, which replaces all older ones in the folder."""

    def copy_content(partial: Path) -> None:
        ignored = shutil.ignore_patterns(MANIFEST)
        shutil.copytree(template, partial, dirs_exist_ok=True, ignore=ignored)

    save_checkpoint(folder, step, copy_content, keep=1)


class _Countdown:
    """Kills the process at one of the points before and after file operations."""

    def __init__(self, point: int) -> None:
        self._point = point
        self.passed = 0

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self._pass()
            result = function(*arguments, **named)
            self._pass()
            return result

        return call

    def _pass(self) -> None:
        if self.passed == self._point:
            os.kill(os.getpid(), signal.SIGKILL)
        self.passed += 1


if __name__ == "__main__":
    where, of, step_number, kill_point = sys.argv[1:]
    countdown = _Countdown(int(kill_point))
    for name in (*WATCHED, "open", "write", "sendfile"):
        setattr(os, name, countdown.wrap(getattr(os, name)))
    _save(Path(of), Path(where), int(step_number))
    sys.stdout.write(f"{countdown.passed}\n")
