"""Starting Ray for a command: its environment variables, and what is imported meanwhile."""

import os
import sys

import pytest

from slicing_rllib.service.ray_session import (
    _set_environment,
    import_in_background,
    make_local_environment,
)


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


def test_environment_variables_are_set_for_the_block_only(monkeypatch: pytest.MonkeyPatch):
    """A variable that the user has set keeps its value."""
    monkeypatch.setenv("SLICING_TEST_OF_THE_USER", "1")
    monkeypatch.delenv("SLICING_TEST_OF_OURS", raising=False)
    with _set_environment({"SLICING_TEST_OF_THE_USER": "2", "SLICING_TEST_OF_OURS": "2"}):
        inside = os.environ["SLICING_TEST_OF_THE_USER"], os.environ["SLICING_TEST_OF_OURS"]

    assert inside == ("1", "2")
    assert os.environ["SLICING_TEST_OF_THE_USER"] == "1"
    assert "SLICING_TEST_OF_OURS" not in os.environ


def test_all_sessions_of_a_process_share_one_token():
    """Ray's client reads the token once per process: a second token would be refused."""
    token = make_local_environment()["RAY_AUTH_TOKEN"]

    assert len(token) == 64
    assert make_local_environment()["RAY_AUTH_TOKEN"] == token
