"""The config of an experiment: arms that are trained on many seeds and compared in pairs."""

import json
from enum import IntEnum
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from slicing_rllib.policies.baselines import BASELINES
from slicing_rllib.radio import make_scenario
from slicing_rllib.random_streams import Stream, derive_run_seed
from slicing_rllib.runs.config_loading import RunFamily, load_family
from slicing_rllib.runs.config_sections import PACKAGE_POLICIES, Name, PolicyName, Section
from slicing_rllib.runs.run_config import RunConfig
from slicing_rllib.storage.errors import ConfigError
from slicing_rllib.storage.safe_yaml import read_document
from slicing_rllib.storage.yaml_validation import validate_document

EXPERIMENTS = Path(__file__).parents[2] / "tune_configs"
"""Experiments that come with a checkout, callable by name."""
CLONED_BASELINE = "traffic_aware"
"""`learns_from` may name this baseline instead of an arm: its clones are the sources."""

UNKNOWN_LIBRARY = "library-of-sources"
"""Stands for the library of an arm's sources, which the run of the experiment makes, in checks."""


class ArmRole(IntEnum):
    """Second element of the spawn key of an arm's seed, so that targets meet unseen traffic."""

    SOURCE = 0
    TARGET = 1


class Arm(Section):
    """One way to train."""

    set: tuple[str, ...] = ()
    """KEY=VALUE settings on top of the experiment's."""
    learns_from: str | None = None
    """The arm whose cells, on the same seed, are candidate sources for every cell of this arm, or
    `traffic_aware`: clones of that baseline. None: the arm learns from scratch."""
    from_scratch: str | None = None
    """The arm that learns the same from scratch on the same network, for the count of steps that
    the transfer saves. None: the arm that it learns from."""
    map_offset: int = Field(default=0, ge=0)
    """Added to the seed that draws the radio map. Arms with different offsets are in different
    networks, so an arm that learns from one with another offset meets a new radio map."""
    kind: Literal["plain", "source_rotation", "source_measure"] = "plain"
    """How the report reads the arm. `source_rotation`: every cell learns from the k-th cell after
    it, so that all such arms together try every pair of cells. `source_measure`: the arm sets a
    measure that chooses the sources. `plain`: neither."""
    title: str = ""
    """Name in tables and figures. Default: the arm's key."""


class ExperimentConfig(RunFamily):
    """Arms, seeds, and what they are compared by."""

    KIND: ClassVar[str] = "experiment"
    FOLDER: ClassVar[Path] = EXPERIMENTS

    name: Name = "experiment"
    """Name of the default output folder, and the title of the report."""
    base: str = "paper"
    """The config that all arms start from: a built-in name or a YAML file."""
    seeds: int = Field(default=10, ge=1)
    """Number of seeds of every arm."""
    arms: dict[str, Arm] = Field(min_length=1)
    """Ways to train, by name. An arm may learn from arms above it."""
    reference: str | None = None
    """The arm that gains are computed over."""
    evaluation_steps: tuple[int, ...] = (50, 200, 1000, 4000)
    """Network steps under the own policy after which every arm is evaluated without noise."""
    table_steps: tuple[int, ...] = ()
    """Those of `evaluation_steps` that are columns of tables. Empty: all of them."""
    baselines: tuple[str, ...] = ("equal", "traffic_aware", "persistence", "oracle")
    """Baselines that are evaluated on the same traffic."""
    cpus_per_seed: int = Field(default=1, ge=1)
    """Cores that Ray Tune reserves for a seed."""
    shows: Literal["ends", "gains", "baseline_gains"] = "ends"
    """What the headline of the report shows. `ends`: the final evaluations. `gains`, where arms
    stop long before the reference does: their gains over it after equal numbers of steps.
    `baseline_gains`: gains over the traffic-aware baseline and over the base policy."""

    def make_arm_config(self, name: str, seed: int, library: str | None) -> RunConfig:
        """The run of an arm on a seed. `library` is the policy library with its sources.

        Raises: ConfigError for settings that cannot be used.
        """
        arm = self.arms[name]
        role = ArmRole.TARGET if arm.learns_from else ArmRole.SOURCE
        settings = [
            # A seed is a network: its radio map and the errors of its measurements differ, too.
            f"env.map_seed={seed + arm.map_offset}",
            f"env.measurement_error.seed={seed}",
            *arm.set,
            f"name={name}",
            f"seed={derive_run_seed(seed, Stream.EXPERIMENT_ARM, role)}",
            f"evaluation.seed={seed}",
        ]
        plain = self.make_run_config(settings)
        is_transfer = arm.learns_from is not None and plain.transfer.method != "none"
        own_policy = PolicyName.TL if is_transfer else PolicyName.DRL
        first_own_step = plain.env.default_action_steps if arm.learns_from else 0
        points = sorted({first_own_step + step for step in (0, *self.evaluation_steps)} - {0})
        derived: dict[str, Any] = {
            "evaluation.evaluation_steps": points,
            "transfer.targets": plain.scenario.cells if arm.learns_from else (),
            "evaluation.policies": (own_policy, *(self.baselines if name == self.first else ())),
        }
        if library is not None:
            derived["transfer.library"] = library
        settings += [f"{key}={json.dumps(value)}" for key, value in derived.items()]
        return self.make_run_config(settings)

    @property
    def shown_steps(self) -> tuple[int, ...]:
        """Own steps that are columns of tables; 0 is before the first update."""
        return (0, *(self.table_steps or self.evaluation_steps))

    @property
    def first(self) -> str:
        """The arm beside which the baselines are evaluated."""
        return next(iter(self.arms))

    @property
    def is_on_papers_network(self) -> bool:
        """Whether every arm runs on the built-in scenario `paper`, which the paper describes."""
        paper = make_scenario("paper")
        return all(self.make_run_config(arm.set).scenario == paper for arm in self.arms.values())

    @property
    def compares_measures(self) -> bool:
        """Whether arms differ in the measure that chooses their sources."""
        return any(arm.kind == "source_measure" for arm in self.arms.values())

    @property
    def rotations(self) -> list[str]:
        """Arms in which every cell learns from the k-th cell after it."""
        return [name for name, arm in self.arms.items() if arm.kind == "source_rotation"]

    @property
    def titles(self) -> dict[str, str]:
        """By arm, its name in tables and figures."""
        return {name: arm.title or name for name, arm in self.arms.items()}


def load_experiment(source: str, seeds: int | None = None) -> ExperimentConfig:
    """The experiment of a YAML file, or of a name in tune_configs/. `seeds` replaces its own.

    Raises: ConfigError for a file, key or value that cannot be used.
    """
    changes = {} if seeds is None else {"seeds": seeds}
    experiment, where = load_family(ExperimentConfig, source, changes)
    _check_arms(experiment, where)
    _check_names(experiment, where)
    return experiment


def read_saved_experiment(folder: Path) -> ExperimentConfig:
    """The `experiment.yaml` that a run of an experiment or its report has left in `folder`.

    Raises: ConfigError for a file that is damaged or missing.
    """
    path = folder / "experiment.yaml"
    document = read_document(path, f"{path}: expected the config of an experiment")
    return validate_document(ExperimentConfig, document)


def _check_arms(experiment: ExperimentConfig, where: str) -> None:
    sources = [CLONED_BASELINE]
    for name, arm in experiment.arms.items():
        if name in (*BASELINES, *PACKAGE_POLICIES):
            raise ConfigError(f"{where}: arms.{name}: this is the name of a baseline")
        if arm.learns_from is not None and arm.learns_from not in sources:
            raise ConfigError(
                f"{where}: arms.{name}.learns_from: expected one of {', '.join(sources)}, "
                f"got {arm.learns_from!r}"
            )
        sources.append(name)
        try:
            library = UNKNOWN_LIBRARY if arm.learns_from else None
            config = experiment.make_arm_config(name, 0, library)
        except ConfigError as error:
            raise ConfigError(f"{where}: arms.{name}: {error}") from error
        rotates = (config.transfer.source or "").startswith("next:")
        if arm.kind == "source_rotation" and not (rotates and arm.learns_from):
            raise ConfigError(
                f"{where}: arms.{name}: expected learns_from and a setting transfer.source=next:K "
                "for kind source_rotation"
            )


def _check_names(experiment: ExperimentConfig, where: str) -> None:
    for baseline in experiment.baselines:
        if baseline not in (*BASELINES, *PACKAGE_POLICIES):
            known = ", ".join((*BASELINES, *PACKAGE_POLICIES))
            raise ConfigError(f"{where}: baselines: expected some of {known}, got {baseline!r}")
    for name, arm in experiment.arms.items():
        if arm.from_scratch is not None and arm.from_scratch not in experiment.arms:
            raise ConfigError(
                f"{where}: arms.{name}.from_scratch: expected an arm, got {arm.from_scratch!r}"
            )
    for step in experiment.table_steps:
        if step not in experiment.evaluation_steps:
            raise ConfigError(f"{where}: table_steps: {step} is none of the evaluation_steps")
    if experiment.reference is not None and experiment.reference not in experiment.arms:
        raise ConfigError(f"{where}: reference: expected an arm, got {experiment.reference!r}")
