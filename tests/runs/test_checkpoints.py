"""Checkpoints are complete or absent, and damage is detected."""

import json
from pathlib import Path

import numpy as np
import pytest
from lossy_disk import LossyDisk, write_tree

from slicing_rllib.runs.checkpoints import (
    find_newest_valid,
    list_checkpoints,
    prune_checkpoints,
    report_checkpoints,
    save_checkpoint,
    verify_checkpoint,
)
from slicing_rllib.storage.errors import CheckpointError, CheckpointFormatError


def write(folder: Path) -> None:
    (folder / "inner").mkdir()
    (folder / "inner" / "weights").write_bytes(b"0123456789")


def test_a_written_checkpoint_verifies(tmp_path: Path):
    assert verify_checkpoint(save_checkpoint(tmp_path, 70, write, keep=2)) == 70


def test_a_checkpoint_of_another_version_is_refused_instead_of_passed_over(tmp_path: Path):
    """To start again from step 0 would lose a run that its own version can continue."""
    checkpoint = save_checkpoint(tmp_path, 70, write, keep=2)
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    (checkpoint / "manifest.json").write_text(json.dumps(manifest | {"format": 2}))

    with pytest.raises(CheckpointFormatError, match=r"expected .* format 1, got format 2"):
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


def test_after_a_power_failure_there_is_a_checkpoint_that_verifies(tmp_path: Path):
    """At every file operation of writing a checkpoint that replaces the one before."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    save_checkpoint(folder, 1, write, keep=1)
    disk = LossyDisk(folder, np.random.default_rng(0))
    with disk.watch():
        save_checkpoint(folder, 2, write, keep=1)

    found = set()
    for number, state in enumerate(disk.states.values()):
        write_tree(state, tmp_path / str(number))
        checkpoint, _ = find_newest_valid(tmp_path / str(number))
        assert checkpoint is not None
        assert (checkpoint / "inner" / "weights").read_bytes() == b"0123456789"
        found.add(checkpoint.name)
    assert found == {"step_000000001", "step_000000002"}


def test_a_failed_write_leaves_nothing_of_the_new_checkpoint(tmp_path: Path):
    """On a full disk, its room is needed to go on."""

    def fail(folder: Path) -> None:
        write(folder)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        save_checkpoint(tmp_path, 2, fail, keep=2)

    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_cleaned_up(tmp_path: Path):
    for name in (".step_000000001.partial", ".step_000000003.deleted"):
        (tmp_path / name).mkdir()

    save_checkpoint(tmp_path, 2, write, keep=2)

    assert [path.name for path in tmp_path.iterdir()] == ["step_000000002"]


def test_a_checkpoint_that_did_not_verify_is_replaced_at_the_same_step(tmp_path: Path):
    damaged = save_checkpoint(tmp_path, 2, write, keep=2)
    (damaged / "inner" / "weights").write_bytes(b"")

    save_checkpoint(tmp_path, 2, write, keep=2)

    assert verify_checkpoint(damaged) == 2


@pytest.mark.parametrize("where", ["checkpoint", "file", "folder"])
def test_links_in_a_checkpoint_are_not_followed(tmp_path: Path, where: str):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    checkpoint = save_checkpoint(folder, 2, write, keep=2)
    linked = {
        "checkpoint": checkpoint, "file": checkpoint / "inner/weights",
        "folder": checkpoint / "inner",
    }[where]  # fmt: skip
    linked.rename(tmp_path / "elsewhere")
    linked.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(CheckpointError, match=r"got a link|weights is missing"):
        verify_checkpoint(checkpoint)


@pytest.mark.parametrize(
    "manifest", ["", "[]", "{}", '{"sha256": 3, "env_steps": 2}', '{"env_steps": "x"}', "[" * 9999]
)
def test_a_malformed_manifest_is_a_damaged_checkpoint(tmp_path: Path, manifest: str):
    checkpoint = save_checkpoint(tmp_path, 2, write, keep=2)
    (checkpoint / "manifest.json").write_text(manifest)

    with pytest.raises(CheckpointError, match=r"expected a readable manifest\.json"):
        verify_checkpoint(checkpoint)


def test_pruning_deletes_what_is_damaged_and_what_is_old(tmp_path: Path):
    for steps in (1, 2, 3, 4):
        save_checkpoint(tmp_path, steps, write, keep=9)
    (tmp_path / "step_000000004" / "inner" / "weights").unlink()
    (tmp_path / ".step_000000005.partial").mkdir()

    removed = prune_checkpoints(tmp_path, keep=2)

    assert {path.name for path in removed} == {
        "step_000000001", "step_000000004", ".step_000000005.partial",
    }  # fmt: skip
    assert [path.name for path in list_checkpoints(tmp_path)] == [
        "step_000000002", "step_000000003",
    ]  # fmt: skip


def test_pruning_keeps_what_it_cannot_replace(tmp_path: Path):
    """The only checkpoint, although damaged, and one of another version."""
    damaged = save_checkpoint(tmp_path, 1, write, keep=9)
    (damaged / "inner" / "weights").unlink()
    foreign = save_checkpoint(tmp_path, 2, write, keep=9)
    manifest = json.loads((foreign / "manifest.json").read_text())
    (foreign / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))

    assert prune_checkpoints(tmp_path, keep=1) == []
    assert [(r.env_steps, r.format, r.is_foreign) for r in report_checkpoints(tmp_path)] == [
        (1, 1, False), (2, 99, True),
    ]  # fmt: skip
