"""What a run says when its directory cannot be written any more: one line, and how it goes on."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from slicing_rllib.service.errors import CheckpointError, RunError
from slicing_rllib.service.runs.checkpoints import find_newest_valid
from slicing_rllib.service.runs.run_directory import RunDirectory
from slicing_rllib.service.telemetry.event_kinds import RunEventKind


@contextmanager
def report_storage_errors(run: RunDirectory) -> Iterator[None]:
    """Turns an error of the operating system in the block into one line.

    Raises: RunError with the reason and the step of the last good checkpoint.
    """
    try:
        yield
    except (ConnectionError, TimeoutError):
        # These are errors of the network.
        raise
    except OSError as error:
        # Libraries put sentences of their own into `strerror`.
        why = os.strerror(error.errno) if error.errno else str(error).splitlines()[0]
        message = (
            f"{run.path}: cannot be written ({why}); {_describe_last_checkpoint(run)}; "
            "train --resume goes on once it can be written"
        )
        # On a full disk, this may not be possible either.
        with suppress(OSError):
            run.append_event(RunEventKind.STORAGE_FAILED, message, env_step=0)
        raise RunError(message) from error


def _describe_last_checkpoint(run: RunDirectory) -> str:
    try:
        checkpoint, _ = find_newest_valid(run.checkpoints)
    except (CheckpointError, OSError) as error:
        return str(error)
    if checkpoint is None:
        return "there is no checkpoint yet"
    return f"the last good checkpoint is {checkpoint.name}"
