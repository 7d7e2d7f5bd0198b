"""Sources that a target can use: trained cells of the run, and bundles of a policy library."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from slicing_rllib.env import SlicingEnv
from slicing_rllib.learning.replay import Transitions
from slicing_rllib.learning.td3 import TD3
from slicing_rllib.policies.pretrained import load_pretrained
from slicing_rllib.transfer.decision import CellSamples
from slicing_rllib.transfer.policy_library import (
    Bundle,
    PolicyLibrary,
    explain_mismatch,
    explain_refusal,
    identify_cell,
)
from slicing_rllib.transfer.settings import TransferSettings
from slicing_rllib.transfer.source_setting import label_bundle
from slicing_rllib.transfer.strategies import PolicyWeights, Sla

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
