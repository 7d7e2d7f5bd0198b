"""Numbers in sentences are those of a report, and claims hold."""

import json
from pathlib import Path

import pandas as pd
import pytest

from slicing_rllib.storage.errors import RunError
from slicing_rllib.studies.marked_text import Quantity, format_marked_text

GAIN = Quantity(-0.0301, (-0.04, -0.02))


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("", "−0.030"),
        ("ci", "−0.030 [−0.040, −0.020]"),
        ("-ci", "0.030 [0.020, 0.040]"),
        ("-+ci", "+0.030 [+0.020, +0.040]"),
        ("-points", "3.0"),
        ("-.2f", "0.03"),
        ("certain", ""),
    ],
)
def test_a_quantity_is_written_as_its_format_says(spec: str, text: str):
    assert format(GAIN, spec) == text


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """Arm a gains .03 and .05 over the baseline, arm b .01 and .03: .02 more on each seed."""
    rows = [(seed, arm, 50, gain + 0.02 * seed, 0.0)
            for seed in (0, 1) for arm, gain in (("a", 0.03), ("b", 0.01))]  # fmt: skip
    columns = ["seed", "arm", "step", "evaluated", "baseline"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "curves.csv", index=False)
    final = pd.DataFrame({"seed": [0, 1], "policy": ["a", "a"], "reward_mean": [0.5, 0.6]})
    final.to_csv(tmp_path / "results.csv", index=False)
    saved = {"a": {"baseline": {"median": 1500.0}}}
    gains = {"a": {"50": {"reward": {"mean": 0.04, "ci95": [-0.1, 0.2]}}}}
    summary = {"steps_saved": saved, "baseline_gains": gains}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    return tmp_path


def test_a_template_is_filled_from_summary_and_curves(report: Path):
    (report / "part.md").write_text(
        "{steps_saved[a][baseline][median]:,.0f} steps; {paired[a@50 - b@50]:ci}; "
        "{baseline_gains[a][50][reward]}{baseline_gains[a][50][reward]:uncertain}\n"
    )

    assert format_marked_text(report, "part") == "1,500 steps; 0.020 [0.020, 0.020]; 0.040"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{baseline_gains[a][50][reward]:certain}", r"0.040 \[-0.100, 0.200\] is not certain"),
        ("{paired[a@50 - b@50]:uncertain}", "is not uncertain"),
        ("{steps_saved[c][baseline]}", "'c'"),
    ],
)
def test_a_wrong_claim_or_an_unknown_number_is_refused(report: Path, template: str, message: str):
    (report / "part.md").write_text(template)

    with pytest.raises(RunError, match=message):
        format_marked_text(report, "part")
