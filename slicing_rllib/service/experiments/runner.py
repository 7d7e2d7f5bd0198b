"""Experiments on Ray Tune: every arm on every seed, each kept, so that nothing is done twice."""

import io
import json
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import yaml
from ray import tune
from ray.tune import Callback, FailureConfig, Trainable, TuneConfig, Tuner
from ray.tune import RunConfig as TuneRunConfig

from slicing_rllib.service.config import RunConfig
from slicing_rllib.service.errors import ConfigError, Interrupted, RunError
from slicing_rllib.service.experiments.behaviour_cloning import add_clones
from slicing_rllib.service.experiments.config import CLONED, ExperimentConfig
from slicing_rllib.service.ray_session import quieten, ray_session
from slicing_rllib.service.runs.policy_bundles import bundles_of
from slicing_rllib.service.runs.progress import ProgressListener
from slicing_rllib.service.runs.run_directory import RunDirectory, write_atomically
from slicing_rllib.service.runs.training import train
from slicing_rllib.transfer import PolicyLibrary

Says = Callable[[str], None]
MOST_FAILURES = 2


def arm_folder(folder: Path, seed: int, arm: str) -> Path:
    return folder / f"seed_{seed:03d}" / arm


def run_experiment(experiment: ExperimentConfig, folder: Path, says: Says) -> None:
    """Trains what is not there yet. Interrupted, it goes on where it was.

    Raises: ConfigError where the folder holds another experiment; RunError where an arm failed;
    Interrupted after a signal.
    """
    _claim(experiment, folder)
    tuner = Tuner(
        tune.with_resources(
            tune.with_parameters(_Seed, experiment=experiment, folder=str(folder.resolve())),
            {"CPU": experiment.cpus_per_seed},
        ),
        param_space={"seed": tune.grid_search(list(range(experiment.seeds)))},
        tune_config=TuneConfig(num_samples=1),
        run_config=TuneRunConfig(
            name="tune",
            storage_path=str(folder.resolve()),
            failure_config=FailureConfig(max_failures=MOST_FAILURES),
            callbacks=[_Progress(says, experiment)],
            verbose=0,
        ),
    )
    with (
        ray_session(2),
        redirect_stdout(sys.stderr if sys.stderr.isatty() else io.StringIO()),
    ):
        results = tuner.fit()
    failed = [str(result.error).strip().splitlines()[-1] for result in results if result.error]
    if failed:
        raise RunError(f"{folder}: {len(failed)} seeds failed, the first with: {failed[0]}")
    left = [
        (seed, arm)
        for seed in range(experiment.seeds)
        for arm in experiment.arms
        if not (arm_folder(folder, seed, arm) / "summary.json").is_file()
    ]
    if left:
        # Tune ends without an error when somebody asks it to.
        raise Interrupted(f"{folder}: stopped with {len(left)} runs to go; call again to go on")


def run_arm(experiment: ExperimentConfig, folder: Path, seed: int, arm: str) -> dict[str, Any]:
    """The summary of an arm on a seed, trained or found."""
    run = RunDirectory(arm_folder(folder, seed, arm))
    if (run.path / "summary.json").is_file():
        return run.summary()
    library = _library(experiment, folder, seed, arm)
    config = experiment.arm_config(arm, seed, library)
    started = (run.path / "config.yaml").is_file()
    if not started:
        RunDirectory.create(run.path, config)
    return train(config, run, ProgressListener(), resume=started, draws=False)


class _Seed(Trainable):
    """One seed: an arm per step."""

    def setup(
        self,
        config: dict[str, Any],
        experiment: ExperimentConfig | None = None,
        folder: str = "",
    ) -> None:
        assert experiment is not None
        quieten()
        self._experiment, self._folder, self._seed = experiment, Path(folder), config["seed"]
        self._left = list(experiment.arms)

    def step(self) -> dict[str, Any]:
        arm = self._left.pop(0)
        summary = run_arm(self._experiment, self._folder, self._seed, arm)
        own = next(iter(summary["policies"].values()))
        reward = own["reward_mean"]
        return {"arm": arm, "reward_mean": reward, "done": not self._left}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: all that counts is in the folder of the experiment."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """As `save_checkpoint`."""


class _Progress(Callback):
    """A line per arm that is done. Comes back from a pickle silent."""

    def __init__(self, says: Says, experiment: ExperimentConfig) -> None:
        self._says = says
        self._total = experiment.seeds * len(experiment.arms)
        self._done = 0

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_says": _silent}

    def on_trial_result(
        self, iteration: int, trials: list, trial: Any, result: dict, **info: Any
    ) -> None:
        self._done += 1
        seed = trial.config["seed"]
        self._says(
            f"{self._done} of {self._total}: {result['arm']} on seed {seed}, "
            f"reward {result['reward_mean']:.3f}"
        )


def _silent(message: str) -> None: ...


def _claim(experiment: ExperimentConfig, folder: Path) -> None:
    """The folder is this experiment's, whatever number of seeds and arms it had before."""
    path = folder / "experiment.yaml"
    plain = experiment.model_dump(mode="json")
    if path.is_file():
        there = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not _continues(there, json.loads(json.dumps(plain))):
            raise ConfigError(f"{folder}: holds another experiment; --out names another folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, yaml.safe_dump(plain, sort_keys=False).encode())


def _continues(there: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """No arm means something else than it did; how it is shown does not matter."""
    grown = {"seeds": 0, "arms": {}, "shows": ""}
    arms, before = _untitled(wanted["arms"]), _untitled(there["arms"])
    alike = all(arms[name] == before[name] for name in arms.keys() & before.keys())
    return alike and there | grown == wanted | grown


def _untitled(arms: dict[str, Any]) -> dict[str, Any]:
    return {name: arm | {"title": ""} for name, arm in arms.items()}


def _library(experiment: ExperimentConfig, folder: Path, seed: int, arm: str) -> str | None:
    """Where the arm finds whom it learns from; made on the first call."""
    source = experiment.arms[arm].learns_from
    if source is None:
        return None
    where = arm_folder(folder, seed, f"{source}-library").resolve()
    if not (where / "complete").is_file():
        library = PolicyLibrary(str(where))
        if source == CLONED:
            add_clones(library, _plain(experiment, seed), CLONED)
        else:
            run = RunDirectory.open(arm_folder(folder, seed, source))
            for cell, bundle in bundles_of(run, run.config()).items():
                library.add(cell, bundle)
        write_atomically(where / "complete", b"")
    return str(where)


def _plain(experiment: ExperimentConfig, seed: int) -> RunConfig:
    """The network that clones are made on."""
    return experiment.arm_config(experiment.first, seed, None)
