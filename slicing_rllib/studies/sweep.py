"""Runs a sweep on Ray Tune. A sweep that was killed or interrupted can be resumed."""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml
from ray import tune
from ray.tune import ResultGrid, Trainable, Tuner
from ray.tune.schedulers import ASHAScheduler, PopulationBasedTraining, TrialScheduler
from ray.tune.search import BasicVariantGenerator, Searcher

from slicing_rllib.evaluation import looks
from slicing_rllib.evaluation.other_figures import draw_parallel_coordinates
from slicing_rllib.evaluation.statistics import mean_interval
from slicing_rllib.runs.algorithm import build, load_pretrained_policies
from slicing_rllib.runs.policy_evaluation import evaluate_curve_point, make_trained_policy
from slicing_rllib.runs.progress import OnMessage
from slicing_rllib.runs.ray_session import quieten
from slicing_rllib.runs.run_directory import lock_for_writing
from slicing_rllib.storage import write_durably
from slicing_rllib.storage.errors import RunError
from slicing_rllib.studies.experiment import MessageCallback, fit_quietly, get_error_line
from slicing_rllib.studies.study_configs import Dimension, SweepConfig, Uniform, find_targets

PURPOSE = "slicing-rllib sweep"
KEPT_CHECKPOINTS = 2
"""Newest checkpoints that each trial keeps. A population keeps all until it ends: a trial that
copies another may start long after the other has written its next ones."""
FEWEST_FOR_INTERVAL = 4
"""Seeds below which an interval says less than the values themselves."""
STEP_KEY = "env_steps"
"""The number in a trial's reports that schedulers take for time."""


class Trial(Trainable):
    """A training whose settings the search has chosen."""

    def setup(self, config: dict[str, Any], sweep: SweepConfig | None = None) -> None:
        """`config` holds the chosen settings by `key.path`; `sweep` is the same for all trials."""
        assert sweep is not None
        quieten()
        self._sweep = sweep
        self._config = sweep.make_trial_config(config)
        self._algorithm = build(self._config)
        load_pretrained_policies(self._config, self._algorithm)

    def step(self) -> dict[str, Any]:
        """Trains up to the next report, and evaluates on traffic that training does not see."""
        algorithm, config = self._algorithm, self._config
        total_steps = self._sweep.stop.env_steps or config.total_steps
        goal = min(algorithm.env_steps + self._sweep.report_every_steps, total_steps)
        while algorithm.env_steps < goal:
            algorithm.train()
        weights = {cell: algorithm.policy_weights(cell) for cell in algorithm.cells}
        rewards = evaluate_curve_point(config, make_trained_policy(config, weights)).rewards
        report = {
            "env_steps": algorithm.env_steps,
            "updates": algorithm.updates,
            "reward_mean": algorithm.last_iteration["reward_mean"],
            "evaluation_reward_mean": float(rewards.mean()),
            "done": algorithm.env_steps >= total_steps,
        }
        if targets := [config.scenario.cells.index(cell) for cell in find_targets(config)]:
            report["target_reward_mean"] = float(rewards[targets].mean())
        return report

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        self._algorithm.save_to_path(checkpoint_dir)

    def load_checkpoint(self, checkpoint: Any) -> None:
        self._algorithm.restore_from_path(checkpoint)

    def cleanup(self) -> None:
        self._algorithm.stop()


class _TrialMessages(MessageCallback):
    """A message for each trial that ends or fails."""

    def __init__(self, on_message: OnMessage, sweep: SweepConfig) -> None:
        super().__init__(on_message)
        self._metric = sweep.metric
        self._done = 0

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self._done += 1
        value = (trial.last_result or {}).get(self._metric)
        shown = "" if value is None else f"  {self._metric} {value:.3f}"
        self.on_message(f"trial {trial.trial_id} ended, {self._done} of {len(trials)}{shown}")

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self.on_message(f"trial {trial.trial_id} failed")


class SweepResult(NamedTuple):
    """What a sweep has found."""

    rows: list[dict[str, Any]]
    """A row per trial, the best first and failed ones last."""
    groups: pd.DataFrame | None
    """The same over seeds, by `group_by_settings`; None where no two trials share settings."""
    files: list[Path]
    """What was written."""


def run_sweep(sweep: SweepConfig, folder: Path, on_message: OnMessage) -> SweepResult:
    """Runs all trials under `folder`. Raises: RunError where there already is a sweep."""
    folder.mkdir(parents=True, exist_ok=True)
    with lock_for_writing(folder, PURPOSE):
        if (folder / "sweep.yaml").exists():
            raise RunError(f"{folder}: there already is a sweep; --resume goes on with it")
        text = yaml.safe_dump(sweep.model_dump(mode="json"), sort_keys=False)
        write_durably(folder / "sweep.yaml", text.encode())
        for key, why in sweep.list_without_effect():
            on_message(f"{key} has no effect on what actors learn: {why}")
        return _write_results(sweep, folder, fit_quietly(_make_tuner(sweep, folder, on_message)))


def resume_sweep(folder: Path, on_message: OnMessage) -> SweepResult:
    """Continues the trials that had not ended. Raises: RunError where there is no sweep."""
    if not (folder / "sweep.yaml").is_file():
        raise RunError(f"{folder}: expected a sweep to resume, found no sweep.yaml")
    with lock_for_writing(folder, PURPOSE):
        sweep = SweepConfig.load(folder / "sweep.yaml")
        trials = folder.resolve() / "trials"
        if not Tuner.can_restore(str(trials)):
            # The sweep was killed before Tune had saved its first trial.
            (folder / "sweep.yaml").unlink()
            return run_sweep(sweep, folder, on_message)
        tuner = Tuner.restore(str(trials), trainable=_make_trainable(sweep), resume_errored=True)
        on_message(f"resuming the sweep in {folder}")
        return _write_results(sweep, folder, fit_quietly(tuner))


def _make_tuner(sweep: SweepConfig, folder: Path, on_message: OnMessage) -> Tuner:
    return Tuner(
        _make_trainable(sweep),
        param_space={key: _make_domain(dimension) for key, dimension in sweep.search_space.items()},
        tune_config=tune.TuneConfig(
            metric=sweep.metric,
            mode=sweep.mode,
            num_samples=sweep.num_samples,
            scheduler=_make_scheduler(sweep),
            search_alg=_make_searcher(sweep),
            max_concurrent_trials=sweep.max_concurrent if sweep.searcher == "optuna" else None,
        ),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=str(folder.resolve()),
            checkpoint_config=tune.CheckpointConfig(
                checkpoint_frequency=1,
                num_to_keep=None if sweep.scheduler == "pbt" else KEPT_CHECKPOINTS,
                checkpoint_at_end=True,
            ),
            failure_config=tune.FailureConfig(max_failures=sweep.failure.max_failures),
            callbacks=[_TrialMessages(on_message, sweep)],
            verbose=0,
        ),
    )


def _make_trainable(sweep: SweepConfig) -> Any:
    """The trials, each with bundles of CPUs that may be placed on different nodes."""
    bundles: list[dict[str, float]] = [{"CPU": cpus} for cpus in sweep.trial_cpus]
    return tune.with_resources(
        tune.with_parameters(Trial, sweep=sweep), tune.PlacementGroupFactory(bundles)
    )


def _make_domain(dimension: Dimension) -> Any:
    match dimension:
        case Uniform(low=low, high=high, log=True):
            return tune.loguniform(low, high)
        case Uniform(low=low, high=high):
            return tune.uniform(low, high)
        case _:
            draw = tune.grid_search if dimension.dist == "grid" else tune.choice
            return draw(list(dimension.values))


def _make_scheduler(sweep: SweepConfig) -> TrialScheduler | None:
    match sweep.scheduler:
        case "asha":
            return ASHAScheduler(
                time_attr=STEP_KEY,
                max_t=sweep.stop.env_steps or sweep.make_trial_config({}).total_steps,
                grace_period=sweep.report_every_steps,
                reduction_factor=3,
            )
        case "pbt":
            return PopulationBasedTraining(
                time_attr=STEP_KEY,
                perturbation_interval=sweep.report_every_steps,
                hyperparam_mutations={
                    key: _make_domain(dimension)
                    for key, dimension in sweep.search_space.items()
                    if dimension.dist != "grid"
                },
            )
    return None


def _make_searcher(sweep: SweepConfig) -> Searcher | Any:
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


def _write_results(sweep: SweepConfig, folder: Path, grid: ResultGrid) -> SweepResult:
    """Writes table and figure. A trial has one row, however often it was restarted."""
    if sweep.scheduler == "pbt":
        _remove_older_checkpoints(folder / "trials")
    rows: list[dict[str, Any]] = []
    for number in range(len(grid)):
        result = grid[number]
        metrics: Mapping[str, Any] = result.metrics or {}
        rows.append(
            {
                "trial": number + 1,
                "trial_id": metrics.get("trial_id", ""),
                "settings": dict(result.config or {}),
                "value": metrics.get(sweep.metric),
                "env_steps": metrics.get(STEP_KEY, 0),
                "error": get_error_line(result),
            }
        )
    sign = -1 if sweep.mode == "max" else 1
    rows.sort(key=lambda row: math.inf if row["value"] is None else sign * row["value"])
    files = [folder / "results.json"]
    write_durably(files[0], (json.dumps(rows, indent=2, default=str) + "\n").encode())
    known, groups = [row for row in rows if row["value"] is not None], None
    if known:
        table = pd.DataFrame([row["settings"] | {sweep.metric: row["value"]} for row in known])
        figure = draw_parallel_coordinates(table, [f"trial {row['trial']}" for row in known])
        files += looks.save(figure, folder / "figures", "parallel_coordinates")
        grouped = group_by_settings(rows, sweep.mode)
        if len(grouped) < len(known):
            groups = grouped
            files.append(folder / "groups.csv")
            write_durably(files[-1], grouped.to_csv(index=False).encode())
    return SweepResult(rows, groups, files)


def group_by_settings(rows: list[dict[str, Any]], mode: str) -> pd.DataFrame:
    """A row per choice of settings, the seed left out, in the order of the best mean.

    Columns: the settings, `seeds`, `mean`, `low` and `high`: the 95 % interval of the mean from
    FEWEST_FOR_INTERVAL seeds on, else the least and the greatest value.
    """
    by_settings: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["value"] is not None:
            settings = {key: value for key, value in row["settings"].items() if key != "seed"}
            by_settings.setdefault(json.dumps(settings, sort_keys=True, default=str), []).append(
                row | {"settings": settings}
            )
    groups = []
    for same in by_settings.values():
        values = np.array([row["value"] for row in same], float)
        low, high = float(values.min()), float(values.max())
        if len(values) >= FEWEST_FOR_INTERVAL:
            low, high = mean_interval(values) or (low, high)
        found = {"seeds": len(values), "mean": float(values.mean()), "low": low, "high": high}
        groups.append(same[0]["settings"] | found)
    return pd.DataFrame(groups).sort_values("mean", ascending=mode == "min", kind="stable")


def _remove_older_checkpoints(trials: Path) -> None:
    for trial in trials.iterdir():
        for checkpoint in sorted(trial.glob("checkpoint_*"))[:-KEPT_CHECKPOINTS]:
            shutil.rmtree(checkpoint)
