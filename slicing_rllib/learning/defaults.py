"""Default hyperparameters of TD3, in a module that imports neither torch nor Ray."""

from dataclasses import dataclass
from typing import Literal

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
