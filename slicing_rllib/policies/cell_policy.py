"""One cell's policy from measured KPIs to shares, with all that it needs to be moved elsewhere.

A `CellPolicy` is an encoder, a base policy and an actor; a `PolicyGroup` computes the policies of
many cells at once. As files, a policy is `policy.safetensors` and `manifest.json`, beside which
`export` writes `policy.onnx`.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from slicing_rllib.env import ActorForm
from slicing_rllib.policies.encoder import (
    KPI_SPECS,
    CellEncoder,
    NeighbourLoad,
    PerSlice,
    encode_rows,
)
from slicing_rllib.policies.trained_policy import (
    CRITICS,
    Parameters,
    compute_actions,
    find_shapes,
    list_deciding_layers,
    stack_layers,
)
from slicing_rllib.registry import digest_part, foreign_names, get_part, is_own
from slicing_rllib.storage import read_bounded, read_json
from slicing_rllib.storage.errors import FORM_ERRORS
from slicing_rllib.storage.foreign_files import MIB

WEIGHTS_FILE, GRAPH_FILE, MANIFEST_FILE = "policy.safetensors", "policy.onnx", "manifest.json"
FORMAT = 1
"""Version of the manifest's layout."""
MAX_FILE_BYTES, MAX_MANIFEST_BYTES = 256 * MIB, 4 * MIB


logger = logging.getLogger(__name__)
_told: set[str] = set()
"""Parts whose change has been told: once, not for every cell."""


class PolicyError(ValueError):
    """A policy cannot be used. The message is one line."""


@dataclass(frozen=True)
class KpiRange:
    """What a KPI of one slice was in the recorded intervals."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    minimum: float
    """Smallest value in any cell of the network."""
    maximum: float
    """Largest value in any cell of the network."""
    mean: float
    """Mean value in this cell."""
    std: float
    """Standard deviation in this cell."""


Recorded = Mapping[str, tuple[KpiRange, ...]]
"""By KPI, the range of each slice."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CellPolicy:
    """The encoder, base policy and actor of one cell.

    Raises: PolicyError for weights that are not finite or do not fit the encoder.
    """

    encoder: CellEncoder
    """From KPIs to observations."""
    form: ActorForm
    """What is built around the actor's layers, the base policy included."""
    weights: Mapping[str, np.ndarray]
    """The actor's parameters by name."""
    name: str
    """Name of the policy, without its version."""
    version: int = 0
    """Version in its library; 0 for the policies of a run directory."""
    recorded: Recorded = field(default_factory=dict[str, tuple[KpiRange, ...]])
    """KPIs where the policy was trained; empty if nobody recorded them."""
    provenance: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Run, cell, network, seed, digest of the config, package version."""

    def __post_init__(self) -> None:
        where = f"policy {self.label}"
        # A bundle may be a stranger's.
        try:
            with foreign_names():
                for kind, name in self.own_parts:
                    get_part(kind, name)
        except ValueError as error:
            raise PolicyError(f"{where}: {error}") from error
        for name, array in self.weights.items():
            if not np.isfinite(array).all():
                raise PolicyError(f"{where}: {name} has values that are not finite")
        if self.form.squash != "softmax":
            raise PolicyError(f"{where}: expected shares, its actions are {self.form.squash}")
        n_slices, n_neighbours = len(self.encoder.slices), len(self.encoder.neighbours)
        ones = dict.fromkeys(self.encoder.required_kpis, np.ones((1, n_slices)))
        try:
            shares = self.decide(ones, np.zeros((1, n_neighbours, n_slices)))
        except FORM_ERRORS as error:
            raise PolicyError(f"{where}: its actor does not fit its encoder ({error})") from error
        if shares.shape != (1, n_slices):
            raise PolicyError(f"{where}: expected {n_slices} shares, got {shares.shape[1]}")

    @property
    def own_parts(self) -> list[tuple[str, str]]:
        """Kind and name of each part that does not come with the package."""
        named = (
            ("observation", self.encoder.observation),
            ("message", self.encoder.message),
            ("base_policy", self.encoder.base_policy),
            ("actor", self.form.kind),
        )
        return [(kind, name) for kind, name in named if name != "max_min" and is_own(kind, name)]

    @cached_property
    def observation_size(self) -> int:
        """Numbers in an observation."""
        n_slices, n_neighbours = len(self.encoder.slices), len(self.encoder.neighbours)
        ones = dict.fromkeys(self.encoder.required_kpis, np.ones((1, n_slices)))
        silent = np.zeros((1, n_neighbours, n_slices))
        return encode_rows([self.encoder], ones, silent).shape[1]

    @property
    def label(self) -> str:
        """Name and version, as answers carry them."""
        return f"{self.name}@{self.version}"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that an answer depends on: encoder, form and weights."""
        described = {"encoder": asdict(self.encoder), "form": asdict(self.form)}
        settings = json.dumps(described, sort_keys=True).encode()
        return hashlib.sha256(settings + self.serialise_weights()).hexdigest()

    def serialise_weights(self) -> bytes:
        """The actor's parameters in the format of safetensors; equal weights give equal bytes."""
        return save_tensors({n: np.ascontiguousarray(w) for n, w in sorted(self.weights.items())})

    def decide(
        self,
        columns: Mapping[str, PerSlice],
        neighbour_load: NeighbourLoad,
        earlier: Sequence[Mapping[str, PerSlice]] = (),
    ) -> Float32[np.ndarray, "row slice"]:
        """Shares of the carrier, one row per interval; `earlier` as in `encode_rows`."""
        encoders = [self.encoder] * len(neighbour_load)
        obs = encode_rows(encoders, columns, neighbour_load, earlier)
        return compute_actions(self.form, self._layers, obs)

    @cached_property
    def _layers(self) -> list[Parameters]:
        # One row, which all intervals share.
        return stack_layers([list_deciding_layers(self.form, self.weights)])


class PolicyGroup:
    """Policies whose encoders and actors have the same form, computed together."""

    def __init__(self, policies: Sequence[CellPolicy]) -> None:
        """`policies` have equal keys, see `group_policies`."""
        self.policies = tuple(policies)
        self.encoder = policies[0].encoder
        self.rows = {policy.encoder.cell: row for row, policy in enumerate(policies)}
        self._form = policies[0].form
        self._layers = stack_layers(
            [list_deciding_layers(policy.form, policy.weights) for policy in policies]
        )

    def decide(
        self,
        encoders: Sequence[CellEncoder],
        columns: Mapping[str, PerSlice],
        neighbour_load: NeighbourLoad,
        earlier: Sequence[Mapping[str, PerSlice]] = (),
    ) -> Float32[np.ndarray, "row slice"]:
        """Shares of some of the group's cells; NaN where an observation is not finite.

        Args:
            encoders: those of the cells, perhaps with another SLA than their policies carry.
            columns: KPIs by name, one row per cell.
            neighbour_load: load of the cells' neighbours.
            earlier: KPIs of earlier reports, as in `encode_rows`.
        """
        rows = [self.rows[encoder.cell] for encoder in encoders]
        is_whole = rows == list(range(len(self.policies)))
        layers = self._layers
        if not is_whole:
            layers = [tuple(own[rows] for own in layer) for layer in layers]
        with np.errstate(all="ignore"):
            obs = encode_rows(encoders, columns, neighbour_load, earlier)
            shares = compute_actions(self._form, layers, obs)
        shares[~np.isfinite(obs).all(axis=1)] = np.nan
        return shares


def group_policies(policies: Sequence[CellPolicy]) -> list[PolicyGroup]:
    """Policies in as few groups as their forms allow."""
    members: dict[tuple[object, ...], list[CellPolicy]] = {}
    for policy in policies:
        encoder = policy.encoder
        shapes = find_shapes(list_deciding_layers(policy.form, policy.weights))
        network = encoder.observation, encoder.message, encoder.message_slots
        key = (*network, encoder.slices, encoder.users, policy.form, shapes)
        members.setdefault(key, []).append(policy)
    return [PolicyGroup(group) for group in members.values()]


def select_actor(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The parameters that actions are computed from: the actor's, without it the critics'.

    Raises: PolicyError where they are not there.
    """
    actor = {name: array for name, array in weights.items() if name.startswith("actor.")}
    if not actor:
        actor = {name: w for name, w in weights.items() if name.split(".")[0] in CRITICS}
    if not actor:
        raise PolicyError("expected the weights of an actor")
    return actor


@dataclass(frozen=True)
class _Description:
    encoder: CellEncoder
    form: ActorForm
    recorded: dict[str, tuple[KpiRange, ...]]
    own_parts: dict[str, str] = field(default_factory=dict[str, str])
    """SHA-256 of the source of each own part, by its kind and name."""


def describe_policy(policy: CellPolicy) -> dict[str, Any]:
    """Encoder, form and recorded ranges as plain values, which `parse_policy` reads."""
    parts = {f"{kind} {name}": digest_part(kind, name) for kind, name in policy.own_parts}
    return asdict(_Description(policy.encoder, policy.form, dict(policy.recorded), parts))


def parse_policy(
    description: Mapping[str, Any],
    weights: Mapping[str, np.ndarray],
    *,
    name: str,
    version: int,
    provenance: Mapping[str, Any],
) -> CellPolicy:
    """The policy with a description of `describe_policy`. Raises: PolicyError."""
    try:
        read = TypeAdapter(_Description).validate_python(dict(description))
    except ValidationError as error:
        first = error.errors()[0]
        why = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise PolicyError(f"policy {name}@{version}: expected its description ({why})") from error
    expected = vars(read).pop("own_parts")
    policy = CellPolicy(
        **vars(read), weights=weights, name=name, version=version, provenance=provenance
    )
    changed = {
        f"{kind} {part}"
        for kind, part in policy.own_parts
        if expected.get(f"{kind} {part}") != digest_part(kind, part)
    }
    if new := changed - _told:
        _told.update(new)
        logger.warning(
            "policy %s: %s: its source has changed since the policy was written",
            policy.label,
            ", ".join(sorted(new)),
        )
    return policy


def make_manifest(
    policy: CellPolicy, files: Mapping[str, bytes], parity: Mapping[str, Any]
) -> dict[str, Any]:
    """What `manifest.json` says about a policy and the files beside it.

    Args:
        policy: the policy.
        files: content by file name.
        parity: how far the ONNX graph is from NumPy.
    """
    return {
        "format": FORMAT,
        "name": policy.name,
        "version": policy.version,
        "policy_sha256": policy.digest,
        "kpis": {
            name: {"unit": KPI_SPECS[name].unit, "meaning": KPI_SPECS[name].meaning}
            for name in policy.encoder.required_kpis
        },
        **describe_policy(policy),
        "parity": dict(parity),
        "provenance": dict(policy.provenance),
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }


def load_policy(folder: Path) -> CellPolicy:
    """The policy of a folder that `export` has written.

    Raises: PolicyError where there is none, or a file has changed since it was written.
    """
    path = folder / MANIFEST_FILE
    try:
        manifest: dict[str, Any] = dict(read_json(path, MAX_MANIFEST_BYTES))
        if manifest.get("format") != FORMAT:
            raise PolicyError(f"{path}: expected a manifest of format {FORMAT}")
        files: dict[str, bytes] = {}
        for name in (WEIGHTS_FILE, GRAPH_FILE):
            if name == WEIGHTS_FILE or name in manifest["sha256"]:
                files[name] = read_bounded(folder / name, MAX_FILE_BYTES)
                if hashlib.sha256(files[name]).hexdigest() != manifest["sha256"][name]:
                    raise PolicyError(f"{folder / name}: has changed since it was written")
        weights = load_tensors(files[WEIGHTS_FILE])
        policy = parse_policy(
            manifest,
            weights,
            name=str(manifest["name"]),
            version=int(manifest["version"]),
            provenance=manifest["provenance"],
        )
    except PolicyError:
        raise
    except (OSError, SafetensorError, *FORM_ERRORS) as error:
        raise PolicyError(f"{folder}: expected an exported policy ({error})") from error
    if policy.digest != manifest.get("policy_sha256"):
        raise PolicyError(f"{path}: has changed since it was written")
    return policy
