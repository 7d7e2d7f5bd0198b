"""Names under which a run's own policies stand beside the baselines in tables and files."""

from enum import StrEnum


class PolicyName(StrEnum):
    """The two kinds of trained policies. All other policies are baselines."""

    DRL = "drl"
    """Trained from scratch."""
    TL = "tl"
    """Warm-started from another cell (transfer learning)."""


TRAINED_POLICIES = tuple(PolicyName)
PACKAGE_POLICIES = ("base_policy", "pretrained")
"""Policies that need no training: the base policy of the run's actors, and the pretrained actor."""
