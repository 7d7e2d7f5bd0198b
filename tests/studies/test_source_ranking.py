"""How well a measure of distance chooses sources, by hand."""

import pandas as pd
import pytest

from slicing_rllib.studies.source_ranking import rank_measures


def test_a_choice_is_compared_with_the_best_and_with_a_random_source():
    """Target t gains 0.3 from a, 0.1 from b and -0.1 from c; u gains 0.2, 0.2 and 0.5.

    Random sources gain 0.1 and 0.3, 0.2 on average. The SLA is nearest to b for t and to c for u,
    which gain 0.3 on average: 0.1 more than random ones, and 0.1 less than the best.
    """
    pairs = pd.DataFrame(
        [(0, 50, target, source, gain)
         for target, gains in (("t", (0.3, 0.1, -0.1)), ("u", (0.2, 0.2, 0.5)))
         for source, gain in zip("abc", gains, strict=True)],
        columns=["seed", "step", "target", "source", "gain"],
    )  # fmt: skip
    nearness = {"sla": {"t": "bca", "u": "cab"}, "mean_shift": {"t": "acb", "u": "abc"}}
    distances = pd.DataFrame(
        [(0, target, source, measure, float(rank))
         for measure, orders in nearness.items()
         for target, order in orders.items()
         for rank, source in enumerate(order)],
        columns=["seed", "target", "source", "measure", "distance"],
    )  # fmt: skip

    found = rank_measures(pairs, distances).set_index("measure")

    assert found.loc["sla", "over_random"] == pytest.approx(0.1)
    assert found.loc["sla", "regret"] == pytest.approx(0.1)
    assert found.loc["random", "over_random"] == pytest.approx(0.0)
    assert found.loc["best", "over_random"] == pytest.approx(0.2)
    assert found.loc["worst", "over_random"] == pytest.approx(0.1)
    assert found.loc["sla", "negative"] == 0.0
