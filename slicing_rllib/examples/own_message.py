"""An own message, observation and reward, in plain RLlib code.

    python -m slicing_rllib.examples.own_message

In YAML they are `env: {message: own_message:heaviest_neighbour, observation: ..., reward: ...}`.
"""

import sys

import numpy as np

from slicing_rllib import register
from slicing_rllib.env import Network, SlicingEnv
from slicing_rllib.env.observation import Columns, Message, Reports
from slicing_rllib.learning import TD3Config
from slicing_rllib.radio import Scenario, StepKpis, make_scenario


def heaviest_neighbour(network: Network) -> Message:
    """Each cell hears the highest load among its neighbours, per slice."""
    neighbours = network.neighbours
    present = (neighbours >= 0)[:, :, None]
    return lambda load: (load[neighbours] * present).max(axis=1, initial=0.0)


def observe_delay(reports: Reports, network: Network, message: Message) -> Columns:
    """Delay over what the SLA allows, load, and the message: three numbers per slice."""
    kpis = reports.measured[-1].kpis
    delay = kpis.delay_ms / network.sla_delay_ms
    return {"delay": delay / (1 + delay), "load": kpis.load, "heard": message(kpis.load)}


def mean_satisfaction(kpis: StepKpis, scenario: Scenario) -> np.ndarray:
    """The mean over slices of min(throughput / required, 1); the paper takes the minimum."""
    return np.minimum(kpis.throughput_mbps / scenario.sla_throughput_mbps, 1.0).mean(axis=1)


def main(iterations: int = 40) -> None:
    """Trains and prints the mean reward of each iteration."""
    register("message", "heaviest", heaviest_neighbour)
    register("observation", "delay", observe_delay)
    register("reward", "mean", mean_satisfaction)
    parts = {"message": "heaviest", "observation": "delay", "reward": "mean"}
    config = (
        TD3Config()
        .environment(SlicingEnv, env_config={"scenario": make_scenario("paper"), **parts})
        .training(exploration_steps=500)
        .debugging(seed=1)
    )
    algorithm = config.build_algo()
    for _ in range(iterations):
        result = algorithm.train()
        print(result["training_iteration"], result["reward_mean"])
    algorithm.stop()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
