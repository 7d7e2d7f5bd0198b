"""Checkpoints that are either complete or absent: written aside, hashed, then renamed."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from slicing_rllib.service.errors import CheckpointError, CheckpointFormatError
from slicing_rllib.service.runs.run_directory import write_atomically

MANIFEST = "manifest.json"
FORMAT = 2
"""Version of what a checkpoint contains. Format 1 is that of before counterfactual learning."""


def save_checkpoint(
    folder: Path, env_steps: int, write: Callable[[Path], object], *, keep: int
) -> Path:
    """Writes the checkpoint of a network step; deletes all but the `keep` newest ones.

    `write` fills a temporary folder. It gets its manifest and its name once that has succeeded.
    """
    final = folder / f"step_{env_steps:09d}"
    partial = folder / f".{final.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write(partial)
    manifest = {"format": FORMAT, "env_steps": env_steps, "sha256": _hash_files(partial)}
    write_atomically(partial / MANIFEST, json.dumps(manifest, indent=1).encode())
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    for old in list_checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def list_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, the oldest first."""
    return sorted(folder.glob("step_*"))


def verify_checkpoint(checkpoint: Path) -> int:
    """The network step of a checkpoint whose files are those that were written.

    Raises: CheckpointError naming the file that is missing or has changed; CheckpointFormatError
    for a checkpoint of another version.
    """
    try:
        manifest = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))
        expected, env_steps = manifest["sha256"], int(manifest["env_steps"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{checkpoint}: expected a readable {MANIFEST}") from error
    found_format = manifest.get("format", 1)
    if found_format != FORMAT:
        raise CheckpointFormatError(
            f"{checkpoint}: expected a checkpoint of format {FORMAT}, got format {found_format} of "
            "another version of slicing-rllib; resume with that version or start a new run"
        )
    found = _hash_files(checkpoint)
    for name, digest in expected.items():
        if found.get(name) != digest:
            how = "has changed" if name in found else "is missing"
            raise CheckpointError(f"{checkpoint}: {name} {how} since it was written")
    return env_steps


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


def _hash_files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
