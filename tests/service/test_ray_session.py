"""What is done while Ray starts."""

import sys

import pytest

from slicing_rllib.service.ray_session import imported_beside


def test_a_module_is_there_after_the_block(monkeypatch: pytest.MonkeyPatch, tmp_path):
    (tmp_path / "imported_beside_others.py").write_text("answer = 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    with imported_beside("imported_beside_others"):
        pass

    assert sys.modules.pop("imported_beside_others").answer == 42


def test_a_module_that_cannot_be_imported_is_left_to_who_needs_it(capfd):
    with imported_beside("no_module_of_this_name"):
        pass

    assert capfd.readouterr().err == ""
