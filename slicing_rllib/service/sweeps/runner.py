"""Sweeps on Ray Tune: many trainings, compared; killed anywhere, resumed."""

import io
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from ray import tune
from ray.tune import Callback, CheckpointConfig, FailureConfig, ResultGrid, TuneConfig, Tuner
from ray.tune import RunConfig as TuneRunConfig
from ray.tune.schedulers import ASHAScheduler, PopulationBasedTraining, TrialScheduler
from ray.tune.search import BasicVariantGenerator, Searcher

from slicing_rllib.evaluation import figures
from slicing_rllib.service.errors import RunError
from slicing_rllib.service.runs.run_directory import write_atomically
from slicing_rllib.service.sweeps.config import (
    Choice,
    Dimension,
    Grid,
    SweepConfig,
    Uniform,
    load_sweep,
)
from slicing_rllib.service.sweeps.trial import Trial

STEP_KEY = "env_steps"


Says = Callable[[str], None]


def _silent(message: str) -> None: ...


class _Progress(Callback):
    """A line when a trial ends or fails. Comes back from a pickle silent."""

    def __init__(self, says: Says, sweep: SweepConfig) -> None:
        self._says, self._metric = says, sweep.metric
        self._done = 0

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_says": _silent}

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self._done += 1
        value = (trial.last_result or {}).get(self._metric)
        shown = "" if value is None else f"  {self._metric} {value:.3f}"
        self._says(f"trial {trial.trial_id} ended, {self._done} of {len(trials)}{shown}")

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self._says(f"trial {trial.trial_id} failed")


class SweepResult(NamedTuple):
    """Trials, best first; those that failed last."""

    rows: list[dict[str, Any]]
    files: list[Path]


def run_sweep(sweep: SweepConfig, folder: Path, says: Says = _silent) -> SweepResult:
    """Runs all trials under `folder`. Raises: RunError where there already is a sweep."""
    if (folder / "sweep.yaml").exists():
        raise RunError(f"{folder}: there already is a sweep; --resume goes on with it")
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(sweep.model_dump(mode="json"), sort_keys=False)
    write_atomically(folder / "sweep.yaml", text.encode())
    tuner = Tuner(
        _trainable(sweep),
        param_space={key: _domain(dimension) for key, dimension in sweep.search_space.items()},
        tune_config=TuneConfig(
            metric=sweep.metric,
            mode=sweep.mode,
            num_samples=sweep.num_samples,
            scheduler=_scheduler(sweep),
            search_alg=_searcher(sweep),
            max_concurrent_trials=sweep.max_concurrent if sweep.searcher == "optuna" else None,
        ),
        run_config=TuneRunConfig(
            name="trials",
            storage_path=str(folder.resolve()),
            checkpoint_config=CheckpointConfig(
                checkpoint_frequency=1, num_to_keep=2, checkpoint_at_end=True
            ),
            failure_config=FailureConfig(max_failures=sweep.failure.max_failures),
            callbacks=[_Progress(says, sweep)],
            verbose=0,
        ),
    )
    return _concluded(sweep, folder, _fit(tuner))


def resume_sweep(folder: Path, says: Says = _silent) -> SweepResult:
    """Goes on with trials that had not ended. Raises: RunError where there is no sweep."""
    if not (folder / "sweep.yaml").is_file():
        raise RunError(f"{folder}: expected a sweep to resume, found no sweep.yaml")
    sweep = load_sweep(str(folder / "sweep.yaml"))
    trials = folder.resolve() / "trials"
    if not Tuner.can_restore(str(trials)):
        # Killed before its first trial was on record.
        (folder / "sweep.yaml").unlink()
        return run_sweep(sweep, folder, says)
    tuner = Tuner.restore(str(trials), trainable=_trainable(sweep), resume_errored=True)
    says(f"resuming the sweep in {folder}")
    return _concluded(sweep, folder, _fit(tuner))


def _fit(tuner: Tuner) -> ResultGrid:
    """Tune talks on stdout, which is the result's."""
    with redirect_stdout(sys.stderr if sys.stderr.isatty() else io.StringIO()):
        return tuner.fit()


def _trainable(sweep: SweepConfig) -> Any:
    return tune.with_resources(
        tune.with_parameters(Trial, sweep=sweep), tune.PlacementGroupFactory(_bundles(sweep))
    )


def _bundles(sweep: SweepConfig) -> list[dict[str, int | float]]:
    """What a trial holds: its own CPUs, one for each env runner and learner, on any node."""
    others = sweep.trial_config({}).cpus - 1
    return [{"CPU": sweep.cpus_per_trial}, *({"CPU": 1} for _ in range(others))]


def _domain(dimension: Dimension) -> Any:
    match dimension:
        case Uniform(low=low, high=high, log=True):
            return tune.loguniform(low, high)
        case Uniform(low=low, high=high):
            return tune.uniform(low, high)
        case Choice(values=values):
            return tune.choice(list(values))
        case Grid(values=values):
            return tune.grid_search(list(values))


def _scheduler(sweep: SweepConfig) -> TrialScheduler | None:
    total = sweep.stop.env_steps or sweep.trial_config({}).total_steps
    match sweep.scheduler:
        case "asha":
            return ASHAScheduler(
                time_attr=STEP_KEY, max_t=total, grace_period=sweep.report_every_steps
            )
        case "pbt":
            mutations = {
                key: _domain(dimension)
                for key, dimension in sweep.search_space.items()
                if not isinstance(dimension, Grid)
            }
            return PopulationBasedTraining(
                time_attr=STEP_KEY,
                perturbation_interval=sweep.report_every_steps,
                hyperparam_mutations=mutations,
            )
    return None


def _searcher(sweep: SweepConfig) -> Searcher | Any:
    if sweep.searcher == "random":
        return BasicVariantGenerator(
            random_state=sweep.seed, max_concurrent=sweep.max_concurrent or 0
        )
    try:
        from ray.tune.search.optuna import OptunaSearch

        return OptunaSearch(metric=sweep.metric, mode=sweep.mode, seed=sweep.seed)
    except (ImportError, AssertionError) as error:
        raise RunError(
            'searcher optuna: expected the package optuna (pip install "slicing-rllib[search]")'
        ) from error


def _concluded(sweep: SweepConfig, folder: Path, grid: ResultGrid) -> SweepResult:
    """Table and picture. A trial counts once, however often it was restarted."""
    rows = [_row(sweep, result) for result in grid]
    worst = float("-inf") if sweep.mode == "max" else float("inf")
    sign = -1 if sweep.mode == "max" else 1
    rows.sort(key=lambda row: sign * (worst if row["value"] is None else row["value"]))
    table = folder / "results.json"
    write_atomically(table, (json.dumps(rows, indent=2, default=str) + "\n").encode())
    chosen = [row for row in rows if row["value"] is not None]
    files = [table]
    if chosen:
        figure = figures.parallel_coordinates(
            [row["settings"] for row in chosen], [row["value"] for row in chosen], sweep.metric
        )
        files += figures.save(figure, folder / "figures", "parallel_coordinates")
    return SweepResult(rows, files)


def _row(sweep: SweepConfig, result: Any) -> dict[str, Any]:
    metrics: Mapping[str, Any] = result.metrics or {}
    return {
        "trial": Path(result.path).name.split("_")[-1] if result.path else "",
        "trial_id": metrics.get("trial_id", ""),
        "settings": dict(result.config or {}),
        "value": metrics.get(sweep.metric),
        "env_steps": metrics.get(STEP_KEY, 0),
        "error": str(result.error).strip().splitlines()[-1] if result.error else None,
    }
