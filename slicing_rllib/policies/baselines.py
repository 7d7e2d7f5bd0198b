"""Baseline policies by name: heuristics, the best constant split, persistence and oracles.

`traffic_aware`, `sla_weighted` and all oracles know the step that they decide and cannot run on a
real network; the others can.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from slicing_rllib.env import DecisionView, Measurement, Policy
from slicing_rllib.env.base_policies import Smoothing, divide_in_proportion
from slicing_rllib.policies.oracles import (
    best_response,
    best_throughput_response,
    find_equilibrium,
    lowest_delay_response,
    needed_service,
)
from slicing_rllib.radio import Scenario, Simulator
from slicing_rllib.radio.kpis import served_share
from slicing_rllib.registry import get_part, list_names

PerSlice = Float[np.ndarray, "cell slice"]


@dataclass(frozen=True)
class Static:
    """A constant split per cell."""

    split: PerSlice
    """Shares of each cell's carrier, with a sum of 1 per cell."""

    def prb_ratio(self, view: DecisionView) -> PerSlice:
        return self.split


FIT_STEPS = 250
"""Number of steps of the traffic on which splits are fitted."""
CANDIDATES = 512
"""Number of random splits per cell and round of the search."""
CONCENTRATIONS = (0.0, 30.0, 300.0)
"""Dirichlet concentration around the best split so far, per round of the search."""


def fit_static(scenario: Scenario, rng: np.random.Generator, *, map_seed: int) -> Static:
    """The constant split of each cell with the highest mean reward over `FIT_STEPS` steps.

    `rng` draws the seed of the traffic and the candidates. The interference is that of a network in
    which `best_response` decides. The search draws random splits, keeps the best, and draws again
    around it. A network without a closed form is recorded under `load_proportional`; the rewards of
    splits are then what the closed form makes of the measurements.
    """
    kind = get_part("network", scenario.network.kind)
    simulator: Simulator = kind(scenario, int(rng.integers(2**31)), map_seed=map_seed)
    n_cells = len(scenario.cells)
    split = np.full((n_cells, scenario.n_slices), 1.0 / scenario.n_slices)
    measure = Measurement(scenario)
    steps: list[tuple[PerSlice, PerSlice]] = []
    for step in range(FIT_STEPS):
        if scenario.has_closed_form:
            split = best_response(simulator.evaluate(split), scenario)
            kpis = simulator.step(split)
            steps.append((kpis.required_share, needed_service(kpis, scenario)))
        else:
            measured = measure(simulator.step(split), step)
            split = divide_in_proportion(measured.offered)
            steps.append((measured.offered, measured.needed))
    required, needed = map(np.stack, zip(*steps, strict=True))
    return Static(
        np.stack([_search_split(required[:, k], needed[:, k], rng) for k in range(n_cells)])
    )


def _search_split(
    required: Float[np.ndarray, "step slice"],
    needed: Float[np.ndarray, "step slice"],
    rng: np.random.Generator,
) -> Float[np.ndarray, " slice"]:
    n_slices = required.shape[1]
    best = np.full(n_slices, 1.0 / n_slices)
    for concentration in CONCENTRATIONS:
        drawn = rng.dirichlet(1.0 + concentration * best, CANDIDATES)
        candidates = np.concatenate([best[None], drawn])
        best = candidates[_compute_mean_level(candidates, required, needed).argmax()]
    return best


def _compute_mean_level(
    candidates: Float[np.ndarray, "candidate slice"],
    required: Float[np.ndarray, "step slice"],
    needed: Float[np.ndarray, "step slice"],
) -> Float[np.ndarray, " candidate"]:
    """Mean over steps of min over slices of min(served share / needed share, 1): the reward."""
    total = np.zeros(len(candidates))
    for required_now, needed_now in zip(required, needed, strict=True):
        served = served_share(candidates, np.broadcast_to(required_now, candidates.shape))
        with np.errstate(divide="ignore", invalid="ignore"):
            level = np.where(needed_now > 0.0, served / needed_now, 1.0)
        total += np.minimum(level.min(axis=1), 1.0)
    return total / len(required)


@dataclass(frozen=True)
class Baseline:
    """One of `RULES` in a network."""

    name: str
    scenario: Scenario
    smoothing: Smoothing = field(default_factory=Smoothing)
    """What `smoothed_persistence` does."""

    def prb_ratio(self, view: DecisionView) -> PerSlice:
        return RULES[self.name](view, self)

    def apply_base_policy(self, view: DecisionView) -> PerSlice:
        """The split of the base policy of this name, from exact KPIs."""
        measure = Measurement(self.scenario)
        reports = [measure(kpis, 0) for kpis in view.reports or (view.kpis,)]
        return get_part("base_policy", self.name)(reports, self.smoothing)


RULES: Mapping[str, Callable[[DecisionView, Baseline], PerSlice]] = {
    # Equal shares.
    "equal": lambda view, own: np.full(view.kpis.prb_ratio.shape, 1.0 / own.scenario.n_slices),
    # In proportion to the true demand of the step to be decided: the paper's baseline.
    "traffic_aware": lambda view, _: divide_in_proportion(view.simulator.demand_mbps),
    # In proportion to true demand * required throughput of the SLA.
    "sla_weighted": lambda view, own: divide_in_proportion(
        view.simulator.demand_mbps * own.scenario.sla_throughput_mbps
    ),
    # The closed-form optimum for the demand and rates of the last step.
    "persistence": lambda view, own: best_response(view.kpis, own.scenario),
    # The same for smoothed offered and needed shares, hedged: the strongest rule that learns
    # nothing and knows only the past.
    "smoothed_persistence": lambda view, own: own.apply_base_policy(view),
    # In proportion to the share of the carrier that the last step's offered traffic takes.
    "load_proportional": lambda view, own: own.apply_base_policy(view),
    # The best response to the interference that the last step's splits cause in this step.
    "oracle_o1": lambda view, own: best_response(
        view.simulator.evaluate(view.kpis.prb_ratio), own.scenario
    ),
    # Best responses of all cells, repeated until a Nash equilibrium (O1-BR): in reward, in the
    # throughput satisfaction of the worst slice, and in the largest delay.
    "oracle": lambda view, own: find_equilibrium(view, own.scenario, best_response),
    "oracle_throughput": lambda view, own: find_equilibrium(
        view, own.scenario, best_throughput_response
    ),
    "oracle_delay": lambda view, own: find_equilibrium(view, own.scenario, lowest_delay_response),
}


BASELINES = ("equal", "traffic_aware", "sla_weighted", "best_static", *list(RULES)[3:])
"""In the order of reports."""
ORACLES = ("oracle_o1", "oracle", "oracle_throughput", "oracle_delay")
"""Baselines that know the queueing law of the built-in simulator, and only of that."""
PAST_ONLY = ("equal", "persistence", "smoothed_persistence", "load_proportional", "best_static")
"""Simple rules that a real network can run: gains of learned policies are quoted over the best."""
ONLY_WHERE_NAMED = ("sla_weighted", "oracle_throughput", "oracle_delay")
"""Baselines that no table has unasked: oracles of a single metric take long, and `sla_weighted` is
worse than equal shares nearly everywhere."""


def find_missing_law(name: str, scenario: Scenario) -> str:
    """What is wrong with a policy that knows the law of another kind of network; else empty."""
    if name not in ORACLES or scenario.has_closed_form:
        return ""
    kind = scenario.network.kind
    return f"{name} expects a network of kind system, whose law it knows, got {kind}"


def make_policy(
    name: str,
    scenario: Scenario,
    rng: np.random.Generator,
    *,
    map_seed: int,
    smoothing: Smoothing | None = None,
) -> Policy:
    """The baseline with that name; `rng` and the map are those on which `best_static` is fitted.

    `smoothing` is what `smoothed_persistence` does; None for its defaults.

    Raises: ValueError for a name that is neither in BASELINES nor that of an own baseline.
    """
    if ":" in name or name in list_names("baseline"):
        return get_part("baseline", name)(scenario)
    if name not in BASELINES:
        expected = ", ".join((*BASELINES, *list_names("baseline")))
        raise ValueError(f"policy: expected one of {expected} or MODULE:NAME, got {name!r}")
    if problem := find_missing_law(name, scenario):
        raise ValueError(problem)
    if name == "best_static":
        return fit_static(scenario, rng, map_seed=map_seed)
    return Baseline(name, scenario, smoothing or Smoothing())
