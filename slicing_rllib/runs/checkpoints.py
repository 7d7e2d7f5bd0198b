"""Checkpoints that are either complete or absent: written aside, hashed, synced, then renamed.

What is known about each checkpoint of a run, and the deletion of those that nobody needs.

The branch of a run without its transfers: it starts from a checkpoint before the first
decision, so that both share their beginning and `drl` can be compared with `tl`.
"""

import hashlib
import json
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from slicing_rllib.runs.run_config import PolicyName, RunConfig
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.storage import read_bounded, remove_tree, sync_folder, sync_tree, write_durably
from slicing_rllib.storage.errors import CheckpointError, CheckpointFormatError
from slicing_rllib.storage.regular_file import MIB, open_regular

MANIFEST = "manifest.json"
FORMAT = 2
"""Version of what a checkpoint contains. Format 1 is that of before counterfactual learning."""
MAX_MANIFEST_BYTES = 16 * MIB


def save_checkpoint(
    folder: Path, env_steps: int, write: Callable[[Path], object], *, keep: int
) -> Path:
    """Writes the checkpoint of a network step; deletes all but the `keep` newest ones.

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
        _write_manifest(partial, env_steps)
        sync_tree(partial)
        if final.exists():  # It did not verify: no other run comes to the same step again.
            remove_tree(final)
        partial.rename(final)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync_folder(folder)
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
    """The network step of a checkpoint whose files are those that were written.

    Raises: CheckpointError naming the file that is missing or has changed; CheckpointFormatError
    for a checkpoint of another version.
    """
    if checkpoint.is_symlink():
        raise CheckpointError(f"{checkpoint}: expected a folder, got a link")
    manifest = read_manifest(checkpoint)
    if manifest["format"] != FORMAT:
        raise CheckpointFormatError(
            f"{checkpoint}: expected a checkpoint of format {FORMAT}, got format "
            f"{manifest['format']} of another version of slicing-rllib; resume with that version "
            "or start a new run"
        )
    try:
        found = _hash_files(checkpoint)
    except OSError as error:
        raise CheckpointError(f"{checkpoint}: cannot be read ({error})") from error
    for name, digest in manifest["sha256"].items():
        if found.get(name) != digest:
            how = "has changed" if name in found else "is missing"
            raise CheckpointError(f"{checkpoint}: {name} {how} since it was written")
    return manifest["env_steps"]


def read_manifest(checkpoint: Path) -> dict[str, Any]:
    """`format`, `env_steps` and `sha256` of a checkpoint. Raises: CheckpointError."""
    try:
        manifest = json.loads(read_bounded(checkpoint / MANIFEST, MAX_MANIFEST_BYTES))
        return {
            "format": int(manifest.get("format", 1)),
            "env_steps": int(manifest["env_steps"]),
            "sha256": dict(manifest["sha256"]),
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
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
        except CheckpointFormatError:
            raise
        except CheckpointError as error:
            passed_over.append(str(error))
        else:
            return checkpoint, passed_over
    return None, passed_over


def _write_manifest(partial: Path, env_steps: int) -> None:
    manifest = {"format": FORMAT, "env_steps": env_steps, "sha256": _hash_files(partial)}
    write_durably(partial / MANIFEST, json.dumps(manifest, indent=1).encode())


def _hash_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every regular file. Links are left out: they could lead to any other file."""
    return {
        path.relative_to(folder).as_posix(): _hash_file(path)
        for path in sorted(folder.rglob("*"))
        if stat.S_ISREG(path.lstat().st_mode) and path != folder / MANIFEST
    }


def _hash_file(path: Path) -> str:
    with open_regular(path, follow_links=False) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


FOLDER = "scratch"
"""The branch's run directory, inside that of the run."""


def find_branch_step(config: RunConfig) -> int:
    """The first network step from which an iteration may reach a transfer decision.

    Counted over all env runners. The branch's checkpoint is written before that iteration.
    """
    joining = [d.default_action_until for d in config.env.deployments if d.off_until > 0]
    per_iteration = config.learning.steps_per_iteration
    workers = max(config.num_env_runners, 1)
    return max(min(joining) * workers - 2 * per_iteration, 0)


def get_branch(run: RunDirectory) -> RunDirectory:
    """The run directory of the branch, whether it is there yet or not."""
    return RunDirectory(run.path / FOLDER)


def make_branch_config(config: RunConfig) -> RunConfig:
    """The run's config with no transfer: every cell that joins learns from scratch."""
    changes: dict[str, Any] = {"name": f"{config.name[:56]}-{FOLDER}", "tracking": ()}
    plain = config.model_dump() | changes
    plain["transfer"]["method"] = "none"
    plain["evaluation"]["policies"] = (PolicyName.DRL,)
    return RunConfig.model_validate(plain)


def save_branch_point(run: RunDirectory, config: RunConfig, algorithm: Any) -> None:
    """Saves the checkpoint from which the branch continues. Later calls do nothing."""
    branch = get_branch(run)
    if not (branch.path / "config.yaml").exists():
        RunDirectory.create(branch.path, make_branch_config(config))
    if find_newest_valid(branch.checkpoints)[0] is None:
        folder = branch.checkpoints.resolve()
        save_checkpoint(folder, algorithm.env_steps, algorithm.save_to_path, keep=1)
