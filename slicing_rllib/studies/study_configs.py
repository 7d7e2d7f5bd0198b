"""The configs of studies, which are many runs that start from one config.

An experiment trains arms on many seeds and compares them in pairs; a sweep searches settings. Both
check all of their runs when they are built, so that no run fails for its settings later.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import Field, model_validator

from slicing_rllib.policies.baselines import BASELINES
from slicing_rllib.policies.td3_settings import TRANSFERRED
from slicing_rllib.radio import make_scenario
from slicing_rllib.random_streams import Stream, derive_run_seed
from slicing_rllib.runs.config_loading import load_config
from slicing_rllib.runs.run_config import PACKAGE_POLICIES, Name, RunConfig, Section
from slicing_rllib.storage.errors import ConfigError
from slicing_rllib.storage.safe_yaml import read_document
from slicing_rllib.storage.yaml_validation import make_setting_error, validate_document

_PACKAGE = Path(__file__).parents[1]
TUNE_CONFIGS = next(
    folder
    for folder in (_PACKAGE / "tune_configs", _PACKAGE.parent / "tune_configs")
    if folder.is_dir()
)
"""Inside the package where it was installed from a wheel, beside it in a checkout."""
AnyStudy = TypeVar("AnyStudy", bound="Study")


class Study(Section):
    """Runs that start from one config and differ in settings."""

    KIND: ClassVar[str]
    """What messages call such a study."""
    FOLDER: ClassVar[Path]
    """Folder with the studies that come with a checkout, callable by name."""

    name: Name
    """Name of the default output folder, and the title of reports."""
    base: str
    """The config that all runs start from: a built-in name or a YAML file, whose path may be
    relative to the file that names it."""
    set: tuple[str, ...] = ()
    """KEY=VALUE settings for all runs."""

    @classmethod
    def load(cls: type[AnyStudy], source: str | Path, **changes: Any) -> AnyStudy:
        """The study of a YAML file, or of a name in FOLDER. `changes` that are not None
        replace keys of the file.

        Raises: ConfigError for a file, key or value that cannot be used.
        """
        known = cls.FOLDER / f"{source}.yaml"
        names = ", ".join(sorted(path.stem for path in cls.FOLDER.glob("*.yaml")))
        expected = f"{cls.KIND} {str(source)!r}: expected a YAML file or one of {names}"
        document = read_document(known if known.is_file() else Path(source), expected)
        document.content.update({k: value for k, value in changes.items() if value is not None})
        base = document.content.get("base")
        if isinstance(base, str) and (path := Path(document.where).parent / base).is_file():
            document.content["base"] = str(path.resolve())
        return validate_document(cls, document)

    def make_run_config(self, settings: Sequence[str] = ()) -> RunConfig:
        """The config of a run with further settings of its own. Raises: ConfigError."""
        return load_config(self.base, [*self.set, *settings])


@contextmanager
def _name_setting(*path: str) -> Iterator[None]:
    """Says of an error in the config of a run which setting of the study causes it."""
    try:
        yield
    except ConfigError as error:
        raise make_setting_error(path, str(error)) from error


CLONED_BASELINE = "traffic_aware"
"""`learns_from` may name this baseline instead of an arm: its clones are the sources."""

POLICIES = (*BASELINES, *PACKAGE_POLICIES)
"""Policies that are not trained: what `baselines` may name, and arms may not be called."""
LEARNERS = ("sb3:PPO", "sb3:TD3", "sb3:SAC", "rllib:PPO", "rllib:SAC", "torchrl:MAPPO")
"""Learners of other projects: library and algorithm."""
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
    learner: str = ""
    """A learner of another project, such as `sb3:TD3`. Empty: the TD3 of this package."""
    policies: Literal["shared", "per_cell"] = "per_cell"
    """Whether such a learner trains one policy for all cells or one per cell."""
    title: str = ""
    """Name in tables and figures. Default: the arm's key."""


class ExperimentConfig(Study):
    """Arms, seeds, and what they are compared by."""

    KIND: ClassVar[str] = "experiment"
    FOLDER: ClassVar[Path] = TUNE_CONFIGS

    name: Name = "experiment"
    base: str = "paper"
    seeds: int = Field(default=10, ge=1)
    """Number of seeds of every arm."""
    arms: dict[str, Arm] = Field(min_length=1)
    """Ways to train, by name. An arm may learn from arms above it."""
    reference: str | None = None
    """The arm that gains are computed over."""
    evaluation_steps: tuple[int, ...] = (50, 200, 1000, 4000)
    """Environment steps under the own policy after which every arm is evaluated without noise."""
    table_steps: tuple[int, ...] = ()
    """Those of `evaluation_steps` that are columns of tables. Empty: all of them."""
    baselines: tuple[str, ...] = ("equal", "traffic_aware", "persistence", "oracle")
    """Baselines that are evaluated on the same traffic."""
    cpus_per_seed: int = Field(default=1, ge=1)
    """Cores that Ray Tune reserves for a seed."""
    shows: Literal["ends", "gains", "baseline_gains", "costs"] = "ends"
    """What the headline of the report shows. `ends`: the final evaluations. `gains`, where arms
    stop long before the reference does: their gains over it after equal numbers of steps.
    `baseline_gains`: gains over the traffic-aware baseline and over the base policy.
    `costs`: rewards and the CPU seconds that learning took."""

    @model_validator(mode="after")
    def _check_arms(self) -> "ExperimentConfig":
        sources = [CLONED_BASELINE]
        for name, arm in self.arms.items():
            if name in POLICIES:
                raise make_setting_error(("arms", name), "this is the name of a baseline")
            _check_name(("arms", name, "learns_from"), arm.learns_from, sources)
            self._check_learner(name, arm)
            sources.append(name)
            with _name_setting("arms", name):
                library = UNKNOWN_LIBRARY if arm.learns_from else None
                config = self.make_arm_config(name, 0, library)
            source = config.transfer.source or ""
            begin = max((each.default_action_until for each in config.deployments), default=0)
            # An arm that ends just there shows its source's policy without a step of its own.
            if begin > config.total_steps:
                what = f"the default action until step {begin} leaves none of {config.total_steps}"
                raise make_setting_error(("arms", name), f"{what} steps to the own policy")
            if arm.kind == "source_rotation" and not (
                arm.learns_from and source.startswith("next:")
            ):
                raise make_setting_error(
                    ("arms", name),
                    "expected learns_from and a setting transfer.source=next:K for kind "
                    "source_rotation",
                )
        for baseline in self.baselines:
            _check_name(("baselines",), baseline, POLICIES)
        for name, arm in self.arms.items():
            _check_name(("arms", name, "from_scratch"), arm.from_scratch, self.arms)
        _check_name(("reference",), self.reference, self.arms)
        for step in self.table_steps:
            if step not in self.evaluation_steps:
                what = f"{step} is none of the evaluation_steps"
                raise make_setting_error(("table_steps",), what)
        return self

    def _check_learner(self, name: str, arm: Arm) -> None:
        """Learners of other projects train from the first step, beside an arm of this package."""
        if not arm.learner:
            if arm.policies == "shared":
                raise make_setting_error(("arms", name, "policies"), "expected a learner beside it")
            return
        _check_name(("arms", name, "learner"), arm.learner, LEARNERS)
        if name == self.first:
            raise make_setting_error(
                ("arms", name), "expected an arm without learner first: figures show its cells"
            )
        with _name_setting("arms", name):
            config = self.make_arm_config(name, 0, None)
        if arm.learns_from or config.deployments or config.env.events:
            what = "learners of other projects expect all cells under their own policy throughout"
            raise make_setting_error(("arms", name, "learner"), what)

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
        own_policy = plain.learning.learner + (TRANSFERRED if is_transfer else "")
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
    def foreign(self) -> list[str]:
        """Arms with a learner of another project."""
        return [name for name, arm in self.arms.items() if arm.learner]

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


def _check_name(path: Sequence[str], name: str | None, known: Iterable[str]) -> None:
    if name is not None and name not in known:
        what = f"expected one of {', '.join(known)}, got {name!r}"
        raise make_setting_error(path, what)


class Uniform(Section):
    """A number drawn uniformly from an interval, or log-uniformly."""

    dist: Literal["uniform"]
    """Selects this distribution."""
    low: float
    """Lower end, included."""
    high: float
    """Upper end."""
    log: bool = False
    """Whether the logarithm is uniform; both ends must be positive then."""

    @model_validator(mode="after")
    def _check_ends(self) -> "Uniform":
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(
                f"expected low < high (both positive for log), got {self.low} and {self.high}"
            )
        return self


class Values(Section):
    """The values of a list."""

    dist: Literal["choice", "grid"]
    """`choice` draws one value at random. `grid` tries every value; several grids are tried in all
    combinations."""
    values: tuple[Any, ...] = Field(min_length=1)
    """Values to draw from, or to try."""


Dimension = Annotated[Uniform | Values, Field(discriminator="dist")]


class Stop(Section):
    """When a trial ends."""

    env_steps: int | None = Field(default=None, ge=1)
    """Environment steps of a trial. Default: all steps of its run."""


class Failure(Section):
    """What happens to trials whose process fails."""

    max_failures: int = Field(default=3, ge=0)
    """How often a trial is restarted from its last checkpoint."""


WITHOUT_EFFECT: Mapping[str, tuple[str, ...]] = {
    "critic": ("critic_delay", "blend_critic_weight"),
    "counterfactual": (
        *("critic_lr", "critic_hiddens", "critic_delay", "policy_delay", "blend_critic_weight"),
        *("gamma", "tau", "target_noise", "target_noise_clip"),
    ),
    "blend": ("critic_delay", "policy_delay"),
}
"""Settings of `learning` that an actor does not depend on, by its objective."""


class SweepConfig(Study):
    """Runs that differ in a few settings, and how they are chosen and compared."""

    KIND: ClassVar[str] = "sweep"
    FOLDER: ClassVar[Path] = TUNE_CONFIGS / "sweeps"

    name: Name = "sweep"
    base: str = "quick"
    search_space: dict[str, Dimension] = Field(min_length=1)
    """By `key.path` of a setting, the values that it may take."""
    num_samples: int = Field(default=1, ge=1)
    """Draws from the search space. With grids: how often the whole grid is tried."""
    scheduler: Literal["none", "asha", "pbt"] = "none"
    """`asha` stops bad trials early (asynchronous successive halving); `pbt` lets bad trials copy
    good ones and varies their settings (population-based training)."""
    searcher: Literal["random", "optuna"] = "random"
    """How settings are drawn. `optuna`: Bayesian search; needs the extra `search`."""
    metric: Literal["evaluation_reward_mean", "target_reward_mean", "reward_mean"] = (
        "evaluation_reward_mean"
    )
    """What trials are compared by: mean reward of all cells, or of the cells that are brought up by
    transfer, on unseen traffic without exploration noise; or of all cells while they learn."""
    mode: Literal["max", "min"] = "max"
    """Whether a larger or a smaller metric is better."""
    stop: Stop = Stop()
    """When a trial ends."""
    report_every_steps: int = Field(default=500, ge=1)
    """Environment steps between two reports of a trial. It is evaluated, checkpointed and possibly
    stopped at each of them."""
    failure: Failure = Failure()
    """What happens to trials whose process fails."""
    cpus_per_trial: int = Field(default=1, ge=1)
    """Cores of a trial's driver. Its env runners and learners take one more each."""
    max_concurrent: int | None = Field(default=None, ge=1)
    """Trials at a time. Default: as many as there are cores for."""
    seed: int = Field(default=0, ge=0)
    """Seed of the search. Runs have the seed of their own config."""

    @model_validator(mode="after")
    def _check_trials(self) -> "SweepConfig":
        with _name_setting():
            config = self.make_trial_config({})
        if self.metric == "target_reward_mean" and not find_targets(config):
            what = "expected cells that come up or transfer.targets for target_reward_mean"
            raise make_setting_error(("metric",), what)
        # Where both ends of an interval can be used, so can the values between them.
        for key, values in self.search_space.items():
            ends = (values.low, values.high) if isinstance(values, Uniform) else values.values
            for value in ends:
                with _name_setting("search_space", key):
                    self.make_trial_config({key: value})
        return self

    def make_trial_config(self, chosen: Mapping[str, Any]) -> RunConfig:
        """The run config of a trial. Raises: ConfigError naming the setting that cannot be used."""
        return self.make_run_config([f"{key}={json.dumps(value)}" for key, value in chosen.items()])

    def list_without_effect(self) -> list[tuple[str, str]]:
        """Settings that are searched although no actor depends on them, each with the reason."""
        objective = self.make_trial_config({}).learning.actor_objective
        if "learning.actor_objective" in self.search_space:
            return []
        why = f"learning.actor_objective is {objective}"
        ignored = WITHOUT_EFFECT[objective]
        return [(key, why) for key in self.search_space if key.removeprefix("learning.") in ignored]

    @property
    def trial_cpus(self) -> list[int]:
        """CPUs of a trial: those of its driver, and one for each env runner and learner."""
        return [self.cpus_per_trial, *[1] * (self.make_trial_config({}).cpus - 1)]


def find_targets(config: RunConfig) -> list[str]:
    """Cells that are brought up by transfer: those that join the network, and transfer targets."""
    joining = [deployment.cell for deployment in config.env.deployments if deployment.off_until]
    return sorted({*joining, *config.transfer.targets})


def load_study(source: str) -> ExperimentConfig | SweepConfig | None:
    """The experiment or sweep of a name or YAML file; None where that is neither.

    Raises: ConfigError for a study that cannot be used.
    """
    for study, key in ((ExperimentConfig, "arms"), (SweepConfig, "search_space")):
        if (study.FOLDER / f"{source}.yaml").is_file():
            return study.load(source)
        if Path(source).is_file() and key in read_document(Path(source), source).content:
            return study.load(source)
    return None
