"""Trained policies kept for other runs and networks: versioned bundles without any pickle.

`LIBRARY/NAME/0001/{weights,experience}.safetensors, manifest.json`, in a directory or an object
store. The manifest is written last: a bundle without one is not there.
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
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MANIFEST, WEIGHTS, EXPERIENCE = "manifest.json", "weights.safetensors", "experience.safetensors"


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A trained cell, all that another may learn from."""

    weights: Mapping[str, np.ndarray]
    experience: Transitions
    default_experience: Transitions
    """Steps under the default action, to be compared by."""
    slices: tuple[str, ...]
    sla_throughput_mbps: tuple[float, ...]
    sla_delay_ms: tuple[float, ...]
    message: str
    """What neighbours tell: part of the observation."""
    returns: Mapping[str, float]
    """What it was worth where it learned."""
    provenance: Mapping[str, Any]
    """Run, cell, seed, config digest, versions."""


class PolicyLibrary:
    """Bundles under a path, or a URI such as s3://bucket/policies.

    Raises: LibraryError where the place cannot be read or written, or a bundle is damaged.
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

    def names(self) -> dict[str, list[int]]:
        """Bundles and their versions, oldest first."""
        found: dict[str, list[int]] = {}
        for info in self._below(self._root, recursive=True):
            parts = info.path.split("/")[-3:]
            if len(parts) == 3 and parts[2] == MANIFEST and parts[1].isdigit():
                found.setdefault(parts[0], []).append(int(parts[1]))
        return {name: sorted(versions) for name, versions in sorted(found.items())}

    def add(self, name: str, bundle: Bundle) -> int:
        """Writes the next version of that name. Raises: LibraryError for a name that is none."""
        if not NAME.fullmatch(name):
            raise LibraryError(f"bundle {name!r}: expected letters, digits, dots, dashes")
        version = self.names().get(name, [0])[-1] + 1
        files = {
            WEIGHTS: save_tensors({n: np.ascontiguousarray(w) for n, w in bundle.weights.items()}),
            EXPERIENCE: save_tensors(_flat(bundle)),
        }
        manifest = _manifest(name, version, bundle) | {
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

    def manifest(self, name: str, version: int | None = None) -> dict[str, Any]:
        """What is known of a bundle; its newest version unless another is asked for."""
        path = f"{self._folder(name, self._known(name, version))}/{MANIFEST}"
        try:
            manifest = json.loads(self._read(path))
        except ValueError as error:
            raise LibraryError(f"{path}: expected JSON") from error
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise LibraryError(f"{path}: expected a manifest of format {FORMAT}")
        return manifest

    def load(self, name: str, version: int | None = None) -> Bundle:
        """A bundle whose files are what they were when written."""
        version = self._known(name, version)
        manifest, folder = self.manifest(name, version), self._folder(name, version)
        files = {}
        for file, digest in manifest["sha256"].items():
            data = self._read(f"{folder}/{file}")
            if hashlib.sha256(data).hexdigest() != digest:
                raise LibraryError(f"{folder}/{file}: has changed since it was written")
            files[file] = _tensors(f"{folder}/{file}", data)
        return Bundle(
            weights=files[WEIGHTS],
            experience=_unflat(files[EXPERIENCE], "experience"),
            default_experience=_unflat(files[EXPERIENCE], "default_experience"),
            slices=tuple(manifest["slices"]),
            sla_throughput_mbps=tuple(manifest["sla"]["throughput_mbps"]),
            sla_delay_ms=tuple(manifest["sla"]["delay_ms"]),
            message=manifest["message"],
            returns=manifest["returns"],
            provenance=manifest["provenance"],
        )

    def remove(self, name: str, version: int | None = None) -> list[int]:
        """Deletes a version, or all of that name; what was deleted."""
        versions = self.names().get(name, []) if version is None else [self._known(name, version)]
        if not versions:
            self._known(name, None)
        for number in versions:
            # Without its manifest a bundle is gone, whatever happens to the rest.
            self._fs.delete_file(f"{self._folder(name, number)}/{MANIFEST}")
            self._fs.delete_dir(self._folder(name, number))
        if name not in self.names():
            self._fs.delete_dir(f"{self._root}/{name}")
        return versions

    def _known(self, name: str, version: int | None) -> int:
        names = self.names()
        if name not in names:
            there = ", ".join(names) or "nothing"
            raise LibraryError(f"{self.where}: no bundle {name!r}, there is {there}")
        if version is None:
            return names[name][-1]
        if version not in names[name]:
            raise LibraryError(
                f"{self.where}: {name} has no version {version}, there are {names[name]}"
            )
        return version

    def _folder(self, name: str, version: int) -> str:
        return f"{self._root}/{name}/{version:04d}"

    def _below(self, path: str, *, recursive: bool) -> list[filesystems.FileInfo]:
        selector = filesystems.FileSelector(path, allow_not_found=True, recursive=recursive)
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


def refusal(bundle: Bundle, *, like: Mapping[str, np.ndarray], slices: int, message: str) -> str:
    """Why a policy cannot be used by a cell whose own weights are `like`; empty if it can."""
    if len(bundle.slices) != slices:
        return f"{len(bundle.slices)} slices, expected {slices}"
    if bundle.message != message:
        return f"observes the message {bundle.message!r}, expected {message!r}"
    return misfit(bundle.weights, like)


def misfit(weights: Mapping[str, np.ndarray], like: Mapping[str, np.ndarray]) -> str:
    """Which parameter of a policy has another shape than a cell's own; empty if none has."""
    for name, own in like.items():
        got = weights[name].shape if name in weights else "nothing"
        if got != own.shape:
            return f"{name} is {got}, expected {own.shape}"
    return ""


def _manifest(name: str, version: int, bundle: Bundle) -> dict[str, Any]:
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
        "default_transitions": len(bundle.default_experience.reward),
        "returns": dict(bundle.returns),
        "provenance": dict(bundle.provenance),
    }


def _flat(bundle: Bundle) -> dict[str, np.ndarray]:
    return {
        f"{kind}/{field}": np.ascontiguousarray(column)
        for kind in ("experience", "default_experience")
        for field, column in getattr(bundle, kind)._asdict().items()
    }


def _unflat(tensors: Mapping[str, np.ndarray], kind: str) -> Transitions:
    return Transitions(*(tensors[f"{kind}/{field}"] for field in Transitions._fields))


def _tensors(path: str, data: bytes) -> dict[str, np.ndarray]:
    try:
        return load_tensors(data)
    except SafetensorError as error:
        raise LibraryError(f"{path}: expected safetensors") from error
