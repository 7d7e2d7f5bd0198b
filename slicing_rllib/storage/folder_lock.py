"""One process at a time writes into a folder. The lock ends with its process, however it ends.

The operating system holds the lock (`flock`), on network file systems across machines. The locked
file names the process that holds it.
"""

import errno
import json
import logging
import os
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from slicing_rllib.storage.errors import make_printable
from slicing_rllib.storage.foreign_files import open_regular

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
    path = Path(real, LOCK)
    lock = FileLock(
        path,
        timeout=timeout_s,
        thread_local=False,
        poll_interval=POLL_S,
        on_acquired=lambda descriptor: _write_holder(descriptor, purpose),
    )
    try:
        lock.acquire()
    except Timeout as error:
        raise FolderLocked(f"{folder}: {_describe_holder(path)}") from error
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        logger.warning(
            "%s: this file system has no locks (%s); let only one process write here",
            folder,
            error.strerror,
        )
    locked = path.stat()
    _held.add(real)
    try:
        yield
    finally:
        _held.discard(real)
        # Deleted while it is still locked: afterwards it could be the lock of another process.
        with suppress(OSError):
            if os.path.samestat(path.lstat(), locked):
                path.unlink()
        lock.release()


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


def _describe_holder(path: Path) -> str:
    try:
        with open_regular(path, follow_links=False) as file:
            holder = json.loads(file.read(4096))
        who = f"{holder['purpose']} (process {holder['pid']} on {holder['host']})"
        since = f" since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        who, since = "another process", ""
    return make_printable(f"in use by {who}{since}; wait until it ends, or end it")
