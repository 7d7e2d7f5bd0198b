"""Per-cell TD3 policies for network slicing, on Ray RLlib, with transfer between cells."""

from slicing_rllib.registry import register

__all__ = ["register"]
