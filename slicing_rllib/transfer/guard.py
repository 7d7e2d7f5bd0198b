"""Is a transferred policy worse than no policy? A test that may be looked at after every step."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

BETS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Shares of the wealth staked on harm; the mean over all bets is itself a fair game."""


@dataclass
class HarmTest:
    """Bets that the next loss exceeds `margin`; harm is shown once the stake has grown 1/alpha.

    If the expected loss never exceeds the margin, whatever happened before, the chance that this
    ever alarms is at most alpha, for any number of looks. Losses lie in [-1, 1]. Source: Waudby-
    Smith & Ramdas 2024, "Estimating means of bounded random variables by betting"; Ville 1939.
    """

    margin: float
    alpha: float
    log_wealth: tuple[float, ...] = (0.0,) * len(BETS)

    def observe(self, losses: Iterable[float]) -> bool:
        """Takes what was lost in each step; True once harm is shown."""
        wealth = np.array(self.log_wealth)
        stakes = np.array(BETS) / (1.0 + self.margin)
        for loss in losses:
            wealth += np.log1p(stakes * (np.clip(loss, -1.0, 1.0) - self.margin))
            if self._shown(wealth):
                break
        self.log_wealth = tuple(wealth.tolist())
        return self._shown(wealth)

    def _shown(self, log_wealth: np.ndarray) -> bool:
        return bool(np.exp(log_wealth).mean() >= 1.0 / self.alpha)
