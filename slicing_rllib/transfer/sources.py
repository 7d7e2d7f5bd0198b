"""Sources that a target can use: trained cells of the run, and bundles of a policy library."""

import re
from collections.abc import Collection, Container, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from slicing_rllib.env import SlicingEnv
from slicing_rllib.learning.replay import Transitions
from slicing_rllib.learning.td3 import TD3
from slicing_rllib.policies.trained_policy import BUILTIN_CURVES, load_pretrained
from slicing_rllib.transfer.decision import CellSamples
from slicing_rllib.transfer.methods import PolicyWeights, Sla, take_newest
from slicing_rllib.transfer.policy_library import Bundle, PolicyLibrary, identify_cell
from slicing_rllib.transfer.transfer_settings import BUILTIN_LIBRARY, TransferSettings


class Candidate(NamedTuple):
    """A source that the target can use."""

    weights: PolicyWeights
    experience: Transitions
    """Newest transitions, oldest of them first."""
    samples: CellSamples
    is_in_run: bool
    """True for a cell of this run, False for a bundle of a library."""


class Candidates(NamedTuple):
    """Every potential source of a target, by name. A bundle's name begins with `library:`."""

    usable: dict[str, Candidate]
    refused: dict[str, str]
    """Why a source cannot be used."""

    def add(self, name: str, found: Candidate | str) -> None:
        """Enter a candidate, or the reason why there is none."""
        if isinstance(found, str):
            self.refused[name] = found
        else:
            self.usable[name] = found


def find_candidates(
    algorithm: TD3, target: str, settings: TransferSettings, unsettled: Collection[str]
) -> Candidates:
    """Look for sources in the run and in the library.

    `unsettled` are cells that are being warm-started themselves and cannot be sources.
    Raises: LibraryError where the library cannot be read.
    """
    found = Candidates({}, {})
    for cell in algorithm.cells:
        if cell == target:
            continue
        found.add(
            cell,
            _explain_unusable(algorithm, cell, target, unsettled)
            or Candidate(
                algorithm.policy_weights(cell),
                algorithm.replay.last(cell, settings.transferred_transitions),
                read_samples(algorithm, cell, settings.samples),
                is_in_run=True,
            ),
        )
    if settings.library == BUILTIN_LIBRARY:
        found.add(BUILTIN_LIBRARY, _make_builtin(algorithm, target))
    elif settings.library is not None:
        library = PolicyLibrary(settings.library)
        for name in library.list_versions():
            bundle = library.load(name)
            found.add(f"library:{name}", _judge_bundle(algorithm, target, bundle, settings.samples))
    return found


def resolve_source(
    source: str | None, target: str, cells: Sequence[str], candidates: Container[str]
) -> str | None:
    """The candidate that `transfer.source` prescribes; None where the measure decides.

    `next:OFFSET` is the cell that follows the target by so many places in the cyclic order of
    `cells`, or the bundle of that name where it is no candidate; anything else is a name.
    """
    rotation = re.fullmatch(r"next:(\d+)", source or "")
    if not rotation:
        return source
    cell = cells[(list(cells).index(target) + int(rotation[1])) % len(cells)]
    return cell if cell in candidates else f"library:{cell}"


def read_samples(algorithm: TD3, cell: str, count: int) -> CellSamples:
    """[s, r] of a cell's `count` newest steps under the default action, and its SLA."""
    recent = algorithm.default_action_replay.last(cell, count)
    return join_samples(recent, read_sla(algorithm, cell))


def join_samples(default_action_experience: Transitions, sla: Sla | None) -> CellSamples:
    """What represents a cell with these transitions and this SLA in a comparison."""
    obs, reward = default_action_experience.obs, default_action_experience.reward
    joint = np.concatenate([obs, reward[:, None]], axis=1, dtype=np.float64)
    return CellSamples(joint, np.ones(1) if sla is None else np.concatenate(sla))


def read_sla(algorithm: TD3, cell: str) -> Sla | None:
    """A cell's SLA; None in an environment other than `SlicingEnv`."""
    env: Any = algorithm.env
    if not isinstance(env, SlicingEnv):
        return None
    row = env.cells.index(cell)
    return Sla(env.scenario.sla_throughput_mbps[row], env.scenario.sla_delay_ms[row])


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
    return _explain_mismatch(algorithm.policy_weights(cell), algorithm.policy_weights(target))


def _make_builtin(algorithm: TD3, target: str) -> Candidate | str:
    """The pretrained actor of the package, with the target's critics and no experience, or its
    pretrained critics per slice; or why the target cannot use them."""
    own = algorithm.policy_weights(target)
    if algorithm.settings.actor == "max_min":
        actors = dict(load_pretrained(BUILTIN_CURVES).weights)
    else:
        actors = {
            f"{prefix}{name}": weights
            for name, weights in load_pretrained().weights.items()
            for prefix in ("", "target_")
        }
    if not set(actors) <= set(own):
        return "needs an equivariant actor"
    samples = CellSamples(np.zeros((0, 1)), np.ones(1))
    nothing = algorithm.replay.last(target, 0)
    reason = _explain_mismatch(own | actors, own)
    return reason or Candidate(own | actors, nothing, samples, is_in_run=False)


def _judge_bundle(algorithm: TD3, target: str, bundle: Bundle, count: int) -> Candidate | str:
    """The bundle with its `count` newest samples; or why the target cannot use it."""
    env, own = algorithm.env, algorithm.policy_weights(target)
    if bundle.provenance.get("network") == identify_cell(
        env.scenario.name, env.simulator.map_seed, target
    ):
        return "comes from the target itself in an earlier run"
    refusal = explain_refusal(bundle, like=own, slices=env.action_size, message=env.message)
    if refusal:
        return refusal
    sla = Sla(np.array(bundle.sla_throughput_mbps), np.array(bundle.sla_delay_ms))
    samples = join_samples(take_newest(bundle.default_action_experience, count), sla)
    return Candidate(bundle.weights, bundle.experience, samples, is_in_run=False)


def explain_refusal(
    bundle: Bundle, *, like: Mapping[str, np.ndarray], slices: int, message: str
) -> str:
    """Why a cell with such weights (`like`), slices and message cannot use a bundle's policy; empty
    if it can."""
    if len(bundle.slices) != slices:
        return f"has {len(bundle.slices)} slices, expected {slices}"
    if bundle.message != message:
        return f"observes the message {bundle.message!r}, expected {message!r}"
    return _explain_mismatch(bundle.weights, like)


def _explain_mismatch(weights: Mapping[str, np.ndarray], like: Mapping[str, np.ndarray]) -> str:
    """The first parameter whose shape differs from that in `like`; empty if all shapes agree."""
    for name, own in like.items():
        got = weights[name].shape if name in weights else "nothing"
        if got != own.shape:
            return f"{name} is {got}, expected {own.shape}"
    return ""
