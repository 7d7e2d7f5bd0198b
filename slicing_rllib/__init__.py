"""Per-cell TD3 policies for network slicing, on Ray RLlib, with transfer between cells."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from slicing_rllib.registry import register

if TYPE_CHECKING:
    from slicing_rllib.studies.reading import (
        load_experiment,
        load_run,
        plot_experiment,
        plot_run,
    )

__all__ = [
    "load_experiment",
    "load_run",
    "plot_experiment",
    "plot_run",
    "register",
    "register_rllib",
]


def __getattr__(name: str) -> Any:
    """What reads results is imported when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("slicing_rllib.studies.reading"), name)


def register_rllib() -> None:
    """Make `.environment("slicing", env_config={...})` work in RLlib, until `ray.shutdown`."""
    from slicing_rllib.learning import register_rllib as register_in_ray

    register_in_ray()
