"""Whatever strangers feed the commands: a quick answer in one line, and nothing outside touched.

`SLICING_RLLIB_FUZZ=10000 pytest -n 0 tests/service/test_foreign_input.py` tries so many inputs per
entry point; the suite tries a few. Every input that failed once is an `example` here.
"""

import io
import json
import os
import resource
import shutil
import sys
import time
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from slicing_rllib.learning.replay import Transitions
from slicing_rllib.service import cli
from slicing_rllib.service.config import dump_resolved_yaml, load_config
from slicing_rllib.storage.regular_file import GIB
from slicing_rllib.transfer import Bundle, LibraryError, PolicyLibrary

pytestmark = pytest.mark.usefixtures("unchecked")

EXAMPLES = int(os.environ.get("SLICING_RLLIB_FUZZ", "15"))
MAX_SECONDS = 2.0
"""Per input, in a full run. In the suite, other tests share the machine and time is not judged."""
BUDGET = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES < 100,
    suppress_health_check=list(HealthCheck),
)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
NASTY = (
    "\0", "\x1b[31m", "\u202e", "\ud7ff", "\ufeff", "nan", "-.inf", "1e999", "9" * 400, "010",
    "0x_", "1:30", "2001-99-99", "!!python/object:os.system", "!!int x", "&a [*a]", "[" * 60, "{",
    "<<: *a", "~", "''", "../../etc/passwd", "/dev/zero", "|", "- ", ": ", "\t", "²", "null",
)  # fmt: skip

opened: list[str] | None = None
"""Files opened for writing outside the folder of the input, while a command runs."""


def note_writes(event: str, arguments: tuple) -> None:
    if opened is None or event != "open" or not isinstance(arguments[0], str | bytes):
        return
    path, flags = os.fsdecode(arguments[0]), arguments[2] or 0
    if flags & WRITES and not path.startswith((os.sep + "dev", os.sep + "proc")):
        opened.append(path)


sys.addaudithook(note_writes)


def call(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and output of a command, which has to behave."""
    global opened
    out, err = io.StringIO(), io.StringIO()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    opened = []
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = cli.run(list(arguments))
    finally:
        touched, opened = opened, None
    seconds = time.monotonic() - started
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    message = err.getvalue()
    assert code in (cli.DONE, cli.FAILED, cli.USAGE), message
    assert "SLICING_RLLIB_DEBUG" not in message, f"an internal error: {message}"
    assert len(message.splitlines()) <= 1, message
    assert len(message) < 1500, message
    assert all(c.isprintable() for c in message.rstrip("\n")), repr(message)
    assert [path for path in touched if not path.startswith(str(folder))] == []
    assert grown < GIB, f"{grown} bytes"
    assert EXAMPLES < 100 or seconds < MAX_SECONDS, f"{seconds} s"
    return code, message


@pytest.fixture(scope="module", autouse=True)
def _imports(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What commands import at their first call is not theirs to answer for."""
    folder = tmp_path_factory.mktemp("first")
    (folder / "a.yaml").write_text("name: a\n")
    with redirect_stdout(io.StringIO()):
        cli.run(["config", "check", str(folder / "a.yaml")])
        cli.run(["library", "list", str(folder)])
        cli.run(["report", str(folder)])
        cli.run(["checkpoint", "list", str(folder)])


@st.composite
def damage(draw: st.DrawFn, text: str) -> str:
    """A text with a few changes of the kinds that people and attackers make."""
    for _ in range(draw(st.integers(1, 3))):
        lines = text.splitlines() or [""]
        row = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(["insert", "value", "drop", "twice", "cut", "random"])):
            case "insert":
                at = draw(st.integers(0, len(text)))
                text = text[:at] + draw(st.sampled_from(NASTY)) + text[at:]
            case "value":
                key = lines[row].partition(":")[0]
                lines[row] = f"{key}: {draw(st.sampled_from(NASTY))}"
                text = "\n".join(lines)
            case "drop":
                text = "\n".join(lines[:row] + lines[row + 1 :])
            case "twice":
                text = "\n".join([*lines, lines[row]])
            case "cut":
                text = text[: draw(st.integers(0, len(text)))]
            case "random":
                at = draw(st.integers(0, len(text)))
                text = text[:at] + draw(st.text(max_size=20)) + text[at:]
    return text


def write(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "surrogateescape"))


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
    "checkpoints/step_000000001/manifest.json": '{"format": 2, "env_steps": 1, "sha256": {}}',
}


@BUDGET
@given(data=st.data(), file=st.sampled_from(list(RUN_FILES)))
def test_a_run_directory(data: st.DataObject, file: str):
    with TemporaryDirectory() as folder:
        for name, text in RUN_FILES.items():
            path = Path(folder, "run", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, data.draw(damage(text) | st.text()) if name == file else text)
        for command in (["report"], ["checkpoint", "list"], ["checkpoint", "verify"]):
            call(Path(folder), *command, f"{folder}/run")
