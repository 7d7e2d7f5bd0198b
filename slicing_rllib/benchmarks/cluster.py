"""What a second node of env runners brings: real raylets, all on this machine."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import ray
import torch
from ray.cluster_utils import Cluster

from slicing_rllib.benchmarks.learning_peers import WARM_UP_STEPS, Peer, Timed, medians
from slicing_rllib.env import SlicingEnv
from slicing_rllib.learning import TD3, TD3Config
from slicing_rllib.radio import built_in

Row = dict[str, float | str | int]
NODES = (1, 2)
RUNNER = "runner"
"""Resource that each node has once: as many env runners as nodes, each on its own."""
NEVER = 10**12
ITERATION_STEPS = 200
STORE_BYTES = 200_000_000


class Runners(Timed):
    """The paper's network on so many nodes, an env runner on each."""

    def __init__(self, nodes: int, exploration_steps: int) -> None:
        config = (
            TD3Config()
            .environment(SlicingEnv, env_config={"scenario": built_in("paper")})
            .training(exploration_steps=exploration_steps, steps_per_iteration=ITERATION_STEPS)
            .env_runners(num_env_runners=nodes, custom_resources_per_env_runner={RUNNER: 1})
            .debugging(seed=0)
        )
        algorithm = config.build_algo()
        assert isinstance(algorithm, TD3)
        self._algorithm = algorithm
        self._algorithm.train()

    @property
    def nodes(self) -> int:
        """On which its runners really are."""
        return len(set(self._algorithm.worker_health.nodes.values()))

    def _some(self) -> int:
        before = self._algorithm.env_steps
        self._algorithm.train()
        return self._algorithm.env_steps - before

    def close(self) -> None:
        self._algorithm.stop()


def rows(
    *, turns: int, seconds: float, progress: Callable[[str], None] = lambda message: None
) -> Iterator[Row]:
    """Training, with an update per step in the driver; then sampling alone."""
    torch.set_num_threads(1)
    progress(f"starting a head and {max(NODES)} nodes")
    with _cluster(max(NODES)):
        for name, exploration_steps in (("", WARM_UP_STEPS), ("sampling_", NEVER)):
            yield from _compared(f"cluster.{name}steps_per_s", exploration_steps, turns, seconds)


def _compared(name: str, exploration_steps: int, turns: int, seconds: float) -> Iterator[Row]:
    """One row per number of nodes, all beside the first."""
    runners = {str(nodes): Runners(nodes, exploration_steps) for nodes in NODES}
    peers: dict[str, Peer] = dict(runners)
    rates = dict(medians(peers, turns, seconds))
    found = {key: peer.nodes for key, peer in runners.items()}
    for peer in peers.values():
        peer.close()
    first = str(NODES[0])
    for key, rate in rates.items():
        yield {
            "name": name,
            "value": rate,
            "unit": "steps/s",
            "reference": f"{first}_node",
            "ratio": rate / rates[first],
            "nodes": found[key],
        }


@contextmanager
def _cluster(most: int) -> Iterator[None]:
    """A head that runs the driver, and nodes for all peers at once."""
    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(sum(range(1, most + 1))):
            cluster.add_node(num_cpus=1, resources={RUNNER: 1}, object_store_memory=STORE_BYTES)
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()
