"""Fits the traffic of a scenario to the paper's baseline and to the oracle.

The paper reports how its traffic-aware baseline performs, and that its best policy leaves 12 % of
(cell, step) below a satisfaction of 0.95. It does not report rates, packet sizes and masks: these
are searched until both results come out. A learned policy is never part of the fit, because the
traffic would then be tuned to the policy that is evaluated on it.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from slicing_rllib.benchmarks.rows import PERIOD_STEPS, Row, compare_with_expected, make_row
from slicing_rllib.env import SlicingEnv
from slicing_rllib.evaluation import rollout
from slicing_rllib.policies.baselines import make_policy
from slicing_rllib.radio import Scenario, SyntheticMask, make_scenario

FIT_SEEDS = tuple(range(1000, 1006))
"""Seeds of the search. Tests and evaluations use others."""
FIRST_LOOK_SEEDS = FIT_SEEDS[:2]
"""Seeds of the first, quick look at a candidate."""
FIRST_LOOK_DEVIATION = 3
"""Deviation of the baseline, in tolerances, beyond which a candidate is rejected at first look."""
REJECTED_PENALTY = 10
RESULT_SEEDS = range(10)


class PolicyResult(NamedTuple):
    """How a policy performs on a scenario; means over seeds."""

    satisfaction_mean: float
    fail_rate_95: float
    """Share of (cell, step) with satisfaction below 0.95."""
    delay_max_ms: float
    """Mean over (cell, step) of the largest per-slice delay."""


class Target(NamedTuple):
    """A result that the traffic has to reproduce."""

    policy: str
    field: str
    """Field of PolicyResult."""
    expected: float
    tolerance: float


TARGETS = (
    Target("traffic_aware", "satisfaction_mean", 0.87, 0.02),
    Target("traffic_aware", "fail_rate_95", 0.25, 0.03),
    Target("traffic_aware", "delay_max_ms", 1.8, 0.2),
    Target("oracle", "fail_rate_95", 0.11, 0.03),
)
"""The first three are the paper's. The last one keeps the task hard but solvable."""


@dataclass(frozen=True, kw_only=True)
class TrafficSettings:
    """The settings that are searched."""

    rate: float
    """Factor on the scenario's packet rates."""
    packet: float
    """Factor on the scenario's packet sizes."""
    low: float
    """Smallest share of active UEs of the mask's common wave."""
    high: float
    """Largest share of active UEs of the mask's common wave."""
    ripple: float
    """Amplitude of each slice's own wave, as a share of UEs."""

    def apply(self, scenario: Scenario) -> Scenario:
        """Returns the scenario with this traffic.

        Raises: ValueError unless the scenario's mask is synthetic.
        """
        if not isinstance(scenario.mask, SyntheticMask):
            raise ValueError(f"scenario {scenario.name!r}: expected a synthetic mask to fit")
        slices = tuple(
            replace(
                spec,
                traffic=replace(
                    spec.traffic,
                    rate_kbps=round(self.rate * spec.traffic.rate_kbps, 1),
                    packet_kbit=round(self.packet * spec.traffic.packet_kbit, 3),
                ),
            )
            for spec in scenario.slices
        )
        mask = replace(scenario.mask, low=self.low, high=self.high, ripple=self.ripple)
        return replace(scenario, slices=slices, mask=mask)


def evaluate_policy(
    scenario: Scenario,
    policy: str,
    seeds: Iterable[int],
    *,
    steps: int = PERIOD_STEPS,
    map_seed: int = 0,
) -> PolicyResult:
    """Returns the result of a named baseline.

    Args:
        scenario: The network.
        policy: Name of a baseline, for example `traffic_aware`.
        seeds: Seeds of movement and traffic.
        steps: Network steps per seed.
        map_seed: Seed of the gain map; the default is the map that experiments use.
    """
    per_seed = []
    for seed in seeds:
        env = SlicingEnv(scenario, map_seed=map_seed, episode_steps=steps)
        baseline = make_policy(policy, scenario, np.random.default_rng(seed), map_seed=map_seed)
        record = rollout(env, baseline, steps, seed)
        per_seed.append(
            (
                record.satisfaction.mean(),
                (record.satisfaction < 0.95).mean(),
                record.delay_max_ms.mean(),
            )
        )
    return PolicyResult(*(float(value) for value in np.mean(per_seed, axis=0)))


def search_settings(
    scenario: Scenario,
    rng: np.random.Generator,
    *,
    candidates: int,
    on_message: Callable[[str], None],
    steps: int = PERIOD_STEPS,
) -> TrafficSettings:
    """Returns the best of random settings: every second one is drawn near the best so far.

    Args:
        scenario: The network whose traffic is searched.
        rng: Draws the candidates.
        candidates: Number of settings to try, at least 1.
        on_message: Receives one line of text for each new best candidate.
        steps: Network steps per seed.

    Raises: ValueError if `candidates` is less than 1.
    """
    best, best_deviation = None, np.inf
    for number in range(candidates):
        near = best if number % 2 else None
        settings = _draw_anywhere(rng) if near is None else _draw_near(near, rng)
        deviation = _compute_deviation(settings.apply(scenario), steps)
        if best is None or deviation < best_deviation:
            best, best_deviation = settings, deviation
            on_message(f"candidate {number}: off by {deviation:.2f} tolerances, {settings}")
    if best is None:
        raise ValueError(f"candidates: expected at least 1, got {candidates}")
    return best


def run(
    *,
    candidates: int,
    seed: int,
    on_message: Callable[[str], None],
    steps: int = PERIOD_STEPS,
) -> Iterator[Row]:
    """Fits the traffic of `paper`; yields the settings, and the results that they give.

    Args:
        candidates: Number of settings to try, at least 1.
        seed: Seed of the search.
        on_message: Receives one line of text for each new best candidate.
        steps: Network steps per seed.
    """
    scenario = make_scenario("paper")
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    settings = search_settings(
        scenario, rng, candidates=candidates, on_message=on_message, steps=steps
    )
    fitted = settings.apply(scenario)
    for spec in fitted.slices:
        for name, unit in (("rate_kbps", "kbit/s"), ("packet_kbit", "kbit")):
            value = getattr(spec.traffic, name)
            yield make_row(f"traffic_fit.{spec.name}.{name}", value, unit, ratio=math.nan)
    for name in ("low", "high", "ripple"):
        value = getattr(fitted.mask, name)
        yield make_row(f"traffic_fit.mask.{name}", value, "1", ratio=math.nan)
    yield from compare_with_targets(fitted, RESULT_SEEDS, steps=steps)


def compare_with_targets(
    scenario: Scenario, seeds: Iterable[int], *, steps: int = PERIOD_STEPS
) -> Iterator[Row]:
    """Yields the result for each target."""
    seeds = tuple(seeds)
    results = {
        policy: evaluate_policy(scenario, policy, seeds, steps=steps)
        for policy in {target.policy for target in TARGETS}
    }
    for target in TARGETS:
        yield compare_with_expected(
            f"calibration.traffic.{target.policy}.{target.field}",
            getattr(results[target.policy], target.field),
            "ms" if target.field == "delay_max_ms" else "1",
            target.expected,
            target.tolerance,
            "paper" if target.policy == "traffic_aware" else "design",
        )


def _compute_deviation(scenario: Scenario, steps: int) -> float:
    """Largest deviation from any target, in tolerances.

    Candidates whose baseline is far off at first look are not run with the oracle, which is slow.
    """
    baseline = _compute_policy_deviation(scenario, "traffic_aware", FIRST_LOOK_SEEDS, steps)
    if baseline > FIRST_LOOK_DEVIATION:
        return baseline + REJECTED_PENALTY
    return max(
        _compute_policy_deviation(scenario, policy, FIT_SEEDS, steps)
        for policy in ("traffic_aware", "oracle")
    )


def _compute_policy_deviation(
    scenario: Scenario, policy: str, seeds: tuple[int, ...], steps: int
) -> float:
    result = evaluate_policy(scenario, policy, seeds, steps=steps)
    return max(
        abs(getattr(result, target.field) - target.expected) / target.tolerance
        for target in TARGETS
        if target.policy == policy
    )


def _draw_anywhere(rng: np.random.Generator) -> TrafficSettings:
    low = rng.uniform(0.15, 0.5)
    return _make_settings(
        rate=rng.uniform(0.7, 1.5),
        packet=rng.uniform(0.4, 1.2),
        low=low,
        high=rng.uniform(max(low, 0.5), 0.9),
        ripple=rng.uniform(0.0, 0.08),
    )


def _draw_near(settings: TrafficSettings, rng: np.random.Generator) -> TrafficSettings:
    low = float(np.clip(settings.low + rng.normal(0, 0.03), 0.05, 0.6))
    return _make_settings(
        rate=settings.rate * np.exp(rng.normal(0, 0.04)),
        packet=settings.packet * np.exp(rng.normal(0, 0.08)),
        low=low,
        high=float(np.clip(settings.high + rng.normal(0, 0.03), low, 0.95)),
        ripple=float(np.clip(settings.ripple + rng.normal(0, 0.015), 0.0, 0.1)),
    )


def _make_settings(**values: float) -> TrafficSettings:
    """Rounds all settings to three digits, so that they can be written into a config."""
    return TrafficSettings(**{name: round(float(value), 3) for name, value in values.items()})
