"""Decides which source a target learns from, with its evidence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from slicing_rllib.random_streams import Stream, make_generator
from slicing_rllib.transfer.distances import BLOCK_STEPS, MEASURES, WITHOUT_VAE, Population
from slicing_rllib.transfer.transfer_settings import VaeSettings
from slicing_rllib.transfer.vae import train_vae

RESAMPLES = 8
"""Resamples per model of the ensemble that the confidence is estimated from."""


class CellSamples(NamedTuple):
    """What a cell contributes to a comparison."""

    joint: Float[np.ndarray, "sample feature"]
    """[s, r] under the default action, oldest first."""
    sla: Float[np.ndarray, " sla"]
    """Required throughput in Mbit/s of every slice, then the delay bound in ms of every slice."""


@dataclass(frozen=True, kw_only=True)
class TransferDecision:
    """A choice of source and its evidence."""

    target: str
    source: str | None
    """None where no source is good enough, or none can be used."""
    measure: str
    """Name of the measure that `distances` are from."""
    distance: float | None
    """Distance of the source; None without one."""
    runner_up: str | None
    """The second nearest source."""
    confidence: float | None
    """Fraction of resamples, over all models of the ensemble, in which the source is the nearest;
    None where the source was not chosen by samples."""
    why: str
    """The reason in one line."""
    distances: dict[str, float]
    """Distance of every source that was compared."""

    @property
    def ranking(self) -> list[str]:
        """Names of the compared sources, the nearest first."""
        return sorted(self.distances, key=self.distances.__getitem__)


class Distances(NamedTuple):
    """Distances of all pairs of cells, for every model of the ensemble."""

    names: tuple[str, ...]
    """Names of the cells in the order of both axes."""
    per_member: Float[np.ndarray, "member source target"]

    @property
    def mean(self) -> Float[np.ndarray, "source target"]:
        """Mean over the ensemble."""
        return self.per_member.mean(axis=0)


def compute_distances(
    cells: Mapping[str, CellSamples], measure: str, vae: VaeSettings, seed: int
) -> Distances:
    """The distance of every cell from every other.

    Args:
        cells: samples by name; where the measure needs a VAE, it is trained on all of them.
        measure: one of `MEASURES`.
        vae: settings of the VAE.
        seed: seed of the VAE.
    """
    return compute_distances_by_measure(cells, [measure], vae, seed)[measure]


def compute_distances_by_measure(
    cells: Mapping[str, CellSamples], measures: Sequence[str], vae: VaeSettings, seed: int
) -> dict[str, Distances]:
    """As `compute_distances` for several measures; those that need a VAE share one."""
    found = {}
    ensembles: dict[bool, list[list[Population]]] = {}
    for measure in measures:
        is_without_vae = measure in WITHOUT_VAE
        if is_without_vae not in ensembles:
            ensembles[is_without_vae] = _make_ensemble(cells, measure, vae, seed)
        per_member = [MEASURES[measure](populations) for populations in ensembles[is_without_vae]]
        found[measure] = Distances(tuple(cells), np.stack(per_member))
    return found


def choose_source(
    target: str,
    cells: Mapping[str, CellSamples],
    measure: str,
    vae: VaeSettings,
    seed: int,
    *,
    max_distance_ratio: float | None = None,
) -> TransferDecision:
    """The cell nearest to the target, eq. (10), with the confidence that it is the nearest.

    Args:
        target: name of the target, one of `cells`.
        cells: samples of the target and of at least one source, by name.
        measure: one of `MEASURES`.
        vae: settings of the VAE.
        seed: seed of the VAE and of the resampling.
        max_distance_ratio: as in `TransferSettings`.

    Raises: ValueError where `cells` has no source, or lacks the target.
    """
    if len(cells) < 2:
        raise ValueError(f"{target}: expected at least one candidate to learn from")
    names = tuple(cells)
    ensemble = _make_ensemble(cells, measure, vae, seed)
    matrix = np.mean([MEASURES[measure](populations) for populations in ensemble], axis=0)
    column = names.index(target)
    distances = {n: float(matrix[i, column]) for i, n in enumerate(names) if n != target}
    nearest = decide_from_distances(target, distances, measure)
    chosen = names.index(str(nearest.source))
    confidence = _estimate_confidence(ensemble, measure, column, chosen, seed)
    others = [i for i in range(len(names)) if i != column]
    among_sources = matrix[np.ix_(others, others)]
    decision = _refuse_if_far(nearest, among_sources, max_distance_ratio)
    return replace(decision, confidence=confidence)


def decide_from_distances(
    target: str, distances: Mapping[str, float], measure: str
) -> TransferDecision:
    """The decision for the source with the least distance; of equal ones the first is taken."""
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


def _refuse_if_far(
    nearest: TransferDecision,
    among_sources: Float[np.ndarray, "source source"],
    max_ratio: float | None,
) -> TransferDecision:
    """No source if the nearest is farther than `max_ratio` times the sources' median distance."""
    apart = among_sources[~np.eye(len(among_sources), dtype=bool)]
    if max_ratio is None or nearest.distance is None or not apart.size:
        return nearest
    median = float(np.median(apart))
    if nearest.distance <= max_ratio * median:
        return nearest
    why = (
        f"no source is good enough: {nearest.source} is nearest by {nearest.measure} at "
        f"{nearest.distance:.4g}, more than {max_ratio:g} x {median:.4g}, the median among sources"
    )
    return replace(nearest, source=None, why=why)


def _make_ensemble(
    cells: Mapping[str, CellSamples], measure: str, settings: VaeSettings, seed: int
) -> list[list[Population]]:
    """For every model one population per cell; a measure without VAE has a single model."""
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


def _estimate_confidence(
    ensemble: Sequence[Sequence[Population]], measure: str, target: int, chosen: int, seed: int
) -> float:
    """Fraction of resamples in which the chosen cell is the nearest to the target (indices)."""
    rng = make_generator(seed, Stream.RESAMPLING)
    agreements = []
    for populations in ensemble:
        for _ in range(RESAMPLES):
            distance = MEASURES[measure]([_resample(p, rng) for p in populations])[:, target]
            distance[target] = np.inf
            agreements.append(int(np.argmin(distance)) == chosen)
    return float(np.mean(agreements))


def _resample(population: Population, rng: np.random.Generator) -> Population:
    """Blocks of samples drawn with replacement. Source: Kuensch 1989."""
    n = len(population.raw)
    starts = rng.integers(0, max(n - BLOCK_STEPS, 0) + 1, -(-n // BLOCK_STEPS))
    rows = (starts[:, None] + np.arange(BLOCK_STEPS)).ravel()[:n] % n
    return Population(
        population.raw[rows], population.mean[rows], population.variance[rows], population.sla
    )
