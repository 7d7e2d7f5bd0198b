"""What a run tells Prometheus and its trackers, by a stand-in for Ray's metrics.

`tests/clusters/test_dashboards.py` does the same through a real Ray and a real Prometheus.
"""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from slicing_rllib.service.errors import RunError
from slicing_rllib.service.telemetry import gauges
from slicing_rllib.service.telemetry import metrics as telemetry
from slicing_rllib.service.telemetry.metrics import Telemetry
from slicing_rllib.service.telemetry.trackers import TRACKERS, open_sinks, scalars_of


class Recorded:
    """Series by name and tags, as Ray's metrics would export them."""

    def __init__(self, monkeypatch):
        self.series = {}
        self.sent = 0
        kinds = SimpleNamespace(Gauge=self._metric, Counter=self._metric, Histogram=self._histogram)
        monkeypatch.setattr(telemetry, "metrics", kinds)
        monkeypatch.setattr(gauges, "metrics", kinds)
        monkeypatch.setattr(telemetry.ray, "is_initialized", lambda: True)

    def __call__(self, name, **tags):
        return self.series.get((name, frozenset(({"run": "r"} | tags).items())))

    def _metric(self, name, description, tag_keys):
        def put(value, tags):
            assert set(tags) == set(tag_keys)
            self.sent += 1
            self.series[name, frozenset(tags.items())] = value

        def add(value, tags):
            put(value + self.series.get((name, frozenset(tags.items())), 0), tags)

        return SimpleNamespace(set=put, inc=add, observe=put)

    def _histogram(self, name, description, boundaries, tag_keys):
        return self._metric(name, description, tag_keys)


@pytest.fixture
def recorded(monkeypatch):
    return Recorded(monkeypatch)


@pytest.fixture
def told(recorded):
    slas = np.array([[2.0, 1.0], [2.0, 1.0]])
    made = Telemetry("r", ("cell_1", "cell_2"), ("embb", "urllc"), slas, 5 * slas)
    yield made
    made.close()


def cell(**changes):
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


def row(env_steps=100, time_s=1.0, **cells):
    return {
        "iteration": 1,
        "env_steps": env_steps,
        "updates": 2 * env_steps,
        "time_s": time_s,
        "reward_mean": 0.5,
        "references": {"oracle": 0.8},
        "cells": {"cell_1": cell(), "cell_2": cell()} | cells,
    }


def test_a_slice_stands_beside_its_sla(told, recorded):
    """Slices go by name: 1.5 Mbit/s of URLLC against the 1 Mbit/s that were promised."""
    told.publish(row())

    tags = {"cell": "cell_2", "slice": "urllc"}
    assert recorded("slicing_throughput_mbps", **tags) == 1.5
    assert recorded("slicing_sla_throughput_mbps", **tags) == 1.0
    assert recorded("slicing_delay_ms", **tags) == 2.0
    assert recorded("slicing_sla_delay_ms", **tags) == 5.0


def test_speed_is_the_steps_between_two_rows(told, recorded):
    """100 steps and 200 updates in 2 s: 50 and 100 per second."""
    told.publish(row(env_steps=100, time_s=1.0))
    told.publish(row(env_steps=200, time_s=3.0))

    assert recorded("slicing_env_steps_per_s") == 50.0
    assert recorded("slicing_updates_per_s") == 100.0
    assert recorded("slicing_env_steps") == 100
    assert recorded("slicing_iteration_duration_s") == 2.0


def test_an_iteration_without_a_step_is_counted(told, recorded):
    told.publish(row(env_steps=100))
    told.publish(row(env_steps=100, time_s=2.0))

    assert recorded("slicing_stalled_iterations") == 1
    assert recorded("slicing_env_steps_per_s") == 0.0


def test_what_is_not_a_number_is_counted_and_not_shown(told, recorded):
    told.publish(row(cell_1=cell(critic_loss=math.nan, reward=math.inf)))

    assert recorded("slicing_not_finite_values") == 2
    assert recorded("slicing_critic_loss", cell="cell_1") is None
    assert recorded("slicing_critic_loss", cell="cell_2") == 0.01


def test_a_cell_off_air_has_a_phase_and_no_satisfaction(told, recorded):
    """One of two cells is on air, at .9: the fleet's mean is .9, and one cell is below .95."""
    told.publish(row(cell_2={"phase": "off", "replay_size": 0}))

    assert recorded("slicing_phase", cell="cell_2") == 0.0
    assert recorded("slicing_satisfaction_ratio", cell="cell_2") is None
    assert recorded("slicing_satisfaction_mean_ratio") == pytest.approx(0.9)
    assert recorded("slicing_cells_below_sla") == 1
    assert recorded("slicing_cells", phase="off") == 1


def test_the_fleet_is_judged_whole_and_only_its_first_cells_have_series(told, recorded):
    """3,072 cells would be 60,000 series."""
    crowd = [f"cell_{n}" for n in range(1, 1001)]
    slas = np.ones((1000, 2))
    many = Telemetry("r", crowd, ("embb", "urllc"), slas, slas)
    many.publish(row(**{name: cell(satisfaction=0.5) for name in crowd}))
    many.close()

    assert recorded("slicing_cells_below_sla") == 1000
    assert recorded("slicing_reward", cell="cell_128") == 0.5
    assert recorded("slicing_reward", cell="cell_129") is None


def test_kinds_of_events_are_bounded(told, recorded):
    """A tag that a message could fill would fill Prometheus."""
    told.event("worker_lost")
    told.event("worker_lost")
    told.event("something new in cell_7 at 12:04")

    assert recorded("slicing_events", cell="", kind="worker_lost") == 2
    assert recorded("slicing_events", cell="", kind="other") == 1


def test_a_chosen_source_shows_how_far_it_is(told, recorded):
    told.event("source_chosen", "cell_2", {"source": "cell_1", "distance": 0.25})

    assert recorded("slicing_source_distance", cell="cell_2") == 0.25


def test_a_checkpoint_moves_the_time_of_the_last_one(told, recorded, monkeypatch):
    monkeypatch.setattr(telemetry.time, "time", lambda: 4e9)

    told.event("checkpoint_written")

    assert recorded("slicing_last_checkpoint_timestamp_s") == 4e9


def test_gauges_are_sent_again_until_the_run_is_closed(recorded):
    """Ray drops a gauge that stays silent, and a closed run is to leave the dashboards."""
    shown = gauges.RefreshedGauges("r", {"slicing_x": ("x", ())}, refresh_s=0.001)
    shown.show("slicing_x", 1.0)
    while recorded.sent < 3:
        pass
    shown.close()

    sent = recorded.sent
    assert not shown._thread.is_alive()
    assert recorded.sent == sent


def test_telemetry_without_ray_says_what_is_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(RuntimeError, match=r"expected ray.init\(\) before it"):
        Telemetry("r", (), (), np.ones((0, 0)), np.ones((0, 0)))


def test_a_row_is_flattened_by_path():
    assert scalars_of({"a": 1, "cells": {"cell_1": {"delay_ms": [2.0, 3.0], "phase": "off"}}}) == {
        "a": 1.0,
        "cells/cell_1/delay_ms/0": 2.0,
        "cells/cell_1/delay_ms/1": 3.0,
    }


def test_tensorboard_gets_every_number_of_a_row(recorded, tmp_path):
    """Read back by TensorBoard's own reader of event files."""
    (sink,) = open_sinks(["tensorboard"], "r", tmp_path)
    made = Telemetry("r", (), (), np.ones((0, 0)), np.ones((0, 0)), sinks=[sink])
    made.publish(row(env_steps=300, cell_1=cell(actor_loss=math.nan)))
    made.close()

    (file,) = (tmp_path / "tensorboard").iterdir()
    written = _read_back(file)
    assert written["cells/cell_2/actor_loss"] == (300, pytest.approx(-0.4))
    assert "cells/cell_1/actor_loss" not in written


@pytest.mark.parametrize("tracker", sorted(set(TRACKERS) - {"tensorboard"}))
def test_a_tracker_that_is_not_installed_is_one_line(tracker, tmp_path, monkeypatch):
    def missing(package):
        raise ModuleNotFoundError(package)

    monkeypatch.setattr("slicing_rllib.service.telemetry.trackers.importlib.import_module", missing)

    with pytest.raises(RunError, match=rf"tracking by {tracker}: expected it installed"):
        open_sinks([tracker], "r", tmp_path)


def _read_back(file):
    """(step, value) by name. Each record: length u64, crc u32, an Event, crc u32."""
    from tensorboardX.proto.event_pb2 import Event

    data, at, found = file.read_bytes(), 0, {}
    while at < len(data):
        length = int.from_bytes(data[at : at + 8], "little")
        event = Event.FromString(data[at + 12 : at + 12 + length])
        found |= {v.tag: (event.step, v.simple_value) for v in event.summary.value}
        at += length + 16
    return found
