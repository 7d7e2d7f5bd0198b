"""What a second node of env runners brings: real Ray nodes, all on this machine."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import ray
import torch
from ray.cluster_utils import Cluster

from slicing_rllib.benchmarks.learning import WARM_UP_STEPS, OwnTD3, configure_td3
from slicing_rllib.benchmarks.rows import Row, make_row, measure_medians
from slicing_rllib.radio import make_scenario

N_NODES = (1, 2)
RUNNER_RESOURCE = "runner"
"""Custom Ray resource. Each node has one unit, so that no node gets two env runners."""
NEVER_LEARN = 2_000_000_000
"""Exploration steps that no benchmark reaches: env runners sample and no update is made."""
ITERATION_STEPS = 200
OBJECT_STORE_BYTES = 200_000_000


def run(*, turns: int, seconds: float, on_message: Callable[[str], None]) -> Iterator[Row]:
    """Yields steps per second by number of nodes: of whole training, then of sampling alone.

    In whole training the driver makes one update per network step.
    """
    torch.set_num_threads(1)
    on_message(f"starting a head node and {sum(N_NODES)} nodes for env runners")
    with _start_cluster():
        for name, exploration_steps in (("", WARM_UP_STEPS), ("sampling_", NEVER_LEARN)):
            name = f"cluster.{name}steps_per_s"
            on_message(f"measuring {name}: {turns} turns of {seconds:g} s each")
            yield from _compare_nodes(name, exploration_steps, turns, seconds)


def _compare_nodes(name: str, exploration_steps: int, turns: int, seconds: float) -> Iterator[Row]:
    """Yields one row per number of nodes; the ratio is to one node."""
    peers = {str(nodes): _build_peer(nodes, exploration_steps) for nodes in N_NODES}
    rates = measure_medians({key: partial(p.run, seconds) for key, p in peers.items()}, turns)
    found_nodes = {key: peer.n_nodes for key, peer in peers.items()}
    for peer in peers.values():
        peer.close()
    first = str(N_NODES[0])
    for key, rate in rates.items():
        yield make_row(
            name, rate, "steps/s", reference=f"{first}_node", ratio=rate / rates[first],
            nodes=found_nodes[key],
        )  # fmt: skip


def _build_peer(n_nodes: int, exploration_steps: int) -> OwnTD3:
    """The paper's network on each of `n_nodes` nodes, stepped by one env runner per node."""
    config = (
        configure_td3(make_scenario("paper"))
        .training(exploration_steps=exploration_steps, steps_per_iteration=ITERATION_STEPS)
        .env_runners(num_env_runners=n_nodes, custom_resources_per_env_runner={RUNNER_RESOURCE: 1})
    )
    return OwnTD3(config)


@contextmanager
def _start_cluster() -> Iterator[None]:
    """A head node for the driver, and enough further nodes for the env runners of all peers."""
    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(sum(N_NODES)):
            cluster.add_node(
                num_cpus=1,
                resources={RUNNER_RESOURCE: 1},
                object_store_memory=OBJECT_STORE_BYTES,
            )
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()
