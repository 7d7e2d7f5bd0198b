"""Kills and power failures while a checkpoint is written over an older one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from checkpoint_kills import Templates, kill_writers, lose_power

from slicing_rllib.runs.checkpoints import save_checkpoint


def write(content: bytes) -> Callable[[Path], None]:
    def write_files(folder: Path) -> None:
        (folder / "inner").mkdir()
        (folder / "inner" / "weights").write_bytes(content)

    return write_files


@pytest.fixture
def templates(tmp_path: Path) -> Templates:
    folder = tmp_path / "templates"
    folder.mkdir()
    return Templates(
        save_checkpoint(folder, 1, write(b"old"), keep=2),
        save_checkpoint(folder, 2, write(b"newer"), keep=2),
    )


def test_a_checkpoint_is_found_after_a_kill_at_any_point(templates: Templates, tmp_path: Path):
    """At the first and last point and one between them."""
    found = kill_writers(templates, tmp_path, 3)
    assert found.older >= 1
    assert found.newer >= 1
    assert found.older + found.newer == 3


def test_a_checkpoint_is_found_after_power_fails_at_any_file_operation(
    templates: Templates, tmp_path: Path
):
    """One state of each kind is shown: each checkpoint with and without unfinished files."""
    kinds: list[set[str]] = []

    def add(state: Path) -> None:
        kinds.append({path.name for path in state.iterdir()})

    found = lose_power(templates, tmp_path, np.random.default_rng(0), add)
    assert found.older >= 1
    assert found.newer >= 1
    assert len(kinds) >= 3
    assert {templates.newer.name} in kinds
    assert any(templates.newer.name not in names for names in kinds)


def test_a_checkpoint_with_other_bytes_is_no_survivor(templates: Templates, tmp_path: Path):
    folder = tmp_path / "run"
    folder.mkdir()
    save_checkpoint(folder, 2, write(b"other"), keep=2)
    with pytest.raises(AssertionError, match="other bytes than were written"):
        templates.find_survivor(folder)
