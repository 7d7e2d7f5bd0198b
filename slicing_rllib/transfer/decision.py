"""Which source a target learns from, how sure that is, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from slicing_rllib.transfer.settings import VaeSettings
from slicing_rllib.transfer.similarity import MEASURES, WITHOUT_VAE, Population
from slicing_rllib.transfer.vae import train_vae

RESAMPLES = 8
BLOCK_STEPS = 25
"""Samples of one cell hang together in time: they are drawn anew in runs of so many."""


class CellSamples(NamedTuple):
    """What a cell brings to a comparison."""

    joint: Float[np.ndarray, "sample feature"]
    """[s, r] under the default action."""
    sla: Float[np.ndarray, " sla"]


@dataclass(frozen=True, kw_only=True)
class TransferDecision:
    """A choice and its evidence. `source` is None where no source is good enough."""

    target: str
    source: str | None
    measure: str
    distance: float | None
    runner_up: str | None
    confidence: float | None
    """Share of resamples, over all models of the ensemble, on which the same source is first."""
    why: str
    distances: dict[str, float]

    @property
    def ranking(self) -> list[str]:
        """Sources, the one to take first."""
        return sorted(self.distances, key=self.distances.__getitem__)

    def evidence(self) -> dict[str, Any]:
        """For an event: plain values."""
        return asdict(self)


class Distances(NamedTuple):
    """All pairs, for every model of the ensemble; names in the order of both axes."""

    names: tuple[str, ...]
    per_member: Float[np.ndarray, "member source target"]

    @property
    def mean(self) -> Float[np.ndarray, "source target"]:
        return self.per_member.mean(axis=0)


def distances_between(
    cells: Mapping[str, CellSamples], measure: str, vae: VaeSettings, seed: int
) -> Distances:
    """Every cell's distance from every other; the VAE learns from all samples together."""
    return distances_by_measure(cells, [measure], vae, seed)[measure]


def distances_by_measure(
    cells: Mapping[str, CellSamples], measures: Sequence[str], vae: VaeSettings, seed: int
) -> dict[str, Distances]:
    """As `distances_between`; measures that need a VAE share one."""
    found = {}
    ensembles: dict[bool, list[list[Population]]] = {}
    for measure in measures:
        plain = measure in WITHOUT_VAE
        if plain not in ensembles:
            ensembles[plain] = _populations(cells, measure, vae, seed)
        per_member = [MEASURES[measure](populations) for populations in ensembles[plain]]
        found[measure] = Distances(tuple(cells), np.stack(per_member))
    return found


def choose(
    target: str,
    cells: Mapping[str, CellSamples],
    measure: str,
    vae: VaeSettings,
    seed: int,
    *,
    max_distance_ratio: float | None = None,
) -> TransferDecision:
    """The nearest of `cells` other than the target, eq. (10), and how firmly it is the nearest.

    Raises: KeyError where `cells` lacks the target; ValueError where it has nobody else.
    """
    if len(cells) < 2:
        raise ValueError(f"{target}: expected at least one candidate to learn from")
    names = tuple(cells)
    ensemble = _populations(cells, measure, vae, seed)
    matrix = np.mean([MEASURES[measure](populations) for populations in ensemble], axis=0)
    column = names.index(target)
    distances = {n: float(matrix[i, column]) for i, n in enumerate(names) if n != target}
    decided = from_distances(target, distances, measure)
    others = [i for i in range(len(names)) if i != column]
    confidence = _confidence(ensemble, measure, column, names.index(str(decided.source)), seed)
    decided = _with(decided, confidence=confidence)
    return _refused_beyond(decided, matrix[np.ix_(others, others)], max_distance_ratio)


def from_distances(target: str, distances: Mapping[str, float], measure: str) -> TransferDecision:
    """The source with the least distance; a tie goes to the first."""
    ranking = sorted(distances, key=distances.__getitem__)
    first, second = ranking[0], ranking[1] if len(ranking) > 1 else None
    beside = f", {second} at {distances[second]:.4g}" if second else ""
    return TransferDecision(
        target=target,
        source=first,
        measure=measure,
        distance=distances[first],
        runner_up=second,
        confidence=None,
        why=f"nearest by {measure}: {distances[first]:.4g}{beside}",
        distances=dict(distances),
    )


def _refused_beyond(
    decided: TransferDecision, among: Float[np.ndarray, "source source"], limit: float | None
) -> TransferDecision:
    """No source where even the nearest is far, as distances among sources go."""
    apart = among[~np.eye(len(among), dtype=bool)]
    if limit is None or decided.distance is None or not apart.size:
        return decided
    usual = float(np.median(apart))
    if decided.distance <= limit * usual:
        return decided
    why = (
        f"no source is good enough: {decided.source} is nearest by {decided.measure} at "
        f"{decided.distance:.4g}, more than {limit:g} x {usual:.4g}, the median among sources"
    )
    return _with(decided, source=None, why=why)


def _populations(
    cells: Mapping[str, CellSamples], measure: str, settings: VaeSettings, seed: int
) -> list[list[Population]]:
    """Per model of the ensemble, a population per cell; without a VAE there is one model."""
    if measure in WITHOUT_VAE:
        return [[Population(c.joint, c.joint, c.joint, c.sla) for c in cells.values()]]
    vae = train_vae(np.concatenate([cell.joint for cell in cells.values()]), settings, seed)
    posteriors = [vae.posterior(cell.joint) for cell in cells.values()]
    return [
        [
            Population(cell.joint, posterior.mean[member], posterior.variance[member], cell.sla)
            for cell, posterior in zip(cells.values(), posteriors, strict=True)
        ]
        for member in range(settings.members)
    ]


def _confidence(
    ensemble: Sequence[Sequence[Population]], measure: str, target: int, chosen: int, seed: int
) -> float:
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))
    agreed = []
    for populations in ensemble:
        for _ in range(RESAMPLES):
            distance = MEASURES[measure]([_resampled(p, rng) for p in populations])[:, target]
            distance[target] = np.inf
            agreed.append(int(np.argmin(distance)) == chosen)
    return float(np.mean(agreed))


def _resampled(population: Population, rng: np.random.Generator) -> Population:
    """Blocks drawn with replacement. Source: Kuensch 1989."""
    n = len(population.raw)
    starts = rng.integers(0, max(n - BLOCK_STEPS, 0) + 1, -(-n // BLOCK_STEPS))
    rows = (starts[:, None] + np.arange(BLOCK_STEPS)).ravel()[:n] % n
    return Population(
        population.raw[rows], population.mean[rows], population.variance[rows], population.sla
    )


def _with(decision: TransferDecision, **changes: Any) -> TransferDecision:
    return TransferDecision(**{**asdict(decision), **changes})
