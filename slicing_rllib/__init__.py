"""Per-cell TD3 policies for network slicing, on Ray RLlib, with transfer between cells."""

from slicing_rllib.registry import register

__all__ = ["register", "register_rllib"]


def register_rllib() -> None:
    """Make `.environment("slicing", env_config={...})` work in RLlib, until `ray.shutdown`."""
    from slicing_rllib.learning import register_rllib as register_in_ray

    register_in_ray()
