"""Comparison of policies: paired rollouts, their statistics, and figures."""

from slicing_rllib.evaluation.rollout import Rollout, rollout
from slicing_rllib.evaluation.statistics import summarise

__all__ = ["Rollout", "rollout", "summarise"]
