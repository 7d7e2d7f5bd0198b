"""Reading files that a stranger may have supplied: only regular ones, and only up to a size."""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

KIB, MIB, GIB = 2**10, 2**20, 2**30


def open_regular(path: Path, *, follow_links: bool = True) -> BufferedReader:
    """Opens a file for reading, without waiting for the other end of a pipe.

    Raises: OSError if it is missing, a folder, a pipe, a socket or a device; and a link, unless
    links are followed.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    try:
        descriptor = os.open(path, flags if follow_links else flags | os.O_NOFOLLOW)
    except ValueError as error:
        raise OSError(errno.EINVAL, "a path cannot contain a NUL character") from error
    except OSError as error:
        if error.errno == errno.ELOOP and not follow_links:
            raise OSError(errno.ELOOP, "expected a regular file, got a link", str(path)) from error
        raise
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"expected a regular file, got {_name_kind(mode)}", str(path))
    return os.fdopen(descriptor, "rb")


def read_bounded(path: Path, max_bytes: int, *, follow_links: bool = True) -> bytes:
    """The content of a regular file.

    Raises: OSError as `open_regular`, and for a file of more than `max_bytes`.
    """
    with open_regular(path, follow_links=follow_links) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise _make_size_error(path, max_bytes)
    return data


def require_regular(path: Path, max_bytes: int, *, follow_links: bool = True) -> None:
    """Checks a file that a library is going to open by its path.

    Raises: OSError as `open_regular`, and for a file of more than `max_bytes`.
    """
    with open_regular(path, follow_links=follow_links) as file:
        size = os.fstat(file.fileno()).st_size
    if size > max_bytes:
        raise _make_size_error(path, max_bytes)


def format_size(n_bytes: float) -> str:
    """A number of bytes for people: `3.5 GiB`."""
    for unit, size in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if n_bytes >= size:
            return f"{n_bytes / size:.3g} {unit}"
    return f"{n_bytes:.0f} bytes"


def _make_size_error(path: Path, max_bytes: int) -> OSError:
    return OSError(
        errno.EFBIG, f"expected a file of at most {format_size(max_bytes)}, got more", str(path)
    )


def _name_kind(mode: int) -> str:
    kinds = {
        stat.S_ISDIR: "a folder",
        stat.S_ISFIFO: "a named pipe",
        stat.S_ISSOCK: "a socket",
        stat.S_ISCHR: "a device",
        stat.S_ISBLK: "a device",
    }
    return next((kind for is_kind, kind in kinds.items() if is_kind(mode)), "something else")
