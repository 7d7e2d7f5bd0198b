"""The settings of TD3: name, default, range and meaning of each, declared once.

`TD3Config` takes its attributes, its arguments and its checks from these classes; the section
`learning` of a run's YAML derives from `TD3Settings`. The module imports neither torch nor Ray.

Sources of the defaults: the paper, Sec. V; what it leaves open is from Fujimoto et al. 2018,
Sec. 6.1. Noise is added to logits here, so its scale is not theirs.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, field_validator, model_validator

from slicing_rllib.registry import PartOf

ActorObjective = Literal["critic", "counterfactual", "blend"]
SquashSetting = Literal["auto", "softmax", "tanh"]

MAX_COUNT = 2**31
"""Of steps, transitions and updates."""
Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
CountOrZero = Annotated[int, Field(ge=0, le=MAX_COUNT)]
LearningRate = Annotated[float, Field(gt=0, le=1)]
LogitNoise = Annotated[float, Field(ge=0, le=100)]
Widths = Annotated[tuple[Annotated[int, Field(ge=1, le=65_536)], ...], Field(max_length=32)]


class NetworkSettings(BaseModel):
    """Networks of a single cell, where they differ from those of the others."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    actor_hiddens: Widths | None = None
    """Widths of the actor's hidden layers, the first layer first. Default: those of all cells."""
    critic_hiddens: Widths | None = None
    """Widths of the hidden layers of each of the two critics. Default: those of all cells."""


PER_SLICE_DEFAULTS: Mapping[str, Any] = {
    "actor": "max_min",
    "exploration_steps": 0,
    "exploration_noise": 0.03,
    "critic_hiddens": (64, 64),
    "critic_lr": 2e-3,
    "updates_per_step": 4,
}
"""With `critic: per_slice`, the defaults that differ from those of TD3."""


LEARNERS = ("td3", "counterfactual", "blend", "per_slice")
"""Names of policies that learned from scratch: `TD3Settings.learner`."""
TRANSFERRED = "_transferred"
"""Ends the name of policies of which some were started by a transfer."""
TRAINED_POLICIES = (*LEARNERS, *(f"{learner}{TRANSFERRED}" for learner in LEARNERS))
"""All other policies are baselines, or come with the package."""


class TD3Settings(BaseModel):
    """Hyper-parameters of TD3, the same for every cell."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    actor_objective: ActorObjective = "critic"
    """What actors climb: their first critic (`critic`, the paper's TD3); the reward that the last
    step's KPIs imply for any other split (`counterfactual`; the environment must offer it); or a
    mixture of both (`blend`)."""
    blend_critic_weight: float = Field(default=0.5, ge=0, le=1)
    """Share of the critic's gradient in a blend."""
    base_policy: Annotated[str, PartOf("base_policy", also=("none",))] = "none"
    """What the actor's output corrects: the split that was best in the last step (`persistence`),
    the best one for smoothed measurements (`smoothed_persistence`), or shares in proportion to the
    last offered traffic (`load_proportional`); each needs `env.observation` widened or per_slice,
    and an environment made with the same `base_policy`. `none`: the actor decides alone."""
    actor: Annotated[str, PartOf("actor", also=("max_min",))] = "mlp"
    """`mlp`: one network reads the whole observation. `equivariant`: one network is applied to
    every slice, which learns faster; needs `env.observation` per_slice or response. `max_min`: no
    network, but the split with the highest common level by critics per slice. An own actor is a
    torch module; its widths are its own business."""
    critic: Annotated[str, PartOf("critic", also=("per_slice",))] = Field(
        default="joint", validate_default=True
    )
    """`joint`: twin critics of observation and action, the paper's TD3. `per_slice`: twin critics
    that predict the service level of each slice from its share; they learn from every slice of
    every step and need no random steps. Unless they are set, `actor` is then max_min,
    `exploration_steps` 0, `exploration_noise` 0.03, `critic_hiddens` 64, 64, `critic_lr` 0.002 and
    `updates_per_step` 4; needs `env.observation` response. An own critic is a torch module that
    takes the place of each twin of `joint`."""
    exploration_steps: CountOrZero = 3000
    """Network steps in which a cell's actions are drawn at random, before it starts to learn."""
    exploration_noise: LogitNoise = 0.3
    """Standard deviation of the noise on the actor's logits after the exploration steps."""
    actor_lr: LearningRate = 5e-4
    """Adam's learning rate of the actor."""
    critic_lr: LearningRate = 1e-3
    """Adam's learning rate of both critics."""
    gamma: float = Field(default=0.1, ge=0, lt=1)
    """Discount factor per network step."""
    tau: float = Field(default=0.005, gt=0, le=1)
    """Share of the trained networks that target networks take over at each of their updates."""
    policy_delay: Count = 2
    """With `actor_objective: critic`: updates of the critics per update of the actor and of the
    target networks. The actor depends on the critics and waits for them."""
    critic_delay: Count = 2
    """With `actor_objective: counterfactual`: updates of the actor per update of the critics and of
    the target networks. The actor does not depend on the critics. A `blend` updates all networks
    every time, whatever the delays."""
    target_noise: LogitNoise = 0.2
    """Standard deviation of the smoothing noise on the target action's logits."""
    target_noise_clip: LogitNoise = 0.5
    """Largest absolute value of that noise."""
    replay_capacity: Count = 10_000
    """Transitions per cell that the replay buffer holds."""
    replay_precision: Literal["float32", "float16"] = "float32"
    """Number format in the replay buffer. float16 has three significant digits and takes half the
    memory."""
    batch_size: Count = Field(default=32, validate_default=True)
    """Transitions per cell and update; at most `replay_capacity`."""
    actor_hiddens: Widths = (48, 24)
    """Widths of the actor's hidden layers, the first layer first."""
    critic_hiddens: Widths = (64, 24)
    """Widths of the hidden layers of each of the two critics, the first layer first."""
    networks: dict[str, NetworkSettings] = Field(default_factory=dict)
    """Networks of single cells where they differ from the above. Their policies cannot be copied to
    cells with other widths."""
    updates_per_step: CountOrZero = 1
    """Updates of each cell per network step after the exploration steps."""
    sample_async: StrictBool = False
    """Whether env runners sample the next iteration while the learner updates on this one."""
    steps_per_iteration: Count = 100
    """Network steps per iteration, of all env runners together: one call of `train()`, one row of
    `metrics.jsonl`."""

    @property
    def learner(self) -> str:
        """What learns, in a word: the name of its policies in tables and figures."""
        if self.critic == "per_slice":
            return "per_slice"
        return "td3" if self.actor_objective == "critic" else self.actor_objective

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        settings: Any = given
        if isinstance(given, Mapping) and settings.get("critic") == "per_slice":
            return {**PER_SLICE_DEFAULTS, **settings}  # pyright: ignore[reportUnknownVariableType]
        return settings

    @field_validator("critic")
    @classmethod
    def _fits_actor(cls, critic: str, info: Any) -> str:
        given = info.data
        if critic != "per_slice" and given.get("actor") == "max_min":
            raise ValueError("expected actor mlp or equivariant; max_min needs per_slice")
        if critic == "per_slice":
            for name, expected in (("actor_objective", "critic"), ("base_policy", "none")):
                if given.get(name, expected) != expected:
                    raise ValueError(f"per_slice expects {name} {expected}, got {given[name]}")
        return critic

    @field_validator("batch_size")
    @classmethod
    def _fits_replay(cls, batch_size: int, info: Any) -> int:
        capacity = info.data.get("replay_capacity", batch_size)
        if batch_size > capacity:
            raise ValueError(
                f"expected at most replay_capacity, {capacity}, got {batch_size}: no update would "
                "ever be made"
            )
        return batch_size


class TD3Arguments(TD3Settings):
    """What `TD3Config.training` takes besides: settings for programs, which YAML does not have."""

    squash: SquashSetting = "auto"
    """How actors' outputs become actions: `softmax` (shares), `tanh` (bounded actions), or `auto`:
    shares where the action space is a Simplex or a Box from 0 to 1, bounded actions where it is
    another bounded Box."""
    default_action_capacity: Count = 500
    """Transitions under the default action that are kept per cell, for transfer."""
    initial_weights: Mapping[str, Any] = Field(default_factory=dict)
    """Weights that every cell's networks start from, by parameter name (`actor.0.weight`), such as
    `policies.load_pretrained().weights`. Default: random weights."""


def describe_range(setting: Mapping[str, Any]) -> str:
    """What a setting may be, in words; `setting` is its part of a JSON Schema."""
    if "anyOf" in setting and "enum" in setting["anyOf"][0]:
        return f"{describe_range(setting['anyOf'][0])} or MODULE:NAME"
    if "enum" in setting:
        return f"one of {', '.join(setting['enum'])}"
    if setting.get("type") == "array":
        return f"at most {setting['maxItems']:g} values, each {describe_range(setting['items'])}"
    nouns = {"integer": "a whole number", "number": "a number", "boolean": "True or False"}
    bounds = {
        "minimum": "of at least",
        "exclusiveMinimum": "above",
        "maximum": "up to",
        "exclusiveMaximum": "below",
    }
    given = [f"{word} {setting[key]:,.10g}" for key, word in bounds.items() if key in setting]
    return f"{nouns.get(setting.get('type', ''), 'settings by name')} {', '.join(given)}".strip()
