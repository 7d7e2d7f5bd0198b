"""Learners of other projects train on the network of cells for 300 steps.

Their libraries are imported by the tests: every test worker imports this file.
"""

import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig

from slicing_rllib.env import SlicingEnv
from slicing_rllib.learning import TD3Config, make_env
from slicing_rllib.radio import make_scenario

pytestmark = pytest.mark.slow

EPISODE = {"scenario": "paper", "episode_steps": 50}


def share_one_policy(agent, episode, **rest):
    return "shared"


def train_in_rllib(config):
    """One iteration of 300 network steps, by one policy for all cells."""
    algorithm = (
        config.environment("slicing", env_config=EPISODE)
        .env_runners(num_env_runners=0)
        .multi_agent(policies={"shared"}, policy_mapping_fn=share_one_policy)
        .build_algo()
    )
    result = algorithm.train()
    algorithm.stop()
    return result


# RLlib warns of its own deprecated calls, and registers each environment anew.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*Overriding environment")
@pytest.mark.usefixtures("unchecked", "ray_session")
@pytest.mark.parametrize(
    "config",
    [
        PPOConfig().training(train_batch_size_per_learner=300, minibatch_size=300, num_epochs=1),
        SACConfig().training(
            train_batch_size_per_learner=32,
            num_steps_sampled_before_learning_starts=290,
            # RLlib's default buffer is for one agent.
            replay_buffer_config={"type": "MultiAgentEpisodeReplayBuffer", "capacity": 10_000},
        ).env_runners(rollout_fragment_length=300).reporting(min_sample_timesteps_per_iteration=300),
    ],
    ids=["PPO", "SAC"],
)  # fmt: skip
@pytest.mark.slow
def test_rllib_s_own_algorithms(config):
    result = train_in_rllib(config)

    assert result["num_env_steps_sampled_lifetime"] >= 300
    assert result["env_runners"]["num_episodes"] > 0
    assert np.isfinite(result["env_runners"]["episode_return_mean"])


def test_the_name_is_registered_whatever_is_imported_first():
    program = (
        "import sys, slicing_rllib, slicing_rllib.env; assert 'ray' not in sys.modules; "
        "import slicing_rllib.learning; "
        "from ray.tune.registry import ENV_CREATOR, _global_registry as known; "
        "print(known.contains(ENV_CREATOR, 'slicing'))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout == "True\n"


@pytest.mark.parametrize(
    "scenario",
    ["mixed", {"like": "mixed", "neighbours_kept": 2}, make_scenario("mixed")],
    ids=["name", "mapping", "Scenario"],
)
def test_env_config_names_or_describes_the_scenario(scenario):
    env = make_env({"scenario": scenario, "episode_steps": 1})
    env.reset(seed=0)
    *_, terminated, truncated, _ = env.step(dict.fromkeys(env.agents, np.ones(4)))

    assert env.par_env.scenario.name == "mixed"
    assert env.possible_agents == [f"cell_{number}" for number in range(1, 13)]
    assert (terminated["__all__"], truncated["__all__"]) == (False, True)


def test_a_scenario_that_does_not_exist_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"scenario: expected one of .*, got 'papier'"):
        make_env({"scenario": "papier"})
    with pytest.raises(ValueError, match=r"scenario\.step_s: Input should be greater than 0"):
        make_env({"scenario": {"like": "paper", "step_s": -1}})


@pytest.mark.usefixtures("unchecked", "ray_session")
def test_td3_takes_the_name_too_and_keeps_one_map_in_all_env_runners():
    config = (
        TD3Config()
        .environment("slicing", env_config=EPISODE)
        .training(exploration_steps=300, steps_per_iteration=300, replay_capacity=500)
        .env_runners(num_envs_per_env_runner=2)
        .debugging(seed=5)
    )
    algorithm = config.build_algo()
    result = algorithm.train()
    simulators = [sampled.env.simulator for sampled in algorithm.env_runner.sampled]
    algorithm.stop()

    assert result["num_env_steps_sampled_lifetime"] == 300
    assert [one.map_seed for one in simulators] == [5, 5]
    assert not np.array_equal(simulators[0].demand_mbps, simulators[1].demand_mbps)


def test_stable_baselines_ppo_through_supersuit():
    """SuperSuit copies the environment with cloudpickle and gives PPO one row per cell."""
    import stable_baselines3
    import supersuit

    env = supersuit.pettingzoo_env_to_vec_env_v1(SlicingEnv(**EPISODE, default_seed=0))
    env = supersuit.concat_vec_envs_v1(env, 1, num_cpus=0, base_class="stable_baselines3")
    learner = stable_baselines3.PPO("MlpPolicy", env, n_steps=100, batch_size=400, n_epochs=1)
    learner.learn(300 * 12)

    assert learner.num_timesteps == 300 * 12


@pytest.mark.parametrize(
    ("learner", "name", "settings"),
    [
        ("TD3", "slicing/cell-v0", {"others": "persistence"}),
        ("PPO", "slicing/cell-v0", {"action": "logits"}),
        ("DQN", "slicing/cell-v0", {"action": "grid"}),
        ("SAC", "slicing/central-v0", {}),
    ],
)
@pytest.mark.filterwarnings("ignore:.*symmetric and normalized:UserWarning")
def test_stable_baselines_on_gymnasium_s_environments(learner, name, settings):
    import stable_baselines3

    env = gymnasium.make(name, **EPISODE, **settings)
    check_env(env.unwrapped, skip_render_check=True)
    batch = {"n_steps": 100, "batch_size": 50} if learner == "PPO" else {"learning_starts": 290}
    trained = getattr(stable_baselines3, learner)("MlpPolicy", env, seed=0, device="cpu", **batch)
    trained.learn(300)

    assert trained.num_timesteps == 300


@pytest.mark.filterwarnings("ignore:PettingZoo in TorchRL is tested:UserWarning")
def test_torchrl_with_the_state_for_a_centralised_critic():
    from torchrl.envs import PettingZooWrapper

    env = SlicingEnv("paper", episode_steps=400, default_seed=0)
    rollout = PettingZooWrapper(env, return_state=True, done_on_any=False).rollout(300)

    assert rollout["state"].shape == (300, 12 * 16)
    assert np.allclose(rollout["next", "state"][:-1], rollout["state"][1:])
