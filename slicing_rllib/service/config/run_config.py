"""The config of one training run, and what follows from it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter

from slicing_rllib.baselines import BASELINES, METRIC_ORACLES
from slicing_rllib.env import ActorForm, Deployment
from slicing_rllib.radio import Scenario, make_scenario
from slicing_rllib.service.config.layout_size import check_layout_size
from slicing_rllib.service.config.policy_names import PolicyName
from slicing_rllib.service.config.sections import (
    CheckpointSection,
    EnvSection,
    EvaluationSection,
    LearningSection,
    Name,
    Section,
    Seed,
)
from slicing_rllib.transfer import TransferSettings

MAX_PROCESSES = 4096


def resolve_scenario(value: Any) -> Any:
    """A built-in scenario for its name; for a mapping with `like`, that scenario with changes.

    Anything else is returned as it is: a whole description, which pydantic checks.
    Raises: ValueError for an unknown name and for a layout of too many sites.
    """
    if isinstance(value, str):
        return make_scenario(value)
    if isinstance(value, Mapping) and "like" in value:
        base = TypeAdapter(Scenario).dump_python(make_scenario(str(value["like"])), mode="json")
        value = _merge(base, {key: part for key, part in value.items() if key != "like"})
    check_layout_size(value)
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
    """Hyperparameters of TD3."""
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
