"""The files of a policy library, in a folder or an object store. Nothing outside it is touched.

The manifest of a bundle, which a stranger may have written: read strictly, or refused.

Errors of the policy library.
"""

import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pyarrow import ArrowException
from pyarrow import fs as filesystems

from slicing_rllib.storage import (
    make_printable,
    read_bounded,
    sync_folder,
    sync_tree,
    write_durably,
)
from slicing_rllib.storage.regular_file import GIB, MIB, format_size


class LibraryError(ValueError):
    """A library or a bundle cannot be used; the message is one line for the user."""


FORMAT = 1
"""Version of the manifest's layout."""
MANIFEST, WEIGHTS, EXPERIENCE = "manifest.json", "weights.safetensors", "experience.safetensors"
MAX_SLICES = 64
SHA256 = re.compile(r"[0-9a-f]{64}")
MAPPINGS = ("sha256", "sla", "returns", "provenance")


def parse_manifest(data: bytes, where: str) -> dict[str, Any]:
    """The manifest with all keys that others read, of the types that they expect.

    `where` is what messages call the file. Raises: LibraryError.
    """
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise LibraryError(f"{where}: expected JSON") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise LibraryError(f"{where}: expected a manifest of format {FORMAT}")
    problem = _find_problem(manifest)
    if problem:
        raise LibraryError(f"{where}: {problem}")
    return manifest


def _find_problem(manifest: Mapping[str, Any]) -> str:
    for key in MAPPINGS:
        if not isinstance(manifest.get(key), dict):
            return f"{key}: expected a mapping"
    if set(manifest["sha256"]) != {WEIGHTS, EXPERIENCE}:
        return f"sha256: expected the digests of {WEIGHTS} and {EXPERIENCE} and of nothing else"
    if not all(_is_digest(digest) for digest in manifest["sha256"].values()):
        return "sha256: expected digests of 64 hexadecimal digits"
    slices = manifest.get("slices", [])
    if not _is_list_of(slices, str) or not 0 < len(slices) <= MAX_SLICES:
        return f"slices: expected 1 to {MAX_SLICES} names"
    for key in ("throughput_mbps", "delay_ms"):
        numbers = manifest["sla"].get(key, [])
        if not _is_list_of(numbers, int | float) or len(numbers) != len(slices):
            return f"sla.{key}: expected a number for each of {len(slices)} slices"
    for key in ("name", "message"):
        if not isinstance(manifest.get(key), str):
            return f"{key}: expected a name"
    if not isinstance(manifest.get("transitions"), int):
        return "transitions: expected a number"
    if not _is_list_of(list(manifest["returns"].values()), int | float):
        return "returns: expected numbers"
    return ""


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and SHA256.fullmatch(value) is not None


def _is_list_of(value: Any, kind: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
VERSION = re.compile(r"[0-9]{4,9}")
MAX_MANIFEST_BYTES = 4 * MIB
MAX_TENSORS_BYTES = 4 * GIB


class LibraryFiles:
    """Versions of bundles as folders `NAME/0001` below a root.

    Args:
        where: a folder, or a URI that pyarrow can open, such as `s3://bucket/policies`.

    Raises: LibraryError, from every method, where the library cannot be read or written, and for
        links that lead out of it.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        try:
            if "://" in where:
                self._fs, self._root = filesystems.FileSystem.from_uri(where)
            else:
                self._fs, self._root = filesystems.LocalFileSystem(), where
        except (ArrowException, OSError, ValueError) as error:
            raise self._fail("expected a folder or a URI that can be read") from error
        if "\0" in self._root:
            raise self._fail("a path cannot contain a NUL character")
        self._is_local = isinstance(self._fs, filesystems.LocalFileSystem)

    def describe(self, name: str, version: int, file: str = "") -> str:
        """The path of a version or of one of its files."""
        folder = f"{self._root}/{name}/{version:04d}"
        return f"{folder}/{file}" if file else folder

    def list_versions(self) -> Iterator[tuple[str, int]]:
        """Name and version of every complete bundle."""
        try:
            paths = self._list_local() if self._is_local else self._list_remote()
            for path in paths:
                name, version = path.split("/")[-3:-1]
                if NAME.fullmatch(name) and VERSION.fullmatch(version):
                    yield name, int(version)
        except (ArrowException, OSError) as error:
            raise self._fail(f"cannot be listed ({error})") from error

    def read(self, name: str, version: int, file: str) -> bytes:
        """The content of a file of a bundle, which is a regular file of bounded size."""
        limit = MAX_MANIFEST_BYTES if file == MANIFEST else MAX_TENSORS_BYTES
        return self._read_path(self.describe(name, version, file), limit)

    def read_beside(self, file: str) -> bytes | None:
        """The content of a file beside the bundles; None if there is none."""
        path = f"{self._root}/{file}"
        try:
            if self._fs.get_file_info(path).type == filesystems.FileType.NotFound:
                return None
        except (ArrowException, OSError) as error:
            raise LibraryError(f"{path}: cannot be read ({error})") from error
        return self._read_path(path, MAX_MANIFEST_BYTES)

    def write_beside(self, file: str, data: bytes) -> None:
        """Writes a file beside the bundles; readers see the old or the new content."""
        path = f"{self._root}/{file}"
        try:
            if self._is_local:
                write_durably(Path(path), data)
                return
            with self._fs.open_output_stream(f"{path}.partial") as stream:
                stream.write(data)
            self._fs.move(f"{path}.partial", path)
        except (ArrowException, OSError) as error:
            raise LibraryError(f"{path}: cannot be written ({error})") from error

    def read_states(self, bundles: Mapping[str, int]) -> list[tuple[str, int, int]]:
        """Path, size and time of change in ns of manifest and weights, by name and version."""
        paths = [
            self.describe(name, version, file)
            for name, version in bundles.items()
            for file in (MANIFEST, WEIGHTS)
        ]
        try:
            found = self._fs.get_file_info(paths)
        except (ArrowException, OSError) as error:
            raise self._fail(f"cannot be read ({error})") from error
        return [(info.path, info.size or 0, info.mtime_ns or 0) for info in found if info.is_file]

    def add(
        self, name: str, first: int, files: Mapping[str, bytes], manifest: Callable[[int], bytes]
    ) -> int:
        """Writes a new version with the lowest free number from `first` on; the number.

        In a folder, two processes that add at once get different numbers, and a crash leaves
        nothing that counts as a bundle. Object stores offer no such exclusive creation.

        Args:
            name: the bundle's name.
            first: lowest number to try.
            files: content by name.
            manifest: the manifest of a version, which is written last.
        """
        try:
            if self._is_local:
                return self._add_local(name, first, files, manifest)
            folder = self.describe(name, first)
            for file, data in {**files, MANIFEST: manifest(first)}.items():
                with self._fs.open_output_stream(f"{folder}/{file}") as stream:
                    stream.write(data)
        except (ArrowException, OSError) as error:
            folder = self.describe(name, first)
            raise LibraryError(f"{folder}: cannot write a bundle here ({error})") from error
        return first

    def remove(self, name: str, version: int) -> None:
        """Deletes a version, and the name's folder with the last one."""
        folder = self.describe(name, version)
        try:
            if self._is_local:
                self._check_inside(f"{folder}/{MANIFEST}")
            # Manifest first: if the deletion is interrupted, the rest is no longer a bundle.
            self._fs.delete_file(f"{folder}/{MANIFEST}")
            self._fs.delete_dir(folder)
            if name not in {found for found, _ in self.list_versions()}:
                self._fs.delete_dir(f"{self._root}/{name}")
        except (ArrowException, OSError) as error:
            raise LibraryError(f"{folder}: cannot be deleted ({error})") from error

    def _read_path(self, path: str, limit: int) -> bytes:
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

    def _add_local(
        self, name: str, first: int, files: Mapping[str, bytes], manifest: Callable[[int], bytes]
    ) -> int:
        parent = Path(self._root, name)
        parent.mkdir(parents=True, exist_ok=True)
        self._check_inside(str(parent / MANIFEST))
        partial = parent / f".partial-{secrets.token_hex(8)}"
        partial.mkdir()
        try:
            for file, data in files.items():
                (partial / file).write_bytes(data)
            for version in range(first, 10**9):
                (partial / MANIFEST).write_bytes(manifest(version))
                sync_tree(partial)
                if _rename_to_new(partial, parent / f"{version:04d}"):
                    sync_folder(parent)
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

    def _fail(self, what: str) -> LibraryError:
        return LibraryError(make_printable(f"{self.where}: {what}"))


def _rename_to_new(folder: Path, new: Path) -> bool:
    """Renames a folder unless the new name is taken, which no other process can make happen
    between a check and the renaming: a folder that is not empty is never replaced."""
    if new.exists():
        return False
    try:
        folder.rename(new)
    except OSError:
        if new.exists():
            return False
        raise
    return True
