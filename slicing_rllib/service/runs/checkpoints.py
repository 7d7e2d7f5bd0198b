"""Checkpoints that are whole or not there: written aside, hashed, renamed."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from slicing_rllib.service.errors import CheckpointError
from slicing_rllib.service.runs.run_directory import write_atomically

MANIFEST = "manifest.json"


def save_checkpoint(
    folder: Path, env_steps: int, write: Callable[[Path], object], *, keep: int
) -> Path:
    """`write` fills a folder; it gets its manifest and its name only when all of it is there."""
    final = folder / f"step_{env_steps:09d}"
    partial = folder / f".{final.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write(partial)
    manifest = {"env_steps": env_steps, "sha256": _hashes(partial)}
    write_atomically(partial / MANIFEST, json.dumps(manifest, indent=1).encode())
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def checkpoints(folder: Path) -> list[Path]:
    """Finished checkpoints, oldest first."""
    return sorted(folder.glob("step_*"))


def verify(checkpoint: Path) -> int:
    """The env steps of a checkpoint that is what it was when written.

    Raises: CheckpointError naming the file that is missing or has changed.
    """
    try:
        manifest = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))
        expected, env_steps = manifest["sha256"], int(manifest["env_steps"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{checkpoint}: expected a readable {MANIFEST}") from error
    found = _hashes(checkpoint)
    for name, digest in expected.items():
        if found.get(name) != digest:
            how = "has changed" if name in found else "is missing"
            raise CheckpointError(f"{checkpoint}: {name} {how} since it was written")
    return env_steps


def newest_valid(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that verifies, and why newer ones were passed over."""
    passed_over = []
    for checkpoint in reversed(checkpoints(folder)):
        try:
            verify(checkpoint)
        except CheckpointError as error:
            passed_over.append(str(error))
        else:
            return checkpoint, passed_over
    return None, passed_over


def _hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
