"""Settings of TD3 for many cells, as an RLlib AlgorithmConfig."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from slicing_rllib.learning.env_runner import ColumnarEnvRunner
from slicing_rllib.learning.learner import TD3Learner
from slicing_rllib.learning.random_streams import Purpose, cell_key
from slicing_rllib.learning.rl_module import BankedMultiRLModule, TD3Module

NOT_A_CELL = "__env__"


class TD3Config(AlgorithmConfig):
    """Defaults are the paper's; what it leaves open is Fujimoto et al.'s."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or _td3())
        self.seed = 0
        self.gamma = 0.1
        self.actor_lr = 5e-4
        self.critic_lr = 1e-3
        self.tau = 0.005
        self.policy_delay = 2
        self.target_noise = 0.2
        self.target_noise_clip = 0.5
        self.exploration_steps = 3000
        self.exploration_noise = 0.3
        self.batch_size = 32
        self.replay_capacity = 10_000
        self.replay_precision = "float32"
        """Or float16, where many cells need much memory."""
        self.default_capacity = 500
        self.actor_hiddens = (48, 24)
        self.critic_hiddens = (64, 24)
        self.networks: Mapping[str, Mapping[str, Any]] = {}
        """Of single cells: `actor_hiddens`, `critic_hiddens` of their own."""
        self.steps_per_iteration = 100
        self.updates_per_step = 1
        self.sample_async = False
        self.num_env_runners = 0
        self.env_runner_cls = ColumnarEnvRunner
        self.rollout_fragment_length = 25
        self.normalize_actions = False
        self.clip_actions = False
        self.min_time_s_per_iteration = 0
        self.min_sample_timesteps_per_iteration = 0
        self.enable_env_runner_and_connector_v2 = True
        self.enable_rl_module_and_learner = True
        self.framework_str = "torch"

    def training(  # type: ignore[override]
        self,
        *,
        actor_lr: float | None = None,
        critic_lr: float | None = None,
        tau: float | None = None,
        policy_delay: int | None = None,
        target_noise: float | None = None,
        target_noise_clip: float | None = None,
        exploration_steps: int | None = None,
        exploration_noise: float | None = None,
        batch_size: int | None = None,
        replay_capacity: int | None = None,
        replay_precision: str | None = None,
        default_capacity: int | None = None,
        actor_hiddens: tuple[int, ...] | None = None,
        critic_hiddens: tuple[int, ...] | None = None,
        networks: Mapping[str, Mapping[str, Any]] | None = None,
        steps_per_iteration: int | None = None,
        updates_per_step: int | None = None,
        sample_async: bool | None = None,
        **rllib: Any,
    ) -> "TD3Config":
        """TD3's own settings; the others are RLlib's (gamma ...)."""
        ours = {
            "actor_lr": actor_lr,
            "critic_lr": critic_lr,
            "tau": tau,
            "policy_delay": policy_delay,
            "target_noise": target_noise,
            "target_noise_clip": target_noise_clip,
            "exploration_steps": exploration_steps,
            "exploration_noise": exploration_noise,
            "batch_size": batch_size,
            "replay_capacity": replay_capacity,
            "replay_precision": replay_precision,
            "default_capacity": default_capacity,
            "actor_hiddens": actor_hiddens,
            "critic_hiddens": critic_hiddens,
            "networks": networks,
            "steps_per_iteration": steps_per_iteration,
            "updates_per_step": updates_per_step,
            "sample_async": sample_async,
        }
        super().training(**rllib)
        for name, value in ours.items():
            if value is not None:
                setattr(self, name, value)
        return self

    @property
    def is_multi_agent(self) -> bool:
        return True

    def get_default_learner_class(self) -> type:
        return TD3Learner

    def build_learner_group(self, **built: Any) -> Any:
        """One learner here; `num_learners` others take cells off it (`learner_shards`)."""
        config = self.copy(copy_frozen=False)
        config.num_learners = 0
        return super(TD3Config, config).build_learner_group(**built)

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=TD3Module, model_config=self._networks_of(""))

    def get_multi_rl_module_spec(
        self, *, spaces: Mapping[str, Any] | None = None, inference_only: bool = False, **_: Any
    ) -> MultiRLModuleSpec:
        """A module for every cell that the environment may ever have."""
        specs = {
            cell: self.module_spec(cell, *of_cell, inference_only=inference_only)
            for cell, of_cell in (spaces or {}).items()
            if cell != NOT_A_CELL
        }
        return MultiRLModuleSpec(
            multi_rl_module_class=BankedMultiRLModule,
            rl_module_specs=specs,
            inference_only=inference_only,
        )

    def module_spec(
        self, cell: str, obs: Any, action: Any, *, inference_only: bool = False
    ) -> RLModuleSpec:
        """Of a cell's networks, from its spaces; its first weights depend on seed and name."""
        return RLModuleSpec(
            module_class=TD3Module,
            observation_space=obs,
            action_space=action,
            inference_only=inference_only,
            model_config=self._networks_of(cell),
        )

    def _networks_of(self, cell: str) -> dict[str, Any]:
        key = (int(Purpose.INITIAL_WEIGHTS), cell_key(cell))
        seed = np.random.SeedSequence(self.seed or 0, spawn_key=key)
        own = {"actor_hiddens": self.actor_hiddens, "critic_hiddens": self.critic_hiddens}
        own |= self.networks.get(cell, {})
        return {
            **{name: tuple(widths) for name, widths in own.items()},
            "init_seed": int(seed.generate_state(1)[0]),
        }


def _td3() -> type:
    # The algorithm names its config, and the config its algorithm.
    from slicing_rllib.learning.td3 import TD3

    return TD3
