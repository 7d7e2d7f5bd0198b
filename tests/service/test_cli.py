"""The command line as people and scripts meet it."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from slicing_rllib.__main__ import run
from slicing_rllib.service.runs.run_directory import RunDirectory

Command = Callable[..., CompletedProcess[str]]
WITH_EXAMPLES = [
    "train", "evaluate", "similarity", "transfer", "experiment", "report", "sweep", "submit",
    "monitor", "serve",
]  # fmt: skip
COMMANDS = [*WITH_EXAMPLES, "library", "config", "bench", "cluster"]


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["train", "nowhere.yaml"], 2, "expected a YAML file or one of paper, quick"),
        (["train", "--set", "learning.gama=1"], 2, "did you mean gamma?"),
        (["train", "--set", "scenario.sites=[]"], 2, "site"),
        (["trian"], 2, "No such command 'trian'"),
        (["train", "--bogus"], 2, "No such option: --bogus"),
        (["evaluate", "nowhere"], 1, "nowhere: expected a run directory"),
        (["report", "nowhere"], 1, "nowhere: expected a run directory"),
        (["monitor", "nowhere"], 1, "nowhere: expected a run directory or a folder of them"),
        (["train", "--resume"], 1, "expected a run named quick-*"),
    ],
)
def test_bad_input_is_one_line_and_a_code(
    arguments: list[str], code: int, line: str, capsys, tmp_path: Path, monkeypatch
):
    monkeypatch.chdir(tmp_path)

    assert run(arguments) == code
    said = capsys.readouterr()
    assert line in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys):
    assert run([name, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_help_has_an_example(name: str, capsys):
    run([name, "--help"])

    assert f"slicing-rllib {name} " in capsys.readouterr().out


def test_a_run_that_is_there_is_not_overwritten(finished: RunDirectory, small_yaml, capsys):
    before = (finished.path / "summary.json").read_bytes()

    assert run(["train", str(small_yaml), "--out", str(finished.path)]) == 1
    assert "--resume goes on with it" in capsys.readouterr().err
    assert (finished.path / "summary.json").read_bytes() == before


def test_json_is_alone_on_stdout(command: Command, small_yaml: Path):
    result = command("train", str(small_yaml), "--out", "run", "--json")

    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["env_steps"] == 150


def test_evaluate_finds_what_the_run_found(finished: RunDirectory, capsys):
    assert run(["evaluate", str(finished.path), "--policies", "drl,equal", "--json"]) == 0

    again = json.loads(capsys.readouterr().out)["policies"]
    assert again["drl"]["reward_mean"] == finished.summary()["policies"]["drl"]["reward_mean"]
    assert list(again) == ["drl", "equal"]


def test_evaluate_meets_other_traffic(finished: RunDirectory, tmp_path: Path, capsys):
    names = [spec.name for spec in finished.config().scenario.slices]
    (tmp_path / "quiet.csv").write_text(",".join(names) + "\n" + ",".join(["0.05"] * 4) + "\n")
    arguments = ["evaluate", str(finished.path), "--policies", "equal", "--json", "--traffic"]

    assert run([*arguments, str(tmp_path / "quiet.csv")]) == 0
    quiet = json.loads(capsys.readouterr().out)["policies"]["equal"]["reward_mean"]
    assert quiet > finished.summary()["policies"]["equal"]["reward_mean"]
    assert run([*arguments, "nowhere.csv"]) == 2
    assert "nowhere.csv" in capsys.readouterr().err


def test_evaluate_refuses_a_policy_that_nobody_knows(finished: RunDirectory, capsys):
    assert run(["evaluate", str(finished.path), "--policies", "best"]) == 2
    assert "got 'best'" in capsys.readouterr().err


def test_config_check_says_valid_or_why_not(capsys):
    assert run(["config", "check", "quick"]) == 0
    assert capsys.readouterr().out == "quick: valid, 12 cells, 5000 steps\n"


def test_config_show_can_be_run_again(capsys, tmp_path: Path):
    run(["config", "show", "paper"])
    (tmp_path / "again.yaml").write_text(capsys.readouterr().out)

    assert run(["config", "check", str(tmp_path / "again.yaml")]) == 0


def test_config_schema_is_json(capsys):
    assert run(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["type"] == "object"
