"""Every option that takes a path refuses pipes, devices and giant files in one line, at once."""

import inspect
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from slicing_rllib.cli import main as cli
from slicing_rllib.runs.run_directory import RunDirectory

pytestmark = pytest.mark.slow

KINDS = ("pipe", "device", "socket", "folder", "sparse")
NEVER_READ = {"RUN", "RUNS", "LIBRARY", "DIRECTORY", "SOURCE", "--run"}
"""Folders: a special file in their place is not opened, whatever it is."""
READ = {
    "train CONFIG": "train {path}",
    "train --set scenario.mask.path": "train quick --set scenario.mask.kind=csv "
    "--set scenario.mask.path={path}",
    "evaluate RUN": "evaluate {path}",
    "evaluate --traffic": "evaluate {run} --traffic {path}",
    "evaluate --traffic .yaml": "evaluate {run} --traffic {path}.yaml",
    "evaluate --traffic .parquet": "evaluate {run} --traffic {path}.parquet",
    "similarity RUN": "similarity {path}",
    "transfer RUN": "transfer {path} --target cell_1",
    "report RUNS": "report {path}",
    "export-kpis RUN": "export-kpis {path} --out {folder}/a.csv",
    "export RUN": "export {path} --out {folder}/e",
    "closed-loop RUN": "closed-loop {path}",
    "closed-loop --token-file": "closed-loop {run} --token-file {path} --url http://127.0.0.1:9",
    "serve SOURCE": "serve {path} --direct",
    "serve --token-file": "serve {run} --direct --token-file {path}",
    "release LIBRARY": "release {path} --version 1",
    "release --run": "release {folder}/library --run {path}",
    "release --compare-on": "release {folder}/library --version 1 --compare-on {path}",
    "monitor DIRECTORY": "monitor {path}/x",
    "library LIBRARY": "library show {path} city",
    "library add RUN": "library add {folder}/library {path}",
    "checkpoint list RUN": "checkpoint list {path}",
    "checkpoint verify RUN": "checkpoint verify {path}",
    "checkpoint prune RUN": "checkpoint prune {path}",
    "config check": "config check {path}",
    "config show": "config show {path}",
    "experiment NAME": "experiment {path}",
    "sweep YAML": "submit -- sweep {path}",
    "submit -- train": "submit -- train {path}",
    "traffic check FILE": "traffic check {path}",
    "traffic check FILE.parquet": "traffic check {path}.parquet",
    "traffic check --config": "traffic check {traffic} --config {path}",
    "scenario from-sites FILE": "scenario from-sites {path} --out {folder}/a.yaml",
    "scenario from-sites FILE.geojson": "scenario from-sites {path}.geojson --out {folder}/a.yaml",
    "scenario from-sites --traffic": "scenario from-sites {sites} --traffic {path}.yaml "
    "--out {folder}/a.yaml",
    "bench calibration --reference": "bench calibration --reference {path}",
}
"""By option, a command that reads a file through it."""
WRITTEN = {
    "traffic check --out": "traffic check {traffic} --out {path}",
    "scenario from-sites --out": "scenario from-sites {sites} --force --out {path}.yaml",
    "export-kpis --out": "export-kpis {run} --out {path}.csv",
}
"""By option, a command that writes a file there."""


CASES = [
    *((option, kind) for option in READ for kind in KINDS if option.split()[-1] not in NEVER_READ),
    *((option, "pipe") for option in READ if option.split()[-1] in NEVER_READ),
    *((option, kind) for option in WRITTEN for kind in KINDS if kind != "sparse"),
]


@pytest.fixture
def make_special(tmp_path: Path) -> Iterator[object]:
    """Makes something that is no modest regular file."""
    sockets = []

    def make(path: Path, kind: str) -> None:
        match kind:
            case "pipe":
                os.mkfifo(path)
            case "device":
                path.symlink_to("/dev/zero")
            case "socket":
                sockets.append(socket.socket(socket.AF_UNIX))
                sockets[-1].bind(str(path))
            case "folder":
                path.mkdir()
            case "sparse":
                with path.open("wb") as file:
                    file.truncate(100 * 2**30)

    yield make
    for made in sockets:
        made.close()


def fill(command: str, folder: Path, path: Path, run: RunDirectory) -> list[str]:
    (folder / "traffic.csv").write_text(
        "step,slice_1,slice_2,slice_3,slice_4\n0,1,1,1,1\n1,0,0,0,0\n"
    )
    (folder / "sites.csv").write_text("site,x_m,y_m\na,0,0\nb,900,0\n")
    places = {"traffic": folder / "traffic.csv", "sites": folder / "sites.csv"}
    return [
        part.format(path=path, folder=folder, run=run.path, **places) for part in command.split()
    ]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("option", "kind"), CASES)
def test_a_special_file_is_refused_in_one_line(
    option: str, kind: str, finished: RunDirectory, tmp_path, make_special, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    command = (READ | WRITTEN)[option]
    path = tmp_path / "special"
    _, _, suffix = next(part for part in command.split() if "{path}" in part).partition("{path}")
    make_special(tmp_path / f"special{'' if '/' in suffix else suffix}", kind)

    code = cli.run(fill(command, tmp_path, path, finished))
    message = capsys.readouterr().err
    assert code in (cli.FAILED, cli.USAGE), message
    assert len(message.splitlines()) == 1
    assert "shows the traceback" not in message


OTHERS = {"--out", "--readme", "--shadow-log", "--figure"}
"""Options, where they are not in `WRITTEN`, that name a folder or a file to be written by work that
takes long; `require_writable` stands before each of them.
"""


def list_path_options(command: Any, name: str = "") -> Iterator[str]:
    """`COMMAND OPTION` of every parameter that is a path."""
    for word, child in getattr(command, "commands", {}).items():
        yield from list_path_options(child, f"{name} {word}".strip())
    hints = inspect.get_annotations(command.callback) if command.callback else {}
    for parameter in command.params:
        if "Path" in str(hints.get(parameter.name)):
            option = parameter.opts[0]
            yield f"{name} {option if option.startswith('-') else parameter.name.upper()}"


def test_every_option_that_takes_a_path_is_here():
    listed = set(list_path_options(typer.main.get_command(cli.app)))

    assert {option for option in listed if option.split()[-1] not in OTHERS} <= {*READ, *WRITTEN}
