"""Library of trained policies for other runs and networks: versioned bundles without pickle.

A bundle consists of the files `weights.safetensors`, `experience.safetensors` and `manifest.json`
in `LIBRARY/NAME/0001/`, in a directory or an object store. The manifest is written last; a folder
without a manifest is not a bundle.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyarrow import ArrowException
from pyarrow import fs as filesystems
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from slicing_rllib.learning.replay import Transitions
from slicing_rllib.transfer.errors import LibraryError

FORMAT = 1
"""Version of the manifest's layout."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MANIFEST, WEIGHTS, EXPERIENCE = "manifest.json", "weights.safetensors", "experience.safetensors"
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
        try:
            if "://" in where:
                self._fs, self._root = filesystems.FileSystem.from_uri(where)
            else:
                self._fs, self._root = filesystems.LocalFileSystem(), where
        except (ArrowException, OSError, ValueError) as error:
            raise LibraryError(f"{where}: expected a folder or a URI that can be read") from error

    def list_versions(self) -> dict[str, list[int]]:
        """Versions of every bundle by its name, oldest first."""
        found: dict[str, list[int]] = {}
        for info in self._list_files():
            parts = info.path.split("/")[-3:]
            if len(parts) == 3 and parts[2] == MANIFEST and parts[1].isdigit():
                found.setdefault(parts[0], []).append(int(parts[1]))
        return {name: sorted(versions) for name, versions in sorted(found.items())}

    def add(self, name: str, bundle: Bundle) -> int:
        """Write the bundle as the next version of that name and return the version.

        Raises: LibraryError for a name with other characters than letters, digits, `.`, `_`, `-`.
        """
        if not NAME.fullmatch(name):
            raise LibraryError(f"bundle {name!r}: expected letters, digits, dots, dashes")
        version = self.list_versions().get(name, [0])[-1] + 1
        files = {
            WEIGHTS: save_tensors({n: np.ascontiguousarray(w) for n, w in bundle.weights.items()}),
            EXPERIENCE: save_tensors(_pack_experience(bundle)),
        }
        manifest = _make_manifest(name, version, bundle) | {
            "sha256": {file: hashlib.sha256(data).hexdigest() for file, data in files.items()}
        }
        folder = self._folder(name, version)
        try:
            self._fs.create_dir(folder, recursive=True)
            for file, data in files.items():
                self._write(f"{folder}/{file}", data)
            self._write(f"{folder}/{MANIFEST}", json.dumps(manifest, indent=2).encode())
        except (ArrowException, OSError) as error:
            raise LibraryError(f"{folder}: cannot write a bundle here ({error})") from error
        return version

    def read_manifest(self, name: str, version: int | None = None) -> dict[str, Any]:
        """A bundle's manifest; `version` None: of the newest version."""
        path = f"{self._folder(name, self._find_version(name, version))}/{MANIFEST}"
        try:
            manifest = json.loads(self._read(path))
        except ValueError as error:
            raise LibraryError(f"{path}: expected JSON") from error
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise LibraryError(f"{path}: expected a manifest of format {FORMAT}")
        return manifest

    def load(self, name: str, version: int | None = None) -> Bundle:
        """Read a bundle; `version` None: the newest version.

        Raises: LibraryError where a file has changed since it was written, or weights are not
        finite.
        """
        version = self._find_version(name, version)
        manifest, folder = self.read_manifest(name, version), self._folder(name, version)
        files = {}
        for file, digest in manifest["sha256"].items():
            data = self._read(f"{folder}/{file}")
            if hashlib.sha256(data).hexdigest() != digest:
                raise LibraryError(f"{folder}/{file}: has changed since it was written")
            files[file] = _parse_tensors(f"{folder}/{file}", data)
        _require_finite(f"{folder}/{WEIGHTS}", files[WEIGHTS])
        return Bundle(
            weights=files[WEIGHTS],
            experience=_unpack_transitions(files[EXPERIENCE], OWN),
            default_action_experience=_unpack_transitions(files[EXPERIENCE], DEFAULT_ACTION),
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
        path = f"{self._root}/{name}"
        try:
            if self._fs.get_file_info(path).type == filesystems.FileType.NotFound:
                return None
        except (ArrowException, OSError) as error:
            raise LibraryError(f"{path}: cannot be read ({error})") from error
        return self._read(path)

    def write_file(self, name: str, data: bytes) -> None:
        """Write a file at the top of the library; readers see the old or the new content."""
        path = f"{self._root}/{name}"
        try:
            self._write(f"{path}.partial", data)
            self._fs.move(f"{path}.partial", path)
        except (ArrowException, OSError) as error:
            raise LibraryError(f"{path}: cannot be written ({error})") from error

    def read_states(self, versions: Mapping[str, int]) -> list[tuple[str, int, int]]:
        """Path, size and time of change (ns) of the files of some bundles, by name and version."""
        paths = [
            f"{self._folder(name, version)}/{file}"
            for name, version in versions.items()
            for file in (MANIFEST, WEIGHTS)
        ]
        try:
            found = self._fs.get_file_info(paths)
        except (ArrowException, OSError) as error:
            raise LibraryError(f"{self.where}: cannot be read ({error})") from error
        return [(info.path, info.size or 0, info.mtime_ns or 0) for info in found if info.is_file]

    def remove(self, name: str, version: int | None = None) -> list[int]:
        """Delete a version, or with `version` None all of that name; the deleted versions."""
        found = self._find_version(name, version)
        versions = self.list_versions()[name] if version is None else [found]
        for number in versions:
            # Manifest first: if the deletion is interrupted, the rest is no longer a bundle.
            self._fs.delete_file(f"{self._folder(name, number)}/{MANIFEST}")
            self._fs.delete_dir(self._folder(name, number))
        if name not in self.list_versions():
            self._fs.delete_dir(f"{self._root}/{name}")
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

    def _folder(self, name: str, version: int) -> str:
        return f"{self._root}/{name}/{version:04d}"

    def _list_files(self) -> list[filesystems.FileInfo]:
        selector = filesystems.FileSelector(self._root, allow_not_found=True, recursive=True)
        try:
            return self._fs.get_file_info(selector)
        except (ArrowException, OSError) as error:
            raise LibraryError(f"{self.where}: cannot be listed ({error})") from error

    def _read(self, path: str) -> bytes:
        try:
            with self._fs.open_input_stream(path) as stream:
                return stream.read()
        except (ArrowException, OSError) as error:
            raise LibraryError(f"{path}: expected a file that can be read") from error

    def _write(self, path: str, data: bytes) -> None:
        with self._fs.open_output_stream(path) as stream:
            stream.write(data)


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


def _unpack_transitions(tensors: Mapping[str, np.ndarray], prefix: str) -> Transitions:
    return Transitions(*(tensors[f"{prefix}/{field}"] for field in Transitions._fields))


def _require_finite(path: str, weights: Mapping[str, np.ndarray]) -> None:
    for name, array in weights.items():
        if not np.isfinite(array).all():
            raise LibraryError(f"{path}: {name} has values that are not finite")


def _parse_tensors(path: str, data: bytes) -> dict[str, np.ndarray]:
    try:
        return load_tensors(data)
    except SafetensorError as error:
        raise LibraryError(f"{path}: expected safetensors") from error
