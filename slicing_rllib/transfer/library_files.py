"""The files of a policy library, in a folder or an object store. Nothing outside it is touched."""

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from pyarrow import ArrowException
from pyarrow import fs as filesystems

from slicing_rllib.storage import (
    make_printable,
    read_bounded,
    sync,
    sync_tree,
    write_durably,
)
from slicing_rllib.storage.foreign_files import GIB, MIB, format_size

MANIFEST: Final = "manifest.json"
WEIGHTS: Final = "weights.safetensors"
EXPERIENCE: Final = "experience.safetensors"
TensorFile = Literal["weights.safetensors", "experience.safetensors"]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
VERSION = re.compile(r"[0-9]{4,9}")
MAX_MANIFEST_BYTES = 4 * MIB
MAX_TENSORS_BYTES = 4 * GIB


class LibraryError(ValueError):
    """A library or a bundle cannot be used; the message is one line for the user."""


class LibraryFiles:
    """Versions of bundles as folders `NAME/0001` below a root.

    Args:
        where: a folder, or a URI that pyarrow can open, such as `s3://bucket/policies`.

    Raises: LibraryError, from every method, where the library cannot be read or written, and for
        links that lead out of it.
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

    def describe(self, name: str, version: int, file: str = "") -> str:
        """The path of a version or of one of its files."""
        folder = f"{self._root}/{name}/{version:04d}"
        return f"{folder}/{file}" if file else folder

    def list_versions(self) -> list[tuple[str, int]]:
        """Name and version of every complete bundle."""
        with _convert_errors(self.where, "cannot be listed"):
            paths = self._list_local() if self._is_local else self._list_remote()
        parts = [path.split("/")[-3:-1] for path in paths]
        return [
            (name, int(version))
            for name, version in parts
            if NAME.fullmatch(name) and VERSION.fullmatch(version)
        ]

    def read(self, name: str, version: int, file: str) -> bytes:
        """The content of a file of a bundle, which is a regular file of bounded size."""
        limit = MAX_MANIFEST_BYTES if file == MANIFEST else MAX_TENSORS_BYTES
        return self._read_path(self.describe(name, version, file), limit)

    def read_beside(self, file: str) -> bytes | None:
        """The content of a file beside the bundles; None if there is none."""
        path = f"{self._root}/{file}"
        with _convert_errors(path, "cannot be read"):
            info = self._fs.get_file_info(path)
        is_there = info.type != filesystems.FileType.NotFound
        return self._read_path(path, MAX_MANIFEST_BYTES) if is_there else None

    def write_beside(self, file: str, data: bytes) -> None:
        """Writes a file beside the bundles; readers see the old or the new content."""
        path = f"{self._root}/{file}"
        with _convert_errors(path, "cannot be written"):
            if self._is_local:
                write_durably(Path(path), data)
                return
            with self._fs.open_output_stream(f"{path}.partial") as stream:
                stream.write(data)
            self._fs.move(f"{path}.partial", path)

    def read_states(self, bundles: Mapping[str, int]) -> list[tuple[str, int, int]]:
        """Path, size and time of change in ns of manifest and weights, by name and version."""
        paths = [
            self.describe(name, version, file)
            for name, version in bundles.items()
            for file in (MANIFEST, WEIGHTS)
        ]
        with _convert_errors(self.where, "cannot be read"):
            found = self._fs.get_file_info(paths)
        return [(info.path, info.size or 0, info.mtime_ns or 0) for info in found if info.is_file]

    def add(
        self,
        name: str,
        first: int,
        files: Mapping[TensorFile, bytes],
        manifest: Callable[[int], bytes],
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
        folder = self.describe(name, first)
        with _convert_errors(folder, "cannot write a bundle here"):
            if self._is_local:
                return self._add_local(name, first, files, manifest)
            for file, data in {**files, MANIFEST: manifest(first)}.items():
                with self._fs.open_output_stream(f"{folder}/{file}") as stream:
                    stream.write(data)
        return first

    def remove(self, name: str, version: int) -> None:
        """Deletes a version, and the name's folder with the last one."""
        folder = self.describe(name, version)
        with _convert_errors(folder, "cannot be deleted"):
            if self._is_local:
                self._check_inside(f"{folder}/{MANIFEST}")
            # Manifest first: if the deletion is interrupted, the rest is no longer a bundle.
            self._fs.delete_file(f"{folder}/{MANIFEST}")
            self._fs.delete_dir(folder)
            if name not in {found for found, _ in self.list_versions()}:
                self._fs.delete_dir(f"{self._root}/{name}")

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
        self,
        name: str,
        first: int,
        files: Mapping[TensorFile, bytes],
        manifest: Callable[[int], bytes],
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
    if new.exists():
        return False
    try:
        folder.rename(new)
    except OSError:
        if new.exists():
            return False
        raise
    return True
