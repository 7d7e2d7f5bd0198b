"""Several agents on one policy; policies that do not learn."""

import numpy as np
import pytest

from slicing_rllib.learning import TD3

pytestmark = pytest.mark.usefixtures("unchecked")


def share(config, **more):
    """cell_1 and cell_10 follow `edge`, cell_2 follows `centre`."""
    return config.multi_agent(
        policies={"edge", "centre"},
        policy_mapping_fn=lambda agent, episode: "centre" if agent == "cell_2" else "edge",
        **more,
    )


def train(config, iterations):
    algorithm = config.build_algo()
    for _ in range(iterations):
        algorithm.train()
    return algorithm


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in one)


def test_a_shared_policy_learns_from_all_its_agents(config):
    algorithm = train(share(config), 3)
    edge, centre = (algorithm.cell_states.row(policy) for policy in ("edge", "centre"))
    obs = np.repeat(np.random.default_rng(0).random((1, 3), np.float32), 3, axis=0)
    actions = algorithm.compute_actions(obs)
    result = algorithm.train()["env_runners"]

    assert algorithm.module_ids == ("centre", "edge")
    # 49 transitions an episode and cell, as an episode's last observation is the next one's first.
    assert algorithm.replay.size[edge] == 2 * algorithm.replay.size[centre] > 0
    assert np.array_equal(actions[0], actions[2])
    assert not np.array_equal(actions[0], actions[1])
    assert set(result["module_episode_returns_mean"]) == {"edge", "centre"}
    agents = result["agent_episode_returns_mean"]
    assert result["module_episode_returns_mean"]["edge"] == pytest.approx(
        agents["cell_1"] + agents["cell_10"]
    )
    assert set(algorithm.last_iteration["cells"]) == {"cell_1", "cell_2", "cell_10"}
    cells = algorithm.last_iteration["cells"]
    assert cells["cell_1"]["critic_loss"] == cells["cell_10"]["critic_loss"]


def test_a_shared_policy_finds_the_compromise(config):
    """cell_1 wants (.7, .3) and cell_10 (.2, .8): any split between is best for both together."""
    config = share(config).training(
        exploration_steps=200, replay_capacity=2000, steps_per_iteration=400
    )
    algorithm = train(config, 4)
    first, second, third = algorithm.compute_actions(np.full((3, 3), 0.5, np.float32))[:, 0]

    assert 0.15 < first < 0.75
    assert first == third
    assert second == pytest.approx(0.4, abs=0.1)


def test_shared_policies_resume_bit_for_bit(config, tmp_path):
    algorithm = train(share(config), 2)
    algorithm.save_to_path(tmp_path)
    resumed = TD3.from_checkpoint(tmp_path)
    for one in (algorithm, resumed):
        one.train()

    for policy in ("edge", "centre"):
        assert same(algorithm.policy_weights(policy), resumed.policy_weights(policy))


def test_one_policy_for_all_has_networks_of_its_own(config):
    config.multi_agent(policies={"p"}, policy_mapping_fn=lambda agent, episode: "p")
    algorithm = train(config.training(networks={"p": {"actor_hiddens": (8,)}}), 2)

    assert algorithm.policy_weights("p")["actor.0.bias"].shape == (8,)
    assert algorithm.replay.size.tolist() == [300]


def test_policies_that_are_not_to_train_stay_as_they_are(config):
    config.multi_agent(policies_to_train=["cell_1"])
    algorithm = config.build_algo()
    before = {cell: algorithm.policy_weights(cell) for cell in algorithm.cells}
    for _ in range(3):
        algorithm.train()

    assert not same(before["cell_1"], algorithm.policy_weights("cell_1"))
    assert same(before["cell_2"], algorithm.policy_weights("cell_2"))


def test_a_function_may_choose_what_to_train_also_later(config):
    algorithm = config.multi_agent(policies_to_train=lambda policy, batch: False).build_algo()
    assert algorithm.cell_states.paused.all()

    algorithm.remove_module("cell_2")
    algorithm.add_module("cell_2", new_should_module_be_updated=lambda policy, batch: True)
    assert not algorithm.cell_states.paused.any()


def test_agents_keep_their_policies(config):
    algorithm = config.build_algo()
    algorithm.remove_module("cell_2")

    with pytest.raises(ValueError, match="new_agent_to_module_mapping_fn: expected none"):
        algorithm.add_module("cell_2", new_agent_to_module_mapping_fn=lambda *_: "cell_1")
