"""What a run is told: a YAML file or a built-in name, then `--set`, checked as a whole."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from slicing_rllib.baselines import BASELINES
from slicing_rllib.env import Deployment
from slicing_rllib.radio import Scenario, built_in
from slicing_rllib.service.config_errors import describe_first_problem
from slicing_rllib.service.errors import ConfigError
from slicing_rllib.service.renamed_keys import RUN_KEYS, rename_keys
from slicing_rllib.transfer import TransferSettings


def _described(value: Any) -> Any:
    """A built-in scenario by name; one `like` another, with changes; or a whole description."""
    if isinstance(value, str):
        return built_in(value)
    if isinstance(value, Mapping) and "like" in value:
        changes = {key: part for key, part in value.items() if key != "like"}
        return _merged(_scenario_as_dict(built_in(str(value["like"]))), changes)
    return value


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EnvSection(_Section):
    """The network as the cells see it."""

    message: Literal["none", "mean_load", "per_neighbour", "all_cells"] = "mean_load"
    episode_steps: int = Field(default=500, ge=1)
    map_seed: int = Field(default=0, ge=0)
    deployments: tuple[Deployment, ...] = ()
    """Cells that come up while the others learn."""
    default_action_steps: int = Field(default=200, ge=0)
    """Where cells are to be compared: steps under the default action at the start."""


class NetworkSection(_Section):
    """Networks of a single cell."""

    actor_hiddens: tuple[int, ...] = (48, 24)
    critic_hiddens: tuple[int, ...] = (64, 24)


class LearningSection(_Section):
    """TD3. Defaults: the paper's; what it leaves open, Fujimoto et al.'s."""

    exploration_steps: int = Field(default=3000, ge=0)
    training_steps: int = Field(default=5500, ge=0)
    actor_lr: float = Field(default=5e-4, gt=0)
    critic_lr: float = Field(default=1e-3, gt=0)
    gamma: float = Field(default=0.1, ge=0, lt=1)
    tau: float = Field(default=0.005, gt=0, le=1)
    policy_delay: int = Field(default=2, ge=1)
    target_noise: float = Field(default=0.2, ge=0)
    target_noise_clip: float = Field(default=0.5, ge=0)
    exploration_noise: float = Field(default=0.3, ge=0)
    batch_size: int = Field(default=32, ge=1)
    replay_capacity: int = Field(default=10_000, ge=1)
    replay_precision: Literal["float32", "float16"] = "float32"
    actor_hiddens: tuple[int, ...] = (48, 24)
    critic_hiddens: tuple[int, ...] = (64, 24)
    networks: dict[str, NetworkSection] = Field(default_factory=dict)
    """Of single cells, where they differ; such cells' policies cannot be copied to others."""
    updates_per_step: int = Field(default=1, ge=0)
    sample_async: bool = False
    """Env runners sample the next iteration while the learner learns from this one."""
    steps_per_iteration: int = Field(default=100, ge=1)


class EvaluationSection(_Section):
    """Paired traffic that no training saw, on the training's map."""

    policies: tuple[str, ...] | None = None
    """Nothing: all baselines, drl, and tl where there is a transfer."""
    steps: int = Field(default=250, ge=1)
    seeds: int = Field(default=5, ge=1)
    every_steps: int = Field(default=500, ge=1)
    """How often the learning curve gets a point without exploration noise."""
    evaluation_steps: tuple[int, ...] = ()
    """Further points."""
    curve_seeds: int = Field(default=1, ge=1)
    """Evaluation seeds that a point of the curve is the mean of."""
    seed: int | None = Field(default=None, ge=0)
    """What the unseen traffic is drawn from. Nothing: the run's seed."""


class CheckpointSection(_Section):
    every_steps: int = Field(default=1000, ge=1)
    keep: int = Field(default=2, ge=1)


class RunConfig(_Section):
    """One training run, enough to repeat it."""

    name: str = Field(default="run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    seed: int = Field(default=0, ge=0)
    scenario: Annotated[Scenario, BeforeValidator(_described)] = Field(
        default_factory=lambda: built_in("paper"), validate_default=False
    )
    env: EnvSection = EnvSection()
    learning: LearningSection = LearningSection()
    num_env_runners: int = Field(default=0, ge=0)
    num_learners: int = Field(default=0, ge=0)
    """Processes that share the cells' updates; best together with env runners."""
    num_gpus_per_learner: int = Field(default=0, ge=0, le=1)
    """1: the driver's own updates on CUDA."""
    evaluation: EvaluationSection = EvaluationSection()
    transfer: TransferSettings = Field(default_factory=TransferSettings)
    pretrained_run: str | None = None
    """A run whose policies all cells but the targets of a transfer act with, unchanged."""
    checkpoint: CheckpointSection = CheckpointSection()
    tracking: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = ()
    """Where the numbers of `metrics.jsonl` go besides."""

    @property
    def cpus(self) -> int:
        """Cores that a run occupies: its driver, env runners and learners."""
        return 1 + self.num_env_runners + self.num_learners

    @property
    def total_steps(self) -> int:
        """Network steps of the whole run."""
        return self.learning.exploration_steps + self.learning.training_steps

    @property
    def transfers(self) -> bool:
        """Some cell learns from another."""
        brings_up = any(d.off_until > 0 for d in self.env.deployments) or self.transfer.targets
        return self.transfer.method != "none" and bool(brings_up)

    @property
    def own_policy(self) -> str:
        """What the run's policies are called beside others: tl transferred, drl from scratch."""
        return "tl" if self.transfers else "drl"

    @property
    def evaluated_policies(self) -> tuple[str, ...]:
        """What the final evaluation compares."""
        if self.evaluation.policies is not None:
            return self.evaluation.policies
        if not self.transfers:
            return ("drl", *BASELINES)
        return (*(("tl",) if self.transfer.targets else ("drl", "tl")), *BASELINES)

    @property
    def deployments(self) -> tuple[Deployment, ...]:
        """Those asked for, and the window in which all others are seen under the default action."""
        asked, window = self.env.deployments, self.env.default_action_steps
        if not asked and not self.transfer.targets:
            return ()
        named = {deployment.cell for deployment in asked}
        compared = self.transfer.targets if self.pretrained_run else self.scenario.cells
        seen = [cell for cell in compared if cell not in named]
        return (
            *asked,
            *(Deployment(cell=cell, off_until=0, default_action_until=window) for cell in seen),
        )


BUILT_IN: dict[str, dict[str, Any]] = {
    "paper": {"name": "paper", "scenario": "paper"},
    "quick": {
        "name": "quick",
        "scenario": "paper",
        "env": {
            "deployments": [
                {"cell": "cell_12", "off_until": 2000, "default_action_until": 2500},
            ]
        },
        "learning": {"exploration_steps": 1000, "training_steps": 4000},
        "evaluation": {"steps": 200, "seeds": 5, "every_steps": 250},
    },
}


def load_config(source: str, settings: Sequence[str] = ()) -> RunConfig:
    """The config of that name or file, with `key.path=value` settings applied on top.

    Raises: ConfigError for a file, key or value that cannot be used.
    """
    document, text, where = document_of(source)
    _trace_beside(document, Path(where).parent)
    for setting in settings:
        _apply(document, setting)
    rename_keys(document, RUN_KEYS, where)
    return _checked(document, where, text, settings)


def document_of(source: str) -> tuple[dict[str, Any], str, str]:
    """A YAML mapping, its text, and what to call it. Raises: ConfigError for what is none."""
    text, where = _read(source)
    try:
        document = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise ConfigError(f"{where}{line}: {problem}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{where}: expected a mapping of settings, got {type(document).__name__}")
    odd = [key for key in document if not isinstance(key, str)]
    if odd:
        raise ConfigError(f"{where}: expected keys that are names, got {odd[0]!r}")
    return document, text, where


def resolved_yaml(config: RunConfig) -> str:
    """The whole config, defaults written out: enough to run it again."""
    plain = config.model_dump(mode="json")
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)


def json_schema() -> dict[str, Any]:
    """JSON Schema of a config, for editors."""
    return RunConfig.model_json_schema()


def _read(source: str) -> tuple[str, str]:
    if source in BUILT_IN:
        return yaml.safe_dump(BUILT_IN[source]), source
    path = Path(source)
    try:
        return path.read_text(encoding="utf-8"), str(path)
    except OSError as error:
        names = ", ".join(BUILT_IN)
        raise ConfigError(
            f"config {source!r}: expected a YAML file or one of {names} ({error.strerror})"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"config {source!r}: expected a UTF-8 text file") from error


def _trace_beside(document: dict[str, Any], folder: Path) -> None:
    """A trace that a file names is looked for beside that file."""
    scenario = document.get("scenario")
    mask = scenario.get("mask") if isinstance(scenario, dict) else None
    if isinstance(mask, dict) and isinstance(mask.get("path"), str):
        mask["path"] = str((folder / mask["path"]).resolve())


def _apply(document: dict[str, Any], setting: str) -> None:
    key, equals, value = setting.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {setting}: expected KEY=VALUE, such as learning.gamma=0.2")
    *parents, leaf = key.split(".")
    place: dict[str, Any] = document
    for parent in parents:
        below: Any = place.get(parent, {})
        if parent == "scenario" and isinstance(below, str):
            below = {"like": below}
        if not isinstance(below, dict):
            raise ConfigError(f"--set {setting}: {parent} has no settings of its own")
        place[parent] = below
        place = below
    try:
        place[leaf] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {setting}: the value is not YAML") from error


def _checked(document: dict[str, Any], where: str, text: str, settings: Sequence[str]) -> RunConfig:
    try:
        config = RunConfig.model_validate(document)
    except ValidationError as error:
        raise ConfigError(
            describe_first_problem(error, where, text, settings, schema=json_schema())
        ) from error
    try:
        names = [spec.name for spec in config.scenario.slices]
        config.scenario.mask.bound(config.scenario.cells, names, 0)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error
    known = {*(("drl", "tl") if config.transfers else ("drl",)), *BASELINES}
    for policy in config.evaluated_policies:
        if policy not in known:
            raise ConfigError(
                f"{where}: evaluation.policies: expected some of {', '.join(sorted(known))}, "
                f"got {policy!r}"
            )
    cells = config.scenario.cells
    named = [("env.deployments", deployment.cell) for deployment in config.env.deployments]
    named += [("transfer.targets", cell) for cell in config.transfer.targets]
    named += [("learning.networks", cell) for cell in config.learning.networks]
    for key, cell in named:
        if cell not in cells:
            raise ConfigError(
                f"{where}: {key}: expected one of {cells[0]} to {cells[-1]}, got {cell!r}"
            )
    return config


def _scenario_as_dict(scenario: Scenario) -> dict[str, Any]:
    return TypeAdapter(Scenario).dump_python(scenario, mode="json")


def _merged(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings merged key by key; anything else, and what is of another kind, replaced."""
    merged: dict[str, Any] = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, Mapping) and _same_kind(below, value):
            merged[key] = _merged(below, value)
        else:
            merged[key] = value
    return merged


def _same_kind(below: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
    return changes.get("kind", below.get("kind")) == below.get("kind")
