"""Library of trained policies for other runs and networks: versioned bundles without pickle.

A bundle consists of the files `weights.safetensors`, `experience.safetensors` and `manifest.json`
in `LIBRARY/NAME/0001/`, in a directory or an object store. The manifest is written last; a folder
without a manifest is not a bundle.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from slicing_rllib.learning.replay import Transitions
from slicing_rllib.transfer.library_files import (
    EXPERIENCE,
    MANIFEST,
    NAME,
    WEIGHTS,
    LibraryError,
    LibraryFiles,
    TensorFile,
)

OWN, DEFAULT_ACTION = "experience", "default_experience"
"""Prefixes of the tensors' names in the experience file."""
MAX_SLICES = 64


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
    """What `policies.describe_policy` tells of the policy; None for a policy that can be
    transferred but not served."""


class _Strict(BaseModel):
    """Part of a manifest, which a stranger may have written: read strictly, or refused."""

    model_config = ConfigDict(strict=True, frozen=True)


class ManifestSla(_Strict):
    """A number per slice for each part of the SLA."""

    throughput_mbps: tuple[FiniteFloat, ...]
    delay_ms: tuple[FiniteFloat, ...]


class Manifest(_Strict):
    """The content of `manifest.json`. `Bundle` describes the fields that it has as well."""

    format: Literal[1] = 1
    """Version of this layout."""
    name: str
    version: int
    slices: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_SLICES)]
    sla: ManifestSla
    message: str
    obs_size: int
    action_size: int
    transitions: int
    default_transitions: int
    returns: dict[str, FiniteFloat]
    provenance: dict[str, Any]
    policy: dict[str, Any] | None = None
    sha256: Annotated[
        dict[TensorFile, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]], Field(min_length=2)
    ]
    """Digests of both files of tensors."""

    @model_validator(mode="after")
    def _check_sla(self) -> "Manifest":
        for name, numbers in self.sla:
            if len(numbers) != len(self.slices):
                expected = f"a number for each of {len(self.slices)} slices"
                raise ValueError(f"sla.{name}: expected {expected}, got {len(numbers)}")
        return self


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
        experience = {OWN: bundle.experience, DEFAULT_ACTION: bundle.default_action_experience}
        files: dict[TensorFile, bytes] = {
            WEIGHTS: save_tensors({n: np.ascontiguousarray(w) for n, w in bundle.weights.items()}),
            EXPERIENCE: save_tensors(pack_transitions(experience)),
        }
        digests: dict[TensorFile, str] = {
            file: hashlib.sha256(data).hexdigest() for file, data in files.items()
        }

        def make_manifest(version: int) -> bytes:
            manifest = Manifest(
                name=name,
                version=version,
                slices=bundle.slices,
                sla=ManifestSla(
                    throughput_mbps=bundle.sla_throughput_mbps, delay_ms=bundle.sla_delay_ms
                ),
                message=bundle.message,
                obs_size=bundle.experience.obs.shape[1],
                action_size=bundle.experience.action.shape[1],
                transitions=len(bundle.experience.reward),
                default_transitions=len(bundle.default_action_experience.reward),
                returns=dict(bundle.returns),
                provenance=dict(bundle.provenance),
                policy=dict(bundle.policy) if bundle.policy else None,
                sha256=digests,
            )
            return manifest.model_dump_json(indent=2).encode()

        first = self.list_versions().get(name, [0])[-1] + 1
        return self._files.add(name, first, files, make_manifest)

    def read_manifest(self, name: str, version: int | None = None) -> Manifest:
        """A bundle's manifest; `version` None: of the newest version."""
        found = self._find_version(name, version)
        try:
            return Manifest.model_validate_json(self._files.read(name, found, MANIFEST))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = "".join(f"{part}: " for part in first["loc"])
            what = str(first["msg"]).removeprefix("Value error, ")
            where = self._files.describe(name, found, MANIFEST)
            raise LibraryError(f"{where}: expected a manifest; {key}{what}") from error

    def load(self, name: str, version: int | None = None) -> Bundle:
        """Read a bundle; `version` None: the newest version.

        Raises: LibraryError where a file has changed since it was written, or weights are not
        finite.
        """
        version = self._find_version(name, version)
        manifest = self.read_manifest(name, version)
        weights, experience = (
            self._read_tensors(name, version, file, manifest.sha256[file])
            for file in (WEIGHTS, EXPERIENCE)
        )
        try:
            own, default_action = (
                unpack_transitions(experience, prefix) for prefix in (OWN, DEFAULT_ACTION)
            )
        except ValueError as error:
            where = self._files.describe(name, version, EXPERIENCE)
            raise LibraryError(f"{where}: {error}") from error
        return Bundle(
            weights=weights,
            experience=own,
            default_action_experience=default_action,
            slices=manifest.slices,
            sla_throughput_mbps=manifest.sla.throughput_mbps,
            sla_delay_ms=manifest.sla.delay_ms,
            message=manifest.message,
            returns=manifest.returns,
            provenance=manifest.provenance,
            policy=manifest.policy,
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
        data = self._files.read(name, version, file)
        where = self._files.describe(name, version, file)
        if hashlib.sha256(data).hexdigest() != digest:
            raise LibraryError(f"{where}: has changed since it was written")
        try:
            tensors = load_tensors(data)
        except (SafetensorError, KeyError, ValueError) as error:
            raise LibraryError(f"{where}: expected safetensors") from error
        for tensor_name, tensor in tensors.items():
            if tensor.dtype.kind not in "fiu" or not np.isfinite(tensor).all():
                raise LibraryError(f"{where}: {tensor_name!r}: expected finite numbers")
        return tensors


def pack_transitions(experience: Mapping[str, Transitions]) -> dict[str, np.ndarray]:
    """Transitions of several kinds as one set of arrays, `KIND/FIELD`."""
    return {
        f"{kind}/{field}": np.ascontiguousarray(array)
        for kind, transitions in experience.items()
        for field, array in transitions._asdict().items()
    }


def unpack_transitions(arrays: Mapping[str, np.ndarray], kind: str) -> Transitions:
    """The transitions of one kind in the result of `pack_transitions`.

    Raises: ValueError where an array is missing or has another length than the others.
    """
    names = [f"{kind}/{field}" for field in Transitions._fields]
    missing = [name for name in names if name not in arrays or arrays[name].ndim < 1]
    if missing:
        raise ValueError(f"expected the array {missing[0]}")
    if len({len(arrays[name]) for name in names}) > 1:
        raise ValueError(f"expected arrays of {kind} of one length")
    return Transitions(*(arrays[name] for name in names))


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
