"""Files survive power failures: either the old or the new content is there, never a part."""

import os
from pathlib import Path

import numpy as np
import pytest
from lossy_disk import LossyDisk, write_tree

from slicing_rllib.storage import append_line, remove_tree, replace_durably, write_durably


def collect_states(root: Path, act) -> list[dict]:
    """Every state in which a power failure during `act` may leave the folder."""
    disk = LossyDisk(root, np.random.default_rng(0))
    with disk.watch():
        act()
    return list(disk.states.values())


def test_after_a_power_failure_a_file_is_old_or_new(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"old")

    states = collect_states(tmp_path, lambda: write_durably(tmp_path / "a", b"new"))

    assert {state["a"] for state in states} == {b"old", b"new"}


def test_the_model_of_the_disk_loses_what_a_plain_rename_leaves_unsynced(tmp_path: Path):
    """Without fsync, the renamed file may be empty: the model finds the mistake."""
    (tmp_path / "a").write_bytes(b"old")

    def write_carelessly() -> None:
        (tmp_path / "b").write_bytes(b"new")
        os.replace(tmp_path / "b", tmp_path / "a")

    states = collect_states(tmp_path, write_carelessly)

    assert b"" in {state["a"] for state in states}


def test_the_model_of_the_disk_loses_what_is_overwritten_in_place(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"old")

    states = collect_states(tmp_path, lambda: (tmp_path / "a").write_bytes(b"newer"))

    assert b"ne" in {state["a"] for state in states}


def test_a_finished_write_is_on_disk(tmp_path: Path):
    """When the call returns, no power failure can undo it: the folder has been synced, too."""
    (tmp_path / "a").write_bytes(b"old")
    disk = LossyDisk(tmp_path, np.random.default_rng(0))
    with disk.watch():
        write_durably(tmp_path / "a", b"new")
        disk.states.clear()

    assert [state["a"] for state in disk.states.values()] == [b"new"]


def test_a_deleted_folder_is_complete_or_hidden(tmp_path: Path):
    (tmp_path / "f").mkdir()
    for name in "xyz":
        (tmp_path / "f" / name).write_bytes(b"1")

    states = collect_states(tmp_path, lambda: remove_tree(tmp_path / "f"))

    assert any("f" not in state for state in states)
    assert all(len(state["f"]) == 3 for state in states if "f" in state)


def test_a_failed_write_leaves_no_partial_file(tmp_path: Path):
    """A full disk needs the room."""
    (tmp_path / "a").write_bytes(b"old")

    def fail() -> None:
        with replace_durably(tmp_path / "a") as partial:
            partial.write_bytes(b"ne")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        fail()

    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_line_after_one_that_was_cut_short_is_a_line_of_its_own(tmp_path: Path):
    log = tmp_path / "log"
    append_line(log, "1")
    with log.open("a") as file:
        file.write("2 cut sh")
    append_line(log, "3")

    assert log.read_text() == "1\n2 cut sh\n3\n"


def test_a_state_can_be_written_into_a_folder(tmp_path: Path):
    write_tree({"a": b"1", "f": {"b": b"2"}}, tmp_path / "state")

    assert (tmp_path / "state" / "f" / "b").read_bytes() == b"2"
