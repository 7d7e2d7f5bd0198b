"""A Ray to run on: the cluster that the environment names, else one of our own."""

import importlib
import logging
import os
import secrets
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any

import ray

from slicing_rllib.service.errors import RunError

_QUIET = {
    # Several Ray heads on one machine must not fight over ports and files.
    "RAY_DEDUP_LOGS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "OMP_NUM_THREADS": "1",
    # Workers that nobody may ever need cost seconds at the start.
    "RAY_prestart_worker_first_driver": "0",
}


@contextmanager
def ray_session(cpus: int) -> Iterator[None]:
    """Ray for as long as the block lasts, with at least as many cores; what was running stays.

    Raises: RunError where a named cluster cannot be reached.
    """
    quieten()
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS")
    try:
        ray.init(**(_named(address) if address else _own(cpus)))
    except (ConnectionError, RuntimeError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise RunError(f"Ray at {address or 'this machine'}: cannot start ({first})") from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def imported_beside(module: str) -> Iterator[None]:
    """A module that takes seconds to import, meanwhile: Ray's start is mostly waiting."""

    def start() -> None:
        # Whoever needs it imports it again and is told.
        with suppress(Exception):
            importlib.import_module(module)

    importing = Thread(target=start, name=f"import {module}")
    importing.start()
    try:
        yield
    finally:
        importing.join()


def quieten() -> None:
    """Keeps RLlib's news of its own migration off the user's terminal."""
    for name in ("ray", "ray.rllib", "ray.tune", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="ray")
    warnings.filterwarnings("ignore", category=FutureWarning, module="ray")


def _named(address: str) -> dict[str, Any]:
    return {"address": address, "log_to_driver": False, "logging_level": "ERROR"}


def _own(cpus: int) -> dict[str, Any]:
    """A node of our own. Its token stays with us, so nobody else can submit to it."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("RAY_TMPDIR", tempfile.gettempdir())
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    return {
        "address": "local",
        "include_dashboard": False,
        "num_cpus": max(cpus, os.cpu_count() or 1),
        "log_to_driver": False,
        "logging_level": "ERROR",
    }
