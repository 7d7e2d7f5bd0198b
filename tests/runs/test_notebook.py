"""The notebook that looks at a run: its cells run, and its four pictures show something."""

import json
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

NOTEBOOK = Path(__file__).parents[2] / "tune_configs" / "day" / "first_look.ipynb"

pytestmark = pytest.mark.usefixtures("unchecked")


def read_code() -> list[str]:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert all(not cell.get("outputs") for cell in cells)
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_the_notebook_draws_four_pictures_of_a_run(finished, monkeypatch):
    monkeypatch.setenv("RUN", str(finished.path))
    names: dict = {}
    with mpl.rc_context({"backend": "agg"}):
        for code in read_code():
            exec(compile(code, str(NOTEBOOK), "exec"), names)
        figures = [plt.figure(number) for number in plt.get_fignums()]
        plt.close("all")
    misses, throughput, shares, evaluation = (figure.axes[0] for figure in figures)

    assert misses.images[0].get_array().shape == (12, 6)
    assert [line.get_label() for line in throughput.lines][-1] == "SLA"
    assert len(shares.collections) == 4
    assert {label.get_text() for label in evaluation.get_yticklabels()} == {
        str(name) for name in finished.summary()["policies"]
    }
