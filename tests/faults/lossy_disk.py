"""A model of a disk that loses power: at any moment only what was synced is sure to be there.

A file's data is sure after fsync of the file, a name after fsync of its folder. All else may be
there or not, in any combination, because a file system may write it in any order.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

Tree = dict[str, "Tree | bytes"]
"""Content of a folder by name: bytes of a file, or a folder."""
WATCHED = ("fsync", "replace", "rename", "unlink", "remove", "rmdir", "mkdir")
"""Functions of `os` before and after which power may fail. Between them only unsynced data changes,
which the model loses in any case."""
RANDOM_STATES = 2
"""States per moment in which each folder has either its synced names or those of that moment."""


class UnsyncedChanges(NamedTuple):
    """Which unsynced changes reached the disk, asked for each folder and file."""

    has_names: Callable[[], bool]
    has_data: Callable[[], bool]


EXTREMES = tuple(
    UnsyncedChanges(lambda n=names: n, lambda d=data: d)
    for names in (False, True)
    for data in (False, True)
)


class LossyDisk:
    """Collects the states in which a power failure may leave a folder while a block writes into it.

    Args:
        root: existing folder, taken to be on disk completely.
        rng: decides which unsynced names are there.
    """

    def __init__(self, root: Path, rng: np.random.Generator) -> None:
        self._root, self._rng = root, rng
        self._data: dict[int, bytes] = {}
        """Synced bytes by inode."""
        self._names: dict[int, dict[str, int]] = {}
        """Synced names by the inode of the folder."""
        self._kept_open: dict[int, int] = {}
        """A descriptor per inode, so that the system gives its number to no other file."""
        self.moments = 0
        """Moments at which power could fail."""
        self.states: dict[str, Tree] = {}
        """Different states of the folder by their digest."""

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Collects states while the block writes."""
        for path in (self._root, *self._root.rglob("*")):
            self._sync(path)
        with ExitStack() as stack:
            for name in WATCHED:
                stack.enter_context(patch.object(os, name, self._wrap(name, getattr(os, name))))
            yield
        self._collect()
        for descriptor in self._kept_open.values():
            os.close(descriptor)

    def _wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self._collect()
            result = function(*arguments, **named)
            if name == "fsync":
                self._sync(Path(os.readlink(f"/proc/self/fd/{arguments[0]}")))
            self._collect()
            return result

        return call

    def _sync(self, path: Path) -> None:
        if not path.is_relative_to(self._root):
            return
        status = path.stat()
        self._keep_open(path, status.st_ino)
        if stat.S_ISDIR(status.st_mode):
            self._names[status.st_ino] = self._read_names(path)
        else:
            self._data[status.st_ino] = path.read_bytes()

    def _read_names(self, folder: Path) -> dict[str, int]:
        names = {}
        for path in folder.iterdir():
            names[path.name] = path.lstat().st_ino
            self._keep_open(path, names[path.name])
        return names

    def _keep_open(self, path: Path, inode: int) -> None:
        if inode not in self._kept_open:
            self._kept_open[inode] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def _collect(self) -> None:
        self.moments += 1
        now = {
            path.stat().st_ino: self._read_names(path)
            for path in (self._root, *self._root.rglob("*"))
            if path.is_dir()
        }
        at_random = UnsyncedChanges(*[lambda: bool(self._rng.integers(2))] * 2)
        for reached in (*EXTREMES, *[at_random] * RANDOM_STATES):
            state = self._build(self._root.stat().st_ino, now, reached)
            self.states.setdefault(_digest(state), state)

    def _build(self, folder: int, now: dict[int, dict[str, int]], reached: UnsyncedChanges) -> Tree:
        """The folder with this inode as it may be on disk."""
        synced = self._names.get(folder, {})
        names = now.get(folder, synced) if reached.has_names() else synced
        return {
            name: self._build(inode, now, reached)
            if self._is_folder(inode)
            else self._choose_data(inode, reached)
            for name, inode in names.items()
        }

    def _choose_data(self, inode: int, reached: UnsyncedChanges) -> bytes:
        """The synced bytes, or half of what was written into the file since."""
        synced = self._data.get(inode, b"")
        if not reached.has_data():
            return synced
        descriptor = self._kept_open[inode]
        written = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        return synced if written == synced else written[: len(written) // 2]

    def _is_folder(self, inode: int) -> bool:
        return stat.S_ISDIR(os.fstat(self._kept_open[inode]).st_mode)


def write_tree(tree: Tree, folder: Path) -> None:
    """Writes a state into a new folder."""
    folder.mkdir()
    for name, content in tree.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            write_tree(content, folder / name)


def _digest(tree: Tree) -> str:
    digest = hashlib.sha256()
    for name, content in sorted(tree.items()):
        inner = content if isinstance(content, bytes) else _digest(content).encode()
        digest.update(f"{name}\0{len(inner)}\0".encode() + hashlib.sha256(inner).digest())
    return digest.hexdigest()
