"""This project's TD3, with everything that an iteration of the RLlib algorithm does."""

from slicing_rllib.benchmarks.learning_peers.peer import WARM_UP_STEPS, TimedPeer
from slicing_rllib.env import SlicingEnv
from slicing_rllib.learning import TD3, TD3Config
from slicing_rllib.radio import Scenario


class OwnTD3(TimedPeer):
    """Runs whole iterations of the algorithm that a config describes."""

    def __init__(self, config: TD3Config) -> None:
        """Builds the algorithm and runs one iteration, which includes the exploration steps."""
        algorithm = config.build_algo()
        assert isinstance(algorithm, TD3)
        self._algorithm = algorithm
        self._algorithm.train()

    @property
    def n_nodes(self) -> int:
        """Number of cluster nodes on which the env runners run."""
        return len(set(self._algorithm.worker_health.nodes.values()))

    def train_briefly(self) -> int:
        before = self._algorithm.env_steps
        self._algorithm.train()
        return self._algorithm.env_steps - before

    def close(self) -> None:
        """Stops the algorithm and its env runners."""
        self._algorithm.stop()


def configure_counterfactual(scenario: Scenario, actor: str) -> TD3Config:
    """Returns the config of counterfactual learning with an `mlp` or `equivariant` actor."""
    observation = "per_slice" if actor == "equivariant" else "widened"
    return (
        TD3Config()
        .environment(SlicingEnv, env_config={"scenario": scenario, "observation": observation})
        .training(
            actor_objective="counterfactual",
            base_policy="persistence",
            actor=actor,
            exploration_steps=0,
            exploration_noise=0.0,
            steps_per_iteration=100,
        )
        .debugging(seed=0)
    )


def configure_td3(scenario: Scenario) -> TD3Config:
    """Returns the config of this project's TD3 in one process, without learners or env runners."""
    return (
        TD3Config()
        .environment(SlicingEnv, env_config={"scenario": scenario})
        .training(exploration_steps=WARM_UP_STEPS, steps_per_iteration=100)
        .debugging(seed=0)
    )
