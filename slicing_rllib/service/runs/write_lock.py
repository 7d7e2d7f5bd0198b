"""The lock of a run, sweep or experiment, with errors for the user."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from slicing_rllib.service.errors import RunError
from slicing_rllib.storage import FolderLocked, lock_folder


@contextmanager
def lock_for_writing(folder: Path, purpose: str, timeout_s: float = 0.0) -> Iterator[None]:
    """Keeps other processes from writing into an existing folder during the block.

    `purpose` is what they are told this process does; `timeout_s` is how long to wait for one that
    holds the lock. Blocks of one folder may be nested.
    Raises: RunError while another process holds the lock, or where nothing can be written.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(lock_folder(folder, purpose, timeout_s))
        except FolderLocked as error:
            raise RunError(str(error)) from error
        except OSError as error:
            raise RunError(f"{folder}: cannot be written ({error.strerror})") from error
        yield
