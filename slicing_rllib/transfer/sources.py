"""Sources that a target can use: trained cells of the run, and bundles of a policy library.

Selects a source for one target: by a measure, by name, by trial, or by a control.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from slicing_rllib.env import SlicingEnv
from slicing_rllib.learning.replay import Transitions
from slicing_rllib.learning.td3 import TD3
from slicing_rllib.policies.trained_policy import load_pretrained
from slicing_rllib.random_streams import Stream, make_generator
from slicing_rllib.transfer.decision import (
    CellSamples,
    TransferDecision,
    choose_source,
    decide_from_distances,
)
from slicing_rllib.transfer.methods import PolicyWeights, Sla
from slicing_rllib.transfer.policy_library import (
    Bundle,
    PolicyLibrary,
    explain_mismatch,
    explain_refusal,
    identify_cell,
)
from slicing_rllib.transfer.transfer_settings import TransferSettings, label_bundle

BUILTIN_LIBRARY = "builtin"
"""Value of `transfer.library` for the pretrained actor that comes with the package."""


class Candidate(NamedTuple):
    """A source that the target can use."""

    weights: PolicyWeights
    experience: Transitions
    """Newest transitions, oldest of them first."""
    samples: CellSamples
    """[s, r] under the default action; possibly empty."""
    is_in_run: bool
    """True for a cell of this run, False for a bundle of a library."""


class Candidates(NamedTuple):
    """Every potential source of a target, by name."""

    usable: dict[str, Candidate]
    refused: dict[str, str]
    """Why a source cannot be used."""


def find_candidates(
    algorithm: TD3, target: str, settings: TransferSettings, unsettled: Collection[str]
) -> Candidates:
    """Look for sources in the run and in the library.

    Args:
        algorithm: the running algorithm.
        target: the cell that is to be warm-started.
        settings: number of samples and transitions per source, and the library.
        unsettled: cells that are being warm-started themselves and cannot be sources.

    Raises: LibraryError where the library cannot be read.
    """
    found = Candidates({}, {})
    for cell in algorithm.cells:
        if cell == target:
            continue
        reason = _explain_unusable(algorithm, cell, target, unsettled)
        if reason:
            found.refused[cell] = reason
        else:
            found.usable[cell] = _read_own_candidate(algorithm, cell, settings)
    if settings.library is None:
        return found
    in_library = (
        _find_builtin(algorithm, target)
        if settings.library == BUILTIN_LIBRARY
        else _find_in_library(algorithm, target, settings, settings.library)
    )
    return Candidates(found.usable | in_library.usable, found.refused | in_library.refused)


def read_samples(algorithm: TD3, cell: str, count: int) -> CellSamples:
    """[s, r] of a cell's `count` newest steps under the default action, and its SLA."""
    recent = algorithm.default_action_replay.last(cell, count)
    return _join_samples(recent, read_sla(algorithm, cell))


def read_sla(algorithm: TD3, cell: str) -> Sla | None:
    """A cell's SLA; None in an environment other than `SlicingEnv`."""
    env: Any = algorithm.env
    if not isinstance(env, SlicingEnv):
        return None
    row = env.cells.index(cell)
    scenario = env.scenario
    return Sla(scenario.sla_throughput_mbps[row], scenario.sla_delay_ms[row])


def _read_own_candidate(algorithm: TD3, cell: str, settings: TransferSettings) -> Candidate:
    return Candidate(
        algorithm.policy_weights(cell),
        algorithm.replay.last(cell, settings.transferred_transitions),
        read_samples(algorithm, cell, settings.samples),
        is_in_run=True,
    )


def _explain_unusable(algorithm: TD3, cell: str, target: str, unsettled: Collection[str]) -> str:
    row = algorithm.cell_states.row(cell)
    if cell not in algorithm.module_ids:
        return "has no policy"
    if cell in unsettled:
        return "is being warm-started itself"
    if algorithm.cell_states.exploration_left[row] > 0:
        return "still explores"
    if not algorithm.replay.size[row]:
        return "has no experience"
    return explain_mismatch(algorithm.policy_weights(cell), algorithm.policy_weights(target))


def _find_builtin(algorithm: TD3, target: str) -> Candidates:
    """The pretrained actor of the package, with the target's own critics and no experience."""
    own = algorithm.policy_weights(target)
    pretrained = load_pretrained().weights
    actors = {
        f"{prefix}{name}": weights
        for name, weights in pretrained.items()
        for prefix in ("", "target_")
    }
    weights = own | actors
    reason = "" if set(actors) <= set(own) else "needs an equivariant actor"
    reason = reason or explain_mismatch(weights, own)
    if reason:
        return Candidates({}, {BUILTIN_LIBRARY: reason})
    empty = algorithm.replay.last(target, 0)
    samples = CellSamples(np.zeros((0, 1)), np.ones(1))
    return Candidates({BUILTIN_LIBRARY: Candidate(weights, empty, samples, is_in_run=False)}, {})


def _find_in_library(
    algorithm: TD3, target: str, settings: TransferSettings, library_uri: str
) -> Candidates:
    library = PolicyLibrary(library_uri)
    own_weights = algorithm.policy_weights(target)
    found = Candidates({}, {})
    for name in library.list_versions():
        bundle = library.load(name)
        reason = _explain_unusable_bundle(algorithm.env, target, bundle, own_weights)
        if reason:
            found.refused[label_bundle(name)] = reason
        else:
            found.usable[label_bundle(name)] = _read_bundle_candidate(bundle, settings)
    return found


def _explain_unusable_bundle(
    env: Any, target: str, bundle: Bundle, own_weights: Mapping[str, np.ndarray]
) -> str:
    target_origin = identify_cell(env.scenario.name, env.map_seed, target)
    if bundle.provenance.get("network") == target_origin:
        return "comes from the target itself in an earlier run"
    return explain_refusal(bundle, like=own_weights, slices=env.action_size, message=env.message)


def _read_bundle_candidate(bundle: Bundle, settings: TransferSettings) -> Candidate:
    sla = Sla(np.array(bundle.sla_throughput_mbps), np.array(bundle.sla_delay_ms))
    recent = Transitions(*(c[-settings.samples :] for c in bundle.default_action_experience))
    samples = _join_samples(recent, sla)
    return Candidate(bundle.weights, bundle.experience, samples, is_in_run=False)


def _join_samples(experience: Transitions, sla: Sla | None) -> CellSamples:
    joint = np.concatenate([experience.obs, experience.reward[:, None]], axis=1, dtype=np.float64)
    return CellSamples(joint, np.ones(1) if sla is None else np.concatenate(sla))


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
        rng = make_generator(problem.seed, Stream.RANDOM_CONTROL)
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
