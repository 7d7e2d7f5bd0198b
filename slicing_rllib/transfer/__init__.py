"""Transfer between cells: a cell that joins a running training starts from a trained one.

Names that need torch and Ray are imported on first access, because programs that need neither
read the settings.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from slicing_rllib.storage.errors import LibraryError
from slicing_rllib.transfer.distances import Population, without_vae
from slicing_rllib.transfer.transfer_settings import TransferSettings

if TYPE_CHECKING:
    from slicing_rllib.transfer.decision import TransferDecision
    from slicing_rllib.transfer.methods import PolicyWeights, TransitionBatch
    from slicing_rllib.transfer.policy_library import Bundle, PolicyLibrary
    from slicing_rllib.transfer.warm_start import WarmStartCallback


_MODULES = {
    "Bundle": "policy_library",
    "PolicyLibrary": "policy_library",
    "PolicyWeights": "methods",
    "TransferDecision": "decision",
    "TransitionBatch": "methods",
    "WarmStartCallback": "warm_start",
}
"""Module of each name that is imported on first access."""

__all__ = [
    "Bundle",
    "LibraryError",
    "PolicyLibrary",
    "PolicyWeights",
    "Population",
    "TransferDecision",
    "TransferSettings",
    "TransitionBatch",
    "WarmStartCallback",
    "without_vae",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
