"""Checkpoints are complete or absent, and damage is detected."""

import json
from pathlib import Path

import pytest

from slicing_rllib.service.errors import CheckpointError, CheckpointFormatError
from slicing_rllib.service.runs.checkpoints import (
    find_newest_valid,
    list_checkpoints,
    save_checkpoint,
    verify_checkpoint,
)


def write(folder: Path) -> None:
    (folder / "inner").mkdir()
    (folder / "inner" / "weights").write_bytes(b"0123456789")


def test_a_written_checkpoint_verifies(tmp_path: Path):
    assert verify_checkpoint(save_checkpoint(tmp_path, 70, write, keep=2)) == 70


def test_a_checkpoint_of_another_version_is_refused_instead_of_passed_over(tmp_path: Path):
    """To start again from step 0 would lose a run that its own version can continue."""
    checkpoint = save_checkpoint(tmp_path, 70, write, keep=2)
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    del manifest["format"]
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(CheckpointFormatError, match=r"expected .* format 2, got format 1"):
        find_newest_valid(tmp_path)


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path):
    for steps in (5, 50, 500):
        save_checkpoint(tmp_path, steps, write, keep=2)

    assert [path.name for path in list_checkpoints(tmp_path)] == [
        "step_000000050",
        "step_000000500",
    ]


def test_a_failed_write_leaves_the_older_checkpoint(tmp_path: Path):
    save_checkpoint(tmp_path, 1, write, keep=2)

    def fail(folder: Path) -> None:
        write(folder)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        save_checkpoint(tmp_path, 2, fail, keep=2)

    newest, _ = find_newest_valid(tmp_path)
    assert newest is not None
    assert newest.name == "step_000000001"


@pytest.mark.parametrize("damage", ["truncate", "remove", "manifest"])
def test_a_damaged_checkpoint_is_passed_over_and_named(tmp_path: Path, damage: str):
    save_checkpoint(tmp_path, 1, write, keep=2)
    newest = save_checkpoint(tmp_path, 2, write, keep=2)
    victim = newest / "inner" / "weights"
    match damage:
        case "truncate":
            victim.write_bytes(b"01234")
        case "remove":
            victim.unlink()
        case "manifest":
            (newest / "manifest.json").write_text("{")

    with pytest.raises(CheckpointError):
        verify_checkpoint(newest)
    found, passed_over = find_newest_valid(tmp_path)

    assert found is not None
    assert found.name == "step_000000001"
    assert len(passed_over) == 1
    assert "step_000000002" in passed_over[0]
