"""What each method sets in a running algorithm."""

import numpy as np
import pytest

from slicing_rllib.transfer.methods import compute_source_shares
from slicing_rllib.transfer.transfer_settings import GuardSettings

pytestmark = pytest.mark.usefixtures("unchecked")

TARGET, TOOK_OVER, TRANSFERRED = "cell_6", 160, 100


def list_equal_parameters(one, other):
    """Names of the parameters that are equal in two policies."""
    return {name for name in one if np.array_equal(one[name], other[name])}


def start_target(algorithm, train_until):
    """The `warm_started` event; the training ends right after it."""
    return train_until(algorithm, TOOK_OVER).find("warm_started")


def count_own_transitions(algorithm):
    """Transitions in the target's replay, which it has made under the default action."""
    row = algorithm.cell_states.row(TARGET)
    return int(algorithm.default_action_replay.size[row])


def count_replay(algorithm):
    return int(algorithm.replay.size[algorithm.cell_states.row(TARGET)])


def explores(algorithm):
    return algorithm.cell_states.exploration_left[algorithm.cell_states.row(TARGET)] > 0


def has_policy_from(algorithm, source):
    ours, theirs = algorithm.policy_weights(TARGET), algorithm.policy_weights(source)
    return list_equal_parameters(ours, theirs) == set(ours)


def test_method_model_sets_all_weights_and_no_experience(build, train_until):
    algorithm = build(method="model")
    started = start_target(algorithm, train_until)

    assert has_policy_from(algorithm, started.evidence["source"])
    assert count_replay(algorithm) == count_own_transitions(algorithm)
    assert not explores(algorithm)


def test_method_feature_sets_the_first_layer_of_every_network_and_freezes_it(build, train_until):
    algorithm = build(method="feature")
    started = start_target(algorithm, train_until)
    before = algorithm.policy_weights(TARGET)
    copied = list_equal_parameters(before, algorithm.policy_weights(started.evidence["source"]))

    assert {name.split(".")[1] for name in copied if name.endswith("weight")} == {"0"}
    assert {name for name in before if name.split(".")[1] == "0"} <= copied
    assert count_replay(algorithm) == count_own_transitions(algorithm)
    assert explores(algorithm)

    train_until(algorithm, TOOK_OVER + 80)
    unchanged = list_equal_parameters(before, algorithm.policy_weights(TARGET))
    assert "actor.0.weight" in unchanged
    assert "actor.2.weight" not in unchanged


def test_method_instance_adds_the_newest_experience_of_the_source_to_random_weights(
    build, train_until
):
    algorithm = build(method="instance", relabel=False)
    started = start_target(algorithm, train_until)
    ours = algorithm.replay.last(TARGET, TRANSFERRED)
    theirs = algorithm.replay.last(started.evidence["source"], TRANSFERRED)
    fresh = algorithm.fresh_weights(TARGET, 0)

    assert list_equal_parameters(algorithm.policy_weights(TARGET), fresh) == set(fresh)
    assert count_replay(algorithm) == count_own_transitions(algorithm) + TRANSFERRED
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert not explores(algorithm)


def test_method_multi_source_sets_the_nearest_weights_and_experience_of_three_cells(
    build, train_until
):
    algorithm = build(method="multi_source", measure="mean_shift")
    chosen = train_until(algorithm, TOOK_OVER).find("source_chosen")
    distances = chosen.evidence["distances"]
    nearest = sorted(distances, key=distances.get)[:3]
    added = algorithm.replay.last(
        TARGET, count_replay(algorithm) - count_own_transitions(algorithm)
    )
    contributed = {
        cell: sum(
            (added.obs == obs).all(axis=1).any() for obs in algorithm.replay.last(cell, 100).obs
        )
        for cell in set(algorithm.cells) - {TARGET}
    }

    shares = compute_source_shares([distances[cell] for cell in nearest])

    assert has_policy_from(algorithm, nearest[0])
    assert {cell: count for cell, count in contributed.items() if count} == {
        cell: int(TRANSFERRED * share) for cell, share in zip(nearest, shares, strict=True)
    }


def test_method_generalist_sets_new_weights_and_experience_of_every_source(build, train_until):
    algorithm = build(method="generalist", generalist_updates=20)
    start_target(algorithm, train_until)
    own = algorithm.policy_weights(TARGET)
    others = [algorithm.policy_weights(cell) for cell in set(algorithm.cells) - {TARGET}]
    added = algorithm.replay.last(TARGET, TRANSFERRED)

    for policy in (*others, algorithm.fresh_weights(TARGET, 0)):
        assert "actor.0.weight" not in list_equal_parameters(own, policy)
    assert count_replay(algorithm) == count_own_transitions(algorithm) + TRANSFERRED
    for cell in set(algorithm.cells) - {TARGET}:
        newest = algorithm.replay.last(cell, 1).obs[0]
        assert (added.obs == newest).all(axis=1).any()


def test_transferred_experience_can_be_kept_apart_and_its_share_decays(build, train_until):
    """A half-life of 10 updates: 20 updates leave a quarter of the share."""
    algorithm = build(source_share=0.5, source_share_half_life_updates=10)
    train_until(algorithm, TOOK_OVER)
    row = algorithm.cell_states.row(TARGET)

    assert algorithm.source_replay.size[row] == TRANSFERRED
    assert algorithm.cell_states.source_share[row] == 0.5
    train_until(algorithm, TOOK_OVER + 20)
    assert algorithm.cell_states.source_share[row] == pytest.approx(0.125)


def test_the_first_update_of_the_actor_can_be_delayed(build, train_until):
    algorithm = build(actor_delay_updates=20)
    train_until(algorithm, TOOK_OVER)
    before = algorithm.policy_weights(TARGET)
    train_until(algorithm, TOOK_OVER + 20)
    after = algorithm.policy_weights(TARGET)

    assert np.array_equal(before["actor.0.weight"], after["actor.0.weight"])
    assert not np.array_equal(before["critic_1.0.weight"], after["critic_1.0.weight"])


def test_a_random_phase_can_follow_the_warm_start(build, train_until):
    """The clone with a random phase, a control of experiments: no update until the phase ends."""
    algorithm = build(method="model", exploration_steps=40, guard=GuardSettings(window_steps=0))
    train_until(algorithm, TOOK_OVER)
    before = algorithm.policy_weights(TARGET)
    train_until(algorithm, TOOK_OVER + 20)
    during = algorithm.policy_weights(TARGET)

    assert list_equal_parameters(before, during) == set(before)
    assert explores(algorithm)
    train_until(algorithm, TOOK_OVER + 60)
    assert not explores(algorithm)
    assert list_equal_parameters(during, algorithm.policy_weights(TARGET)) != set(during)
