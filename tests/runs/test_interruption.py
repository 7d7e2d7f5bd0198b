"""Signals: whenever they come, a command ends with one line, 130 and none of its processes."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from slicing_rllib.runs import interruption
from slicing_rllib.runs.interruption import Interruption, catch_signals

LINE = "slicing-rllib: interrupted\n"


def test_a_second_ctrl_c_interrupts_at_once():
    asked = Interruption(None)
    asked.request(signal.SIGINT, None)

    assert asked.is_requested
    with pytest.raises(KeyboardInterrupt):
        asked.request(signal.SIGINT, None)


@pytest.mark.parametrize("number", interruption.SIGNALS)
def test_a_block_that_catches_signals_goes_on(number: signal.Signals):
    before = signal.getsignal(number)
    with catch_signals() as asked:
        signal.raise_signal(number)
        assert asked.is_requested
    assert signal.getsignal(number) is before


def run_and_send(script: str, number: signal.Signals, folder: Path) -> tuple[int, str, float]:
    """Exit code, stderr and seconds of a script that gets a signal once it prints a line."""
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as started:  # fmt: skip
        assert started.stdout is not None
        assert started.stderr is not None
        started.stdout.readline()
        begun = time.monotonic()
        started.send_signal(number)
        error = started.stderr.read()
    return started.returncode, error, time.monotonic() - begun


MAIN = """
import sys, time
import slicing_rllib.cli.main as main_module
from slicing_rllib.__main__ import main

def run(arguments):
    {body}

main_module.run = run
main()
"""


@pytest.mark.parametrize("number", interruption.SIGNALS)
def test_a_signal_in_the_middle_of_a_command_is_one_line(number: signal.Signals, tmp_path: Path):
    """Also in code that is executed from a string, after which Python would end by SIGINT."""
    body = "exec('print(1, flush=True); time.sleep(60)')"
    assert run_and_send(MAIN.format(body=body), number, tmp_path)[:2] == (130, LINE)


def test_a_signal_during_an_import_waits_for_its_end(tmp_path: Path):
    """An exception that comes out of an import in C++ would end the process by SIGABRT."""
    (tmp_path / "slow.py").write_text(
        "import sys, time\nprint(1, flush=True)\n"
        "time.sleep(0.5)\nprint('imported', file=sys.stderr)"
    )
    script = MAIN.format(body="import slow; time.sleep(60)")
    assert run_and_send(script, signal.SIGTERM, tmp_path)[:2] == (130, "imported\n" + LINE)


def test_what_does_not_end_by_itself_is_ended_with_its_processes(tmp_path: Path):
    body = """
    import subprocess
    import slicing_rllib.runs.interruption as interruption
    interruption.DEADLINE_S = 0.5
    child = subprocess.Popen(["sleep", "60"])
    open("pid", "w").write(str(child.pid))
    try:
        print(1, flush=True)
        time.sleep(60)
    finally:
        time.sleep(60)
"""
    code, error, seconds = run_and_send(MAIN.format(body=body), signal.SIGTERM, tmp_path)
    assert (code, error) == (130, LINE.strip() + "; ended what did not end by itself\n")
    assert seconds < 20.0
    # Nobody may have collected its exit code yet.
    with suppress(psutil.NoSuchProcess):
        child = psutil.Process(int((tmp_path / "pid").read_text()))
        assert child.status() == psutil.STATUS_ZOMBIE


def test_nohup_keeps_a_command_running(tmp_path: Path):
    body = "print(1, flush=True); time.sleep(0.5); sys.exit(7)"
    script = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)" + MAIN.format(body=body)
    assert run_and_send(script, signal.SIGHUP, tmp_path)[:2] == (7, "")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("command", ["train", "sweep"])
def test_whenever_a_signal_comes(command: str, ray_folder: str, tmp_path: Path):
    """While Python imports, Ray starts, the algorithm is built, and in training.

    An iteration that was made has its checkpoint; without one, nothing is left in the way.
    """
    for step in range(16):
        folder = tmp_path / str(step)
        number = interruption.SIGNALS[step % len(interruption.SIGNALS)]
        arguments = {"train": ["quick", "--out"], "sweep": ["quick", "--out"]}[command]
        with subprocess.Popen(
            [sys.executable, "-m", "slicing_rllib", command, *arguments, str(folder)],
            env=os.environ | {"RAY_TMPDIR": ray_folder},
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        ) as started:  # fmt: skip
            time.sleep(0.5 + step)
            children = psutil.Process(started.pid).children(recursive=True)
            started.send_signal(number)
            assert started.stderr is not None
            error = started.stderr.read()
        assert started.returncode == 130, (step, error)
        assert "Traceback" not in error, (step, error)
        assert "***" not in error, (step, error)
        assert psutil.wait_procs(children, timeout=10.0)[1] == []
        if command == "train":
            has_row = (folder / "metrics.jsonl").exists()
            assert folder.exists() == has_row
            assert not has_row or any((folder / "checkpoints").glob("step_*"))
