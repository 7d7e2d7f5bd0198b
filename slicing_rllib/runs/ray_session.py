"""Ray for the duration of a command: the cluster that RAY_ADDRESS names, else a local node.

A local node answers only those who have its token. Ray 2.60 replaces a loopback address by that of
the machine, so the token alone guards it. Processes that outlive a killed driver are found again by
their session, which is noted in the run directory, and ended by id.
"""

import functools
import importlib
import logging
import os
import re
import secrets
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import ray
from ray._private import worker

from slicing_rllib.storage import read_bounded, write_durably
from slicing_rllib.storage.errors import RunError

NOTE = ".ray_session"
"""Name of the file in a run directory that names the Ray session of the training in progress."""
SESSION = re.compile(r"session_[0-9_-]+_([0-9]{1,9})")
"""Name of a session's folder, which ends with the process id of its driver."""
MAX_NOTE_BYTES = 4096


def note_session(folder: Path, session: str) -> None:
    """Writes down which Ray session the training in `folder` has started, if that can be written.

    `session` is the folder of the session's logs and sockets.
    """
    with suppress(OSError):
        write_durably(folder / NOTE, session.encode())


def end_leftovers(folder: Path) -> int:
    """Kills what is left of the Ray session that a killed training in `folder` had started.

    Only processes of this user that have files of that session open, and only if its driver no
    longer runs. Returns how many there were.
    """
    try:
        session = Path(os.path.realpath(read_bounded(folder / NOTE, MAX_NOTE_BYTES).decode()))
    except (OSError, ValueError):
        return 0
    name = SESSION.fullmatch(session.name)
    if name is None or psutil.pid_exists(int(name[1])):
        return 0
    leftovers = [process for process in psutil.process_iter() if _belongs_to(process, session)]
    for process in leftovers:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(leftovers, timeout=5)
    with suppress(OSError):
        (folder / NOTE).unlink(missing_ok=True)
    return len(leftovers)


def _belongs_to(process: psutil.Process, session: Path) -> bool:
    try:
        if process.uids().real != os.getuid() or process.pid == os.getpid():
            return False
        names = [*process.cmdline(), *(file.path for file in process.open_files())]
    except (psutil.Error, OSError):
        return False
    return any(str(session) in name for name in names)


AUTH_MODE = "RAY_AUTH_MODE"
"""Where it is not set, Ray turns its token authentication on for a local node, and refreshes what
it has read at its import. An inherited `disabled` would leave the node open to all other users of
the machine."""


@contextmanager
def ray_session(cpus: int, folder: Path | None = None) -> Generator[None]:
    """Starts Ray for the block, or uses the Ray that this process is connected to already.

    The environment variables of a local node are set for the block and then restored.

    Args:
        cpus: number of CPUs that a local node offers at least. Ray counts processes by them, so
            they may be more than the machine has.
        folder: run directory in which a local session is noted, so that the next training there
            can end what a killed one left.

    Raises: RunError if Ray cannot be started or the named cluster cannot be reached.
    """
    quieten()
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS")
    arguments: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if not address:
        n_cpus = max(cpus, os.cpu_count() or 1)
        arguments |= {"include_dashboard": False, "num_cpus": n_cpus}
    variables, removed = ({}, ()) if address else (make_local_environment(), (AUTH_MODE,))
    with _set_environment(variables, removed):
        try:
            context: Any = ray.init(address or "local", **arguments)
        except (ConnectionError, RuntimeError, ValueError) as error:
            first = str(error).strip().splitlines()[0]
            raise RunError(f"Ray at {address or 'this machine'}: cannot start ({first})") from error
        if folder is not None and not address:
            note_session(folder, str(context.address_info["session_dir"]))
        try:
            yield
        finally:
            ray.shutdown()
            if folder is not None and not address:
                with suppress(OSError):
                    (folder / NOTE).unlink(missing_ok=True)


@contextmanager
def import_in_background(module: str) -> Iterator[None]:
    """Imports a module in a thread during the block, which mostly waits for Ray to start."""

    def import_it() -> None:
        # Whoever needs the module imports it again and then gets the error.
        with suppress(ImportError):
            importlib.import_module(module)

    thread = Thread(target=import_it, name=f"import {module}")
    thread.start()
    try:
        yield
    finally:
        thread.join()


def quieten() -> None:
    """Hides warnings of Ray that no user of ours can act on, for the rest of the process.

    Among them are RLlib's deprecation warnings about its own migration to a new API, and messages
    of Ray's daemon, which Ray prints on stdout, where commands print their results.
    """
    worker._worker_logs_enabled = False
    for name in ("ray", "ray.rllib", "ray.tune", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="ray")
    warnings.filterwarnings("ignore", category=FutureWarning, module="ray")


def make_local_environment() -> dict[str, str]:
    """Environment variables that a local Ray node is started with, unless the user has set them."""
    return {
        # Each process computes with one thread: the processes share the cores.
        "OMP_NUM_THREADS": "1",
        # Workers that are started in advance and never used would cost seconds.
        "RAY_prestart_worker_first_driver": "0",
        # With a token of our own, no other user of this machine can submit work to the node.
        "RAY_AUTH_TOKEN": _make_process_token(),
    }


@functools.cache
def _make_process_token() -> str:
    """The same for all sessions of this process, because Ray's client reads the token only once."""
    return secrets.token_hex(32)


@contextmanager
def _set_environment(variables: Mapping[str, str], removed: Sequence[str] = ()) -> Iterator[None]:
    """Sets the variables that are not set yet, and takes others away, for the block."""
    before = {name: os.environ.get(name) for name in (*variables, *removed)}
    for name in removed:
        os.environ.pop(name, None)
    for name, value in variables.items():
        os.environ.setdefault(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
