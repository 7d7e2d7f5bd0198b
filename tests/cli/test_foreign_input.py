"""Whatever strangers feed the commands: a quick answer in one line, and nothing outside touched.

Every input that failed once is an `example` here.
"""

import functools
import io
import json
import shutil
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import typer
import yaml
from foreign_input import BUDGET, NASTY, damage, watch, write
from hypothesis import example, given
from hypothesis import strategies as st

from slicing_rllib.cli import main as cli
from slicing_rllib.learning.replay import Transitions
from slicing_rllib.runs.config_loading import dump_resolved_yaml, load_config
from slicing_rllib.transfer import Bundle, LibraryError, PolicyLibrary

pytestmark = [pytest.mark.fuzz, pytest.mark.usefixtures("unchecked")]


def call(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and output of a command, which has to behave."""
    out, err = io.StringIO(), io.StringIO()
    with watch(folder), redirect_stdout(out), redirect_stderr(err):
        code = cli.run(list(arguments))
    message = err.getvalue()
    assert code in (cli.DONE, cli.FAILED, cli.USAGE), message
    assert "shows the traceback" not in message, f"an internal error: {message}"
    assert len(message.splitlines()) <= 1, message
    assert len(message) < 1500, message
    assert all(c.isprintable() for c in message.rstrip("\n")), repr(message)
    return code, message


@pytest.fixture(scope="module", autouse=True)
def _first_calls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What commands import and build at their first call is not theirs to answer for."""
    folder = tmp_path_factory.mktemp("first")
    (folder / "a.yaml").write_text("name: a\n")
    with pytest.MonkeyPatch.context() as patched:
        # Typer builds all commands anew at every call, which takes five times as long as the rest.
        patched.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
        with redirect_stdout(io.StringIO()):
            cli.run(["config", "check", str(folder / "a.yaml")])
            cli.run(["library", "list", str(folder)])
            cli.run(["report", str(folder)])
            cli.run(["checkpoint", "list", str(folder)])
        yield


CONFIG = dump_resolved_yaml(load_config("quick"))
TRACE = "step,video,voice\n0,0.5,0.5\n1,1,0\n"


@BUDGET
@given(text=damage(CONFIG) | st.text())
@example(text="seed: 1\nseed: 2\n")
@example(text="seed: 0x_\n")
@example(text="- " * 5000)
def test_a_config_file(text: str):
    with TemporaryDirectory() as folder:
        write(Path(folder, "a.yaml"), text)
        call(Path(folder), "config", "check", f"{folder}/a.yaml")


@BUDGET
@given(
    key=st.sampled_from(list(yaml.safe_load(CONFIG))) | st.text(),
    value=st.text() | st.sampled_from(NASTY),
)
@example(key="scenario", value="{like: paper, layout: {rows: 1000000}}")
def test_a_setting(key: str, value: str):
    with TemporaryDirectory() as folder:
        call(Path(folder), "config", "show", "quick", "--set", f"{key}={value}")


@BUDGET
@given(text=damage(TRACE) | st.text())
@example(text="\n\n\n")
@example(text="step,a\n" + "9" * 200_000)
def test_a_traffic_file(text: str):
    config = "scenario: {like: paper, mask: {kind: csv, path: trace.csv}}\n"
    with TemporaryDirectory() as folder:
        write(Path(folder, "trace.csv"), text)
        write(Path(folder, "a.yaml"), config)
        call(Path(folder), "config", "check", f"{folder}/a.yaml")


def make_bundle() -> Bundle:
    few = Transitions(*(np.ones((2, 3), np.float32) for _ in Transitions._fields))
    return Bundle(
        weights={"actor.0.weight": np.ones((2, 3), np.float32)},
        experience=few,
        default_action_experience=few,
        slices=("a", "b"),
        sla_throughput_mbps=(1.0, 1.0),
        sla_delay_ms=(1.0, 1.0),
        message="mean_load",
        returns={"evaluation_reward_mean": 0.5},
        provenance={"run": "r"},
    )


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    PolicyLibrary(str(folder)).add("city", make_bundle())
    return folder


FILES = ("manifest.json", "weights.safetensors", "experience.safetensors")


@BUDGET
@given(data=st.data(), file=st.sampled_from(FILES))
def test_a_bundle(library: Path, data: st.DataObject, file: str):
    with TemporaryDirectory() as folder:
        shutil.copytree(library, f"{folder}/library")
        path = Path(folder, "library", "city", "0001", file)
        text = path.read_bytes().decode("latin-1")
        path.write_bytes(data.draw(damage(text)).encode("latin-1", "replace"))
        call(Path(folder), "library", "list", f"{folder}/library")
        call(Path(folder), "library", "show", f"{folder}/library", "city")
        with suppress(LibraryError):
            PolicyLibrary(f"{folder}/library").load("city")


RUN_FILES = {
    "config.yaml": CONFIG,
    "metrics.jsonl": json.dumps({"env_steps": 1, "time_s": 1.0}) + "\n",
    "events.jsonl": json.dumps({"kind": "started", "env_step": 0, "message": "a"}) + "\n",
    "summary.json": json.dumps({"policies": {"equal": {"reward_mean": 0.5}}, "seed": 0}),
    "checkpoints/step_000000001/manifest.json": '{"format": 1, "env_steps": 1, "sha256": {}}',
}


@BUDGET
@given(data=st.data(), file=st.sampled_from(list(RUN_FILES)))
def test_a_run_directory(data: st.DataObject, file: str):
    with TemporaryDirectory() as folder:
        for name, text in RUN_FILES.items():
            path = Path(folder, "run", name)
            write(path, data.draw(damage(text) | st.text()) if name == file else text)
        for command in (["report"], ["checkpoint", "list"], ["checkpoint", "verify"]):
            call(Path(folder), *command, f"{folder}/run")
