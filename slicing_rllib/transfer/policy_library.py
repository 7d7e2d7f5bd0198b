"""Library of trained policies for other runs and networks: versioned bundles without pickle.

A bundle consists of the files `weights.safetensors`, `experience.safetensors` and `manifest.json`
in `LIBRARY/NAME/0001/`, in a directory or an object store. The manifest is written last; a folder
without a manifest is not a bundle.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from slicing_rllib.learning.replay import Transitions
from slicing_rllib.transfer.library_files import (
    EXPERIENCE,
    FORMAT,
    MANIFEST,
    NAME,
    WEIGHTS,
    LibraryError,
    LibraryFiles,
    parse_manifest,
)

OWN, DEFAULT_ACTION = "experience", "default_experience"
"""Prefixes of the tensors' names in the experience file."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Everything that another cell can take over from a trained cell."""

    weights: Mapping[str, np.ndarray]
    """Arrays by parameter name: actor, both critics, and their targets."""
    experience: Transitions
    """Newest transitions of the training, oldest of them first."""
    default_action_experience: Transitions
    """Transitions under the default action, for the comparison of cells."""
    slices: tuple[str, ...]
    """Names of the slices in the order of the action."""
    sla_throughput_mbps: tuple[float, ...]
    """Required throughput per slice."""
    sla_delay_ms: tuple[float, ...]
    """Largest permitted delay per slice."""
    message: str
    """Kind of message from the neighbours that the observation contains, as in `env.message`."""
    returns: Mapping[str, float]
    """Results of the policy in the run that it was trained in, by name."""
    provenance: Mapping[str, Any]
    """Run, cell, network, seed, digest of the config, package version."""
    policy: Mapping[str, Any] | None = None
    """What `policies.describe_policy` tells of the policy; None in bundles of version 0.1.0, which
    can be transferred but not served."""


def identify_cell(scenario: str, map_seed: int, cell: str) -> str:
    """What `provenance` calls a bundle's `network`: the same cell has the same name in any run."""
    return f"{scenario}/{map_seed}/{cell}"


class PolicyLibrary:
    """The bundles below a path or a URI.

    Args:
        where: a folder, or a URI that pyarrow can open, such as `s3://bucket/policies`.

    Raises: LibraryError, from every method, where the library cannot be read or written or a
        bundle is damaged.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self._files = LibraryFiles(where)

    def list_versions(self) -> dict[str, list[int]]:
        """Versions of every bundle by its name, oldest first."""
        found: dict[str, list[int]] = {}
        for name, version in self._files.list_versions():
            found.setdefault(name, []).append(version)
        return {name: sorted(versions) for name, versions in sorted(found.items())}

    def add(self, name: str, bundle: Bundle) -> int:
        """Write the bundle as the next version of that name and return the version.

        Raises: LibraryError for a name with other characters than letters, digits, `.`, `_`, `-`.
        """
        if not NAME.fullmatch(name):
            raise LibraryError(f"bundle {name!r}: expected letters, digits, dots, dashes")
        files = {
            WEIGHTS: save_tensors({n: np.ascontiguousarray(w) for n, w in bundle.weights.items()}),
            EXPERIENCE: save_tensors(_pack_experience(bundle)),
        }
        digests = {file: hashlib.sha256(data).hexdigest() for file, data in files.items()}

        def make(version: int) -> bytes:
            manifest = _make_manifest(name, version, bundle) | {"sha256": digests}
            return json.dumps(manifest, indent=2).encode()

        first = self.list_versions().get(name, [0])[-1] + 1
        return self._files.add(name, first, files, make)

    def read_manifest(self, name: str, version: int | None = None) -> dict[str, Any]:
        """A bundle's manifest; `version` None: of the newest version."""
        found = self._find_version(name, version)
        data = self._files.read(name, found, MANIFEST)
        return parse_manifest(data, self._files.describe(name, found, MANIFEST))

    def load(self, name: str, version: int | None = None) -> Bundle:
        """Read a bundle; `version` None: the newest version.

        Raises: LibraryError where a file has changed since it was written, or weights are not
        finite.
        """
        version = self._find_version(name, version)
        manifest = self.read_manifest(name, version)
        weights, experience = (
            self._read_tensors(name, version, file, manifest["sha256"][file])
            for file in (WEIGHTS, EXPERIENCE)
        )
        where = self._files.describe(name, version, EXPERIENCE)
        return Bundle(
            weights=weights,
            experience=_unpack_transitions(experience, OWN, where),
            default_action_experience=_unpack_transitions(experience, DEFAULT_ACTION, where),
            slices=tuple(manifest["slices"]),
            sla_throughput_mbps=tuple(manifest["sla"]["throughput_mbps"]),
            sla_delay_ms=tuple(manifest["sla"]["delay_ms"]),
            message=manifest["message"],
            returns=manifest["returns"],
            provenance=manifest["provenance"],
            policy=manifest.get("policy"),
        )

    def read_file(self, name: str) -> bytes | None:
        """A file at the top of the library, beside the bundles; None if there is none."""
        return self._files.read_beside(name)

    def write_file(self, name: str, data: bytes) -> None:
        """Write a file at the top of the library; readers see the old or the new content."""
        self._files.write_beside(name, data)

    def read_states(self, versions: Mapping[str, int]) -> list[tuple[str, int, int]]:
        """Path, size and time of change (ns) of the files of some bundles, by name and version."""
        return self._files.read_states(versions)

    def remove(self, name: str, version: int | None = None) -> list[int]:
        """Delete a version, or with `version` None all of that name; the deleted versions."""
        found = self._find_version(name, version)
        versions = self.list_versions()[name] if version is None else [found]
        for number in versions:
            self._files.remove(name, number)
        return versions

    def _find_version(self, name: str, version: int | None) -> int:
        names = self.list_versions()
        if name not in names:
            present = ", ".join(names) or "nothing"
            raise LibraryError(f"{self.where}: no bundle {name!r}, there is {present}")
        if version is None:
            return names[name][-1]
        if version not in names[name]:
            raise LibraryError(
                f"{self.where}: {name} has no version {version}, there are {names[name]}"
            )
        return version

    def _read_tensors(
        self, name: str, version: int, file: str, digest: str
    ) -> dict[str, np.ndarray]:
        data, where = (
            self._files.read(name, version, file),
            self._files.describe(name, version, file),
        )
        if hashlib.sha256(data).hexdigest() != digest:
            raise LibraryError(f"{where}: has changed since it was written")
        return _parse_tensors(where, data)


def explain_refusal(
    bundle: Bundle, *, like: Mapping[str, np.ndarray], slices: int, message: str
) -> str:
    """Why a cell cannot use a bundle's policy; empty if it can.

    Args:
        bundle: the policy in question.
        like: the cell's own weights, for their shapes.
        slices: number of the cell's slices.
        message: kind of message in the cell's observation.
    """
    if len(bundle.slices) != slices:
        return f"has {len(bundle.slices)} slices, expected {slices}"
    if bundle.message != message:
        return f"observes the message {bundle.message!r}, expected {message!r}"
    return explain_mismatch(bundle.weights, like)


def explain_mismatch(weights: Mapping[str, np.ndarray], like: Mapping[str, np.ndarray]) -> str:
    """The first parameter whose shape differs from that in `like`; empty if all shapes agree."""
    for name, own in like.items():
        got = weights[name].shape if name in weights else "nothing"
        if got != own.shape:
            return f"{name} is {got}, expected {own.shape}"
    return ""


def _make_manifest(name: str, version: int, bundle: Bundle) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "name": name,
        "version": version,
        "slices": list(bundle.slices),
        "sla": {
            "throughput_mbps": list(bundle.sla_throughput_mbps),
            "delay_ms": list(bundle.sla_delay_ms),
        },
        "message": bundle.message,
        "obs_size": int(bundle.experience.obs.shape[1]),
        "action_size": int(bundle.experience.action.shape[1]),
        "transitions": len(bundle.experience.reward),
        "default_transitions": len(bundle.default_action_experience.reward),
        "returns": dict(bundle.returns),
        "provenance": dict(bundle.provenance),
    } | ({"policy": dict(bundle.policy)} if bundle.policy else {})


def _pack_experience(bundle: Bundle) -> dict[str, np.ndarray]:
    experience = {OWN: bundle.experience, DEFAULT_ACTION: bundle.default_action_experience}
    return {
        f"{prefix}/{field}": np.ascontiguousarray(column)
        for prefix, transitions in experience.items()
        for field, column in transitions._asdict().items()
    }


def _unpack_transitions(tensors: Mapping[str, np.ndarray], prefix: str, where: str) -> Transitions:
    """Raises: LibraryError where a column is missing or has another length than the others."""
    names = [f"{prefix}/{field}" for field in Transitions._fields]
    missing = [name for name in names if name not in tensors or tensors[name].ndim < 1]
    if missing:
        raise LibraryError(f"{where}: expected the column {missing[0]}")
    if len({len(tensors[name]) for name in names}) > 1:
        raise LibraryError(f"{where}: expected columns of {prefix} of one length")
    return Transitions(*(tensors[name] for name in names))


def _parse_tensors(path: str, data: bytes) -> dict[str, np.ndarray]:
    try:
        tensors = load_tensors(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise LibraryError(f"{path}: expected safetensors") from error
    for name, tensor in tensors.items():
        if tensor.dtype.kind not in "fiu" or not np.isfinite(tensor).all():
            raise LibraryError(f"{path}: {name!r}: expected finite numbers")
    return tensors
