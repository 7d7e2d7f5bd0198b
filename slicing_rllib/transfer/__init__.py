"""From whom, what and how: a cell that comes up learns from one that has learned."""

from slicing_rllib.transfer.decision import TransferDecision
from slicing_rllib.transfer.policy_library import Bundle, LibraryError, PolicyLibrary
from slicing_rllib.transfer.settings import CHOICES, METHODS, TransferSettings
from slicing_rllib.transfer.similarity import MEASURES
from slicing_rllib.transfer.strategies import PolicyWeights, TransitionBatch
from slicing_rllib.transfer.warm_start import WarmStartCallback

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
