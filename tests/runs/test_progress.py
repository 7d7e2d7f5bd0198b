"""An iteration that takes long is reported while it runs."""

import threading

from slicing_rllib.runs.progress import report_silence


def test_reports_come_after_once_twice_and_four_times_the_time():
    reports: list[float] = []
    has_three = threading.Event()

    def report(seconds: float) -> None:
        reports.append(seconds)
        if len(reports) == 3:
            has_three.set()

    with report_silence(report, first_s=0.01):
        assert has_three.wait(10)

    assert reports[:3] == [0.01, 0.02, 0.04]


def test_a_short_block_is_not_reported():
    reports: list[float] = []
    with report_silence(reports.append):
        pass

    assert reports == []
