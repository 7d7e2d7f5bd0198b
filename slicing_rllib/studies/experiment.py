"""Runs an experiment on Ray Tune: every arm on every seed, and only those that are not done yet."""

import io
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import yaml
from ray import tune
from ray.tune import Callback, ResultGrid, Trainable, Tuner

from slicing_rllib.runs.experience import make_bundles
from slicing_rllib.runs.progress import OnMessage, ProgressListener
from slicing_rllib.runs.ray_session import quieten, ray_session
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.runs.training import train
from slicing_rllib.storage import write_durably
from slicing_rllib.storage.errors import ConfigError, Interrupted, RunError
from slicing_rllib.studies.cloned_sources import add_clones
from slicing_rllib.studies.foreign.training import require_learner, train_foreign
from slicing_rllib.studies.study_configs import CLONED_BASELINE, ExperimentConfig
from slicing_rllib.transfer import PolicyLibrary


def ignore_message(text: str) -> None:
    """A callback that does nothing."""


class MessageCallback(Callback):
    """A Tune callback that reports trials with `on_message`.

    Tune pickles its callbacks; an unpickled one ignores messages, as a terminal cannot be pickled.
    """

    def __init__(self, on_message: OnMessage) -> None:
        self.on_message = on_message

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"on_message": ignore_message}


def fit_quietly(tuner: Tuner) -> ResultGrid:
    """Runs all trials. Tune's own output goes to stderr: stdout is for the command's result."""
    with redirect_stdout(sys.stderr if sys.stderr.isatty() else io.StringIO()):
        return tuner.fit()


def get_error_line(result: Any) -> str | None:
    """The last line of what a trial failed with; None where it did not."""
    return str(result.error).strip().splitlines()[-1] if result.error else None


MAX_FAILURES = 2
"""How often Tune restarts a seed whose process has failed."""


def get_arm_folder(folder: Path, seed: int, arm: str) -> Path:
    """The run directory of an arm on a seed."""
    return folder / f"seed_{seed:03d}" / arm


def is_done(folder: Path, seed: int, arm: str) -> bool:
    """Whether an arm has finished on a seed."""
    return (get_arm_folder(folder, seed, arm) / "summary.json").is_file()


def run_experiment(experiment: ExperimentConfig, folder: Path, on_message: OnMessage) -> None:
    """Trains all arms on all seeds, except those that are done. Can be called again at any time.

    Raises: ConfigError where the folder holds another experiment; RunError where an arm failed;
    Interrupted after a signal.
    """
    path = folder / "experiment.yaml"
    if path.is_file() and not _continues(ExperimentConfig.load(path), experiment):
        raise ConfigError(f"{folder}: holds another experiment; --out names another folder")
    for name in experiment.foreign:
        require_learner(experiment.arms[name].learner)
    folder.mkdir(parents=True, exist_ok=True)
    plain = experiment.model_dump(mode="json")
    write_durably(path, yaml.safe_dump(plain, sort_keys=False).encode())
    where = str(folder.resolve())
    tuner = Tuner(
        tune.with_resources(
            tune.with_parameters(_SeedTrial, experiment=experiment, folder=where),
            {"CPU": experiment.cpus_per_seed},
        ),
        param_space={"seed": tune.grid_search(list(range(experiment.seeds)))},
        run_config=tune.RunConfig(
            name="tune",
            storage_path=where,
            failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
            callbacks=[_ArmMessages(on_message, experiment)],
            verbose=0,
        ),
    )
    with ray_session(2):
        results = fit_quietly(tuner)
    failed = [line for result in results if (line := get_error_line(result))]
    if failed:
        raise RunError(f"{folder}: {len(failed)} seeds failed, the first with: {failed[0]}")
    left = [
        (seed, arm)
        for seed in range(experiment.seeds)
        for arm in experiment.arms
        if not is_done(folder, seed, arm)
    ]
    if left:
        # After a signal Tune returns without an error.
        raise Interrupted(f"{folder}: stopped with {len(left)} runs to go; call again to go on")


def run_arm(experiment: ExperimentConfig, folder: Path, seed: int, arm: str) -> dict[str, Any]:
    """The summary of an arm on a seed; trains it first, unless it is done."""
    run = RunDirectory(get_arm_folder(folder, seed, arm))
    if is_done(folder, seed, arm):
        return run.summary()
    library = _fill_source_library(experiment, folder, seed, arm)
    config = experiment.make_arm_config(arm, seed, library)
    started = (run.path / "config.yaml").is_file()
    if not started:
        RunDirectory.create(run.path, config)
    foreign = experiment.arms[arm]
    if foreign.learner:
        return train_foreign(config, run, foreign.learner, shared=foreign.policies == "shared")
    return train(config, run, ProgressListener(), resume=started, draw_figures=False)


class _SeedTrial(Trainable):
    """All arms on one seed, an arm per step."""

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
        return {"arm": arm, "reward_mean": own["reward_mean"], "done": not self._left}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Saves nothing: everything is in the folder of the experiment."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Loads nothing, as `save_checkpoint` saves nothing."""


class _ArmMessages(MessageCallback):
    """A message for each arm that is done."""

    def __init__(self, on_message: OnMessage, experiment: ExperimentConfig) -> None:
        super().__init__(on_message)
        self._total = experiment.seeds * len(experiment.arms)
        self._done = 0

    def on_trial_result(
        self, iteration: int, trials: list, trial: Any, result: dict, **info: Any
    ) -> None:
        self._done += 1
        self.on_message(
            f"{self._done} of {self._total}: {result['arm']} on seed {trial.config['seed']}, "
            f"reward {result['reward_mean']:.3f}"
        )


def _continues(saved: ExperimentConfig, wanted: ExperimentConfig) -> bool:
    """Whether finished arms of `saved` can be kept: seeds, arms and presentation may differ."""
    presentation = {"title", "kind", "from_scratch"}
    same_arms = all(
        saved.arms[name].model_dump(exclude=presentation)
        == wanted.arms[name].model_dump(exclude=presentation)
        for name in saved.arms.keys() & wanted.arms.keys()
    )
    others = {"seeds", "arms", "shows", "table_steps"}
    return same_arms and saved.model_dump(exclude=others) == wanted.model_dump(exclude=others)


def _fill_source_library(
    experiment: ExperimentConfig, folder: Path, seed: int, arm: str
) -> str | None:
    """The path of the policy library that an arm learns from, which the first call fills."""
    source = experiment.arms[arm].learns_from
    if source is None:
        return None
    where = get_arm_folder(folder, seed, f"{source}-library").resolve()
    if not (where / "complete").is_file():
        library = PolicyLibrary(str(where))
        if source == CLONED_BASELINE:
            add_clones(library, experiment.make_arm_config(experiment.first, seed, None), source)
        else:
            run = RunDirectory.open(get_arm_folder(folder, seed, source))
            for cell, bundle in make_bundles(run, run.config()).items():
                library.add(cell, bundle)
        write_durably(where / "complete", b"")
    return str(where)
