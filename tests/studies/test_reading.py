"""Runs and experiments as tables and figures from Python; reports for print."""

import json
from pathlib import Path

import pytest

import slicing_rllib
from slicing_rllib.cli.main import run
from slicing_rllib.evaluation.looks import parse_width
from slicing_rllib.evaluation.tables import format_latex
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.storage.errors import ConfigError, RunError


def test_a_run_is_read_as_tidy_tables(finished: RunDirectory):
    loaded = slicing_rllib.load_run(finished.path)

    assert list(loaded.curve.columns) == ["env_step", "seed", "cell", "reward"]
    assert set(loaded.curve["env_step"]) >= {50, 100, 150}
    assert set(loaded.learning["cell"]) == set(loaded.config.scenario.cells)
    assert {"env_step", "time_s", "reward", "satisfaction"} <= set(loaded.learning.columns)
    assert loaded.events["kind"].tolist()[-1] == "finished"
    means = loaded.policies.set_index(["policy", "metric"])["mean"]
    own = loaded.config.own_policy
    evaluated = loaded.evaluation[loaded.evaluation["policy"] == own]
    assert evaluated["reward"].mean() == pytest.approx(means[own, "reward_mean"], abs=1e-6)
    assert {"reward", "satisfaction", "delay"} <= set(loaded.plot())


def test_a_folder_that_is_no_run_gives_one_line(tmp_path: Path):
    with pytest.raises(RunError, match="expected a run directory"):
        slicing_rllib.load_run(tmp_path)
    with pytest.raises(RunError, match="expected an experiment"):
        slicing_rllib.load_experiment(tmp_path)


def test_a_report_for_print_has_pdf_figures_of_one_width_and_latex_tables(
    finished: RunDirectory, tmp_path: Path, capsys
):
    (tmp_path / "mine.mplstyle").write_text("font.size: 7\n")
    options = ["--format", "latex", "--width", "3.5in", "--style", str(tmp_path / "mine.mplstyle")]

    assert run(["report", str(finished.path), *options, "--out", str(tmp_path), "--json"]) == 0

    files = [Path(name) for name in json.loads(capsys.readouterr().out)["files"]]
    assert {path.suffix for path in files} == {".md", ".csv", ".pdf", ".tex"}
    assert b"/MediaBox [ 0 0 252 " in (tmp_path / "figures" / "reward.pdf").read_bytes()
    text = (tmp_path / "report.tex").read_text()
    assert "\\toprule\npolicy & " in text
    assert "fail\\_rate\\_95" in text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--width", "3.5"], "expected 1 to 40 inches"),
        (["--style", "nowhere"], "expected a style file"),
        (["--format", "rliable"], "expected the folder of an experiment"),
    ],
)
def test_what_cannot_be_printed_gives_one_line(finished, tmp_path, capsys, options, said):
    assert run(["report", str(finished.path), "--out", str(tmp_path), *options]) == 2
    line = capsys.readouterr().err
    assert said in line
    assert line.count("\n") == 1


def test_widths_are_lengths():
    """254 mm are ten inches, 722.7 pt of TeX as well."""
    assert parse_width("254mm") == pytest.approx(10.0)
    assert parse_width("722.7pt") == pytest.approx(10.0)
    with pytest.raises(ConfigError):
        parse_width("nan")


def test_every_table_of_a_page_becomes_a_tabular():
    page = "# A\n\n| a_b | c |\n| --- | --- |\n| 5 % | −1 |\n\ntext\n\n| d |\n| --- |\n| e |\n"
    text = format_latex(page)

    assert text.count("\\begin{tabular}") == 2
    assert "a\\_b & c \\\\\n\\midrule\n5 \\% & $-$1 \\\\" in text
