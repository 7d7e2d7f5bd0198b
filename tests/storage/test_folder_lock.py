"""One process at a time works in a folder, and its lock ends with it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from slicing_rllib.storage import FolderLocked, lock_folder

HOLD = """
import sys, pathlib
from slicing_rllib.storage import lock_folder
with lock_folder(pathlib.Path(sys.argv[1]), "training"):
    print("locked", flush=True)
    sys.stdin.read()
"""


def hold_elsewhere(folder: Path) -> subprocess.Popen:
    """A process that holds the lock until its stdin is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def test_a_second_process_is_told_who_holds_the_lock(tmp_path: Path):
    with (
        hold_elsewhere(tmp_path) as holder,
        pytest.raises(FolderLocked, match=rf"in use by training \(process {holder.pid} on .*since"),
        lock_folder(tmp_path, "test"),
    ):
        pass


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path: Path):
    with hold_elsewhere(tmp_path) as holder:
        holder.kill()

    with lock_folder(tmp_path, "test"):
        assert (tmp_path / ".lock").exists()
    assert list(tmp_path.iterdir()) == []


def test_waiting_ends_when_the_holder_does(tmp_path: Path):
    with hold_elsewhere(tmp_path) as holder:
        assert holder.stdin is not None
        holder.stdin.close()
        with lock_folder(tmp_path, "test", timeout_s=30):
            pass


def test_blocks_of_one_process_may_be_nested(tmp_path: Path):
    with lock_folder(tmp_path, "outer"):
        with lock_folder(tmp_path / "." / "", "inner"):
            pass
        assert (tmp_path / ".lock").exists()


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path: Path):
    """It could name any file, which would be emptied."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = tmp_path / "folder"
    folder.mkdir()
    os.symlink(victim, folder / ".lock")

    with pytest.raises(OSError, match="symbolic links"), lock_folder(folder, "test"):
        pass
    assert victim.read_text() == "precious"


def test_a_holder_of_unknown_form_is_still_a_holder(tmp_path: Path):
    with hold_elsewhere(tmp_path):
        (tmp_path / ".lock").write_bytes(b"\x1b[2Jnot JSON")
        with pytest.raises(FolderLocked, match="in use by another process"), \
                lock_folder(tmp_path, "test"):  # fmt: skip
            pass
