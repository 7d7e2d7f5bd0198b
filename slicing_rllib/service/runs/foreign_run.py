"""What to say about a run directory whose files are not those that `train` writes."""

import os
from collections.abc import Generator
from contextlib import contextmanager

from slicing_rllib.service.errors import ConfigError, RunError
from slicing_rllib.transfer import LibraryError

MISFITS = (LookupError, TypeError, AttributeError, ArithmeticError, ValueError)
"""What code that trusts its inputs raises where they have another form."""


@contextmanager
def explain_foreign_run(name: str) -> Generator[None]:
    """Turns what the block trips over into one line about the files of the run called `name`.

    Raises: RunError; the error itself with SLICING_RLLIB_DEBUG=1.
    """
    try:
        yield
    except (ConfigError, LibraryError):
        raise
    except MISFITS as error:
        if os.environ.get("SLICING_RLLIB_DEBUG"):
            raise
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        raise RunError(f"{name}: expected files as train writes them ({why})") from error
