"""Metrics and tracker records of a run, with a replacement for Ray's metrics.

`tests/clusters/test_monitoring.py` tests the metrics with Ray and Prometheus.
"""

import math
import time
from types import SimpleNamespace

import numpy as np
import pytest

from slicing_rllib.runs import telemetry
from slicing_rllib.runs.telemetry import Telemetry, flatten_row, open_tracker
from slicing_rllib.storage.errors import RunError

DEADLINE_S = 10.0


class RecordedMetrics:
    """Replaces `ray.util.metrics` and keeps the value of each series by its name and tags."""

    def __init__(self, monkeypatch):
        self.series = {}
        self.n_sent = 0
        kinds = SimpleNamespace(Gauge=self._metric, Counter=self._metric, Histogram=self._histogram)
        monkeypatch.setattr(telemetry, "metrics", kinds)
        monkeypatch.setattr(telemetry.ray, "is_initialized", lambda: True)

    def __call__(self, name, **tags):
        return self.series.get((name, frozenset(({"run": "r"} | tags).items())))

    def _metric(self, name, description, tag_keys):
        def put(value, tags):
            assert set(tags) == set(tag_keys)
            self.n_sent += 1
            self.series[name, frozenset(tags.items())] = value

        def add(value, tags):
            put(value + self.series.get((name, frozenset(tags.items())), 0), tags)

        return SimpleNamespace(set=put, inc=add, observe=put)

    def _histogram(self, name, description, boundaries, tag_keys):
        return self._metric(name, description, tag_keys)


@pytest.fixture
def recorded(monkeypatch):
    return RecordedMetrics(monkeypatch)


@pytest.fixture
def published(recorded):
    """Telemetry of a run of two cells and two slices."""
    slas = np.array([[2.0, 1.0], [2.0, 1.0]])
    created = Telemetry("r", ("cell_1", "cell_2"), ("embb", "urllc"), slas, 5 * slas)
    yield created
    created.close()


def make_cell(**changes):
    return {
        "reward": 0.5,
        "satisfaction": 0.9,
        "phase": "controlled",
        "throughput_mbps": [3.0, 1.5],
        "delay_ms": [4.0, 2.0],
        "prb_ratio": [0.7, 0.3],
        "load": [0.4, 0.2],
        "critic_loss": 0.01,
        "actor_loss": -0.4,
        "replay_size": 100,
    } | changes


def make_row(env_steps=100, time_s=1.0, **cells):
    return {
        "iteration": 1,
        "env_steps": env_steps,
        "updates": 2 * env_steps,
        "time_s": time_s,
        "reward_mean": 0.5,
        "references": {"oracle": 0.8},
        "cells": {"cell_1": make_cell(), "cell_2": make_cell()} | cells,
    }


def test_the_kpis_of_a_slice_are_published_with_its_sla(published, recorded):
    """URLLC in cell_2 has 1.5 Mbit/s, and its SLA requires 1 Mbit/s."""
    published.publish(make_row())

    tags = {"cell": "cell_2", "slice": "urllc"}
    assert recorded("slicing_throughput_mbps", **tags) == 1.5
    assert recorded("slicing_sla_throughput_mbps", **tags) == 1.0
    assert recorded("slicing_delay_ms", **tags) == 2.0
    assert recorded("slicing_sla_delay_ms", **tags) == 5.0


def test_speed_is_computed_from_the_difference_of_two_rows(published, recorded):
    """100 steps and 200 updates in 2 s: 50 and 100 per second."""
    published.publish(make_row(env_steps=100, time_s=1.0))
    published.publish(make_row(env_steps=200, time_s=3.0))

    assert recorded("slicing_env_steps_per_s") == 50.0
    assert recorded("slicing_updates_per_s") == 100.0
    assert recorded("slicing_env_steps") == 100
    assert recorded("slicing_iteration_duration_s") == 2.0


def test_an_iteration_without_a_step_is_counted(published, recorded):
    published.publish(make_row(env_steps=100))
    published.publish(make_row(env_steps=100, time_s=2.0))

    assert recorded("slicing_stalled_iterations") == 1
    assert recorded("slicing_env_steps_per_s") == 0.0


def test_values_that_are_not_finite_are_counted_and_not_published(published, recorded):
    published.publish(make_row(cell_1=make_cell(critic_loss=math.nan, reward=math.inf)))

    assert recorded("slicing_not_finite_values") == 2
    assert recorded("slicing_critic_loss", cell="cell_1") is None
    assert recorded("slicing_critic_loss", cell="cell_2") == 0.01


def test_a_cell_that_is_off_has_a_phase_and_no_satisfaction(published, recorded):
    """One of two cells is on air, at .9: the mean is .9, and one cell is below .95."""
    published.publish(make_row(cell_2={"phase": "off", "replay_size": 0}))

    assert recorded("slicing_phase", cell="cell_2") == 0.0
    assert recorded("slicing_satisfaction_ratio", cell="cell_2") is None
    assert recorded("slicing_satisfaction_mean_ratio") == pytest.approx(0.9)
    assert recorded("slicing_cells_below_sla") == 1
    assert recorded("slicing_cells", phase="off") == 1


def test_the_fail_rate_of_own_policies_leaves_out_exploration_and_default_actions(
    published, recorded
):
    """Cells at .2, exploring at 1 and under the default action at 1: the own policies have .2."""
    published.publish(
        make_row(
            cell_1=make_cell(fail_rate_95=0.2, exploring=False),
            cell_2=make_cell(fail_rate_95=1.0, exploring=True),
            cell_3=make_cell(fail_rate_95=1.0, exploring=False, phase="default"),
        )
    )

    assert recorded("slicing_own_fail_rate_95_ratio") == pytest.approx(0.2)
    assert recorded("slicing_exploring", cell="cell_2") == 1.0
    assert recorded("slicing_fail_rate_95_ratio", cell="cell_2") == 1.0


def test_aggregates_cover_all_cells_and_only_the_first_cells_have_series(published, recorded):
    """3,072 cells with series of their own would be 60,000 series."""
    cells = [f"cell_{n}" for n in range(1, 1001)]
    slas = np.ones((1000, 2))
    many = Telemetry("r", cells, ("embb", "urllc"), slas, slas)
    many.publish(make_row(**{name: make_cell(satisfaction=0.5) for name in cells}))
    many.close()

    assert recorded("slicing_cells_below_sla") == 1000
    assert recorded("slicing_reward", cell="cell_128") == 0.5
    assert recorded("slicing_reward", cell="cell_129") is None


def test_unknown_kinds_of_events_share_one_tag_value(published, recorded):
    """A free text as tag value would create an unbounded number of series in Prometheus."""
    published.count_event("worker_lost")
    published.count_event("worker_lost")
    published.count_event("something new in cell_7 at 12:04")

    assert recorded("slicing_events", cell="", kind="worker_lost") == 2
    assert recorded("slicing_events", cell="", kind="other") == 1


def test_the_distance_of_a_chosen_source_is_published(published, recorded):
    published.count_event("source_chosen", "cell_2", {"source": "cell_1", "distance": 0.25})

    assert recorded("slicing_source_distance", cell="cell_2") == 0.25


def test_a_checkpoint_event_publishes_its_time(published, recorded, monkeypatch):
    monkeypatch.setattr(telemetry.time, "time", lambda: 4e9)

    published.count_event("checkpoint_written")

    assert recorded("slicing_last_checkpoint_timestamp_s") == 4e9


def test_gauges_are_sent_again_until_the_run_is_closed(recorded):
    """Ray drops a gauge that is not sent again, which must happen only after the run has ended."""
    refreshed = telemetry.RefreshedGauges("r", {(): {"slicing_x": "x"}}, refresh_s=0.001)
    refreshed.set("slicing_x", 1.0)
    deadline = time.monotonic() + DEADLINE_S
    while recorded.n_sent < 3:
        assert time.monotonic() < deadline, f"sent {recorded.n_sent} times in {DEADLINE_S} s"
        time.sleep(0.001)
    refreshed.close()

    n_sent = recorded.n_sent
    refreshed._thread.join(DEADLINE_S)
    assert not refreshed._thread.is_alive()
    assert recorded.n_sent == n_sent


def test_telemetry_without_ray_raises_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(RuntimeError, match=r"expected ray.init\(\) before it"):
        Telemetry("r", (), (), np.ones((0, 0)), np.ones((0, 0)))


def test_the_numbers_of_a_row_are_named_by_their_paths():
    assert flatten_row({"a": 1, "cells": {"cell_1": {"delay_ms": [2.0, 3.0], "phase": "off"}}}) == {
        "a": 1.0,
        "cells/cell_1/delay_ms/0": 2.0,
        "cells/cell_1/delay_ms/1": 3.0,
    }


def test_tensorboard_gets_all_finite_numbers_of_a_row(recorded, tmp_path):
    """The event file is read back with tensorboardX's own message format."""
    sink = open_tracker("tensorboard", "r", tmp_path)
    created = Telemetry("r", (), (), np.ones((0, 0)), np.ones((0, 0)), sinks=[sink])
    created.publish(make_row(env_steps=300, cell_1=make_cell(actor_loss=math.nan)))
    created.close()

    (file,) = (tmp_path / "tensorboard").iterdir()
    written = _read_event_file(file)
    assert written["cells/cell_2/actor_loss"] == (300, pytest.approx(-0.4))
    assert "cells/cell_1/actor_loss" not in written


@pytest.mark.parametrize("tracker", ["mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_gives_one_line(tracker, tmp_path, monkeypatch):
    def raise_missing(package):
        raise ModuleNotFoundError(package)

    monkeypatch.setattr("slicing_rllib.runs.telemetry.importlib.import_module", raise_missing)

    with pytest.raises(RunError, match=rf"tracking with {tracker}: the package is missing"):
        open_tracker(tracker, "r", tmp_path)


def _read_event_file(file):
    """(step, value) by name. A record is: length u64, crc u32, an Event message, crc u32."""
    from tensorboardX.proto.event_pb2 import Event

    data, at, found = file.read_bytes(), 0, {}
    while at < len(data):
        length = int.from_bytes(data[at : at + 8], "little")
        event = Event.FromString(data[at + 12 : at + 12 + length])
        found |= {v.tag: (event.step, v.simple_value) for v in event.summary.value}
        at += length + 16
    return found
