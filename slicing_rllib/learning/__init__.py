"""TD3 for many cells on RLlib."""

from slicing_rllib.learning.td3 import TD3, NonFiniteUpdate
from slicing_rllib.learning.td3_config import TD3Config

__all__ = ["TD3", "NonFiniteUpdate", "TD3Config"]
