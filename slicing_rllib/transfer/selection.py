"""Turns candidates and settings into a decision: by a measure, by name, by trial, or a control."""

from collections.abc import Mapping

import numpy as np

from slicing_rllib.transfer.candidates import FEWEST_SAMPLES, Candidate, comparable
from slicing_rllib.transfer.decision import (
    CellSamples,
    TransferDecision,
    choose,
    from_distances,
)
from slicing_rllib.transfer.settings import TransferSettings

REFERENCE_MEASURE = "mean_shift"
"""What `worst` is the farthest by, and what stands beside a choice that no measure made."""


def select(
    target: str,
    samples: CellSamples,
    found: Mapping[str, Candidate],
    settings: TransferSettings,
    seed: int,
    refused: Mapping[str, str],
    returns: Mapping[str, float] | None = None,
) -> TransferDecision:
    """Whom the target learns from; nobody where nobody can be compared."""
    if settings.source is not None:
        return _named(target, samples, found, settings, seed, refused)
    if returns is not None:
        distances = {name: -reward for name, reward in returns.items()}
        return from_distances(target, distances, "zero_shot")
    if not found:
        return _nobody(target, settings.measure, refused)
    if settings.measure in ("random", "worst"):
        return _control(target, samples, found, settings, seed, refused)
    return _measured(target, samples, found, settings.measure, settings, seed, refused)


def _measured(
    target: str,
    samples: CellSamples,
    found: Mapping[str, Candidate],
    measure: str,
    settings: TransferSettings,
    seed: int,
    refused: Mapping[str, str],
) -> TransferDecision:
    kept = dict(found) if measure == "sla" else comparable(dict(found))
    if measure != "sla" and len(samples.joint) < FEWEST_SAMPLES:
        few = f"{len(samples.joint)} samples under the default action, expected {FEWEST_SAMPLES}"
        return _nobody(target, measure, {target: few})
    if not kept:
        few = dict.fromkeys(found, "has too few samples under the default action")
        return _nobody(target, measure, {**refused, **few})
    cells = {name: candidate.samples for name, candidate in kept.items()} | {target: samples}
    return choose(
        target, cells, measure, settings.vae, seed, max_distance_ratio=settings.max_distance_ratio
    )


def _control(
    target: str,
    samples: CellSamples,
    found: Mapping[str, Candidate],
    settings: TransferSettings,
    seed: int,
    refused: Mapping[str, str],
) -> TransferDecision:
    """Not meant to be good: what a measure has to beat."""
    by = _measured(target, samples, found, REFERENCE_MEASURE, settings, seed, refused)
    names = sorted(by.distances or found)
    if settings.measure == "worst" and by.distances:
        name, why = by.ranking[-1], f"control: the farthest by {REFERENCE_MEASURE}"
    else:
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2,)))
        name, why = names[int(rng.integers(len(names)))], "control: drawn at random"
    return _forced(target, name, settings.measure, by.distances, why)


def _named(
    target: str,
    samples: CellSamples,
    found: Mapping[str, Candidate],
    settings: TransferSettings,
    seed: int,
    refused: Mapping[str, str],
) -> TransferDecision:
    name = str(settings.source)
    if name not in found:
        return _nobody(target, "named", {name: refused.get(name, "is not there")})
    measure = settings.measure if settings.measure not in ("random", "worst", "zero_shot") else None
    by = _measured(target, samples, found, measure or REFERENCE_MEASURE, settings, seed, refused)
    return _forced(target, name, by.measure, by.distances, "named in the settings")


def _forced(
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


def _nobody(target: str, measure: str, reasons: Mapping[str, str]) -> TransferDecision:
    said = "; ".join(f"{name} {why}" for name, why in list(reasons.items())[:4])
    return TransferDecision(
        target=target,
        source=None,
        measure=measure,
        distance=None,
        runner_up=None,
        confidence=None,
        why=f"no source to choose from{': ' + said if said else ''}",
        distances={},
    )
