"""Settings of TD3 for many cells, as an RLlib AlgorithmConfig."""

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from slicing_rllib.learning.agent_spaces import choose_squash
from slicing_rllib.learning.config_checks import check_config, check_policy_names
from slicing_rllib.learning.defaults import TD3_DEFAULTS, SquashSetting
from slicing_rllib.learning.env_runner import ColumnarEnvRunner
from slicing_rllib.learning.learner import TD3Learner
from slicing_rllib.learning.policy_map import PolicyMap, map_policies
from slicing_rllib.learning.random_streams import Purpose, cell_key
from slicing_rllib.learning.rl_module import BankedMultiRLModule, TD3Module
from slicing_rllib.learning.rllib_settings import describe_unknown

ENV_SPACE_KEYS = ("__env__", "__env_single__")


class TD3Config(AlgorithmConfig):
    """Settings of TD3 for many cells; `training` documents them.

    Defaults are those of `learning.defaults`.
    """

    def __init__(self, algo_class: type | None = None) -> None:
        """`algo_class` is for subclasses of TD3."""
        super().__init__(algo_class=algo_class or _import_td3())
        self.seed = 0
        self.gamma = TD3_DEFAULTS.gamma
        self.actor_gradient = TD3_DEFAULTS.actor_gradient
        self.blend_critic_weight = TD3_DEFAULTS.blend_critic_weight
        self.base_policy = TD3_DEFAULTS.base_policy
        self.actor = TD3_DEFAULTS.actor
        self.squash: SquashSetting = TD3_DEFAULTS.squash
        self.actor_lr = TD3_DEFAULTS.actor_lr
        self.critic_lr = TD3_DEFAULTS.critic_lr
        self.tau = TD3_DEFAULTS.tau
        self.policy_delay = TD3_DEFAULTS.policy_delay
        self.target_noise = TD3_DEFAULTS.target_noise
        self.target_noise_clip = TD3_DEFAULTS.target_noise_clip
        self.exploration_steps = TD3_DEFAULTS.exploration_steps
        self.exploration_noise = TD3_DEFAULTS.exploration_noise
        self.batch_size = TD3_DEFAULTS.batch_size
        self.replay_capacity = TD3_DEFAULTS.replay_capacity
        self.replay_precision = TD3_DEFAULTS.replay_precision
        self.actor_hiddens = TD3_DEFAULTS.actor_hiddens
        self.critic_hiddens = TD3_DEFAULTS.critic_hiddens
        self.steps_per_iteration = TD3_DEFAULTS.steps_per_iteration
        self.updates_per_step = TD3_DEFAULTS.updates_per_step
        self.sample_async = TD3_DEFAULTS.sample_async
        self.default_capacity = 500
        self.networks: Mapping[str, Mapping[str, Any]] = {}
        self.initial_actor: Mapping[str, Any] = {}
        self.num_env_runners = 0
        self.env_runner_cls = ColumnarEnvRunner
        self.normalize_actions = False
        self.clip_actions = False
        self.evaluation_config = {"explore": False}
        # Env runners have no connectors whose states could differ.
        self._dont_auto_sync_env_runner_states = True
        self.min_time_s_per_iteration = 0
        self.min_sample_timesteps_per_iteration = 0
        self.enable_env_runner_and_connector_v2 = True
        self.enable_rl_module_and_learner = True
        self.framework_str = "torch"

    def training(  # type: ignore[override]
        self,
        *,
        actor_gradient: str | None = None,
        blend_critic_weight: float | None = None,
        base_policy: str | None = None,
        actor: str | None = None,
        squash: SquashSetting | None = None,
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
        initial_actor: Mapping[str, Any] | None = None,
        steps_per_iteration: int | None = None,
        updates_per_step: int | None = None,
        sample_async: bool | None = None,
        **rllib: Any,
    ) -> "TD3Config":
        """TD3's own settings; all others are those of RLlib's `training`, such as `gamma`.

        Args:
            actor_gradient: What actors climb: `critic` (TD3), `counterfactual` (the reward that
                the measured step would have given another action; the environment must offer it),
                or `blend`.
            blend_critic_weight: Share of the critic's gradient in a blend, 0 to 1.
            base_policy: `persistence` adds the last columns of an observation, log shares of a
                base policy, to the actor's output; `none` does not.
            actor: `mlp`, or `equivariant` for one MLP that is applied to every slice.
            squash: How actors' outputs become actions: `softmax` (shares), `tanh` (bounded
                actions), or `auto`: shares where the action space is a Simplex or a Box from 0 to
                1, bounded actions where it is another bounded Box.
            actor_lr: Adam's learning rate of actors.
            critic_lr: Adam's learning rate of critics.
            tau: Share of the online networks that target networks take over per update, 0 to 1.
            policy_delay: Updates of the critics per update of actor and targets; with a
                counterfactual gradient, updates of the actor per update of critics and targets.
            target_noise: Standard deviation of the noise on the target actor's logits.
            target_noise_clip: Largest absolute value of that noise.
            exploration_steps: Steps that each cell decides at random before it starts to learn.
            exploration_noise: Standard deviation of the noise on acting policies' logits.
            batch_size: Transitions per cell and update.
            replay_capacity: Transitions that each cell's replay buffer keeps.
            replay_precision: Type of stored transitions, `float32` or `float16`.
            default_capacity: Transitions under the default action kept per cell, for transfer.
            actor_hiddens: Widths of the actor's hidden layers.
            critic_hiddens: Widths of the critics' hidden layers.
            networks: By policy, `actor_hiddens` and `critic_hiddens` that differ from the others'.
            initial_actor: Weights that every cell's actor starts from, by parameter name
                (`actor.0.weight`), such as `policies.load_pretrained().weights`; by default random.
            steps_per_iteration: Network steps per call of `train`, of all env runners together.
            updates_per_step: Updates of every cell per network step.
            sample_async: Whether env runners sample the next iteration during this one's updates.
            **rllib: RLlib's own arguments; `train_batch_size_per_learner` is `batch_size`.

        Raises: TypeError for an argument that neither has.
        """
        known = inspect.signature(AlgorithmConfig.training).parameters
        for name in rllib:
            if name not in known:
                raise TypeError(f"training(): {describe_unknown(name, known)}")
        rllib_batch_size = rllib.pop("train_batch_size_per_learner", None)
        if batch_size is None:
            batch_size = rllib_batch_size
        ours = {
            "actor_gradient": actor_gradient,
            "blend_critic_weight": blend_critic_weight,
            "base_policy": base_policy,
            "actor": actor,
            "squash": squash,
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
            "initial_actor": initial_actor,
            "steps_per_iteration": steps_per_iteration,
            "updates_per_step": updates_per_step,
            "sample_async": sample_async,
        }
        super().training(**rllib)
        for name, value in ours.items():
            if value is not None:
                setattr(self, name, value)
        return self

    def validate(self) -> None:
        """RLlib's checks, and that every setting is in its range and has an effect.

        Raises: ValueError with one line that names the setting and what was expected.
        """
        if self._validate_config:
            check_config(self)
        super().validate()

    def map_policies(self, agents: Mapping[str, Any]) -> PolicyMap:
        """The policy of each agent; `agents` gives the environment's own name of each.

        Raises: ValueError where `policies`, `policy_mapping_fn`, `policies_to_train` or `networks`
        do not fit the agents or each other.
        """
        is_default = self.policy_mapping_fn is AlgorithmConfig.DEFAULT_POLICY_MAPPING_FN
        found = map_policies(
            agents, None if is_default else self.policy_mapping_fn, self._list_policies()
        )
        check_policy_names(self, found.policies)
        return found

    def is_trained(self, policy: str) -> bool:
        """Whether `policies_to_train` lets this policy learn."""
        chosen: Any = self.policies_to_train
        if chosen is None:
            return True
        return bool(chosen(policy, None)) if callable(chosen) else policy in chosen

    @property
    def is_multi_agent(self) -> bool:
        """Always: policies are modules of one MultiRLModule, even a single one."""
        return True

    @property
    def train_batch_size_per_learner(self) -> int:
        """RLlib's name of `batch_size`."""
        return self.batch_size

    @train_batch_size_per_learner.setter
    def train_batch_size_per_learner(self, value: int) -> None:
        self.batch_size = value

    def get_default_learner_class(self) -> type:
        """`TD3Learner`."""
        return TD3Learner

    def build_learner_group(self, **arguments: Any) -> Any:
        """One local learner; the processes of `num_learners` are those of `learner_shards`."""
        config = self.copy(copy_frozen=False)
        config.num_learners = 0
        return super(TD3Config, config).build_learner_group(**arguments)

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """A spec without spaces, for RLlib's checks."""
        return RLModuleSpec(module_class=TD3Module, model_config=self._make_model_config(""))

    def get_multi_rl_module_spec(
        self, *, spaces: Mapping[str, Any] | None = None, inference_only: bool = False, **_: Any
    ) -> MultiRLModuleSpec:
        """A module for every policy, also those of cells that are off at the start."""
        specs = {
            cell: self.module_spec(cell, *of_cell, inference_only=inference_only)
            for cell, of_cell in (spaces or {}).items()
            if cell not in ENV_SPACE_KEYS
        }
        return MultiRLModuleSpec(
            multi_rl_module_class=BankedMultiRLModule,
            rl_module_specs=specs,
            inference_only=inference_only,
        )

    def module_spec(
        self, cell: str, obs: Any, action: Any, *, inference_only: bool = False
    ) -> RLModuleSpec:
        """The module of a cell with these spaces; its weights depend on seed and cell name."""
        return RLModuleSpec(
            module_class=TD3Module,
            observation_space=obs,
            action_space=action,
            inference_only=inference_only,
            model_config=self._make_model_config(cell)
            | {"squash": choose_squash(cell, action, self.squash)},
        )

    def _list_policies(self) -> list[str] | None:
        """Names of the policies that the user gave; None where it is left to the agents."""
        given = list(self.policies)
        return None if given == [DEFAULT_MODULE_ID] else given

    def _validate_multi_agent_settings(self) -> None:
        """Left to `map_policies`: by default policies are known once there is an environment."""

    def _make_model_config(self, cell: str) -> dict[str, Any]:
        key = (int(Purpose.INITIAL_WEIGHTS), cell_key(cell))
        seed = np.random.SeedSequence(self.seed, spawn_key=key)
        own = {"actor_hiddens": self.actor_hiddens, "critic_hiddens": self.critic_hiddens}
        own |= self.algorithm_config_overrides_per_module.get(cell, {})
        own |= self.networks.get(cell, {})
        return {
            **{name: tuple(widths) for name, widths in own.items()},
            "actor": self.actor,
            "base_policy": self.base_policy,
            "initial_actor": dict(self.initial_actor),
            "init_seed": int(seed.generate_state(1)[0]),
        }


def _import_td3() -> type:
    # Imported late: the algorithm names its config class, and the config its algorithm class.
    from slicing_rllib.learning.td3 import TD3

    return TD3
