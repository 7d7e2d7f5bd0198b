"""Checkpoints that are either complete or absent: written aside, hashed, synced, then renamed.

Each is verified before it is used. Damaged ones and those that nobody needs can be deleted.
"""

import hashlib
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

from slicing_rllib.storage import read_json, remove_tree, sync, sync_tree, write_durably
from slicing_rllib.storage.errors import CheckpointError, CheckpointFormatError
from slicing_rllib.storage.foreign_files import MIB, open_regular

MANIFEST = "manifest.json"
FORMAT = 1
"""Version of what a checkpoint contains."""
MAX_MANIFEST_BYTES = 16 * MIB


class Manifest(BaseModel):
    """What a checkpoint says of itself: version, environment step, and a digest by file."""

    format: int
    env_steps: int
    sha256: dict[str, str]


def save_checkpoint(
    folder: Path, env_steps: int, write: Callable[[Path], object], *, keep: int
) -> Path:
    """Writes the checkpoint of an environment step; deletes all but the `keep` newest ones.

    `folder` exists: a run that was moved away is not written anew where it was. `write` fills a
    temporary folder, which gets its manifest and its name once all of it is on disk; only then are
    older checkpoints deleted. Raises: OSError, after which the older checkpoints are as they were
    and nothing is left of the new one.
    """
    final = folder / f"step_{env_steps:09d}"
    partial = folder / f".{final.name}.partial"
    remove_leftovers(folder)
    partial.mkdir()
    try:
        write(partial)
        manifest = Manifest(format=FORMAT, env_steps=env_steps, sha256=_hash_files(partial))
        write_durably(partial / MANIFEST, manifest.model_dump_json(indent=1).encode())
        sync_tree(partial)
        if final.exists():  # It did not verify: no other run comes to the same step again.
            remove_tree(final)
        partial.rename(final)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync(folder)
    for old in list_checkpoints(folder)[:-keep]:
        remove_tree(old)
    return final


def list_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, the oldest first."""
    return sorted(folder.glob("step_*"))


def remove_leftovers(folder: Path) -> list[Path]:
    """Deletes what a crash left of checkpoints that were being written or deleted; returns them."""
    leftovers = sorted(folder.glob(".step_*"))
    for leftover in leftovers:
        shutil.rmtree(leftover, ignore_errors=True)
    return leftovers


def verify_checkpoint(checkpoint: Path) -> int:
    """The environment step of a checkpoint whose files are those that were written.

    Raises: CheckpointError naming the file that is missing or has changed; CheckpointFormatError
    for a checkpoint of another version.
    """
    if checkpoint.is_symlink():
        raise CheckpointError(f"{checkpoint}: expected a folder, got a link")
    manifest = read_manifest(checkpoint)
    if manifest.format != FORMAT:
        raise CheckpointFormatError(
            f"{checkpoint}: expected a checkpoint of format {FORMAT}, got format "
            f"{manifest.format} of another version of slicing-rllib; resume with that version "
            "or start a new run"
        )
    try:
        found = _hash_files(checkpoint)
    except OSError as error:
        raise CheckpointError(f"{checkpoint}: cannot be read ({error})") from error
    for name, digest in manifest.sha256.items():
        if found.get(name) != digest:
            how = "has changed" if name in found else "is missing"
            raise CheckpointError(f"{checkpoint}: {name} {how} since it was written")
    return manifest.env_steps


def read_manifest(checkpoint: Path) -> Manifest:
    """What a checkpoint says of itself. Raises: CheckpointError."""
    try:
        return Manifest.model_validate(read_json(checkpoint / MANIFEST, MAX_MANIFEST_BYTES))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{checkpoint}: expected a readable {MANIFEST}") from error


def find_newest_valid(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that verifies, and a line for each newer one that does not.

    Raises: CheckpointFormatError for a checkpoint of another version: it is not damaged, and to
    start again from step 0 would lose it.
    """
    passed_over = []
    for checkpoint in reversed(list_checkpoints(folder)):
        try:
            verify_checkpoint(checkpoint)
            return checkpoint, passed_over
        except CheckpointFormatError:
            raise
        except CheckpointError as error:
            passed_over.append(str(error))
    return None, passed_over


def _hash_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every regular file. Links are left out: they could lead to any other file."""
    hashes = {}
    for path in sorted(folder.rglob("*")):
        if stat.S_ISREG(path.lstat().st_mode) and path != folder / MANIFEST:
            with open_regular(path, follow_links=False) as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            hashes[path.relative_to(folder).as_posix()] = digest
    return hashes


class CheckpointReport(NamedTuple):
    """One checkpoint."""

    path: Path
    env_steps: int | None
    """Environment step; None where the manifest cannot be read."""
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
        manifest, problem, is_foreign = None, "", False
        try:
            manifest = read_manifest(checkpoint)
            verify_checkpoint(checkpoint)
        except CheckpointError as error:
            problem, is_foreign = str(error), isinstance(error, CheckpointFormatError)
        stats = [path.lstat() for path in checkpoint.rglob("*")]
        yield CheckpointReport(
            checkpoint,
            manifest and manifest.env_steps,
            manifest and manifest.format,
            sum(status.st_size for status in stats if stat.S_ISREG(status.st_mode)),
            problem,
            is_foreign,
        )


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
