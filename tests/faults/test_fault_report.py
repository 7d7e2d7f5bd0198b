"""The table of the faults that have struck."""

import pytest
from fault_report import format_page, format_rows

RECOVERED = {
    "fault": "driver killed",
    "problem": "",
    "noticed": "whoever started it",
    "seconds": 8.0,
    "steps_lost": 40,
    "silence_s": 2.0,
}
FAILED = {"fault": "driver killed", "problem": "was not resumed within 120 s"}


def test_a_row_has_the_largest_of_each_kind_and_every_problem():
    slower = RECOVERED | {"seconds": 9.26, "steps_lost": 20}
    assert format_rows([RECOVERED, FAILED, slower]) == [
        ("driver killed", "3", "whoever started it", "9.3", "40", "2.0", FAILED["problem"])
    ]


def test_a_fault_without_recovery_is_a_row_with_its_problem():
    assert format_rows([FAILED]) == [
        ("driver killed", "1", "", "0.0", "0", "0.0", FAILED["problem"])
    ]


def test_the_page_counts_faults_kinds_and_problems():
    text = format_page("pytest -m faults", [RECOVERED, FAILED], ["A sentence."])
    assert text.startswith("`pytest -m faults`: 2 faults of 1 kinds, 1 problem. ")
    assert text.endswith("\nA sentence.")


@pytest.mark.parametrize("has_marks", [True, False])
def test_a_page_gets_the_table_of_all_tests_or_is_refused_before_them(
    pytester: pytest.Pytester, has_marks: bool
):
    """A failed fault is a row whose problem is the first line of the failure."""
    page = pytester.path / "page.md"
    page.write_text(
        "<!-- begin faults -->\nold\n<!-- end faults -->\n" if has_marks else "# Page\n"
    )
    pytester.makepyfile(
        """
        def test_recovery(record_property):
            record_property("fault", "SIGINT")
            record_property("noticed", "event interrupted")

        def test_failure(record_property):
            record_property("fault", "SIGTERM")
            assert False, "was not resumed"
        """
    )
    result = pytester.runpytest("-p", "fault_report", "--faults-table", str(page))
    if has_marks:
        result.assert_outcomes(passed=1, failed=1)
        assert "| SIGINT | 1 | event interrupted | 0.0 | 0 | 0.0 | none |" in page.read_text()
        assert "| SIGTERM | 1 |  | 0.0 | 0 | 0.0 | was not resumed |" in page.read_text()
    else:
        assert "expected the marks <!-- begin faults -->" in str(result.stderr)
