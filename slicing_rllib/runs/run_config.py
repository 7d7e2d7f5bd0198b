"""The config of one training run: its sections, what follows from it, and what may not be together.

The docstring under a field is its description in the schema. A `RunConfig` checks itself when it
is built. Each error names the path of the setting, so that the message can point to a line of YAML
or to a `--set` argument.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from slicing_rllib.env import ActorForm, Deployment, MeasurementError
from slicing_rllib.env.base_policies import Smoothing
from slicing_rllib.env.observation import CellObserver, find_heard, no_message
from slicing_rllib.env.timed_events import TimedEvents, find_unknown
from slicing_rllib.policies.baselines import BASELINES, ONLY_WHERE_NAMED, find_missing_law
from slicing_rllib.policies.td3_settings import (
    TRANSFERRED,
    Count,
    CountOrZero,
    TD3Settings,
)
from slicing_rllib.radio import Scenario, make_scenario, resolve_scenario
from slicing_rllib.registry import PartOf, get_part, is_own, list_names
from slicing_rllib.runs.run_size import find_huge_parts
from slicing_rllib.storage.yaml_validation import Problem, find_invalid_values, make_setting_error
from slicing_rllib.transfer import TransferSettings

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""Up to 64 letters, digits, dots, dashes and underscores: it becomes part of file names."""
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""A seed of 32 bits: more than that, some of the libraries refuse."""


class Section(BaseModel):
    """Settings that cannot change once they are checked. An unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class EnvSection(Section):
    """The network as the agents see it."""

    message: Annotated[str, PartOf("message")] = "mean_load"
    """What an observation contains about other cells: nothing; the mean load of the neighbours per
    slice, eq. (5) of the paper; the load of each neighbour; or the load of every cell."""
    observation: Annotated[str, PartOf("observation")] = "paper"
    """What a cell sees: the paper's observation; that and, per slice, the logarithms of offered
    share, needed share and base split; per-slice features without a message; or what critics per
    slice learn from (`response`), the default with `learning.critic` per_slice."""
    reward: Annotated[str, PartOf("reward")] = "paper"
    """What a step earns: eq. (2) of the paper, or an own function of the KPIs."""
    measurement_error: MeasurementError = Field(default_factory=MeasurementError)
    """Errors of what cells measure, for studies of robustness. Rewards stay exact."""
    smoothing: Smoothing = Field(default_factory=Smoothing)
    """What `smoothed_persistence` does, as a baseline and as a base policy."""
    episode_steps: Count = 500
    """Environment steps of an episode. Episodes end by truncation; the network itself goes on."""
    map_seed: Seed | None = None
    """Seed of the radio map, on which the run learns and is evaluated. Default: the run's `seed`,
    so that runs with other seeds have other maps. A number keeps one map over all seeds."""
    deployments: tuple[Deployment, ...] = ()
    """Cells that join the network while the other cells learn."""
    events: TimedEvents = ()
    """Changes of the running network at network steps: SLAs, traffic, cells that go off and on
    again, slices that begin and end. An evaluation sees what holds at its time, from its start."""
    default_action_steps: CountOrZero = 200
    """Environment steps under the default action (equal shares) with which every cell begins in a
    run with deployments or transfer targets. Cells are compared by what they experience then."""


ADAPTED_DEFAULTS = {"critic_lr": 3e-4, "exploration_noise": 0.0, "updates_per_step": 1}
"""With an `initial_critic`, the defaults that differ from those of critics that start at random."""


class LearningSection(TD3Settings):
    """TD3, what its actors start from, and how long it learns."""

    initial_actor: str = "random"
    """What the actor of every cell starts from: random weights (with a base policy: its split), the
    pretrained actor of the package (`builtin`), or the folder of one that `pretrain` has written.
    A pretrained actor needs `actor` equivariant and `base_policy` persistence, and brings the
    widths of its hidden layers."""
    initial_critic: str = "random"
    """What the critics of every cell start from, with `critic` per_slice: random weights, those of
    the package (`builtin`), or the folder of some that `pretrain --critic per_slice` has written.
    Pretrained critics adapt slowly and without noise unless it is set otherwise: `critic_lr` is
    then 0.0003, `exploration_noise` 0 and `updates_per_step` 1."""
    training_steps: CountOrZero = 5500
    """Environment steps after exploration. The paper evaluates for 250 more, see `evaluation`."""

    @model_validator(mode="before")
    @classmethod
    def _follow_initial_critic(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("initial_critic", "random") != "random":
            return {**ADAPTED_DEFAULTS, **given}
        return given


class EvaluationSection(Section):
    """Evaluation without exploration noise, on traffic that training does not see.

    All policies meet the same traffic and movement, seed by seed, on the radio map of training.
    """

    policies: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Policies that the final evaluation compares. Default: all baselines, the trained policies
    (`td3`, `counterfactual`, `blend` or `per_slice` for what learned from scratch, and with
    `_transferred` what a transfer has started), and those of `compared_learners`."""
    steps: Count = 250
    """Environment steps per evaluation seed."""
    seeds: Count = 5
    """Number of evaluation seeds."""
    every_steps: Count = 500
    """Environment steps between two points of the learning curve."""
    evaluation_steps: tuple[CountOrZero, ...] = ()
    """Environment steps at which the learning curve gets further points."""
    curve_seeds: Count = 1
    """Evaluation seeds that a point of the learning curve averages over."""
    seed: Seed | None = None
    """Seed that the evaluation traffic is drawn from. Default: the run's `seed`."""


class CheckpointSection(Section):
    """When checkpoints are written and how many are kept."""

    every_steps: Count = 1000
    """Environment steps between two checkpoints. One more is written at the end."""
    keep: Count = 2
    """Number of newest checkpoints that are kept."""


PACKAGE_POLICIES = ("base_policy", "pretrained", "pretrained_curves")
"""Policies that need no training: the base policy of the run's actors, the pretrained actor, and
the max-min split by pretrained critics per slice."""

Tracker = Literal["tensorboard", "mlflow", "wandb"]

MAX_PROCESSES = 4096


class RunConfig(Section):
    """One training run: enough to repeat it."""

    name: Name = "run"
    """Name of the run in reports, metrics and the default run directory."""
    seed: Seed = 0
    """Seed of radio map, weights, exploration, traffic and movement."""
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
    compared_learners: dict[Literal["per_slice"], Count] = Field(default_factory=dict)
    """Learners that train every cell of the same network from scratch after the run, to be compared
    with it, and the environment steps of each."""
    checkpoint: CheckpointSection = CheckpointSection()
    """Checkpoints of the training."""
    tracking: tuple[Tracker, ...] = ()
    """Services that get the numbers of `metrics.jsonl` as well."""

    @property
    def map_seed(self) -> int:
        """Seed of the radio map."""
        return self.seed if self.env.map_seed is None else self.env.map_seed

    @property
    def cpus(self) -> int:
        """Cores that a run occupies: its driver, env runners and learners."""
        return 1 + self.num_env_runners + self.num_learners

    @property
    def total_steps(self) -> int:
        """Environment steps of the whole run, exploration included."""
        return self.learning.exploration_steps + self.learning.training_steps

    @property
    def actor_form(self) -> ActorForm:
        """How the run's actors read observations."""
        network = self.scenario
        heard = None
        if is_own("message", self.env.message):
            message = get_part("message", self.env.message)(network)
            layout = CellObserver(self.env.observation, network, message).layout
            heard = find_heard(self.env.message, layout, network)
        return ActorForm(
            network.n_slices, self.learning.actor, self.learning.base_policy, heard=heard
        )

    @property
    def env_arguments(self) -> dict[str, Any]:
        """Arguments of `SlicingEnv`, apart from deployments."""
        names = (
            *("message", "observation", "reward", "smoothing"),
            *("measurement_error", "episode_steps", "map_seed"),
        )
        corrected = self.learning.base_policy
        return {
            "scenario": self.scenario,
            "base_policy": "persistence" if corrected == "none" else corrected,
            **{name: getattr(self.env, name) for name in names},
        }

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

    @property
    def joining(self) -> tuple[Deployment, ...]:
        """Deployments of cells that are off at the start."""
        return tuple(each for each in self.env.deployments if each.off_until > 0)

    @property
    def has_transfer(self) -> bool:
        """Whether some cell of the run is brought up with what another has learned."""
        return self.transfer.method != "none" and bool(self.joining or self.transfer.targets)

    @property
    def own_policy(self) -> str:
        """The name of the run's own policies beside others."""
        return self.learning.learner + (TRANSFERRED if self.has_transfer else "")

    @property
    def evaluated_policies(self) -> tuple[str, ...]:
        """Policies that the final evaluation compares."""
        if self.evaluation.policies is not None:
            return self.evaluation.policies
        kinds = {"equivariant": ("pretrained",), "max_min": ("pretrained", "pretrained_curves")}
        pretrained = kinds.get(self.learning.actor, ())
        usual = (name for name in BASELINES if name not in ONLY_WHERE_NAMED)
        rules = (name for name in usual if not find_missing_law(name, self.scenario))
        others = (*self.compared_learners, *pretrained, *rules)
        if self.has_transfer and not self.transfer.targets:
            return (self.learning.learner, self.own_policy, *others)
        return (self.own_policy, *others)

    @property
    def trains_from_scratch_too(self) -> bool:
        """Whether the run is trained a second time without its transfers, to be compared."""
        return (
            self.has_transfer
            and not self.transfer.targets
            and self.learning.learner in self.evaluated_policies
        )

    @property
    def first_transfer_step(self) -> int:
        """Environment step, over all env runners, at which the first joining cell learns."""
        first = min(each.default_action_until for each in self.joining)
        return first * max(self.num_env_runners, 1)

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        """What follows from critics per slice, unless it is set."""
        learning, env = (given.get(key, {}) for key in ("learning", "env"))
        is_plain = isinstance(learning, dict) and isinstance(env, dict)
        if is_plain and learning.get("critic") == "per_slice":
            return {**given, "env": {"observation": "response", **env}}
        return given

    @model_validator(mode="after")
    def _check(self) -> "RunConfig":
        # Named once and for all, so that config.yaml keeps the map whatever is made of it.
        vars(self)["env"] = self.env.model_copy(update={"map_seed": self.map_seed})
        # Text such as "nan" has become a number by now.
        finders = (
            find_huge_parts,
            _find_misplaced_steps,
            _find_wrong_names,
            _find_wrong_source,
            _find_wrong_observation,
            _find_unreadable_traffic,
        )
        problems = (find_invalid_values(self.model_dump()), *(find(self) for find in finders))
        for path, what in itertools.chain.from_iterable(problems):
            raise make_setting_error(path, what)
        return self


def _find_misplaced_steps(config: RunConfig) -> Iterator[Problem]:
    if config.total_steps < 1:
        yield ("learning", "training_steps"), "expected at least 1 environment step in all, got 0"
    if config.trains_from_scratch_too and config.first_transfer_step >= config.total_steps:
        first = min(config.joining, key=lambda each: each.default_action_until)
        yield (
            ("env", "deployments"),
            f"{first.cell} learns from another cell at environment step "
            f"{config.first_transfer_step}, but the run ends at step {config.total_steps}: the "
            "policies with and without the transfer would be the same; expected more "
            "learning.training_steps, an earlier default_action_until or transfer.method none",
        )


def _find_wrong_names(config: RunConfig) -> Iterator[Problem]:
    """Names that occur twice, cells that the scenario does not have, and unknown policies."""
    cells = config.scenario.cells
    of_cells: dict[tuple[str, ...], Sequence[str]] = {
        ("env", "deployments"): [deployment.cell for deployment in config.env.deployments],
        ("transfer", "targets"): config.transfer.targets,
        ("learning", "networks"): tuple(config.learning.networks),
    }
    policies, tracking = config.evaluation.policies or (), config.tracking
    named = of_cells | {("evaluation", "policies"): policies, ("tracking",): tracking}
    for path, names in named.items():
        for name in dict.fromkeys(names):
            if names.count(name) > 1:
                yield path, f"expected each name once, got {name!r} twice"
    for path, names in of_cells.items():
        for name in names:
            if name not in cells:
                yield path, f"expected one of {cells[0]} to {cells[-1]}, got {name!r}"
    for problem in find_unknown(config.env.events, config.scenario):
        yield ("env", "events"), problem
    own = {config.learning.learner, config.own_policy, *config.compared_learners}
    known = {*own, *PACKAGE_POLICIES, *BASELINES, *list_names("baseline")}
    for policy in config.evaluated_policies:
        if ":" in policy:
            try:
                get_part("baseline", policy)
            except ValueError as error:
                yield ("evaluation", "policies"), str(error)
        elif policy not in known:
            expected = ", ".join(sorted(known))
            yield (
                ("evaluation", "policies"),
                f"expected some of {expected} or MODULE:NAME, got {policy!r}",
            )
        elif problem := find_missing_law(policy, config.scenario):
            yield ("evaluation", "policies"), problem


def _find_wrong_source(config: RunConfig) -> Iterator[Problem]:
    source, cells = config.transfer.source, config.scenario.cells
    if source is None or config.transfer.library is not None:
        return
    targets = [*config.transfer.targets, *(deployment.cell for deployment in config.joining)]
    path, offset = ("transfer", "source"), source.removeprefix("next:")
    is_rotation = source.startswith("next:") and offset.isdecimal()
    if source.startswith("library:"):
        yield path, f"expected transfer.library, in which {source!r} is"
    elif not is_rotation and source not in cells:
        yield (
            path,
            f"expected {cells[0]} to {cells[-1]}, next:OFFSET or library:NAME, got {source!r}",
        )
    elif source in targets or (is_rotation and targets and int(offset) % len(cells) == 0):
        yield path, f"expected another cell than the target, got {source!r}"


def _find_wrong_observation(config: RunConfig) -> Iterator[Problem]:
    """The actor must find in the observation what its form reads."""
    observation, learning, scenario = config.env.observation, config.learning, config.scenario
    try:
        layout = CellObserver(observation, scenario, no_message(scenario)).layout
    except Exception as error:  # Of an own observation: anything may happen.
        yield ("env", "observation"), f"{observation} cannot observe the network: {error}"
        return
    if learning.critic != "per_slice" and learning.initial_critic != "random":
        expected = f"{learning.initial_critic} expects learning.critic per_slice, got "
        expected += learning.critic
        yield ("learning", "initial_critic"), expected
    if learning.critic == "per_slice":
        for name, given, expected in (
            ("observation", observation, "response"), ("reward", config.env.reward, "paper")
        ):  # fmt: skip
            if given != expected:
                message = f"per_slice expects env.{name} {expected}, got {given}"
                yield ("learning", "critic"), message
    has_base_split = [*layout][-1] == "log_base_split"
    expects = f"expects env.observation widened or per_slice, got {observation}"
    if learning.base_policy != "none" and not has_base_split:
        yield ("learning", "base_policy"), f"{learning.base_policy} {expects}"
    if "base_policy" in config.evaluated_policies and not has_base_split:
        yield ("evaluation", "policies"), f"base_policy {expects}"
    if learning.actor == "equivariant" and observation in ("paper", "widened"):
        expected = f"equivariant expects env.observation per_slice, got {observation}"
        yield ("learning", "actor"), expected
    yield from _find_wrong_modules(config)
    form = (learning.actor, learning.base_policy)
    if learning.initial_actor != "random" and form != ("equivariant", "persistence"):
        yield (
            ("learning", "initial_actor"),
            f"{learning.initial_actor} expects learning.actor equivariant and base_policy "
            f"persistence, got {' and '.join(form)}",
        )


def _find_wrong_modules(config: RunConfig) -> Iterator[Problem]:
    """Own networks and learned messages must fit the observation, the critics and the transfer."""
    learning = config.learning
    try:
        heard = config.actor_form.heard
    except Exception as error:  # Of an own message: anything may happen.
        yield ("env", "message"), f"{config.env.message} cannot be heard: {error}"
        return
    if heard is not None and (learning.critic == "per_slice" or learning.actor == "equivariant"):
        yield (
            ("env", "message"),
            f"the learned message {config.env.message} expects learning.critic joint and actor "
            f"mlp, or own ones, got {learning.critic} and {learning.actor}",
        )
    is_module = heard or config.actor_form.is_own or is_own("critic", learning.critic)
    if is_module and learning.critic != "per_slice" and config.transfer.method == "feature":
        yield ("transfer", "method"), "feature expects built-in networks, whose layers it knows"


def _find_unreadable_traffic(config: RunConfig) -> Iterator[Problem]:
    """A traffic file must be readable and fit the scenario's cells and slices."""
    try:
        config.scenario.bind_mask(0)
    except ValueError as error:
        yield ("scenario", "mask"), str(error)
