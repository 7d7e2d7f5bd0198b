"""What is known about each checkpoint of a run, and the deletion of those that nobody needs."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from slicing_rllib.service.errors import CheckpointError, CheckpointFormatError
from slicing_rllib.service.runs.checkpoints import (
    list_checkpoints,
    read_manifest,
    remove_leftovers,
    verify_checkpoint,
)
from slicing_rllib.storage import remove_tree


class CheckpointReport(NamedTuple):
    """One checkpoint."""

    path: Path
    env_steps: int | None
    """Network step; None where the manifest cannot be read."""
    format: int | None
    """Version of its content; None where the manifest cannot be read."""
    bytes: int
    """Size of all its files."""
    problem: str
    """Why it cannot be used; empty where it verifies."""
    is_foreign: bool
    """Whether another version wrote it. Nothing is known about damage then."""


def report_checkpoints(folder: Path) -> Iterator[CheckpointReport]:
    """Reads and verifies every checkpoint, the oldest first."""
    for checkpoint in list_checkpoints(folder):
        problem, is_foreign = _find_problem(checkpoint)
        try:
            manifest = read_manifest(checkpoint)
            env_steps, version = manifest["env_steps"], manifest["format"]
        except CheckpointError:
            env_steps = version = None
        size = _measure_bytes(checkpoint)
        yield CheckpointReport(checkpoint, env_steps, version, size, problem, is_foreign)


def prune_checkpoints(folder: Path, *, keep: int) -> list[Path]:
    """Deletes damaged checkpoints, all but the `keep` newest others, and what crashes left over.

    Checkpoints of another version stay. Where none verifies, the damaged ones stay as well, as
    there is nothing better. Returns what was deleted.
    """
    reports = list(report_checkpoints(folder))
    valid = [report.path for report in reports if not report.problem]
    damaged = [report.path for report in reports if report.problem and not report.is_foreign]
    doomed = [*damaged, *valid[:-keep]] if valid else []
    for checkpoint in doomed:
        remove_tree(checkpoint)
    return [*doomed, *remove_leftovers(folder)]


def _find_problem(checkpoint: Path) -> tuple[str, bool]:
    try:
        verify_checkpoint(checkpoint)
    except CheckpointFormatError as error:
        return str(error), True
    except CheckpointError as error:
        return str(error), False
    return "", False


def _measure_bytes(checkpoint: Path) -> int:
    stats = [path.lstat() for path in checkpoint.rglob("*")]
    return sum(status.st_size for status in stats if stat.S_ISREG(status.st_mode))
