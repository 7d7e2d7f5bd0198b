"""Experiment trackers that receive the numbers of metrics.jsonl, each through one `Sink`."""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from slicing_rllib.service.errors import RunError


@runtime_checkable
class Sink(Protocol):
    """Where the numbers of each iteration are written to."""

    def write(self, scalars: Mapping[str, float], env_step: int) -> None:
        """Writes the numbers of one iteration by name."""
        ...

    def close(self) -> None:
        """Writes what is buffered and ends the tracker's run."""
        ...


class TensorBoardSink:
    """Writes event files to `FOLDER/tensorboard`."""

    def __init__(self, run: str, folder: Path) -> None:
        self._writer = _import_package("tensorboardX").SummaryWriter(str(folder / "tensorboard"))

    def write(self, scalars: Mapping[str, float], env_step: int) -> None:
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, env_step)

    def close(self) -> None:
        self._writer.close()


class MlflowSink:
    """Writes a run of MLflow, whose own environment variables say where to."""

    def __init__(self, run: str, folder: Path) -> None:
        self._mlflow = _import_package("mlflow")
        self._mlflow.start_run(run_name=run)

    def write(self, scalars: Mapping[str, float], env_step: int) -> None:
        self._mlflow.log_metrics(dict(scalars), step=env_step)

    def close(self) -> None:
        self._mlflow.end_run()


class WandbSink:
    """Writes a run of Weights & Biases, whose environment variables name the project and key."""

    def __init__(self, run: str, folder: Path) -> None:
        self._run = _import_package("wandb").init(name=run, dir=str(folder))

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
    """One sink per tracker.

    Args:
        trackers: names in `TRACKERS`.
        run: name of the run.
        folder: folder for trackers that write files.

    Raises: RunError if a tracker's package is not installed.
    """
    return tuple(TRACKERS[name](run, folder) for name in trackers)


def flatten_row(row: Mapping[str, Any]) -> dict[str, float]:
    """Every number of a row of metrics.jsonl by its path, such as `cells/cell_1/delay_ms/0`."""
    return dict(_iterate_scalars("", row))


def _iterate_scalars(path: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, child in value.items():
            yield from _iterate_scalars(f"{path}/{key}" if path else str(key), child)
    elif isinstance(value, list | tuple):
        for index, child in enumerate(value):
            yield from _iterate_scalars(f"{path}/{index}", child)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, float(value)


def _import_package(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise RunError(
            f'tracking with {package}: the package is missing; pip install "slicing-rllib[track]"'
        ) from error
