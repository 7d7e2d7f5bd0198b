"""Ray for the duration of a command: the cluster that RAY_ADDRESS names, else a local node.

A local node listens at the loopback address only, and answers only those who have its token. It is
needed for every training: RLlib 2.60 calls `ray.put` in `EnvRunnerGroup.__init__` (line 132), also
for a config without env runners and learners. Processes that outlive a killed driver are found
again by their session, which is noted in the run directory, and ended by id.
"""

import functools
import importlib
import logging
import os
import re
import secrets
import signal
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import ray
from ray._private import ray_constants, utils, worker

from slicing_rllib.runs.interruption import DEADLINE_S, SIGNALS, CommandInterrupted, catch_signals
from slicing_rllib.storage import read_bounded, write_durably
from slicing_rllib.storage.errors import RunError

NOTE = ".ray_session"
"""Name of the file in a run directory that names the Ray session of the training in progress."""
SESSION = re.compile(r"session_[0-9_-]+_([0-9]{1,9})")
"""Name of a session's folder, which ends with the process id of its driver."""
MAX_NOTE_BYTES = 4096
ATTEMPTS = 3
"""How often a local node is started: on a busy machine, Ray gives up after 30 s."""


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
    with _set_environment(variables, removed), nullcontext() if address else _stay_on_loopback():
        try:
            session = _start(address, arguments)
            if folder is not None and not address:
                note_session(folder, session)
            yield
        finally:
            with catch_signals(DEADLINE_S):
                ray.shutdown()
            if folder is not None and not address:
                with suppress(OSError):
                    (folder / NOTE).unlink(missing_ok=True)


def _start(address: str | None, arguments: Mapping[str, Any]) -> str:
    """Starts Ray, or connects to the cluster; the folder of the session's logs and sockets.

    Raises: RunError if that fails; KeyboardInterrupt after a signal, once Ray can be ended.
    """
    attempts = 1 if address else ATTEMPTS
    for attempt in range(1, attempts + 1):
        failure: Exception | None = None
        # An exception in the middle of it would leave locks held, and processes.
        with catch_signals(DEADLINE_S) as interruption, _keep_handlers():
            try:
                context: Any = ray.init(address or "local", **arguments)
            except Exception as error:  # Also of type Exception: on a busy machine, a time-out.
                failure = error
                ray.shutdown()
        if interruption.is_requested:
            raise CommandInterrupted
        if failure is None:
            return str(context.address_info["session_dir"])
        if attempt == attempts or isinstance(failure, ConnectionError | ValueError):
            lines = str(failure).strip().splitlines()
            where = address or "this machine"
            tries = f" in {attempt} attempts" if attempt > 1 else ""
            why = lines[0] if lines else type(failure).__name__
            raise RunError(f"Ray at {where}: cannot start{tries} ({why})") from failure
    raise AssertionError


@contextmanager
def _keep_handlers() -> Iterator[None]:
    """Ray neither ends the process at SIGTERM while it starts, nor after.

    It sets a handler of its own first, and C++ one for SIGTERM when it connects, which prints a
    stack. Signals wait until ours is back.
    """
    set_handler, connect = utils.set_sigterm_handler, worker.connect

    def connect_undisturbed(*args: Any, **kwargs: Any) -> Any:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            return connect(*args, **kwargs)
        finally:
            for number in SIGNALS:
                signal.signal(number, signal.getsignal(number))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    utils.set_sigterm_handler = lambda handler: None
    worker.connect = connect_undisturbed
    try:
        yield
    finally:
        utils.set_sigterm_handler, worker.connect = set_handler, connect


@contextmanager
def _stay_on_loopback() -> Iterator[None]:
    """Ray listens at the loopback address only, as it does where it knows no clusters.

    Its own processes read the environment variable; this one read it when it imported Ray.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def import_in_background(module: str) -> Iterator[None]:
    """Imports a module in a thread during the block, which mostly waits for Ray to start.

    After a block that fails, nobody waits for the thread: it may need a lock that the failure has
    left held.
    """

    def import_it() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # They are for the main thread.
        # Whoever needs the module imports it again and then gets the error.
        with suppress(ImportError):
            importlib.import_module(module)

    thread = Thread(target=import_it, name=f"import {module}", daemon=True)
    thread.start()
    yield
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
        ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0",
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
