"""Selects a source for one target: by a measure, by name, by trial, or by a control."""

from collections.abc import Mapping
from dataclasses import dataclass

from slicing_rllib.transfer.candidates import BUILTIN_LIBRARY, Candidate
from slicing_rllib.transfer.decision import (
    CellSamples,
    TransferDecision,
    choose_source,
    decide_from_distances,
)
from slicing_rllib.transfer.settings import TransferSettings
from slicing_rllib.transfer.spawn_keys import SpawnKey, make_rng

FEWEST_SAMPLES = 20
"""Samples under the default action below which a cell is not compared."""
REFERENCE_MEASURE = "mean_shift"
"""Measure of the control `worst`, and of the distances that are reported beside a source that no
measure has chosen."""
REASONS_SHOWN = 4


@dataclass(frozen=True, kw_only=True)
class SelectionProblem:
    """All that a selection depends on."""

    target: str
    samples: CellSamples
    """Samples of the target."""
    candidates: Mapping[str, Candidate]
    """Sources that can be used, by name."""
    refused: Mapping[str, str]
    """Other potential sources, by name, with the reason why they cannot be used."""
    prescribed_source: str | None
    """Name of the source that the settings prescribe; None: the measure decides."""
    settings: TransferSettings
    seed: int
    """Seed of this decision."""


def select_source(problem: SelectionProblem) -> TransferDecision:
    """Select a source; the decision's source is None where no candidate can be used."""
    if problem.prescribed_source is not None:
        return _take_prescribed(problem, problem.prescribed_source)
    if not problem.candidates:
        return _decide_none(problem.target, problem.settings.measure, problem.refused)
    if problem.settings.measure in ("random", "worst"):
        return _select_control(problem)
    return _select_nearest(problem, problem.settings.measure)


def select_by_return(
    target: str, returns: Mapping[str, float], refused: Mapping[str, str]
) -> TransferDecision:
    """Select the source with the highest return in the target; its distance is minus the return.

    Args:
        target: the cell in which the sources were tried.
        returns: mean reward per step by source.
        refused: reasons why other sources were not tried.
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
    needs_samples = measure != "sla"
    if needs_samples and len(samples.joint) < FEWEST_SAMPLES:
        if BUILTIN_LIBRARY in problem.candidates:
            return _take_builtin(problem)
        few = f"{len(samples.joint)} samples under the default action, expected {FEWEST_SAMPLES}"
        return _decide_none(target, measure, {target: few})
    compared = {
        name: candidate.samples
        for name, candidate in problem.candidates.items()
        if name != BUILTIN_LIBRARY
        if not needs_samples or len(candidate.samples.joint) >= FEWEST_SAMPLES
    }
    if not compared and BUILTIN_LIBRARY in problem.candidates:
        return _take_builtin(problem)
    if not compared:
        few = dict.fromkeys(problem.candidates, "has too few samples under the default action")
        return _decide_none(target, measure, {**problem.refused, **few})
    return choose_source(
        target,
        compared | {target: samples},
        measure,
        settings.vae,
        problem.seed,
        max_distance_ratio=settings.max_distance_ratio,
    )


def _take_builtin(problem: SelectionProblem) -> TransferDecision:
    why = "no cell can be compared; the pretrained actor serves any cell"
    return _decide_for(problem.target, BUILTIN_LIBRARY, problem.settings.measure, {}, why)


def _select_control(problem: SelectionProblem) -> TransferDecision:
    """A choice that is not meant to be good: every measure should do better."""
    nearest = _select_nearest(problem, REFERENCE_MEASURE)
    if problem.settings.measure == "worst" and nearest.distances:
        name, why = nearest.ranking[-1], f"control: the farthest by {REFERENCE_MEASURE}"
    else:
        names = sorted(nearest.distances or problem.candidates)
        rng = make_rng(problem.seed, SpawnKey.RANDOM_CONTROL)
        name, why = names[int(rng.integers(len(names)))], "control: drawn at random"
    return _decide_for(problem.target, name, problem.settings.measure, nearest.distances, why)


def _take_prescribed(problem: SelectionProblem, name: str) -> TransferDecision:
    if name not in problem.candidates:
        reason = problem.refused.get(name, "is not there")
        return _decide_none(problem.target, "named", {name: reason})
    measure = problem.settings.measure
    if measure in ("random", "worst", "zero_shot"):
        measure = REFERENCE_MEASURE
    nearest = _select_nearest(problem, measure)
    why = "named in the settings"
    return _decide_for(problem.target, name, nearest.measure, nearest.distances, why)


def _decide_for(
    target: str, name: str, measure: str, distances: Mapping[str, float], why: str
) -> TransferDecision:
    others = sorted((n for n in distances if n != name), key=distances.__getitem__)
    return TransferDecision(
        target=target,
        source=name,
        measure=measure,
        distance=distances.get(name),
        runner_up=others[0] if others else None,
        confidence=None,
        why=why,
        distances=dict(distances),
    )


def _decide_none(target: str, measure: str, reasons: Mapping[str, str]) -> TransferDecision:
    shown = "; ".join(f"{name} {why}" for name, why in list(reasons.items())[:REASONS_SHOWN])
    return TransferDecision(
        target=target,
        source=None,
        measure=measure,
        distance=None,
        runner_up=None,
        confidence=None,
        why=f"no source to choose from{': ' + shown if shown else ''}",
        distances={},
    )
