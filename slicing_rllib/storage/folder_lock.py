"""One process at a time writes into a folder. The lock ends with its process, however it ends.

The operating system holds the lock (`flock`), on network file systems across machines. The locked
file names the process that holds it.
"""

import errno
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from slicing_rllib.storage.errors import make_printable

logger = logging.getLogger(__name__)

LOCK = ".lock"
"""Name of the file in the folder that is locked. Without a process that holds it, it is gone or has
no meaning."""
POLL_S = 0.2
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""Answers of file systems that have no locks."""

_held: set[str] = set()
"""Folders that this process has locked, by their real paths."""


class FolderLocked(RuntimeError):
    """Another process has locked a folder; the message names it."""


@contextmanager
def lock_folder(folder: Path, purpose: str, timeout_s: float = 0.0) -> Generator[None]:
    """Locks an existing folder for the block. Inside a block of the same folder it does nothing.

    Args:
        folder: what to lock.
        purpose: what this process does, for the message that others get.
        timeout_s: how long to wait for another process to end.

    Raises: FolderLocked while another process holds the lock; OSError where the folder cannot be
        written.
    """
    real = os.path.realpath(folder)
    if real in _held:
        yield
        return
    descriptor = _wait_for(folder, timeout_s)
    _held.add(real)
    try:
        _write_holder(descriptor, purpose)
        yield
    finally:
        _held.discard(real)
        _release(folder, descriptor)


def _wait_for(folder: Path, timeout_s: float) -> int:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return _take(folder)
        except FolderLocked:
            if time.monotonic() >= deadline:
                raise
            time.sleep(POLL_S)


def _take(folder: Path) -> int:
    """The descriptor of the locked file."""
    path = folder / LOCK
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _describe_holder(descriptor)
            os.close(descriptor)
            raise FolderLocked(f"{folder}: {holder}") from error
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                os.close(descriptor)
                raise
            logger.warning(
                "%s: this file system has no locks (%s); let only one process write here",
                folder,
                error.strerror,
            )
        if _is_at(path, descriptor):
            return descriptor
        # The process that held the lock has deleted the file while this one opened it.
        os.close(descriptor)


def _release(folder: Path, descriptor: int) -> None:
    # Deleted while it is still locked: afterwards it could be the lock of another process.
    with suppress(OSError):
        if _is_at(folder / LOCK, descriptor):
            (folder / LOCK).unlink()
    os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file still has this name."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _write_holder(descriptor: int, purpose: str) -> None:
    holder = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "purpose": purpose,
    }
    # The name is a convenience: on a full disk the lock works without it.
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _describe_holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        who = f"{holder['purpose']} (process {holder['pid']} on {holder['host']})"
        since = f" since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        who, since = "another process", ""
    return make_printable(f"in use by {who}{since}; wait until it ends, or end it")
