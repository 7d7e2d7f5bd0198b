"""Turns are interleaved, and medians are taken over turns."""

from slicing_rllib.benchmarks.rows import measure_medians, run_interleaved


def test_every_second_turn_runs_in_reverse_order():
    order = []

    def make_measurement(name):
        def measure():
            order.append(name)
            return float(len(order))

        return measure

    values = run_interleaved({name: make_measurement(name) for name in ("a", "b")}, 3)

    assert order == ["a", "b", "b", "a", "a", "b"]
    assert values == {"a": [1.0, 4.0, 5.0], "b": [2.0, 3.0, 6.0]}


def test_the_median_over_turns_counts():
    """Turns of 1, 9 and 2 have the median 2."""
    a, b = iter([1.0, 9.0, 2.0]), iter([4.0, 4.0, 5.0])

    assert measure_medians({"a": lambda: next(a), "b": lambda: next(b)}, 3) == {"a": 2, "b": 4}
