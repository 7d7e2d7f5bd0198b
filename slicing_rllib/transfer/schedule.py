"""The time of a running algorithm in network steps, and the deployments that its cells follow."""

from slicing_rllib.env import Deployment
from slicing_rllib.learning.td3 import TD3


def list_deployments(algorithm: TD3) -> tuple[Deployment, ...]:
    """Deployments of the environment; empty for an environment that has none."""
    return getattr(algorithm.env, "deployments", ())


def count_network_steps(algorithm: TD3) -> int:
    """Steps that each network has made. Env runners share an iteration's steps between them."""
    return algorithm.env_steps // _count_networks(algorithm)


def count_next_steps(algorithm: TD3) -> int:
    """Steps that each network makes in the next iteration."""
    return -(-algorithm.config.steps_per_iteration // _count_networks(algorithm))


def is_handover_scheduled(algorithm: TD3, cell: str) -> bool:
    """True if a deployment will still hand the cell over to its own policy."""
    now = count_network_steps(algorithm)
    return any(
        deployment.cell == cell and deployment.default_action_until > now
        for deployment in list_deployments(algorithm)
    )


def _count_networks(algorithm: TD3) -> int:
    return max(algorithm.config.num_env_runners or 0, 1)
