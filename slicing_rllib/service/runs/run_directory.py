"""The files of a run, written so that a crash leaves each complete or absent."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from slicing_rllib.service.config import RunConfig, dump_resolved_yaml, load_config
from slicing_rllib.service.errors import ConfigError, RunError


class RunDirectory:
    """Reads and writes the files of one run; README.md beside this module lists them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.figures = path / "figures"

    @classmethod
    def create(cls, path: Path, config: RunConfig) -> "RunDirectory":
        """Creates the directory of a new run. Raises: RunError where there already is one."""
        run = cls(path)
        if (path / "config.yaml").exists():
            raise RunError(f"{path}: there already is a run; --resume goes on with it")
        try:
            path.mkdir(parents=True, exist_ok=True)
            run.checkpoints.mkdir(exist_ok=True)
        except OSError as error:
            raise RunError(f"{path}: cannot write a run here ({error.strerror})") from error
        write_atomically(path / "config.yaml", dump_resolved_yaml(config).encode())
        return run

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """Opens an existing run. Raises: RunError where there is none."""
        if not (path / "config.yaml").is_file():
            raise RunError(f"{path}: expected a run directory, found no config.yaml")
        return cls(path)

    def config(self) -> RunConfig:
        """The run's config. Raises: ConfigError for a damaged config.yaml."""
        return load_config(str(self.path / "config.yaml"))

    def load_same_config(self, source: str | None, settings: Sequence[str]) -> RunConfig:
        """The run's config. Raises: ConfigError where `source` and `settings` make another one."""
        config = self.config()
        if (source is not None or settings) and load_config(
            source or str(self.path / "config.yaml"), settings
        ) != config:
            raise ConfigError(
                f"{self.path}: this run has another config; --resume alone goes on with its own"
            )
        return config

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Adds the row of an iteration to `metrics.jsonl`."""
        _append_line(self.path / "metrics.jsonl", row)

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
        _append_line(self.path / "events.jsonl", row)

    def metrics(self) -> list[dict[str, Any]]:
        """Rows of `metrics.jsonl` so far. A row that a crash cut short is left out."""
        return _read_lines(self.path / "metrics.jsonl")

    def events(self) -> list[dict[str, Any]]:
        """Events so far, as `metrics` reads rows."""
        return _read_lines(self.path / "events.jsonl")

    def drop_metrics_after(self, env_steps: int) -> None:
        """Removes the rows of later steps, which a resumed run makes again."""
        kept = [row for row in self.metrics() if row["env_steps"] <= env_steps]
        lines = "".join(json.dumps(row) + "\n" for row in kept)
        write_atomically(self.path / "metrics.jsonl", lines.encode())

    def write_policies(self, weights: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Writes weights by cell and parameter name."""
        flat = {f"{cell}/{name}": w for cell, own in weights.items() for name, w in own.items()}
        partial = self.path / "policies.safetensors.partial"
        save_file(flat, partial)
        os.replace(partial, self.path / "policies.safetensors")

    def policies(self) -> dict[str, dict[str, np.ndarray]]:
        """Weights by cell and parameter name.

        Raises: RunError where there are none, or where a weight is not finite.
        """
        path = self.path / "policies.safetensors"
        try:
            flat = load_file(path)
        except (OSError, SafetensorError) as error:
            raise RunError(f"{path}: expected trained policies ({error})") from error
        weights: dict[str, dict[str, np.ndarray]] = {}
        for name, array in flat.items():
            if not np.isfinite(array).all():
                raise RunError(f"{path}: {name} has values that are not finite")
            cell, _, parameter = name.partition("/")
            weights.setdefault(cell, {})[parameter] = array
        return weights

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Writes `summary.json`."""
        write_atomically(
            self.path / "summary.json", (json.dumps(summary, indent=2) + "\n").encode()
        )

    def summary(self) -> dict[str, Any]:
        """Content of `summary.json`. Raises: RunError where the run has not finished yet."""
        path = self.path / "summary.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{path}: expected the summary of a finished run ({error})") from error


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file so that a crash leaves either its old or its new content, never a part."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def _append_line(path: Path, row: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def _read_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows
