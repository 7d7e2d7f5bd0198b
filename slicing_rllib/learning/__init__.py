"""TD3 for many cells on RLlib; the import registers RLlib's environment "slicing".

Names that need torch are imported when they are first used.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ray.tune.registry import register_env

if TYPE_CHECKING:
    from slicing_rllib.learning.td3 import TD3, EnvironmentFailed, NonFiniteUpdate
    from slicing_rllib.learning.td3_config import TD3Config


_MODULES = {
    "TD3": "td3",
    "EnvironmentFailed": "td3",
    "NonFiniteUpdate": "td3",
    "TD3Config": "td3_config",
}

__all__ = ["TD3", "EnvironmentFailed", "NonFiniteUpdate", "TD3Config", "make_env", "register_rllib"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def make_env(env_config: Mapping[str, Any]) -> Any:
    """The network for an `env_config` of `SlicingEnv`'s arguments; its scenario is `paper`."""
    from slicing_rllib.env import SlicingEnv
    from slicing_rllib.learning.adapters import RLlibSlicingEnv

    return RLlibSlicingEnv(SlicingEnv(**{"scenario": "paper", **env_config}))


def register_rllib() -> None:
    """Make `.environment("slicing", env_config={...})` work in RLlib, until `ray.shutdown`."""
    register_env("slicing", make_env)


register_rllib()
