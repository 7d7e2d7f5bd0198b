"""From whom, what and how: a cell that comes up learns from one that has learned.

What needs torch and Ray is imported when it is asked for: settings are read by programs that need
neither.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from slicing_rllib.transfer.errors import LibraryError
from slicing_rllib.transfer.settings import CHOICES, METHODS, TransferSettings
from slicing_rllib.transfer.similarity import MEASURES

if TYPE_CHECKING:
    from slicing_rllib.transfer.decision import TransferDecision
    from slicing_rllib.transfer.policy_library import Bundle, PolicyLibrary
    from slicing_rllib.transfer.strategies import PolicyWeights, TransitionBatch
    from slicing_rllib.transfer.warm_start import WarmStartCallback

_WHERE = {
    "Bundle": "policy_library",
    "PolicyLibrary": "policy_library",
    "PolicyWeights": "strategies",
    "TransferDecision": "decision",
    "TransitionBatch": "strategies",
    "WarmStartCallback": "warm_start",
}

__all__ = [
    "CHOICES",
    "MEASURES",
    "METHODS",
    "Bundle",
    "LibraryError",
    "PolicyLibrary",
    "PolicyWeights",
    "TransferDecision",
    "TransferSettings",
    "TransitionBatch",
    "WarmStartCallback",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
