"""Default hyperparameters of TD3, in a module that imports neither torch nor Ray.

The range of every setting of TD3, checked when a config is built.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, get_args

from slicing_rllib.env import ActorKind, BasePolicy

ActorGradientName = Literal["critic", "counterfactual", "blend"]
SquashSetting = Literal["auto", "softmax", "tanh"]
"""How the logits of actors become actions; `auto` follows the action space."""


@dataclass(frozen=True, kw_only=True)
class TD3Defaults:
    """The only place where TD3's defaults stand: `TD3Config` and run configs read them here.

    Meaning, unit and range of each field: `TD3Config.training`, `service.config.LearningSection`.
    """

    # The paper, Sec. V.
    exploration_steps: int = 3000
    actor_lr: float = 5e-4
    critic_lr: float = 1e-3
    gamma: float = 0.1
    batch_size: int = 32
    actor_hiddens: tuple[int, ...] = (48, 24)
    critic_hiddens: tuple[int, ...] = (64, 24)

    # Left open by the paper; after Fujimoto et al. 2018, Sec. 6.1. Noise is on logits here, so its
    # scale is not theirs.
    tau: float = 0.005
    policy_delay: int = 2
    target_noise: float = 0.2
    target_noise_clip: float = 0.5
    exploration_noise: float = 0.3

    # Of this implementation; `critic` is the paper's TD3.
    actor_gradient: ActorGradientName = "critic"
    blend_critic_weight: float = 0.5
    base_policy: BasePolicy = "none"
    actor: ActorKind = "mlp"
    squash: SquashSetting = "auto"
    replay_capacity: int = 10_000
    replay_precision: Literal["float32", "float16"] = "float32"
    updates_per_step: int = 1
    sample_async: bool = False
    steps_per_iteration: int = 100


TD3_DEFAULTS = TD3Defaults()


NETWORK_SETTINGS = ("actor_hiddens", "critic_hiddens")
"""What may differ between policies."""


class Range(NamedTuple):
    """What a setting may be."""

    expected: str
    """In words."""
    contains: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    # Searches also sample NumPy's numbers, which count as Real and Integral.
    is_real = isinstance(value, Real) and not isinstance(value, bool)
    return is_real and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_widths(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(_is_whole(n) and n > 0 for n in value)


def _choice(names: tuple[str, ...]) -> Range:
    return Range(f"one of {', '.join(names)}", lambda value: value in names)


AT_LEAST_ONE = Range("a whole number of at least 1", lambda value: _is_whole(value) and value >= 1)
NOT_NEGATIVE = Range("a whole number of at least 0", lambda value: _is_whole(value) and value >= 0)
POSITIVE = Range("a number above 0", lambda value: _is_number(value) and value > 0)
NOT_BELOW_ZERO = Range("a number of at least 0", lambda value: _is_number(value) and value >= 0)
SHARE = Range("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1)
WIDTHS = Range("widths of at least 1 each", _is_widths)
SWITCH = Range("True or False", lambda value: isinstance(value, bool))

RANGES: Mapping[str, Range] = {
    "gamma": SHARE,
    "tau": Range("a number above 0, up to 1", lambda value: _is_number(value) and 0 < value <= 1),
    "actor_lr": POSITIVE,
    "critic_lr": POSITIVE,
    "policy_delay": AT_LEAST_ONE,
    "target_noise": NOT_BELOW_ZERO,
    "target_noise_clip": NOT_BELOW_ZERO,
    "exploration_noise": NOT_BELOW_ZERO,
    "exploration_steps": NOT_NEGATIVE,
    "batch_size": AT_LEAST_ONE,
    "replay_capacity": AT_LEAST_ONE,
    "default_capacity": AT_LEAST_ONE,
    "replay_precision": _choice(("float32", "float16")),
    "actor_hiddens": WIDTHS,
    "critic_hiddens": WIDTHS,
    "actor_gradient": _choice(get_args(ActorGradientName)),
    "blend_critic_weight": SHARE,
    "base_policy": _choice(get_args(BasePolicy)),
    "actor": _choice(get_args(ActorKind)),
    "squash": _choice(get_args(SquashSetting)),
    "steps_per_iteration": AT_LEAST_ONE,
    "updates_per_step": NOT_NEGATIVE,
    "sample_async": SWITCH,
    "explore": SWITCH,
    "seed": NOT_NEGATIVE,
    "num_env_runners": NOT_NEGATIVE,
    "num_envs_per_env_runner": AT_LEAST_ONE,
    "num_learners": NOT_NEGATIVE,
}


def check_ranges(settings: Mapping[str, Any]) -> None:
    """Raises: ValueError that names the setting, its value and what was expected."""
    for name, allowed in RANGES.items():
        if not allowed.contains(settings[name]):
            raise ValueError(f"{name}={settings[name]!r}: expected {allowed.expected}")
    batch, capacity = settings["batch_size"], settings["replay_capacity"]
    if batch > capacity:
        raise ValueError(f"batch_size={batch}: expected at most replay_capacity={capacity}")


def check_networks(networks: Any, where: str) -> None:
    """Raises: ValueError for settings of single policies other than the widths of their networks.

    `where` names the setting that `networks` is the value of.
    """
    if not isinstance(networks, Mapping):
        raise ValueError(f"{where}={networks!r}: expected settings by policy")
    for policy, own in networks.items():
        for name, value in dict(own).items():
            if name not in NETWORK_SETTINGS:
                known = " or ".join(NETWORK_SETTINGS)
                raise ValueError(f"{where}[{policy!r}]: unknown {name!r}, expected {known}")
            if not WIDTHS.contains(value):
                raise ValueError(
                    f"{where}[{policy!r}]: {name}={value!r}, expected {WIDTHS.expected}"
                )
