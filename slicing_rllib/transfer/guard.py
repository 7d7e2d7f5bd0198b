"""Sequential test of whether a transferred policy is worse than the default action."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

BETS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Fractions of its wealth that each bet stakes on harm, dimensionless.

Under the null hypothesis each bet is fair, and so is their mean.
"""
INITIAL_LOG_WEALTH = (0.0,) * len(BETS)
"""Natural logarithm of each bet's wealth before the first step."""


@dataclass
class HarmTest:
    """Test of the hypothesis that the mean loss per step does not exceed `margin`.

    Each bet stakes part of its wealth on every loss exceeding the margin. Harm is shown once the
    mean wealth has grown to 1 / alpha. If the expected loss never exceeds the margin given the
    past, the probability that harm is ever shown is at most alpha, however often one looks.

    Source: Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by betting";
    Ville 1939.

    Args:
        margin: tolerated mean loss of reward per step, at least 0.
        alpha: probability of a false alarm, between 0 and 1.
        log_wealth: the state of the test, one entry per bet; `observe` updates it.
    """

    margin: float
    alpha: float
    log_wealth: tuple[float, ...] = INITIAL_LOG_WEALTH

    def observe(self, losses: Iterable[float]) -> bool:
        """Update the test with losses of successive steps; True once harm is shown.

        A loss is the default action's reward minus the policy's; it is clipped to [-1, 1]. Losses
        after the one that shows harm are ignored.
        """
        wealth = np.array(self.log_wealth)
        stakes = np.array(BETS) / (1.0 + self.margin)
        for loss in losses:
            wealth += np.log1p(stakes * (np.clip(loss, -1.0, 1.0) - self.margin))
            if self._shows_harm(wealth):
                break
        self.log_wealth = tuple(wealth.tolist())
        return self._shows_harm(wealth)

    def _shows_harm(self, log_wealth: np.ndarray) -> bool:
        return bool(np.exp(log_wealth).mean() >= 1.0 / self.alpha)
