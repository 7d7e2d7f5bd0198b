"""`export-kpis`: what a run measured, as a tidy table."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from slicing_rllib.cli.main import run
from slicing_rllib.runs.kpi_export import export_replay, parse_window
from slicing_rllib.runs.policy_evaluation import load_rollouts
from slicing_rllib.runs.run_directory import RunDirectory

pytestmark = pytest.mark.usefixtures("unchecked")


def export(finished: RunDirectory, out: Path, *arguments: str) -> pd.DataFrame:
    assert run(["export-kpis", str(finished.path), "--out", str(out), *arguments]) == 0
    return pd.read_parquet(out) if out.suffix == ".parquet" else pd.read_csv(out)


def test_training_is_exported_as_means_per_iteration(finished, tmp_path):
    table = export(finished, tmp_path / "kpis.parquet")
    row = finished.metrics()[0]
    assert list(table.columns) == ["step", "cell", "cell_id", "slice", "kpi", "value", "unit"]
    assert sorted(table["step"].unique()) == [25, 50, 75, 100, 125, 150]
    found = table.query("step == 25 and cell == 'cell_3' and kpi == 'delay_ms'")
    assert found["slice"].tolist() == ["slice_1", "slice_2", "slice_3", "slice_4"]
    assert found["value"].tolist() == row["cells"]["cell_3"]["delay_ms"]
    assert set(found["unit"]) == {"ms"}


@pytest.mark.parametrize("policy", ["td3", "equal"])
def test_a_replay_gives_the_rewards_of_the_final_evaluation(finished, policy):
    """Every step, cell by cell: the exported numbers are those of evaluation.npz."""
    table = export_replay(finished, policy, 1, parse_window(None))
    rewards = table.query("kpi == 'reward'")["value"].to_numpy().reshape(-1, 12)
    kept = load_rollouts(finished.path / "evaluation.npz")[policy]["reward"][1]
    assert rewards == pytest.approx(kept, abs=1e-6)


def test_windows_kpis_and_cells_can_be_chosen(finished, tmp_path):
    arguments = ["--policy", "equal", "--window", "3:5", "--kpis", "prb_ratio", "--cells", "cell_2"]
    table = export(finished, tmp_path / "kpis.csv", *arguments)
    assert table["step"].tolist() == list(np.repeat([3, 4, 5], 4))
    assert set(table["value"]) == {0.25}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "kpis.xlsx"], "expected a name that ends in .parquet"),
        (["--out", "k.csv", "--window", "9"], "--window 9: expected FIRST:LAST"),
        (["--out", "k.csv", "--window", "9:3"], "--window 9:3: expected FIRST:LAST"),
        (["--out", "k.csv", "--policy", "tl"], "--policy tl: expected one of td3, equal, oracle"),
        (["--out", "k.csv", "--policy", "td3", "--seed", "2"], "--seed 2: expected 0 to 1"),
        (["--out", "k.csv", "--kpis", "speed"], "--kpis: expected some of throughput_mbps"),
        (["--out", "k.csv", "--cells", "cell_99"], "--cells: expected cells of the run"),
    ],
)
def test_what_cannot_be_exported_is_one_line_and_code_2(finished, capsys, arguments, message):
    assert run(["export-kpis", str(finished.path), *arguments]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
