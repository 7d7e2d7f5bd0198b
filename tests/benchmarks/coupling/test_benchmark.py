"""The rows of `bench coupling`, and their figure."""

from slicing_rllib.benchmarks.coupling.benchmark import run
from slicing_rllib.evaluation.figures import save
from slicing_rllib.evaluation.other_figures import draw_coupling


def test_every_row_has_an_interval_over_seeds_and_is_drawn(tmp_path):
    messages = []
    found = list(
        run(
            scenarios=("paper",),
            seeds=2,
            placements=("contiguous",),
            training_seeds=(2000,),
            steps=11,
            on_message=messages.append,
        )
    )
    names = [row["name"] for row in found]
    assert len(set(names)) == len(names) == 2 * 6 + 5
    assert all(row["low"] <= row["value"] <= row["high"] for row in found)
    assert "coupling.paper.contiguous.message.mean_load" in names
    assert len(messages) == 2
    paths = save(draw_coupling(found), tmp_path, "coupling")
    assert [path.suffix for path in paths] == [".png", ".svg"]
