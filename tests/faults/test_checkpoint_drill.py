"""Kills and power failures while a checkpoint is written over an older one."""

from pathlib import Path

import numpy as np

from slicing_rllib.drill.checkpoint_drill import drill_checkpoints
from slicing_rllib.runs.checkpoints import save_checkpoint


def write(content: bytes):
    def write_files(folder: Path) -> None:
        (folder / "inner").mkdir()
        (folder / "inner" / "weights").write_bytes(content)

    return write_files


def test_a_checkpoint_is_found_after_kills_and_power_failures(tmp_path: Path):
    """At the first and last point and one between them, and at every file operation."""
    templates = tmp_path / "templates"
    templates.mkdir()
    older = save_checkpoint(templates, 1, write(b"old"), keep=2)
    newer = save_checkpoint(templates, 2, write(b"newer"), keep=2)
    (tmp_path / "work").mkdir()

    continued: list[set[str]] = []

    def continue_from(state: Path) -> str:
        continued.append({path.name for path in state.iterdir()})
        return "other weights" if len(continued) == 1 else ""

    rng = np.random.default_rng(0)
    drill = drill_checkpoints(
        (older, newer), tmp_path / "work", 3, rng, lambda text: None, continue_from
    )

    assert [problem.partition(": ")[2] for problem in drill.problems] == ["other weights"]
    assert drill.continued == len(continued) >= 3
    assert any(newer.name not in names for names in continued)
    assert {newer.name} in continued
    assert drill.kills == 3
    assert drill.found_older >= 2
    assert drill.found_newer >= 2
    assert drill.found_older + drill.found_newer == 3 + drill.power_states
