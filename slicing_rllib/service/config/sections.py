"""Sections of a run config. The docstring under a field is its description in the JSON Schema."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from slicing_rllib.env import ActorKind, BasePolicy, Deployment, MeasurementError
from slicing_rllib.learning.defaults import TD3_DEFAULTS, ActorGradientName

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""Up to 64 letters, digits, dots, dashes and underscores: it becomes part of file names."""
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""A seed of 32 bits: more than that, some of the libraries refuse."""
Width = Annotated[int, Field(ge=1, le=65_536)]
Widths = Annotated[tuple[Width, ...], Field(max_length=32)]
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


class NetworkSection(Section):
    """Networks of a single cell."""

    actor_hiddens: Widths = TD3_DEFAULTS.actor_hiddens
    """Widths of the actor's hidden layers, the first layer first."""
    critic_hiddens: Widths = TD3_DEFAULTS.critic_hiddens
    """Widths of the hidden layers of each of the two critics, the first layer first."""


class LearningSection(Section):
    """TD3, the same for every cell. Defaults: `learning.defaults`."""

    actor_gradient: ActorGradientName = TD3_DEFAULTS.actor_gradient
    """What actors climb: their first critic (`critic`, the paper's TD3); the reward that the last
    step's KPIs imply for any other split (`counterfactual`); or a mixture of both (`blend`)."""
    blend_critic_weight: float = Field(default=TD3_DEFAULTS.blend_critic_weight, ge=0, le=1)
    """Share of the critic's gradient in a blend."""
    base_policy: BasePolicy = TD3_DEFAULTS.base_policy
    """`persistence`: the actor's output is a correction to the split that was best in the last
    step; needs `env.observation` widened or per_slice. `none`: the actor decides alone."""
    actor: ActorKind = TD3_DEFAULTS.actor
    """`mlp`: one network reads the whole observation. `equivariant`: one network is applied to
    every slice, which learns faster; needs `env.observation` per_slice."""
    initial_actor: str = "random"
    """What the actor of every cell starts from: random weights (with a base policy: its split), the
    pretrained actor of the package (`builtin`), or the folder of one that `pretrain` has written.
    A pretrained actor needs `actor` equivariant and `base_policy` persistence, and brings the
    widths of its hidden layers."""
    exploration_steps: int = Field(default=TD3_DEFAULTS.exploration_steps, ge=0)
    """Network steps at the start of a run in which actions are drawn at random."""
    training_steps: int = Field(default=5500, ge=0)
    """Network steps after exploration. The paper evaluates for 250 more, which is `evaluation`."""
    actor_lr: float = Field(default=TD3_DEFAULTS.actor_lr, gt=0)
    """Adam's learning rate for the actor."""
    critic_lr: float = Field(default=TD3_DEFAULTS.critic_lr, gt=0)
    """Adam's learning rate for both critics."""
    gamma: float = Field(default=TD3_DEFAULTS.gamma, ge=0, lt=1)
    """Discount factor per network step."""
    tau: float = Field(default=TD3_DEFAULTS.tau, gt=0, le=1)
    """Share of the way that target networks move towards the trained networks per actor update."""
    policy_delay: int = Field(default=TD3_DEFAULTS.policy_delay, ge=1)
    """Critic updates per update of the actor and of the target networks."""
    target_noise: float = Field(default=TD3_DEFAULTS.target_noise, ge=0)
    """Standard deviation of the smoothing noise on the target action's logits."""
    target_noise_clip: float = Field(default=TD3_DEFAULTS.target_noise_clip, ge=0)
    """Largest absolute value of that noise."""
    exploration_noise: float = Field(default=TD3_DEFAULTS.exploration_noise, ge=0)
    """Standard deviation of the noise on the actor's logits after the exploration steps."""
    batch_size: int = Field(default=TD3_DEFAULTS.batch_size, ge=1)
    """Transitions per cell and update."""
    replay_capacity: int = Field(default=TD3_DEFAULTS.replay_capacity, ge=1)
    """Transitions per cell that the replay buffer holds."""
    replay_precision: Literal["float32", "float16"] = TD3_DEFAULTS.replay_precision
    """Number format in the replay buffer. float16 has three significant digits and takes half the
    memory."""
    actor_hiddens: Widths = TD3_DEFAULTS.actor_hiddens
    """Widths of the actor's hidden layers, the first layer first."""
    critic_hiddens: Widths = TD3_DEFAULTS.critic_hiddens
    """Widths of the hidden layers of each of the two critics, the first layer first."""
    networks: dict[str, NetworkSection] = Field(default_factory=dict)
    """Networks of single cells where they differ from the above. Their policies cannot be copied to
    cells with other widths."""
    updates_per_step: int = Field(default=TD3_DEFAULTS.updates_per_step, ge=0)
    """Critic updates of each cell per network step after the exploration steps."""
    sample_async: bool = TD3_DEFAULTS.sample_async
    """Whether env runners sample the next iteration while the learner updates on this one."""
    steps_per_iteration: int = Field(default=TD3_DEFAULTS.steps_per_iteration, ge=1)
    """Network steps per iteration: one call of `train()`, one row of `metrics.jsonl`."""


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
