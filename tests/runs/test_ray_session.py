"""Starting Ray for a command: its environment variables, and what is imported meanwhile."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import ray

from slicing_rllib.runs.ray_session import (
    ATTEMPTS,
    NOTE,
    _set_environment,
    end_leftovers,
    import_in_background,
    make_local_environment,
    note_session,
    quieten,
    ray_session,
)
from slicing_rllib.storage.errors import RunError


def test_a_module_is_imported_when_the_block_ends(monkeypatch: pytest.MonkeyPatch, tmp_path):
    (tmp_path / "imported_in_background.py").write_text("answer = 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    with import_in_background("imported_in_background"):
        pass

    assert sys.modules.pop("imported_in_background").answer == 42


def test_a_module_that_cannot_be_imported_causes_no_error(capfd):
    """The code that needs the module imports it again and gets the error."""
    with import_in_background("no_module_of_this_name"):
        pass

    assert capfd.readouterr().err == ""


def test_a_block_that_fails_waits_for_no_import(monkeypatch: pytest.MonkeyPatch, tmp_path):
    """The import may wait for a lock that the failure has left held."""
    (tmp_path / "imported_for_ever.py").write_text("import time\ntime.sleep(30)\n")
    monkeypatch.syspath_prepend(tmp_path)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), import_in_background("imported_for_ever"):
        raise KeyboardInterrupt

    assert time.monotonic() - started < 10.0


@pytest.mark.parametrize("failures", [2, 3])
def test_ray_is_started_again_and_then_given_up_in_one_line(
    monkeypatch: pytest.MonkeyPatch, failures: int
):
    """On a busy machine, it fails with an exception of no special type."""
    messages = ["The current node timed out during startup.\nMore."] * failures

    def start(address: str, **arguments: object) -> SimpleNamespace:
        if messages:
            raise Exception(messages.pop())
        return SimpleNamespace(address_info={"session_dir": "s"})

    monkeypatch.setattr(ray, "init", start)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if failures < ATTEMPTS:
        with ray_session(1):
            assert not messages
        return
    line = f"Ray at this machine: cannot start in {ATTEMPTS} attempts .The current node timed out"
    with pytest.raises(RunError, match=line), ray_session(1):
        pass


def test_environment_variables_are_set_for_the_block_only(monkeypatch: pytest.MonkeyPatch):
    """A variable that the user has set keeps its value."""
    monkeypatch.setenv("SLICING_TEST_OF_THE_USER", "1")
    monkeypatch.delenv("SLICING_TEST_OF_OURS", raising=False)
    with _set_environment({"SLICING_TEST_OF_THE_USER": "2", "SLICING_TEST_OF_OURS": "2"}):
        inside = os.environ["SLICING_TEST_OF_THE_USER"], os.environ["SLICING_TEST_OF_OURS"]

    assert inside == ("1", "2")
    assert os.environ["SLICING_TEST_OF_THE_USER"] == "1"
    assert "SLICING_TEST_OF_OURS" not in os.environ


def test_messages_of_rays_daemon_do_not_get_among_results(capsys):
    """Ray prints them on stdout, also where a driver asks for no logs: at the end of `serve`."""
    quieten()
    message = {"lines": ["Task failed."], "pid": "raylet", "is_err": False}
    ray._private.worker.print_to_stdstream(message, ignore_prefix=False)
    assert capsys.readouterr().out == ""


def test_all_sessions_of_a_process_share_one_token():
    """Ray's client reads the token once per process: a second token would be refused."""
    token = make_local_environment()["RAY_AUTH_TOKEN"]

    assert len(token) == 64
    assert make_local_environment()["RAY_AUTH_TOKEN"] == token


LOCAL_SESSION = """
import json, os, psutil, sys
from pathlib import Path
from slicing_rllib.runs.ray_session import ray_session

with ray_session(1, Path(sys.argv[1])):
    import ray
    from ray._raylet import AuthenticationMode, get_authentication_mode

    needs_token = get_authentication_mode() == AuthenticationMode.TOKEN
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    found = [c for process in processes for c in process.net_connections()]
    addresses = {c.laddr.ip.removeprefix("::ffff:") for c in found if c.status == "LISTEN"}
    print(json.dumps([needs_token, os.environ["RAY_AUTH_MODE"], *addresses]), flush=True)
    os.kill(os.getpid(), 9)
"""


def test_a_local_session_needs_its_token(tmp_path: Path, ray_folder: str):
    """Although this process was told to use no authentication; and nobody else can reach it.
    Killed, it leaves a note."""
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": ray_folder}
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN"):
        environment.pop(name, None)
    command = [sys.executable, "-c", LOCAL_SESSION, str(tmp_path)]
    killed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert killed.returncode == -9, killed.stderr
    assert json.loads(killed.stdout) == [True, "token", "127.0.0.1"]
    assert (tmp_path / NOTE).exists()


def test_what_a_killed_driver_left_is_ended(tmp_path: Path):
    """A process that has a log of the session open, whose driver is gone."""
    driver = subprocess.Popen([sys.executable, "-c", ""])
    driver.wait()
    log = tmp_path / f"session_2026-11-25_10-00-00_000000_{driver.pid}" / "logs" / "agent.out"
    log.parent.mkdir(parents=True)
    with log.open("w") as file:
        command = [sys.executable, "-c", "input()"]
        agent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file)
    note_session(tmp_path, str(log.parents[1]))

    assert end_leftovers(tmp_path) == 1
    assert not psutil.pid_exists(agent.pid)
    agent.wait()
    assert agent.stdin is not None
    agent.stdin.close()
    assert not (tmp_path / NOTE).exists()


@pytest.mark.parametrize("note", ["", "/etc", "\0", "/tmp/session_1_{pid}", "x" * 9999])
def test_a_foreign_note_ends_nothing(tmp_path: Path, note: str):
    """Nor does that of a training that still runs."""
    (tmp_path / NOTE).write_text(note.format(pid=os.getpid()))

    assert end_leftovers(tmp_path) == 0
