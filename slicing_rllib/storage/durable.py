"""Writing that survives a power failure: data first, then names, then the deletion of what was.

A file's data is on disk only after fsync of the file, and its name only after fsync of the folder
that holds the name.
"""

import errno
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

PARTIAL = ".partial"
"""Ending of the name of a file that is still being written."""


def write_durably(path: Path, data: bytes) -> None:
    """Writes a file. A crash leaves either its old or its new content, never a part.

    Raises: OSError; the old content is then still there.
    """
    with replace_durably(path) as partial:
        partial.write_bytes(data)


@contextmanager
def replace_durably(path: Path) -> Generator[Path]:
    """Yields the path of a partial file, which replaces `path` once the block has written it.

    Where the block fails, the partial file is deleted: on a full disk its room is needed.
    Raises: OSError for a path that is something else than a file: a device is never replaced.
    """
    require_writable(path)
    partial = path.with_name(path.name + PARTIAL)
    try:
        yield partial
        sync(partial)
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    sync(path.parent)


def require_writable(path: Path) -> None:
    """Raises: OSError for a path at which there is something else than a regular file."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "expected a regular file or none", str(path))


def append_line(path: Path, line: str) -> None:
    """Adds a line to a log in one write, on a line of its own even after a line that was cut short.

    The line is on disk only after `sync`. Raises: OSError.
    """
    require_writable(path)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        is_cut = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        data = (("\n" if is_cut else "") + line + "\n").encode()
        while data:
            data = data[os.write(descriptor, data) :]
    finally:
        os.close(descriptor)


def sync(path: Path) -> None:
    """Waits until a file's data, or the names in a folder, are on disk.

    Raises: OSError, also for data that could not be written.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Waits until a folder with all that is below it is on disk; the deepest folders first."""
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync(Path(parent, name))
        sync(Path(parent))


def remove_tree(folder: Path) -> None:
    """Deletes a folder so that a crash leaves all of it or nothing under its name.

    It is renamed to a hidden name first.
    """
    hidden = folder.with_name(f".{folder.name.lstrip('.')}.deleted")
    shutil.rmtree(hidden, ignore_errors=True)
    folder.rename(hidden)
    sync(folder.parent)
    shutil.rmtree(hidden)
