"""Library of trained policies for other runs and networks: versioned bundles without pickle.

A bundle consists of the files `weights.safetensors`, `experience.safetensors` and `manifest.json`
in `LIBRARY/NAME/0001/`, in a folder or an object store. The manifest is written last; a folder
without a manifest is not a bundle. Nothing outside the library is touched.
"""

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from pyarrow import ArrowException
from pyarrow import fs as filesystems
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from slicing_rllib.learning.replay import Transitions
from slicing_rllib.storage import make_printable, read_bounded, sync, sync_tree, write_durably
from slicing_rllib.storage.errors import LibraryError
from slicing_rllib.storage.foreign_files import GIB, MIB, format_size

MANIFEST: Final = "manifest.json"
WEIGHTS: Final = "weights.safetensors"
EXPERIENCE: Final = "experience.safetensors"
TensorFile = Literal["weights.safetensors", "experience.safetensors"]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
VERSION = re.compile(r"[0-9]{4,9}")
MAX_MANIFEST_BYTES = 4 * MIB
MAX_TENSORS_BYTES = 4 * GIB
OWN, DEFAULT_ACTION = "experience", "default_experience"
"""Prefixes of the tensors' names in the experience file."""
MAX_SLICES = 64
SHARED = ("slices", "message", "returns", "provenance", "policy")
"""Fields of a bundle that stand in its manifest as they are."""


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
            if (n := len(self.slices)) != len(numbers):
                expected = f"a number for each of {n} slices"
                raise ValueError(f"sla.{name}: expected {expected}, got {len(numbers)}")
        return self

    def dump(self) -> bytes:
        """The content of the file."""
        return self.model_dump_json(indent=2).encode()


class PolicyLibrary:
    """The bundles below a path or a URI.

    Args:
        where: a folder, or a URI that pyarrow can open, such as `s3://bucket/policies`.

    Raises: LibraryError, from every method, where the library cannot be read or written, a bundle
        is damaged, or a link leads out of the library.
    """

    def __init__(self, where: str) -> None:
        self.where = make_printable(where)
        try:
            if "://" in where:
                self._fs, self._root = filesystems.FileSystem.from_uri(where)
            else:
                self._fs, self._root = filesystems.LocalFileSystem(), where
        except (ArrowException, OSError, ValueError) as error:
            message = f"{self.where}: expected a folder or a URI that can be read"
            raise LibraryError(message) from error
        if "\0" in self._root:
            raise LibraryError(f"{self.where}: a path cannot contain a NUL character")
        self._is_local = isinstance(self._fs, filesystems.LocalFileSystem)

    def list_versions(self) -> dict[str, list[int]]:
        """Versions of every bundle by its name, oldest first."""
        with _convert_errors(self.where, "cannot be listed"):
            paths = self._list_local() if self._is_local else self._list_remote()
        found: dict[str, list[int]] = {}
        for name, version in sorted(path.split("/")[-3:-1] for path in paths):
            if NAME.fullmatch(name) and VERSION.fullmatch(version):
                found.setdefault(name, []).append(int(version))
        return {name: sorted(versions) for name, versions in found.items()}

    def add(self, name: str, bundle: Bundle) -> int:
        """Write the bundle as the next version of that name and return the version.

        In a folder, two processes that add at once get different versions, and a crash leaves
        nothing that counts as a bundle. Object stores offer no such exclusive creation.

        Raises: LibraryError for a name with other characters than letters, digits, `.`, `_`, `-`.
        """
        if not NAME.fullmatch(name):
            raise LibraryError(f"bundle {name!r}: expected letters, digits, dots, dashes")
        experience = {OWN: bundle.experience, DEFAULT_ACTION: bundle.default_action_experience}
        files: dict[TensorFile, bytes] = {
            WEIGHTS: save_tensors({n: np.ascontiguousarray(w) for n, w in bundle.weights.items()}),
            EXPERIENCE: save_tensors(pack_transitions(experience)),
        }
        versions = self.list_versions().get(name, [0])
        manifest = Manifest(
            name=name,
            version=versions[-1] + 1,
            sla=ManifestSla(
                throughput_mbps=bundle.sla_throughput_mbps, delay_ms=bundle.sla_delay_ms
            ),
            obs_size=bundle.experience.obs.shape[1],
            action_size=bundle.experience.action.shape[1],
            transitions=len(bundle.experience.reward),
            default_transitions=len(bundle.default_action_experience.reward),
            sha256={file: hashlib.sha256(data).hexdigest() for file, data in files.items()},
            **{field: getattr(bundle, field) for field in SHARED},
        )
        folder = self._describe(name, manifest.version)
        # What cannot be read back is not published.
        _parse_tensors(folder, files[WEIGHTS])
        experience = _parse_tensors(folder, files[EXPERIENCE])
        try:
            Manifest.model_validate_json(manifest.dump())
            for prefix in (OWN, DEFAULT_ACTION):
                unpack_transitions(experience, prefix)
        except ValueError as error:
            raise LibraryError(f"{folder}: cannot be read back ({error})") from error
        with _convert_errors(folder, "cannot write a bundle here"):
            if self._is_local:
                return self._add_local(files, manifest)
            for file, data in {**files, MANIFEST: manifest.dump()}.items():
                with self._fs.open_output_stream(f"{folder}/{file}") as stream:
                    stream.write(data)
        return manifest.version

    def read_manifest(self, name: str, version: int | None = None) -> Manifest:
        """A bundle's manifest; `version` None: of the newest version."""
        path = self._describe(name, self._find_version(name, version), MANIFEST)
        try:
            return Manifest.model_validate_json(self._read(path, MAX_MANIFEST_BYTES))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = "".join(f"{part}: " for part in first["loc"])
            what = str(first["msg"]).removeprefix("Value error, ")
            raise LibraryError(f"{path}: expected a manifest; {key}{what}") from error

    def load(self, name: str, version: int | None = None) -> Bundle:
        """Read a bundle; `version` None: the newest version.

        Raises: LibraryError where a file has changed since it was written, or weights are not
        finite.
        """
        version = self._find_version(name, version)
        manifest = self.read_manifest(name, version)
        experience_path = self._describe(name, version, EXPERIENCE)
        weights_path = self._describe(name, version, WEIGHTS)
        weights = self._read_tensors(weights_path, manifest.sha256[WEIGHTS])
        experience = self._read_tensors(experience_path, manifest.sha256[EXPERIENCE])
        try:
            own, default_action = (
                unpack_transitions(experience, prefix) for prefix in (OWN, DEFAULT_ACTION)
            )
        except ValueError as error:
            raise LibraryError(f"{experience_path}: {error}") from error
        return Bundle(
            weights=weights,
            experience=own,
            default_action_experience=default_action,
            sla_throughput_mbps=manifest.sla.throughput_mbps,
            sla_delay_ms=manifest.sla.delay_ms,
            **{field: getattr(manifest, field) for field in SHARED},
        )

    def remove(self, name: str, version: int | None = None) -> list[int]:
        """Delete a version, or with `version` None all of that name; the deleted versions."""
        found = self._find_version(name, version)
        versions = self.list_versions()[name] if version is None else [found]
        for number in versions:
            folder = self._describe(name, number)
            with _convert_errors(folder, "cannot be deleted"):
                if self._is_local:
                    self._check_inside(f"{folder}/{MANIFEST}")
                # Manifest first: if the deletion is interrupted, the rest is no longer a bundle.
                self._fs.delete_file(f"{folder}/{MANIFEST}")
                self._fs.delete_dir(folder)
                if name not in self.list_versions():
                    self._fs.delete_dir(f"{self._root}/{name}")
        return versions

    def read_file(self, name: str) -> bytes | None:
        """A file at the top of the library, beside the bundles; None if there is none."""
        path = f"{self._root}/{name}"
        with _convert_errors(path, "cannot be read"):
            info = self._fs.get_file_info(path)
        is_there = info.type != filesystems.FileType.NotFound
        return self._read(path, MAX_MANIFEST_BYTES) if is_there else None

    def write_file(self, name: str, data: bytes) -> None:
        """Write a file at the top of the library; readers see the old or the new content."""
        path = f"{self._root}/{name}"
        with _convert_errors(path, "cannot be written"):
            if self._is_local:
                write_durably(Path(path), data)
                return
            with self._fs.open_output_stream(f"{path}.partial") as stream:
                stream.write(data)
            self._fs.move(f"{path}.partial", path)

    def read_states(self, versions: Mapping[str, int]) -> list[tuple[str, int, int]]:
        """Path, size and time of change in ns of the manifest and weights of some bundles."""
        paths = [
            self._describe(name, version, file)
            for name, version in versions.items()
            for file in (MANIFEST, WEIGHTS)
        ]
        with _convert_errors(self.where, "cannot be read"):
            found = self._fs.get_file_info(paths)
        return [(info.path, info.size or 0, info.mtime_ns or 0) for info in found if info.is_file]

    def _describe(self, name: str, version: int, file: str = "") -> str:
        """The path of a version or of one of its files."""
        folder = f"{self._root}/{name}/{version:04d}"
        return f"{folder}/{file}" if file else folder

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

    def _read_tensors(self, path: str, digest: str) -> dict[str, np.ndarray]:
        data = self._read(path, MAX_TENSORS_BYTES)
        if hashlib.sha256(data).hexdigest() != digest:
            raise LibraryError(f"{path}: has changed since it was written")
        return _parse_tensors(path, data)

    def _read(self, path: str, limit: int) -> bytes:
        """The content of a regular file inside the library, of at most `limit` bytes."""
        try:
            if self._is_local:
                self._check_inside(path)
                return read_bounded(Path(path), limit, follow_links=False)
            with self._fs.open_input_stream(path) as stream:
                data = stream.read(limit + 1)
        except (ArrowException, OSError) as error:
            why = getattr(error, "strerror", None) or "cannot be read"
            raise LibraryError(f"{path}: expected a file that can be read ({why})") from error
        if len(data) > limit:
            raise LibraryError(f"{path}: expected at most {format_size(limit)}, got more")
        return data

    def _add_local(self, files: Mapping[TensorFile, bytes], manifest: Manifest) -> int:
        """Write the files as the first free version from that of the manifest on."""
        parent = Path(self._root, manifest.name)
        parent.mkdir(parents=True, exist_ok=True)
        self._check_inside(str(parent / MANIFEST))
        partial = parent / f".partial-{secrets.token_hex(8)}"
        partial.mkdir()
        try:
            for file, data in files.items():
                (partial / file).write_bytes(data)
            for version in range(manifest.version, 10**9):
                numbered = manifest.model_copy(update={"version": version})
                (partial / MANIFEST).write_bytes(numbered.dump())
                sync_tree(partial)
                if _rename_to_new(partial, parent / f"{version:04d}"):
                    sync(parent)
                    return version
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        raise OSError("there is no free version")

    def _check_inside(self, path: str) -> None:
        """Raises: LibraryError where a folder above the file is a link out of the library."""
        root, folder = os.path.realpath(self._root), os.path.realpath(os.path.dirname(path))
        if not Path(folder).is_relative_to(root):
            raise LibraryError(f"{path}: expected a file in the library, got a link out of it")

    def _list_local(self) -> list[str]:
        root = Path(self._root)
        if root.exists() and not root.is_dir():
            raise NotADirectoryError(20, "expected a folder")
        return [path.as_posix() for path in sorted(root.glob(f"*/*/{MANIFEST}"))]

    def _list_remote(self) -> list[str]:
        selector = filesystems.FileSelector(self._root, allow_not_found=True, recursive=True)
        infos = self._fs.get_file_info(selector)
        depth = self._root.count("/") + 3
        paths = [info.path for info in infos if info.path.endswith(f"/{MANIFEST}")]
        return sorted(path for path in paths if path.count("/") == depth)


def _parse_tensors(path: str, data: bytes) -> dict[str, np.ndarray]:
    """The arrays of a file of tensors. Raises: LibraryError."""
    try:
        tensors = load_tensors(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise LibraryError(f"{path}: expected safetensors") from error
    for name, tensor in tensors.items():
        if tensor.dtype.kind not in "fiu" or not np.isfinite(tensor).all():
            raise LibraryError(f"{path}: {name!r}: expected finite numbers")
    return tensors


@contextmanager
def _convert_errors(where: str, what: str) -> Iterator[None]:
    """Raises: LibraryError, which says what could not be done, for an error of the file system."""
    try:
        yield
    except (ArrowException, OSError) as error:
        raise LibraryError(f"{where}: {what} ({error})") from error


def _rename_to_new(folder: Path, new: Path) -> bool:
    """Renames a folder unless the new name is taken, which no other process can make happen
    between a check and the renaming: a folder that is not empty is never replaced."""
    try:
        if not new.exists():
            folder.rename(new)
            return True
    except OSError:
        if not new.exists():
            raise
    return False


def identify_cell(scenario: str, map_seed: int, cell: str) -> str:
    """What `provenance` calls a bundle's `network`: the same cell has the same name in any run."""
    return f"{scenario}/{map_seed}/{cell}"


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
