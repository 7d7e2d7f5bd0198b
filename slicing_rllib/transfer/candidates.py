"""Who a target may learn from: trained cells of the run itself, and bundles of a library."""

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np

from slicing_rllib.env import SlicingEnv
from slicing_rllib.learning.replay import Transitions
from slicing_rllib.learning.td3 import TD3
from slicing_rllib.transfer.decision import CellSamples
from slicing_rllib.transfer.policy_library import PolicyLibrary, misfit, refusal
from slicing_rllib.transfer.settings import TransferSettings
from slicing_rllib.transfer.strategies import PolicyWeights, Sla

FEWEST_SAMPLES = 20


class Candidate(NamedTuple):
    """Something to learn from. `samples` are under the default action, maybe none."""

    weights: PolicyWeights
    experience: Transitions
    samples: CellSamples
    in_this_run: bool


def candidates(
    algorithm: TD3, target: str, settings: TransferSettings, untrained: Collection[str]
) -> tuple[dict[str, Candidate], dict[str, str]]:
    """By name; and why others were refused."""
    found, refused = {}, {}
    for cell in algorithm.cells:
        if cell == target:
            continue
        why = _not_usable(algorithm, cell, target, untrained)
        if why:
            refused[cell] = why
        else:
            found[cell] = own(algorithm, cell, settings)
    if settings.library is not None:
        _add_from_library(algorithm, target, settings, found, refused)
    return found, refused


def own(algorithm: TD3, cell: str, settings: TransferSettings) -> Candidate:
    """A cell of this run, as it is now."""
    return Candidate(
        algorithm.policy_weights(cell),
        algorithm.replay.last(cell, settings.transferred_transitions),
        samples_of(algorithm, cell, settings.samples),
        in_this_run=True,
    )


def samples_of(algorithm: TD3, cell: str, count: int) -> CellSamples:
    """[s, r] of a cell's newest steps under the default action."""
    return _joint(algorithm.default_action_replay.last(cell, count), sla_of(algorithm, cell))


def sla_of(algorithm: TD3, cell: str) -> Sla | None:
    """What a cell promises; None in an environment that knows no SLA."""
    env: Any = algorithm.env
    if not isinstance(env, SlicingEnv):
        return None
    row = env.cells.index(cell)
    scenario = env.scenario
    return Sla(scenario.sla_throughput_mbps[row], scenario.sla_delay_ms[row])


def network_name(env: Any, cell: str) -> str:
    """A cell's place in the world: scenario, radio map, cell."""
    return f"{env.scenario.name}/{env.map_seed}/{cell}"


def comparable(found: dict[str, Candidate]) -> dict[str, Candidate]:
    """Those with enough samples to be compared by."""
    return {name: c for name, c in found.items() if len(c.samples.joint) >= FEWEST_SAMPLES}


def _not_usable(algorithm: TD3, cell: str, target: str, untrained: Collection[str]) -> str:
    row = algorithm.cell_states.row(cell)
    if cell not in algorithm.module_ids:
        return "has no policy"
    if cell in untrained:
        return "is being brought up itself"
    if algorithm.cell_states.exploration_left[row] > 0:
        return "still explores"
    if not algorithm.replay.size[row]:
        return "has no experience"
    return misfit(algorithm.policy_weights(cell), algorithm.policy_weights(target))


def _add_from_library(
    algorithm: TD3,
    target: str,
    settings: TransferSettings,
    found: dict[str, Candidate],
    refused: dict[str, str],
) -> None:
    env: Any = algorithm.env
    library = PolicyLibrary(str(settings.library))
    like = algorithm.policy_weights(target)
    for name in library.names():
        bundle = library.load(name)
        label = f"library:{name}"
        why = refusal(bundle, like=like, slices=env.action_size, message=env.message)
        if bundle.provenance.get("network") == network_name(env, target):
            why = "is the target's own earlier self"
        if why:
            refused[label] = why
            continue
        sla = Sla(np.array(bundle.sla_throughput_mbps), np.array(bundle.sla_delay_ms))
        recent = Transitions(*(c[-settings.samples :] for c in bundle.default_experience))
        samples = _joint(recent, sla)
        found[label] = Candidate(bundle.weights, bundle.experience, samples, in_this_run=False)


def _joint(experience: Transitions, sla: Sla | None) -> CellSamples:
    joint = np.concatenate([experience.obs, experience.reward[:, None]], axis=1, dtype=np.float64)
    promised = np.ones(1) if sla is None else np.concatenate(sla)
    return CellSamples(joint, promised)
