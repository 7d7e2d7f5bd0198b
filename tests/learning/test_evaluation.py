"""RLlib's evaluation: apart from training, without exploration, of the durations asked for."""

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("unchecked")

EPISODE_STEPS = 50


def weights_of(algorithm):
    return [
        array.tobytes()
        for cell in algorithm.cells
        for array in algorithm.policy_weights(cell).values()
    ]


def test_evaluate_plays_whole_episodes_without_exploration(config):
    """While cells explore, training earns what random splits do; an evaluation asks policies."""
    algorithm = config.evaluation(evaluation_duration=3).build_algo()
    algorithm.train()
    first = algorithm.evaluate()["env_runners"]
    again = algorithm.evaluate()["env_runners"]

    assert first["num_episodes"] == 3
    assert first["episode_len_mean"] == EPISODE_STEPS
    assert first["num_env_steps_sampled"] == 3 * EPISODE_STEPS
    assert first["episode_return_mean"] == again["episode_return_mean"]
    assert set(first["agent_episode_returns_mean"]) == set(algorithm.cells)


def test_exploration_can_be_asked_for(config):
    plain, noisy = (
        config.copy(copy_frozen=False)
        .evaluation(evaluation_duration=1, evaluation_config={"explore": explore})
        .build_algo()
        .evaluate()["env_runners"]["episode_return_mean"]
        for explore in (False, True)
    )

    assert plain != noisy


def test_training_goes_on_as_if_there_were_no_evaluation(config):
    evaluated = (
        config.copy(copy_frozen=False)
        .evaluation(evaluation_interval=2, evaluation_duration=1)
        .build_algo()
    )
    plain = config.build_algo()
    results = [evaluated.train() for _ in range(4)]
    for _ in range(4):
        plain.train()
    plain.evaluate()

    assert "evaluation" not in results[0]
    assert results[1]["evaluation"]["env_runners"]["num_episodes"] == 1
    assert results[3]["evaluation"]["env_runners"]["num_episodes"] == 1
    assert weights_of(evaluated) == weights_of(plain)
    assert plain.env_steps == evaluated.env_steps == 4 * 50


def test_a_duration_in_steps(config):
    config.evaluation(evaluation_duration=120, evaluation_duration_unit="timesteps")
    found = config.build_algo().evaluate()["env_runners"]

    assert found["num_env_steps_sampled"] == 120
    assert found["num_episodes"] == 2


@pytest.mark.slow
def test_evaluation_env_runners_share_the_episodes(config):
    """Processes of their own, beside training; two of them as the test machine has two CPUs."""
    config.evaluation(
        evaluation_num_env_runners=2,
        evaluation_interval=1,
        evaluation_duration=4,
        evaluation_parallel_to_training=True,
    ).env_runners(num_env_runners=0)
    algorithm = config.build_algo()
    found = algorithm.train()["evaluation"]
    algorithm.stop()

    assert found["env_runners"]["num_episodes"] == 4
    assert found["num_healthy_workers"] == 2


def test_an_evaluation_knows_which_policies_there_are(config):
    """A cell without a policy asks for equal shares there, too."""
    algorithm = config.evaluation(evaluation_duration=1).build_algo()
    algorithm.evaluate()
    algorithm.remove_module("cell_2")
    algorithm.evaluate()
    without = algorithm.eval_env_runner.actions(np.zeros((3, 3), np.float32))
    algorithm.add_module("cell_2")
    algorithm.evaluate()
    again = algorithm.eval_env_runner.actions(np.zeros((3, 3), np.float32))

    assert without[1].tolist() == [0.5, 0.5]
    assert again.tolist() == algorithm.compute_actions(np.zeros((3, 3), np.float32)).tolist()


def test_a_users_own_evaluation_function(config):
    def evaluate(algorithm, eval_workers):
        runner = eval_workers.local_env_runner
        steps = runner.sample(num_timesteps=70)
        runner.metrics.log_value("mine", 7.0, reduce="mean", window=1)
        algorithm.metrics.aggregate([runner.get_metrics()], key=("evaluation", "env_runners"))
        return {}, len(steps), sum(step.agent_steps() for step in steps)

    config.evaluation(evaluation_interval=1, custom_evaluation_function=evaluate)

    found = config.build_algo().train()["evaluation"]["env_runners"]
    assert found["mine"] == 7.0
    assert found["num_env_steps_sampled"] == 70
