"""The command line: results, messages and exit codes, as users and scripts see them."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from slicing_rllib.cli.main import run
from slicing_rllib.runs.run_directory import RunDirectory

Command = Callable[..., CompletedProcess[str]]
WITH_EXAMPLES = [
    "train", "evaluate", "similarity", "transfer", "experiment", "report", "sweep", "submit",
    "monitor", "serve",
]  # fmt: skip
GROUPS = {
    "library": ("list", "show", "add", "remove"),
    "config": ("show", "check", "schema"),
    "cluster": ("check",),
}
COMMANDS = [*([name] for name in WITH_EXAMPLES), *([name] for name in GROUPS), ["bench"]]
SUBCOMMANDS = [[group, name] for group, names in GROUPS.items() for name in names]


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (
            ["train", "nowhere.yaml"],
            2,
            "expected a YAML file or one of paper, recommended, first_run, quick",
        ),
        (["train", "--set", "learning.gama=1"], 2, "did you mean gamma?"),
        (["train", "--set", "scenario.sites=[]"], 2, "site"),
        (["trian"], 2, "No such command 'trian'"),
        (["train", "--bogus"], 2, "No such option: --bogus"),
        (["evaluate", "nowhere"], 1, "nowhere: expected a run directory"),
        (["report", "nowhere"], 1, "nowhere: expected a run directory"),
        (["monitor", "nowhere"], 1, "nowhere: expected a run directory or a folder of them"),
        (["train", "--resume"], 1, "expected a run named first_run-*"),
        (["monitor", ".", "--allow-host", "*"], 2, "expected a host name without '*'"),
    ],
)
def test_bad_input_gives_one_line_and_an_exit_code(
    arguments: list[str], code: int, line: str, capsys, tmp_path: Path, monkeypatch
):
    monkeypatch.chdir(tmp_path)

    assert run(arguments) == code
    printed = capsys.readouterr()
    assert line in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_a_help_text(words: list[str], capsys):
    assert run([*words, "--help"]) == 0
    assert f"Usage: slicing-rllib {' '.join(words)}" in capsys.readouterr().out


@pytest.mark.parametrize("words", [*([name] for name in WITH_EXAMPLES), *SUBCOMMANDS], ids=" ".join)
def test_help_has_an_example(words: list[str], capsys):
    """The command of the example is one that the command line knows."""
    run([*words, "--help"])

    _, _, examples = capsys.readouterr().out.partition("Example")
    assert f"slicing-rllib {' '.join(words)}" in examples


def test_a_group_without_a_command_prints_its_help_and_nothing_else(capfd):
    assert run(["config"]) == 2
    printed = capfd.readouterr()
    assert "Usage: slicing-rllib config" in printed.out + printed.err
    assert "slicing-rllib: " not in printed.err


def test_an_existing_run_is_not_overwritten(finished: RunDirectory, small_yaml, capsys):
    before = (finished.path / "summary.json").read_bytes()

    assert run(["train", str(small_yaml), "--out", str(finished.path)]) == 1
    assert "--resume goes on with it" in capsys.readouterr().err
    assert (finished.path / "summary.json").read_bytes() == before


def test_json_is_the_only_output_on_stdout(command: Command, small_yaml: Path):
    few = ["learning.exploration_steps=10", "learning.training_steps=15", "evaluation.steps=2"]
    settings = [word for setting in few for word in ("--set", setting)]
    result = command("train", str(small_yaml), *settings, "--out", "run", "--json")

    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["env_steps"] == 25


def test_evaluate_reproduces_the_evaluation_of_the_run(finished: RunDirectory, capsys):
    assert run(["evaluate", str(finished.path), "--policies", "td3,equal", "--json"]) == 0

    evaluated = json.loads(capsys.readouterr().out)["policies"]
    assert evaluated["td3"]["reward_mean"] == finished.summary()["policies"]["td3"]["reward_mean"]
    assert list(evaluated) == ["td3", "equal"]


def test_evaluate_uses_the_traffic_of_a_file(finished: RunDirectory, tmp_path: Path, capsys):
    names = [spec.name for spec in finished.config().scenario.slices]
    (tmp_path / "quiet.csv").write_text(",".join(names) + "\n" + ",".join(["0.05"] * 4) + "\n")
    arguments = ["evaluate", str(finished.path), "--policies", "equal", "--json", "--traffic"]

    assert run([*arguments, str(tmp_path / "quiet.csv")]) == 0
    quiet = json.loads(capsys.readouterr().out)["policies"]["equal"]["reward_mean"]
    assert quiet > finished.summary()["policies"]["equal"]["reward_mean"]
    assert run([*arguments, "nowhere.csv"]) == 2
    assert "nowhere.csv" in capsys.readouterr().err


def test_evaluate_refuses_an_unknown_policy(finished: RunDirectory, capsys):
    assert run(["evaluate", str(finished.path), "--policies", "best"]) == 2
    assert "got 'best'" in capsys.readouterr().err


def test_config_check_prints_cells_and_steps(capsys):
    assert run(["config", "check", "quick"]) == 0
    assert capsys.readouterr().out == "quick: valid, 12 cells, 1500 steps\n"


def test_the_output_of_config_show_is_a_valid_config(capsys, tmp_path: Path):
    run(["config", "show", "paper"])
    (tmp_path / "again.yaml").write_text(capsys.readouterr().out)

    assert run(["config", "check", str(tmp_path / "again.yaml")]) == 0


def test_config_schema_is_json(capsys):
    assert run(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["type"] == "object"


def test_the_command_line_starts_without_torch_and_ray():
    """So that `--help` answers at once."""
    program = (
        "import sys, slicing_rllib.cli.main; "
        "print([m for m in ('torch', 'ray') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout == "[]\n"


@pytest.mark.parametrize(("name", "kind"), [("paper-quick", "experiment"), ("messages", "sweep")])
def test_config_check_takes_experiments_and_sweeps(capsys, name: str, kind: str):
    assert run(["config", "check", name]) == 0
    assert capsys.readouterr().out == f"{name}: valid {kind}\n"
