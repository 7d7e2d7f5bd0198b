"""With --json, stdout is JSON and nothing else, whatever the command."""

import ast
import json
from pathlib import Path

import pytest

import slicing_rllib.cli
from slicing_rllib.cli import main as cli
from slicing_rllib.runs.run_directory import RunDirectory

pytestmark = pytest.mark.slow

COMMANDS = [
    "config show quick", "config check quick", "config schema",
    "evaluate {run} --steps 3 --seeds 1",
    "evaluate {run} --steps 3 --seeds 1 --traffic clock.csv", "report {run} --out report",
    "similarity {run} --out report", "export-kpis {run} --out a.csv", "checkpoint list {run}",
    "checkpoint verify {run}", "library add policies {run} --name city", "library list policies",
    "library show policies city-cell_1", "release policies --version 1",
    "library remove policies city-cell_1", "traffic check clock.csv",
    "scenario from-sites sites.csv", "export {run} --cell cell_1 --out exported",
]  # fmt: skip
"""In an order in which each finds what it needs."""
MODULES = sorted(Path(slicing_rllib.cli.__file__).parent.glob("*_commands.py"))
PRINTERS = {"print", "echo", "write", "print_json"}


def test_every_command_prints_json_alone(finished: RunDirectory, tmp_path, capsys, monkeypatch):
    """Traffic with a clock has a second table."""
    monkeypatch.chdir(tmp_path)
    hours = "".join(f"2025-05-05T{hour:02d}:00,0.5,0.5,0.5,0.5\n" for hour in range(24))
    Path("clock.csv").write_text(f"time,slice_1,slice_2,slice_3,slice_4\n{hours}")
    Path("sites.csv").write_text("site,x_m,y_m\na,0,0\nb,900,0\n")
    for command in COMMANDS:
        arguments = [part.format(run=finished.path) for part in command.split()]
        code = cli.run([*arguments, "--json"] if command != "config schema" else arguments)
        printed = capsys.readouterr()
        assert code == 0, f"{command}: {printed.err}"
        assert json.loads(printed.out), command


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_commands_print_results_through_the_functions_of_the_console_alone(path: Path):
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    names = {ast.unparse(call.func).rpartition(".")[2] for call in calls}

    assert not names & PRINTERS
