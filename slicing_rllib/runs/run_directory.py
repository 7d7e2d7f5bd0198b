"""The files of a run, written so that a crash leaves each complete or absent.

Also one line for the user where files are not those that `train` writes, where they cannot be
written, or where another process writes them.
"""

import json
import os
import shutil
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from slicing_rllib.policies.events import EventKind
from slicing_rllib.registry import foreign_names
from slicing_rllib.runs.checkpoints import find_newest_valid
from slicing_rllib.runs.config_loading import dump_resolved_yaml, load_config
from slicing_rllib.runs.run_config import RunConfig
from slicing_rllib.storage import (
    FolderLocked,
    append_line,
    lock_folder,
    read_json,
    replace_durably,
    require_regular,
    sync,
    write_durably,
)
from slicing_rllib.storage.errors import (
    FORM_ERRORS,
    CheckpointError,
    ConfigError,
    Interrupted,
    RunError,
)
from slicing_rllib.storage.foreign_files import GIB, read_json_lines
from slicing_rllib.transfer import LibraryError


@contextmanager
def explain_foreign_run(name: str) -> Generator[None]:
    """Turns what the block trips over into one line about the files of the run called `name`.

    Raises: RunError; the error itself with SLICING_RLLIB_DEBUG=1.
    """
    try:
        yield
    except (ConfigError, LibraryError):
        raise
    except FORM_ERRORS as error:
        if os.environ.get("SLICING_RLLIB_DEBUG"):
            raise
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        raise RunError(f"{name}: expected files as train writes them ({why})") from error


@contextmanager
def report_storage_errors(run: "RunDirectory") -> Iterator[None]:
    """Turns an error of the operating system in the block into one line.

    Raises: RunError with the reason and the step of the last good checkpoint.
    """
    try:
        yield
    except (ConnectionError, TimeoutError):
        # These are errors of the network.
        raise
    except OSError as error:
        try:
            checkpoint, _ = find_newest_valid(run.checkpoints)
            found = (
                f"the last good checkpoint is {checkpoint.name}"
                if checkpoint
                else ("there is no checkpoint yet")
            )
        except (CheckpointError, OSError) as unreadable:
            found = str(unreadable)
        # Libraries put sentences of their own into `strerror`.
        why = os.strerror(error.errno) if error.errno else str(error).splitlines()[0]
        message = (
            f"{run.path}: cannot be written ({why}); {found}; train --resume goes on once it can "
            "be written"
        )
        # On a full disk, this may not be possible either.
        with suppress(OSError):
            run.append_event(EventKind.STORAGE_FAILED, message, env_step=0)
        raise RunError(message) from error


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


MAX_WEIGHTS_BYTES = 4 * GIB


class RunDirectory:
    """Reads and writes the files of one run; README.md beside this module lists them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.figures = path / "figures"

    @property
    def from_scratch(self) -> "RunDirectory":
        """The same run without transfer, whether it is there yet or not."""
        return RunDirectory(self.path / "from_scratch")

    def compared(self, learner: str) -> "RunDirectory":
        """The run of one of the config's `compared_learners`, whether it is there yet or not."""
        return RunDirectory(self.path / learner)

    @classmethod
    def create(cls, path: Path, config: RunConfig) -> "RunDirectory":
        """Creates the directory of a new run.

        Raises: RunError where there already is one, or where nothing can be written.
        """
        run = cls(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            with run.lock("slicing-rllib train"):
                if (path / "config.yaml").exists():
                    raise RunError(f"{path}: there already is a run; --resume goes on with it")
                run.checkpoints.mkdir(exist_ok=True)
                write_durably(path / "config.yaml", dump_resolved_yaml(config).encode())
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise RunError(f"{path}: cannot write a run here ({why})") from error
        return run

    @contextmanager
    def discard_unless_begun(self) -> Iterator[None]:
        """Removes the directory if the block fails before training has started, or is interrupted
        before the first iteration has ended: the same command can then be given again."""
        try:
            yield
        except BaseException as error:
            is_interrupted = isinstance(error, KeyboardInterrupt | Interrupted)
            begun = "metrics.jsonl" if is_interrupted else "events.jsonl"
            if not (self.path / begun).exists() and not any(self.checkpoints.glob("*")):
                shutil.rmtree(self.path, ignore_errors=True)
            raise

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """Opens an existing run. Raises: RunError where there is none."""
        if not (path / "config.yaml").is_file():
            raise RunError(f"{path}: expected a run directory, found no config.yaml")
        return cls(path)

    def lock(self, purpose: str, timeout_s: float = 0.0) -> AbstractContextManager[None]:
        """Keeps other processes from writing into the run; arguments as in `lock_for_writing`."""
        return lock_for_writing(self.path, purpose, timeout_s)

    def config(self, settings: Sequence[str] = ()) -> RunConfig:
        """The run's config, with `key.path=value` settings on top.

        Raises: ConfigError for a damaged config.yaml, and for own parts that it may not import.
        """
        with foreign_names():
            return load_config(str(self.path / "config.yaml"), settings)

    def load_same_config(self, source: str | None, settings: Sequence[str]) -> RunConfig:
        """The run's config. Raises: ConfigError where `source` and `settings` make another one."""
        # The user's own file comes first: the parts that it names may be imported.
        asked = load_config(source, settings) if source is not None else None
        config = self.config()
        if asked is None and settings:
            asked = self.config(settings)
        if asked not in (None, config):
            raise ConfigError(
                f"{self.path}: this run has another config; --resume alone goes on with its own"
            )
        return config

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Adds the row of an iteration to `metrics.jsonl`."""
        append_line(self.path / "metrics.jsonl", json.dumps(row))

    def append_event(
        self,
        kind: str,
        message: str,
        *,
        env_step: int,
        cell: str | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> None:
        """Adds an event to `events.jsonl`: its kind, a line for people, and plain values as
        evidence."""
        row = {"time": time.time(), "env_step": env_step, "kind": kind, "cell": cell}
        row |= {"message": message, "evidence": dict(evidence or {})}
        append_line(self.path / "events.jsonl", json.dumps(row))

    def sync_logs(self) -> None:
        """Waits until all rows so far are on disk. A checkpoint is to find the rows before it."""
        for name in ("metrics.jsonl", "events.jsonl"):
            if (self.path / name).exists():
                sync(self.path / name)

    def metrics(self) -> list[dict[str, Any]]:
        """Rows of `metrics.jsonl` so far. One that is cut short or has no step is left out."""
        rows = _read_lines(self.path / "metrics.jsonl")
        return [row for row in rows if type(row.get("env_steps")) is int]

    def events(self) -> list[dict[str, Any]]:
        """Events so far, as `metrics` reads rows."""
        rows = _read_lines(self.path / "events.jsonl")
        return [row for row in rows if isinstance(row.get("kind"), str) and "env_step" in row]

    def drop_metrics_after(self, env_steps: int) -> None:
        """Removes the rows of later steps, which a resumed run makes again."""
        kept = [row for row in self.metrics() if row["env_steps"] <= env_steps]
        lines = "".join(json.dumps(row) + "\n" for row in kept)
        write_durably(self.path / "metrics.jsonl", lines.encode())

    def write_policies(self, weights: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Writes weights by cell and parameter name."""
        flat = {f"{cell}/{name}": w for cell, own in weights.items() for name, w in own.items()}
        with replace_durably(self.path / "policies.safetensors") as partial:
            save_file(flat, partial)

    def policies(self) -> dict[str, dict[str, np.ndarray]]:
        """Weights by cell and parameter name.

        Raises: RunError where there are none, or where a weight is not finite.
        """
        path = self.path / "policies.safetensors"
        flat = read_tensors(path, "trained policies")
        weights: dict[str, dict[str, np.ndarray]] = {}
        for name, array in flat.items():
            if not np.isfinite(array).all():
                raise RunError(f"{path}: {name} has values that are not finite")
            cell, _, parameter = name.partition("/")
            weights.setdefault(cell, {})[parameter] = array
        for cell, own in weights.items():
            for parameter in own:
                layer, _, kind = parameter.rpartition(".")
                if kind == "weight" and f"{layer}.bias" not in own:
                    raise RunError(f"{path}: {cell}/{layer} has weights and no bias")
        return weights

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Writes `summary.json`."""
        write_durably(self.path / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())

    def summary(self) -> dict[str, Any]:
        """Content of `summary.json`. Raises: RunError where the run has not finished yet."""
        path = self.path / "summary.json"
        try:
            summary = read_json(path)
        except (OSError, ValueError) as error:
            raise RunError(f"{path}: expected the summary of a finished run ({error})") from error
        if not isinstance(summary, dict):
            raise RunError(f"{path}: expected a mapping, got {type(summary).__name__}")
        return summary


def read_tensors(path: Path, expected: str) -> dict[str, np.ndarray]:
    """Arrays of a safetensors file. Raises: RunError, which says that `expected` was expected."""
    try:
        require_regular(path, MAX_WEIGHTS_BYTES)
        return load_file(path)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise RunError(f"{path}: expected {expected} ({error})") from error


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a log; anything else in it is left out."""
    try:
        return read_json_lines(path)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error})") from error
