"""TD3 for many cells on RLlib.

Names that need torch and Ray are imported when they are first used, so that `learning.td3_settings`
can be read without either.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slicing_rllib.learning.td3 import TD3, EnvironmentFailed, NonFiniteUpdate
    from slicing_rllib.learning.td3_config import TD3Config


_MODULES = {
    "TD3": "td3",
    "EnvironmentFailed": "td3",
    "NonFiniteUpdate": "td3",
    "TD3Config": "td3_config",
}

__all__ = ["TD3", "EnvironmentFailed", "NonFiniteUpdate", "TD3Config"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
