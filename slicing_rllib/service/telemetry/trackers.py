"""Experiment trackers beside our own metrics.jsonl: the same numbers, one `Sink` each."""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from slicing_rllib.service.errors import RunError


@runtime_checkable
class Sink(Protocol):
    """Takes named numbers of one iteration."""

    def write(self, scalars: Mapping[str, float], env_step: int) -> None: ...

    def close(self) -> None: ...


class TensorBoardSink:
    """Event files in `<run>/tensorboard`."""

    def __init__(self, run: str, folder: Path) -> None:
        self._writer = _needed("tensorboardX").SummaryWriter(str(folder / "tensorboard"))

    def write(self, scalars: Mapping[str, float], env_step: int) -> None:
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, env_step)

    def close(self) -> None:
        self._writer.close()


class MlflowSink:
    """A run of MLflow; where it goes, MLflow's own environment variables say."""

    def __init__(self, run: str, folder: Path) -> None:
        self._mlflow = _needed("mlflow")
        self._mlflow.start_run(run_name=run)

    def write(self, scalars: Mapping[str, float], env_step: int) -> None:
        self._mlflow.log_metrics(dict(scalars), step=env_step)

    def close(self) -> None:
        self._mlflow.end_run()


class WandbSink:
    """A run of Weights & Biases; project and key come from its own environment variables."""

    def __init__(self, run: str, folder: Path) -> None:
        self._run = _needed("wandb").init(name=run, dir=str(folder))

    def write(self, scalars: Mapping[str, float], env_step: int) -> None:
        self._run.log(dict(scalars), step=env_step)

    def close(self) -> None:
        self._run.finish()


TRACKERS: dict[str, Callable[[str, Path], Sink]] = {
    "tensorboard": TensorBoardSink,
    "mlflow": MlflowSink,
    "wandb": WandbSink,
}


def open_sinks(trackers: Sequence[str], run: str, folder: Path) -> tuple[Sink, ...]:
    """One sink per name of TRACKERS. Raises: RunError where its package is not installed."""
    return tuple(TRACKERS[name](run, folder) for name in trackers)


def scalars_of(row: Mapping[str, Any]) -> dict[str, float]:
    """Every number of a metrics.jsonl row under a path: `cells/cell_1/delay_ms/0`."""
    return dict(_scalars("", row))


def _scalars(path: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from _scalars(f"{path}/{key}" if path else str(key), below)
    elif isinstance(value, list | tuple):
        for index, below in enumerate(value):
            yield from _scalars(f"{path}/{index}", below)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, float(value)


def _needed(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise RunError(
            f"tracking by {package}: expected it installed, as with pip install "
            '"slicing-rllib[track]"'
        ) from error
