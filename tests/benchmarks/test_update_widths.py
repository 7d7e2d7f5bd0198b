"""The benchmark of wider networks counts operations and compares with a matrix product."""

from slicing_rllib.benchmarks.update_widths import WIDTHS, measure_widths


def test_each_width_is_compared_with_the_same_matrix_product(monkeypatch):
    monkeypatch.setattr("slicing_rllib.benchmarks.update_widths.UPDATES_PER_TURN", 1)
    rows = list(measure_widths(1, lambda _: None))

    assert [row["batch_size"] for row in rows] == [batch_size for *_, batch_size in WIDTHS]
    assert len({row["reference_value"] for row in rows}) == 1
    for row in rows:
        assert abs(row["value"] * row["update_ms"] / 1e3 - row["gflop"]) < 1e-9
        assert row["ratio"] == row["value"] / row["reference_value"]
