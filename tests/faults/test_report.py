"""The report of a drill, which is written whatever ends the drill."""

from pathlib import Path

import pytest

from slicing_rllib.cli.main import FAILED, run
from slicing_rllib.drill import rounds
from slicing_rllib.drill.errors import DrillError
from slicing_rllib.drill.result import DrillResult
from slicing_rllib.drill.trial import Injection

INJECTION = Injection("driver killed", 300, "the drill", 8.0, 40, 2.0, "")


@pytest.mark.parametrize("error", [DrillError("no node"), OSError(28, "No space left"), KeyError()])
def test_a_failure_ends_the_drill_but_not_its_report(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    """The page has the faults before it and the failure, and the exit code is 1."""

    def fail(folder: Path, ray_folder: Path, *, result: DrillResult, **settings: float) -> None:
        with result.record_failure("drill"):
            result.add_injection(INJECTION)
            raise error

    monkeypatch.setattr(rounds, "run_drill", fail)
    page = tmp_path / "page.md"
    page.write_text("<!-- begin drill -->\nold\n<!-- end drill -->\n")

    assert run(["drill", "--page", str(page)]) == FAILED
    text = page.read_text()
    assert "1 faults of 1 kinds, 1 problem." in text
    assert "| driver killed | 1 | the drill | 8.0 | 40 | 2.0 | none |" in text
    assert f"drill: {error}" in text or type(error).__name__ in text
    assert "driver killed" in capsys.readouterr().out


def test_a_fault_without_recovery_is_a_row_and_the_drill_goes_on():
    """The round ends; what comes after it does not."""
    result = DrillResult(lambda text: None)
    with result.record_failure("training-1"):
        raise DrillError("rows of metrics are missing")
    result.add_injection(INJECTION)

    assert result.problems == ["training-1: rows of metrics are missing"]


def test_a_page_without_the_marks_is_refused_before_the_drill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    monkeypatch.setattr(rounds, "run_drill", pytest.fail)
    (tmp_path / "page.md").write_text("# Drill\n")

    assert run(["drill", "--page", str(tmp_path / "page.md")]) == FAILED
    assert "expected the marks <!-- begin drill -->" in capsys.readouterr().err
