"""Decides which source a target learns from, with its evidence.

`select_source` decides by the settings: a prescribed source, a control, or `choose_source`, which
takes the nearest source by a measure, eq. (10). `decide_by_returns` decides after a trial of the
sources.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from slicing_rllib.random_streams import Stream, make_generator
from slicing_rllib.registry import get_part
from slicing_rllib.transfer.distances import BLOCK_STEPS, Measure, Population, needs_vae
from slicing_rllib.transfer.transfer_settings import (
    BUILTIN_LIBRARY,
    WITHOUT_DISTANCE,
    TransferSettings,
    VaeSettings,
)
from slicing_rllib.transfer.vae import train_vae

RESAMPLES = 8
"""Resamples per model of the ensemble that the confidence is estimated from."""
FEWEST_SAMPLES = 20
"""Samples under the default action below which a cell is not compared."""
REFERENCE_MEASURE = "mean_shift"
"""Measure of the control `worst`, and of the distances that are reported beside a source that no
measure has chosen."""
REASONS_SHOWN = 4


class CellSamples(NamedTuple):
    """What a cell contributes to a comparison."""

    joint: Float[np.ndarray, "sample feature"]
    """[s, r] under the default action, oldest first; possibly empty."""
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
    distance: float | None = None
    """Distance of the source; None without one."""
    runner_up: str | None = None
    """The nearest of the other sources."""
    confidence: float | None = None
    """Fraction of resamples, over all models of the ensemble, in which the source is the nearest;
    None where the source was not chosen by samples."""
    why: str
    """The reason in one line."""
    distances: dict[str, float] = field(default_factory=dict)
    """Distance of every source that was compared."""

    @property
    def ranking(self) -> list[str]:
        """Names of the compared sources, the nearest first."""
        return sorted(self.distances, key=self.distances.__getitem__)


@dataclass(frozen=True, kw_only=True)
class SelectionProblem:
    """All that a selection depends on."""

    target: str
    samples: CellSamples
    """Samples of the target."""
    candidates: Mapping[str, CellSamples]
    """Samples of the sources that can be used, by name."""
    refused: Mapping[str, str]
    """Other potential sources, by name, with the reason why they cannot be used."""
    prescribed_source: str | None
    """Name of the source that the settings prescribe; None: the measure decides."""
    settings: TransferSettings
    seed: int
    """Seed of this decision."""


def select_source(problem: SelectionProblem) -> TransferDecision:
    """Select a source; the decision's source is None where no candidate can be used."""
    measure, prescribed = problem.settings.measure, problem.prescribed_source
    if prescribed is not None:
        if prescribed not in problem.candidates:
            reason = problem.refused.get(prescribed, "is not there")
            return _decide_none(problem.target, "named", {prescribed: reason})
        reported = REFERENCE_MEASURE if measure in WITHOUT_DISTANCE else measure
        return _take(prescribed, "named in the settings", _select_nearest(problem, reported))
    if not problem.candidates:
        return _decide_none(problem.target, measure, problem.refused)
    if measure in ("random", "worst"):
        return _select_control(problem)
    return _select_nearest(problem, measure)


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

    `cells` are the target and at least one source; `max_distance_ratio` is as in
    `TransferSettings`. Raises: ValueError where there is no source, or no target.
    """
    if len(cells) < 2:
        raise ValueError(f"{target}: expected at least one candidate to learn from")
    names = tuple(cells)
    compute: Measure = get_part("measure", measure)
    ensemble = _make_ensemble(cells, compute, vae, seed)
    matrix = np.mean([compute(populations) for populations in ensemble], axis=0)
    column = names.index(target)
    distances = {n: float(matrix[i, column]) for i, n in enumerate(names) if n != target}
    nearest = decide_from_distances(target, distances, measure)
    chosen = names.index(str(nearest.source))
    confidence = _estimate_confidence(ensemble, compute, column, chosen, seed)
    between_sources = ~np.eye(len(names), dtype=bool)
    between_sources[column] = between_sources[:, column] = False
    if max_distance_ratio is not None and between_sources.any():
        limit = max_distance_ratio * (median := float(np.median(matrix[between_sources])))
        if distances[str(nearest.source)] > limit:
            why = (
                f"no source is good enough: {nearest.source} is nearest by {measure} at "
                f"{nearest.distance:.4g}, more than {max_distance_ratio:g} x {median:.4g}, the "
                "median among sources"
            )
            return replace(nearest, source=None, why=why, confidence=confidence)
    return replace(nearest, confidence=confidence)


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
        why=f"nearest by {measure}: {distances[first]:.4g}{beside}",
        distances=dict(distances),
    )


def decide_by_returns(
    target: str, returns: Mapping[str, float], refused: Mapping[str, str]
) -> TransferDecision:
    """The source with the highest return in the target; its distance is minus the return.

    `returns` is the mean reward per step by source, `refused` why others were not tried.
    """
    if not returns:
        return _decide_none(target, "zero_shot", refused)
    distances = {name: -reward for name, reward in returns.items()}
    return decide_from_distances(target, distances, "zero_shot")


def _select_nearest(problem: SelectionProblem, measure: str) -> TransferDecision:
    target, samples, settings = problem.target, problem.samples, problem.settings
    if not len(samples.joint) and len(samples.sla) > 1:
        # A cell that never was under the default action can be compared by its SLA alone.
        measure = "sla"
    fewest = 0 if measure == "sla" else FEWEST_SAMPLES
    compared = {
        name: source
        for name, source in problem.candidates.items()
        if name != BUILTIN_LIBRARY and len(source.joint) >= fewest
    }
    if compared and len(samples.joint) >= fewest:
        cells, ratio = compared | {target: samples}, settings.max_distance_ratio
        return choose_source(
            target, cells, measure, settings.vae, problem.seed, max_distance_ratio=ratio
        )
    if BUILTIN_LIBRARY in problem.candidates:
        nothing = TransferDecision(target=target, source=None, measure=settings.measure, why="")
        why = "no cell can be compared; the pretrained actor serves any cell"
        return _take(BUILTIN_LIBRARY, why, nothing)
    if len(samples.joint) < fewest:
        few = f"{len(samples.joint)} samples under the default action, expected {fewest}"
        return _decide_none(target, measure, {target: few})
    few = dict.fromkeys(problem.candidates, "has too few samples under the default action")
    return _decide_none(target, measure, {**problem.refused, **few})


def _select_control(problem: SelectionProblem) -> TransferDecision:
    """A choice that is not meant to be good: every measure should do better."""
    nearest = _select_nearest(problem, REFERENCE_MEASURE)
    if problem.settings.measure == "worst" and nearest.distances:
        name, why = nearest.ranking[-1], f"control: the farthest by {REFERENCE_MEASURE}"
    else:
        names = sorted(nearest.distances or problem.candidates)
        rng = make_generator(problem.seed, Stream.RANDOM_CONTROL)
        name, why = names[int(rng.integers(len(names)))], "control: drawn at random"
    return _take(name, why, replace(nearest, measure=problem.settings.measure))


def _take(name: str, why: str, compared: TransferDecision) -> TransferDecision:
    """The decision for a source that no measure has chosen, with the distances beside it."""
    others = [other for other in compared.ranking if other != name]
    return replace(
        compared,
        source=name,
        distance=compared.distances.get(name),
        runner_up=others[0] if others else None,
        confidence=None,
        why=why,
    )


def _decide_none(target: str, measure: str, reasons: Mapping[str, str]) -> TransferDecision:
    shown = "; ".join(f"{name} {why}" for name, why in list(reasons.items())[:REASONS_SHOWN])
    why = f"no source to choose from{': ' + shown if shown else ''}"
    return TransferDecision(target=target, source=None, measure=measure, why=why)


class Distances(NamedTuple):
    """Distances of all pairs of cells, for every model of the ensemble."""

    names: tuple[str, ...]
    """Names of the cells in the order of both axes."""
    per_member: Float[np.ndarray, "member source target"]

    @property
    def mean(self) -> Float[np.ndarray, "source target"]:
        """Mean over the ensemble."""
        return self.per_member.mean(axis=0)


def compute_distances_by_measure(
    cells: Mapping[str, CellSamples], measures: Sequence[str], vae: VaeSettings, seed: int
) -> dict[str, Distances]:
    """By the name of each measure, the distance of every cell from every other.

    All measures that need a VAE share one, which is trained on all cells.
    """
    found = {}
    ensembles: dict[bool, list[list[Population]]] = {}
    for measure in measures:
        compute: Measure = get_part("measure", measure)
        key = needs_vae(compute)
        if key not in ensembles:
            ensembles[key] = _make_ensemble(cells, compute, vae, seed)
        per_member = [compute(populations) for populations in ensembles[key]]
        found[measure] = Distances(tuple(cells), np.stack(per_member))
    return found


def _make_ensemble(
    cells: Mapping[str, CellSamples], measure: Measure, settings: VaeSettings, seed: int
) -> list[list[Population]]:
    """For every model one population per cell; a measure without VAE has a single model."""
    if not needs_vae(measure):
        return [[Population(c.joint, c.joint, c.joint, c.sla) for c in cells.values()]]
    vae = train_vae(np.concatenate([cell.joint for cell in cells.values()]), settings, seed)
    posteriors = [(cell, vae.posterior(cell.joint)) for cell in cells.values()]
    return [
        [Population(c.joint, p.mean[member], p.variance[member], c.sla) for c, p in posteriors]
        for member in range(settings.members)
    ]


def _estimate_confidence(
    ensemble: Sequence[Sequence[Population]], measure: Measure, target: int, chosen: int, seed: int
) -> float:
    """Fraction of resamples in which the chosen cell is the nearest to the target (indices)."""
    rng = make_generator(seed, Stream.RESAMPLING)
    agreements = []
    for populations in ensemble:
        for _ in range(RESAMPLES):
            distance = measure([_resample(p, rng) for p in populations])[:, target]
            distance[target] = np.inf
            agreements.append(int(np.argmin(distance)) == chosen)
    return float(np.mean(agreements))


def _resample(population: Population, rng: np.random.Generator) -> Population:
    """Blocks of samples drawn with replacement. Source: Kuensch 1989."""
    raw, mean, variance, sla = population
    n = len(raw)
    starts = rng.integers(0, max(n - BLOCK_STEPS, 0) + 1, -(-n // BLOCK_STEPS))
    rows = (starts[:, None] + np.arange(BLOCK_STEPS)).ravel()[:n] % n
    return Population(raw[rows], mean[rows], variance[rows], sla)
