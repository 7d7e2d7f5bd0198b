"""The config of one training run, and what follows from it.

Sections of a run config. The docstring under a field is its description in the JSON Schema.

Names under which a run's own policies stand beside the baselines in tables and files.

Config keys under their earlier names still work; a warning names the new key.
"""

import logging
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from slicing_rllib.env import ActorForm, Deployment, MeasurementError
from slicing_rllib.learning.td3_settings import MAX_COUNT, TD3Settings
from slicing_rllib.policies.baselines import BASELINES, METRIC_ORACLES
from slicing_rllib.radio import Scenario, make_scenario
from slicing_rllib.transfer import TransferSettings

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""Up to 64 letters, digits, dots, dashes and underscores: it becomes part of file names."""
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""A seed of 32 bits: more than that, some of the libraries refuse."""
MAX_SAMPLES = 2**31
"""Transitions, steps of an evaluation or seeds: at most so many."""


class Section(BaseModel):
    """Settings that cannot change once they are checked. An unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class EnvSection(Section):
    """The network as the agents see it."""

    message: Literal["none", "mean_load", "per_neighbour", "all_cells"] = "mean_load"
    """What an observation contains about other cells: nothing; the mean load of the neighbours per
    slice, eq. (5) of the paper; the load of each neighbour; or the load of every cell."""
    observation: Literal["paper", "widened", "per_slice"] = "paper"
    """What a cell sees: the paper's observation; that and, per slice, the logarithms of offered
    share, needed share and base split; or per-slice features without a message."""
    measurement_error: MeasurementError = Field(default_factory=MeasurementError)
    """Errors of what cells measure, for studies of robustness. Rewards stay exact."""
    episode_steps: int = Field(default=500, ge=1)
    """Network steps of an episode. Episodes end by truncation; the network itself goes on."""
    map_seed: Seed = 0
    """Seed of the radio map. It is apart from `seed`, so that seeds differ in traffic, movement and
    weights but share one map."""
    deployments: tuple[Deployment, ...] = ()
    """Cells that join the network while the other cells learn."""
    default_action_steps: int = Field(default=200, ge=0)
    """Network steps under the default action (equal shares) with which every cell begins in a run
    with deployments or transfer targets. Cells are compared by what they experience then."""


class LearningSection(TD3Settings):
    """TD3, and what its actors start from."""

    initial_actor: str = "random"
    """What the actor of every cell starts from: random weights (with a base policy: its split), the
    pretrained actor of the package (`builtin`), or the folder of one that `pretrain` has written.
    A pretrained actor needs `actor` equivariant and `base_policy` persistence, and brings the
    widths of its hidden layers."""
    training_steps: int = Field(default=5500, ge=0, le=MAX_COUNT)
    """Network steps after exploration. The paper evaluates for 250 more, which is `evaluation`."""


class EvaluationSection(Section):
    """Evaluation without exploration noise, on traffic that training does not see.

    All policies meet the same traffic and movement, seed by seed, on the radio map of training.
    """

    policies: tuple[str, ...] | None = None
    """Policies that the final evaluation compares. Default: all baselines, `drl`, and `tl` where
    the run has a transfer."""
    steps: int = Field(default=250, ge=1)
    """Network steps per evaluation seed."""
    seeds: int = Field(default=5, ge=1)
    """Number of evaluation seeds."""
    every_steps: int = Field(default=500, ge=1)
    """Network steps between two points of the learning curve."""
    evaluation_steps: tuple[int, ...] = ()
    """Network steps at which the learning curve gets further points."""
    curve_seeds: int = Field(default=1, ge=1)
    """Evaluation seeds that a point of the learning curve averages over."""
    seed: Seed | None = None
    """Seed that the evaluation traffic is drawn from. Default: the run's `seed`."""


class CheckpointSection(Section):
    """When checkpoints are written and how many are kept."""

    every_steps: int = Field(default=1000, ge=1)
    """Network steps between two checkpoints. One more is written at the end."""
    keep: int = Field(default=2, ge=1)
    """Number of newest checkpoints that are kept."""


class PolicyName(StrEnum):
    """The two kinds of trained policies. All other policies are baselines."""

    DRL = "drl"
    """Trained from scratch."""
    TL = "tl"
    """Warm-started from another cell (transfer learning)."""


TRAINED_POLICIES = tuple(PolicyName)
PACKAGE_POLICIES = ("base_policy", "pretrained")
"""Policies that need no training: the base policy of the run's actors, and the pretrained actor."""


logger = logging.getLogger(__name__)

RUN_KEYS: Mapping[str, str] = {
    "trained_in": "pretrained_run",
    "learning.overlap": "sample_async",
    "evaluation.at_steps": "evaluation_steps",
    "transfer.instances": "transferred_transitions",
    "transfer.most_distant": "max_distance_ratio",
    "transfer.sources": "n_sources",
    "transfer.foreign_share": "source_share",
    "transfer.foreign_half_life_updates": "source_share_half_life_updates",
    "transfer.critic_warmup_updates": "actor_delay_updates",
}
"""Earlier key of a run config, with its section, and the key's new name in the same section."""

EXPERIMENT_KEYS: Mapping[str, str] = {"at_steps": "evaluation_steps"}
"""Earlier key of an experiment's YAML and its new name."""


def rename_keys(document: dict[str, Any], renamed: Mapping[str, str], where: str) -> None:
    """Moves values from earlier keys to the new ones; changes `document`.

    `where` is the document's name in the warning. A new key that is set as well wins.
    """
    for earlier, new in renamed.items():
        *sections, key = earlier.split(".")
        section: Any = document
        for name in sections:
            section = section.get(name) if isinstance(section, dict) else None
        if isinstance(section, dict) and key in section:
            value = section.pop(key)
            section.setdefault(new, value)
            logger.warning("%s: %s is now called %s", where, earlier, ".".join([*sections, new]))


MAX_PROCESSES = 4096


def resolve_scenario(value: Any) -> Any:
    """A built-in scenario for its name; for a mapping with `like`, that scenario with changes.

    Anything else is returned as it is: a whole description, which pydantic checks.
    Raises: ValueError for an unknown name.
    """
    if isinstance(value, str):
        return make_scenario(value)
    if isinstance(value, Mapping) and "like" in value:
        base = TypeAdapter(Scenario).dump_python(make_scenario(str(value["like"])), mode="json")
        value = _merge(base, {key: part for key, part in value.items() if key != "like"})
    return value


class RunConfig(Section):
    """One training run: enough to repeat it."""

    name: Name = "run"
    """Name of the run in reports, metrics and the default run directory."""
    seed: Seed = 0
    """Seed of weights, exploration, traffic and movement."""
    scenario: Annotated[Scenario, BeforeValidator(resolve_scenario)] = Field(
        default_factory=lambda: make_scenario("paper"), validate_default=False
    )
    """The network: sites, slices, SLAs, traffic. A built-in name, a mapping with `like: NAME` and
    what differs from it, or a whole description."""
    env: EnvSection = EnvSection()
    """Observations, episodes, and cells that join."""
    learning: LearningSection = LearningSection()
    """Hyper-parameters of TD3."""
    num_env_runners: int = Field(default=0, ge=0, le=MAX_PROCESSES)
    """Ray processes that each step a network of their own. 0: the driver steps the only network."""
    num_learners: int = Field(default=0, ge=0, le=MAX_PROCESSES)
    """Ray processes that share the cells' updates among them. 0: the driver updates all cells.
    More pays off on further machines and together with env runners."""
    num_gpus_per_learner: int = Field(default=0, ge=0, le=1)
    """1: the driver's own updates run on CUDA."""
    evaluation: EvaluationSection = EvaluationSection()
    """Evaluation during and after training."""
    transfer: TransferSettings = Field(default_factory=TransferSettings)
    """How a cell that is brought up learns from a trained one."""
    pretrained_run: str | None = None
    """Run directory with the policies of all cells that are no transfer targets. These cells act
    with them and do not learn."""
    checkpoint: CheckpointSection = CheckpointSection()
    """Checkpoints of the training."""
    tracking: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = ()
    """Services that get the numbers of `metrics.jsonl` as well."""

    @property
    def cpus(self) -> int:
        """Cores that a run occupies: its driver, env runners and learners."""
        return 1 + self.num_env_runners + self.num_learners

    @property
    def total_steps(self) -> int:
        """Network steps of the whole run, exploration included."""
        return self.learning.exploration_steps + self.learning.training_steps

    @property
    def actor_form(self) -> ActorForm:
        """How the run's actors read observations."""
        return ActorForm(len(self.scenario.slices), self.learning.actor, self.learning.base_policy)

    @property
    def env_arguments(self) -> dict[str, Any]:
        """Arguments of `SlicingEnv`, apart from deployments."""
        return {
            "scenario": self.scenario,
            "message": self.env.message,
            "observation": self.env.observation,
            "measurement_error": self.env.measurement_error,
            "episode_steps": self.env.episode_steps,
            "map_seed": self.env.map_seed,
        }

    @property
    def has_transfer(self) -> bool:
        """Whether some cell of the run is brought up with what another has learned."""
        joins = any(deployment.off_until > 0 for deployment in self.env.deployments)
        return self.transfer.method != "none" and (joins or bool(self.transfer.targets))

    @property
    def own_policy(self) -> PolicyName:
        """The name of the run's own policies beside others."""
        return PolicyName.TL if self.has_transfer else PolicyName.DRL

    @property
    def evaluated_policies(self) -> tuple[str, ...]:
        """Policies that the final evaluation compares."""
        if self.evaluation.policies is not None:
            return self.evaluation.policies
        pretrained = ("pretrained",) if self.learning.actor == "equivariant" else ()
        others = (*pretrained, *(name for name in BASELINES if name not in METRIC_ORACLES))
        if not self.has_transfer:
            return (PolicyName.DRL, *others)
        if self.transfer.targets:
            return (PolicyName.TL, *others)
        return (PolicyName.DRL, PolicyName.TL, *others)

    @property
    def deployments(self) -> tuple[Deployment, ...]:
        """The configured deployments, and for all other compared cells the steps under the default
        action at the start; empty where no cells are compared."""
        configured, steps = self.env.deployments, self.env.default_action_steps
        if not configured and not self.transfer.targets:
            return ()
        joining = {deployment.cell for deployment in configured}
        compared = self.transfer.targets if self.pretrained_run else self.scenario.cells
        present = [cell for cell in compared if cell not in joining]
        return (
            *configured,
            *(Deployment(cell=cell, off_until=0, default_action_until=steps) for cell in present),
        )


def _merge(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes`, mappings merged key by key and anything else replaced.

    A mapping whose `kind` differs is replaced as well: its other keys have other meanings.
    """
    merged: dict[str, Any] = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, Mapping) and _has_same_kind(below, value):
            merged[key] = _merge(below, value)
        else:
            merged[key] = value
    return merged


def _has_same_kind(below: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
    return changes.get("kind", below.get("kind")) == below.get("kind")
