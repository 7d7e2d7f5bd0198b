"""SLAs, traffic and cells change while the network runs, and nothing else does."""

import pickle

import numpy as np
import pytest

from slicing_rllib.env import SlicingEnv
from slicing_rllib.radio import Phase

STRICT = {"throughput_mbps": 400.0, "delay_ms": 0.001}


def run(*events, steps=6, env=None):
    """The environment after some steps with equal shares, and its steps."""
    if env is None:
        env = SlicingEnv("paper", events=events, map_seed=0)
        env.reset_batched(1)
    equal = np.ones((12, 4), np.float32)
    return env, [env.step_batched(equal) for _ in range(steps)]


def test_an_sla_changes_rewards_of_its_cell_from_its_step_on():
    event = {"step": 3, "cell": "cell_2", "slice": "slice_1", "sla": STRICT}
    (_, plain), (env, changed) = run(), run(event)
    same = np.array([[a.reward == b.reward] for a, b in zip(plain, changed, strict=True)])[:, 0]

    assert same[:3].all()
    assert not same[3:, 1].any()
    assert np.delete(same, 1, axis=1).all()
    assert env.scenario.sla_throughput_mbps[1, 0] == 400
    assert np.all(changed[-1].reward[1] < 0.1)


def test_traffic_of_a_slice_doubles():
    """All of its UEs are active at most, so demand grows by up to a factor of two."""
    (one, _), (other, _) = run(), run({"step": 2, "slice": "slice_2", "load": 1.3})
    before, after = one.simulator.demand_mbps.sum(axis=0), other.simulator.demand_mbps.sum(axis=0)

    assert after[1] == pytest.approx(1.3 * before[1], rel=0.05)
    assert np.array_equal(np.delete(after, 1), np.delete(before, 1))


def test_a_slice_begins_and_ends_without_users_share_and_reward_outside_of_its_time():
    ends = {"step": 0, "slice": "slice_4", "load": 0}
    begins = {"step": 3, "slice": "slice_4", "load": 1}
    env, steps = run(ends, begins, {"step": 5, "slice": "slice_4", "load": 0})
    shares = [step.action[0, 3] for step in steps]

    assert shares == pytest.approx([0, 0, 0, 0.25, 0.25, 0])
    assert steps[0].action[0, 0] == pytest.approx(1 / 3)
    assert env.kpis.users[:, 3].sum() == 0
    assert steps[0].obs.shape == steps[4].obs.shape
    alone = np.zeros((12, 4), np.float32)
    alone[:, 3] = 1.0
    assert env.step_batched(alone).action[0].tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])


def test_a_cell_goes_off_and_on_again():
    env, steps = run(
        {"step": 2, "cell": "cell_3", "off": True}, {"step": 4, "cell": "cell_3", "off": False}
    )

    assert [bool(step.live[2]) for step in steps] == [True, True, False, False, True, True]
    assert env.simulator.phase[2] == Phase.CONTROLLED


@pytest.mark.parametrize("cut", [1, 3, 5])
@pytest.mark.parametrize("way", ["state", "pickle"])
def test_a_restored_environment_goes_on_bit_for_bit(cut, way):
    events = (
        {"step": 2, "cell": "cell_2", "sla": STRICT},
        {"step": 2, "slice": "slice_1", "load": 1.5},
        {"step": 4, "cell": "cell_3", "off": True},
    )
    env, _ = run(*events, steps=cut)
    other = SlicingEnv("paper", events=events, map_seed=0)
    if way == "state":
        other.restore_state(env.checkpoint_state())
    else:
        other = pickle.loads(pickle.dumps(env))
    for one, two in zip(run(env=env)[1], run(env=other)[1], strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_a_new_network_begins_without_the_changes():
    env, _ = run({"step": 2, "cell": "cell_2", "sla": STRICT})
    env.reset_batched(1)

    assert np.array_equal(env.scenario.sla_delay_ms, SlicingEnv("paper").scenario.sla_delay_ms)


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"step": 1}, "event at step 1: expected one of sla, load, off, got none"),
        ({"step": 1, "load": 2, "off": True}, "expected one of sla, load, off, got load and off"),
        ({"step": 1, "off": True}, "off expects a cell and no slice"),
        ({"step": 1, "cell": "x", "load": 2}, "cell: expected cell_1 to cell_12, got 'x'"),
        ({"step": 1, "slice": "x", "load": 2}, "slice: expected slice_1 to slice_4, got 'x'"),
    ],
)
def test_an_event_that_cannot_be_is_refused(event, message):
    with pytest.raises(ValueError, match=message):
        SlicingEnv("paper", events=[event])
