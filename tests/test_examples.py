"""Every example runs as it is, with fewer steps."""

import subprocess
import sys
from pathlib import Path

import pytest

import slicing_rllib.examples

FOLDER = Path(slicing_rllib.examples.__file__).parent
JOINS = "env.deployments=[{cell: cell_12, off_until: 20, default_action_until: 50}]"
SHORT = (
    "learning.training_steps=100", JOINS, "env.default_action_steps=25",
    "evaluation.steps=5", "evaluation.seeds=1",
    "evaluation.policies=[counterfactual, counterfactual_transferred]",
)  # fmt: skip
ARGUMENTS = {
    "train": ("run", *SHORT),
    "tune_sweep": ("1", "1"),
    "rllib_ppo": ("1", "100"),
    "sb3_cell": ("60",),
    "new_cell": ("run", *SHORT),
    "sla_change": ("20",),
    "paper_figure": ("run",),
    "own_measure": ("run", *SHORT),
    "own_method": ("run", *SHORT),
    "own_message": ("2",),
    "own_baseline": ("20", "2"),
    "own_actor": ("run", *SHORT),
}


def test_every_example_is_run_is_short_and_is_in_the_table():
    programs = {path.stem: path for path in FOLDER.glob("*.py") if path.stem != "__init__"}
    table = (FOLDER / "README.md").read_text(encoding="utf-8")

    assert set(programs) == set(ARGUMENTS)
    for name, path in programs.items():
        assert f"[{name}]({name}.py)" in table
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 60, name


@pytest.mark.slow
@pytest.mark.parametrize("name", ARGUMENTS)
def test_an_example_runs(name, tmp_path, finished):
    (tmp_path / "run").symlink_to(finished.path) if name == "paper_figure" else None
    command = [sys.executable, "-m", f"slicing_rllib.examples.{name}", *ARGUMENTS[name]]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=170)

    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()
