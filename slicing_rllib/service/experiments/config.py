"""What an experiment is told: arms that are trained on many seeds and compared, pair by pair."""

import json
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from slicing_rllib.baselines import BASELINES
from slicing_rllib.service.config import RunConfig, document_of, load_config
from slicing_rllib.service.config_errors import describe_first_problem
from slicing_rllib.service.errors import ConfigError
from slicing_rllib.service.renamed_keys import EXPERIMENT_KEYS, rename_keys

EXPERIMENTS = Path(__file__).parents[3] / "tune_configs"
"""Experiments that come with a checkout, callable by name."""
CLONED = "traffic_aware"
"""Not an arm: policies cloned from this baseline, to learn from."""
_SPAWN_SEED, _LEARNING, _TRANSFER = 1_000_007, 0, 1


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Arm(_Section):
    """One way to train."""

    set: tuple[str, ...] = ()
    """KEY=VALUE settings on top of the experiment's."""
    learns_from: str | None = None
    """An arm of the same seed whose cells are candidates for every cell of this one; on traffic
    that the other has not seen. Or `traffic_aware`: clones of that baseline."""
    title: str = ""
    """For tables and figures; the arm's name by default."""


class ExperimentConfig(_Section):
    """Arms, seeds, and what to compare them by."""

    name: str = Field(default="experiment", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    base: str = "paper"
    """The config that all arms start from: a built-in name or a YAML file."""
    set: tuple[str, ...] = ()
    """KEY=VALUE settings for all arms."""
    seeds: int = Field(default=10, ge=1)
    arms: dict[str, Arm] = Field(min_length=1)
    reference: str | None = None
    """The arm that gains are counted over."""
    evaluation_steps: tuple[int, ...] = (50, 200, 1000, 4000)
    """Steps under its own policy at which every arm is evaluated without noise."""
    baselines: tuple[str, ...] = ("equal", "traffic_aware", "persistence", "oracle")
    """Evaluated on the same traffic."""
    cpus_per_seed: int = Field(default=1, ge=1)
    shows: Literal["ends", "gains"] = "ends"
    """What a README says of it: where arms end, or, where they stop long before the reference does,
    what they gained over it at equal own steps."""

    def arm_config(self, name: str, seed: int, library: str | None) -> RunConfig:
        """The run of an arm. Raises: ConfigError for settings that cannot be."""
        arm = self.arms[name]
        role = _TRANSFER if arm.learns_from else _LEARNING
        settings = [
            *self.set,
            *arm.set,
            f"name={name}",
            f"seed={_seed(seed, role)}",
            f"evaluation.seed={seed}",
        ]
        plain = load_config(self.base, settings)
        cells = list(plain.scenario.cells) if arm.learns_from else []
        window = plain.env.default_action_steps if arm.learns_from else 0
        steps = sorted({window + step for step in (0, *self.evaluation_steps)} - {0})
        settings.append(f"evaluation.evaluation_steps={json.dumps(steps)}")
        settings.append(f"transfer.targets={json.dumps(cells)}")
        own = "tl" if arm.learns_from and plain.transfer.method != "none" else "drl"
        policies = [own, *(self.baselines if name == self.first else ())]
        settings.append(f"evaluation.policies={json.dumps(policies)}")
        if library is not None:
            settings.append(f"transfer.library={json.dumps(library)}")
        return load_config(self.base, settings)

    @property
    def first(self) -> str:
        """The arm beside which the baselines are evaluated."""
        return next(iter(self.arms))

    @property
    def on_papers_network(self) -> bool:
        """Whether every arm is run on the scenario that the paper's numbers are of."""
        settings = [*self.set, *(each for arm in self.arms.values() for each in arm.set)]
        return self.base == "paper" and not any(each.startswith("scenario") for each in settings)

    @property
    def titles(self) -> dict[str, str]:
        return {name: arm.title or name for name, arm in self.arms.items()}


def load_experiment(source: str, seeds: int | None = None) -> ExperimentConfig:
    """The experiment of that file, or of that name in tune_configs/.

    Raises: ConfigError for a file, key or value that cannot be used.
    """
    known = EXPERIMENTS / f"{source}.yaml"
    if not known.is_file() and not Path(source).is_file():
        names = ", ".join(sorted(path.stem for path in EXPERIMENTS.glob("*.yaml")))
        raise ConfigError(f"experiment {source!r}: expected a YAML file or one of {names}")
    document, text, where = document_of(str(known) if known.is_file() else source)
    rename_keys(document, EXPERIMENT_KEYS, where)
    if seeds is not None:
        document["seeds"] = seeds
    try:
        experiment = ExperimentConfig.model_validate(document)
    except ValidationError as error:
        schema = ExperimentConfig.model_json_schema()
        raise ConfigError(describe_first_problem(error, where, text, schema=schema)) from error
    base = Path(where).parent / experiment.base
    if base.is_file():
        experiment = experiment.model_copy(update={"base": str(base.resolve())})
    _check(experiment, where)
    return experiment


def _check(experiment: ExperimentConfig, where: str) -> None:
    before: list[str] = [CLONED]
    for name, arm in experiment.arms.items():
        if name in BASELINES:
            raise ConfigError(f"{where}: arms.{name}: this is the name of a baseline")
        if arm.learns_from is not None and arm.learns_from not in before:
            raise ConfigError(
                f"{where}: arms.{name}.learns_from: expected one of {', '.join(before)}, "
                f"got {arm.learns_from!r}"
            )
        before.append(name)
        try:
            experiment.arm_config(name, 0, None)
        except ConfigError as error:
            raise ConfigError(f"{where}: arms.{name}: {error}") from error
    for baseline in experiment.baselines:
        if baseline not in BASELINES:
            known = ", ".join(BASELINES)
            raise ConfigError(f"{where}: baselines: expected some of {known}, got {baseline!r}")
    if experiment.reference is not None and experiment.reference not in experiment.arms:
        raise ConfigError(f"{where}: reference: expected an arm, got {experiment.reference!r}")


def _seed(seed: int, role: int) -> int:
    """Training's own, apart for those who learn first and those who learn from them."""
    sequence = np.random.SeedSequence(seed, spawn_key=(_SPAWN_SEED, role))
    return int(sequence.generate_state(1)[0] % 2**31)
