"""The files of a run, and how they are written so that a crash loses nothing."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from slicing_rllib.service.config import RunConfig, load_config, resolved_yaml
from slicing_rllib.service.errors import ConfigError, RunError


class RunDirectory:
    """`config.yaml metrics.jsonl events.jsonl policies.safetensors summary.json figures/`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.figures = path / "figures"

    @classmethod
    def create(cls, path: Path, config: RunConfig) -> "RunDirectory":
        """A new run. Raises: RunError where there already is one."""
        run = cls(path)
        if (path / "config.yaml").exists():
            raise RunError(f"{path}: there already is a run; --resume goes on with it")
        try:
            path.mkdir(parents=True, exist_ok=True)
            run.checkpoints.mkdir(exist_ok=True)
        except OSError as error:
            raise RunError(f"{path}: cannot write a run here ({error.strerror})") from error
        write_atomically(path / "config.yaml", resolved_yaml(config).encode())
        return run

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """A run that exists. Raises: RunError where there is none."""
        if not (path / "config.yaml").is_file():
            raise RunError(f"{path}: expected a run directory, found no config.yaml")
        return cls(path)

    def config(self) -> RunConfig:
        """Raises: ConfigError for a config.yaml that was damaged."""
        return load_config(str(self.path / "config.yaml"))

    def config_unless_other(self, source: str | None, settings: Sequence[str]) -> RunConfig:
        """The run's config. Raises: ConfigError where another one is asked for."""
        config = self.config()
        if (source is not None or settings) and load_config(
            source or str(self.path / "config.yaml"), settings
        ) != config:
            raise ConfigError(
                f"{self.path}: this run has another config; --resume alone goes on with its own"
            )
        return config

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        _append(self.path / "metrics.jsonl", row)

    def append_event(
        self,
        kind: str,
        message: str,
        *,
        env_step: int,
        cell: str | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> None:
        row = {"time": time.time(), "env_step": env_step, "kind": kind, "cell": cell}
        _append(
            self.path / "events.jsonl", row | {"message": message, "evidence": dict(evidence or {})}
        )

    def metrics(self) -> list[dict[str, Any]]:
        """Rows so far; a row that a crash cut short is left out."""
        return list(_rows(self.path / "metrics.jsonl"))

    def events(self) -> list[dict[str, Any]]:
        return list(_rows(self.path / "events.jsonl"))

    def forget_metrics_after(self, env_steps: int) -> None:
        """Drops rows of steps that a resumed run will make again."""
        kept = [row for row in self.metrics() if row["env_steps"] <= env_steps]
        lines = "".join(json.dumps(row) + "\n" for row in kept)
        write_atomically(self.path / "metrics.jsonl", lines.encode())

    def write_policies(self, weights: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        flat = {f"{cell}/{name}": w for cell, own in weights.items() for name, w in own.items()}
        partial = self.path / "policies.safetensors.partial"
        save_file(flat, partial)
        os.replace(partial, self.path / "policies.safetensors")

    def policies(self) -> dict[str, dict[str, np.ndarray]]:
        """Weights by cell and name. Raises: RunError where there are none to read."""
        path = self.path / "policies.safetensors"
        try:
            flat = load_file(path)
        except (OSError, SafetensorError) as error:
            raise RunError(f"{path}: expected trained policies ({error})") from error
        weights: dict[str, dict[str, np.ndarray]] = {}
        for name, array in flat.items():
            cell, _, parameter = name.partition("/")
            weights.setdefault(cell, {})[parameter] = array
        return weights

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        write_atomically(
            self.path / "summary.json", (json.dumps(summary, indent=2) + "\n").encode()
        )

    def summary(self) -> dict[str, Any]:
        """Raises: RunError where the run has not ended yet."""
        path = self.path / "summary.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{path}: expected the summary of a finished run ({error})") from error


def write_atomically(path: Path, data: bytes) -> None:
    """All of it or nothing, whatever happens in between."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def _append(path: Path, row: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows
