"""Settings of TD3 for many cells, as an RLlib AlgorithmConfig.

Checks of a whole config: its settings, their ranges, and the parts of RLlib that it names.

Which of RLlib's settings have an effect in TD3. Every other one is refused if it is changed.
"""

import difflib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.policy.policy import PolicySpec

from slicing_rllib.learning.env_runner import ColumnarEnvRunner
from slicing_rllib.learning.learner import TD3Learner
from slicing_rllib.learning.policy_map import PolicyMap, map_policies
from slicing_rllib.learning.rl_module import BankedMultiRLModule, TD3Module, choose_squash
from slicing_rllib.learning.td3_settings import (
    TD3_DEFAULTS,
    SquashSetting,
    check_networks,
    check_ranges,
)
from slicing_rllib.random_streams import Purpose, cell_key

RLLIB_NAMES = frozenset(vars(AlgorithmConfig()))

EFFECTIVE = frozenset(
    [
        "env",
        "env_config",
        "seed",
        "gamma",
        "explore",
        "log_level",
        "log_sys_usage",
        "policies",
        "policy_mapping_fn",
        "policies_to_train",
        "algorithm_config_overrides_per_module",
        "env_runner_cls",
        "num_env_runners",
        "num_envs_per_env_runner",
        "num_cpus_per_env_runner",
        "custom_resources_per_env_runner",
        "validate_env_runners_after_construction",
        "sample_timeout_s",
        "episode_lookback_horizon",
        "metrics_num_episodes_for_smoothing",
        "min_time_s_per_iteration",
        "min_train_timesteps_per_iteration",
        "min_sample_timesteps_per_iteration",
        "num_learners",
        "num_gpus_per_learner",
        "num_cpus_per_learner",
        "custom_resources_per_learner",
        "num_cpus_for_main_process",
        "custom_resources_for_main_process",
        "placement_strategy",
        "local_gpu_idx",
        "extra_python_environs_for_driver",
        "extra_python_environs_for_worker",
        "callbacks_class",
        "callbacks_on_algorithm_init",
        "callbacks_on_env_runners_recreated",
        "callbacks_on_checkpoint_loaded",
        "callbacks_on_environment_created",
        "callbacks_on_episode_created",
        "callbacks_on_episode_start",
        "callbacks_on_episode_step",
        "callbacks_on_episode_end",
        "callbacks_on_evaluate_start",
        "callbacks_on_evaluate_end",
        "callbacks_on_sample_end",
        "callbacks_on_train_result",
        "evaluation_interval",
        "evaluation_duration",
        "evaluation_duration_unit",
        "evaluation_sample_timeout_s",
        "evaluation_auto_duration_min_env_steps_per_sample",
        "evaluation_auto_duration_max_env_steps_per_sample",
        "evaluation_parallel_to_training",
        "evaluation_unhealthy_workers_timeout_s",
        "evaluation_error_after_n_consecutive_skips",
        "evaluation_force_reset_envs_before_iteration",
        "evaluation_config",
        "evaluation_num_env_runners",
        "custom_evaluation_function",
        "in_evaluation",
        "restart_failed_env_runners",
        "ignore_env_runner_failures",
        "max_num_env_runner_restarts",
        "delay_between_env_runner_restarts_s",
        "restart_failed_sub_environments",
        "num_consecutive_env_runner_failures_tolerance",
        "env_runner_health_probe_timeout_s",
        "env_runner_restore_timeout_s",
        "stats_cls_lookup",
        "_learner_class",
        "_rl_module_spec",
        "_validate_config",
    ]
)
"""RLlib's settings that do what RLlib's users expect."""

WITHOUT_EFFECT = frozenset(
    [
        "algo_class",
        "normalize_actions",
        "clip_actions",
        "disable_env_checking",
        "create_env_on_local_worker",
        "simple_optimizer",
        "_is_frozen",
        "_is_atari",
        "_is_online",
        "_dont_auto_sync_env_runner_states",
    ]
)
"""Settings that cannot change what TD3 does: actions are always within their bounds, spaces are
always checked, RLlib sets the others itself."""

SET_BY_RLLIB = frozenset({"class"})
"""Attributes that RLlib adds to configs that it copies."""

TUNE_PREFIX = "__"
"""How names of what Tune adds to configs begin."""

ONLY_IN_EVALUATION = frozenset({"batch_mode", "rollout_fragment_length"})
"""Settings that RLlib changes itself in configs of evaluations."""

OUR_NAMES: Mapping[str, str] = {
    "lr": "actor_lr and critic_lr are the learning rates",
    "grad_clip": "TD3 does not clip gradients",
    "grad_clip_by": "TD3 does not clip gradients",
    "train_batch_size": "batch_size is the number of transitions per policy and update",
    "rollout_fragment_length": "steps_per_iteration is the number of steps between two syncs",
    "batch_mode": "steps_per_iteration is the number of steps between two syncs",
    "_model_config": "actor_hiddens, critic_hiddens and networks set the networks",
    "model": "actor_hiddens, critic_hiddens and networks set the networks",
    "model_config": "actor_hiddens, critic_hiddens and networks set the networks",
    "_rl_module_spec": "actor_hiddens, critic_hiddens and networks set the networks",
    "replay_buffer_config": "replay_capacity and replay_precision set the replay buffer",
    "store_buffer_in_checkpoints": "checkpoints always contain the replay buffer",
    "num_steps_sampled_before_learning_starts": "exploration_steps is the number of random steps",
    "training_intensity": "updates_per_step is the number of updates per step",
    "target_network_update_freq": "policy_delay and tau set the target networks",
    "twin_q": "TD3 always has two critics",
    "n_step": "TD3 learns from single steps",
    "num_epochs": "updates_per_step is the number of updates per step",
    "minibatch_size": "batch_size is the number of transitions per policy and update",
    "exploration_config": "exploration_steps and exploration_noise set exploration",
    "observation_space": "spaces are read from the environment",
    "action_space": "spaces are read from the environment",
    "_env_to_module_connector": "TD3 has no connector pipelines; wrap the environment",
    "_module_to_env_connector": "TD3 has no connector pipelines; wrap the environment",
    "_learner_connector": "TD3 has no connector pipelines; wrap the environment",
    "observation_filter": "TD3 has no connector pipelines; wrap the environment",
    "clip_rewards": "wrap the environment to change rewards",
    "count_steps_by": "steps are steps of the whole environment",
    "gym_env_vectorize_mode": "environments of an env runner are stepped one after the other",
}
"""What does the same here, by the name of a setting that RLlib's users know."""


def check_settings(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Raises: ValueError for an unknown setting, and for one of RLlib's that has no effect here.

    `defaults` are those of a new config of the same class; settings of its own have an effect.
    """
    unknown = [
        name
        for name in settings
        if name not in defaults and name not in SET_BY_RLLIB and not name.startswith(TUNE_PREFIX)
    ]
    if unknown:
        raise ValueError(describe_unknown(unknown[0], defaults))
    allowed = EFFECTIVE | WITHOUT_EFFECT
    if settings["in_evaluation"]:
        allowed |= ONLY_IN_EVALUATION
    for name in RLLIB_NAMES - allowed:
        if settings[name] is not defaults[name] and settings[name] != defaults[name]:
            hint = OUR_NAMES.get(name, "TD3 does not support it")
            raise ValueError(
                f"{name.removeprefix('_')}: expected {defaults[name]!r}, got {settings[name]!r}; "
                f"{hint}"
            )


def describe_unknown(name: str, known: Iterable[str]) -> str:
    """One line about a setting that does not exist."""
    if name in OUR_NAMES:
        return f"{name}: unknown setting; {OUR_NAMES[name]}"
    close = difflib.get_close_matches(name, [*known], n=1)
    return f"{name}: unknown setting" + (f"; did you mean {close[0]}?" if close else "")


BY_POLICY = ("networks", "algorithm_config_overrides_per_module")
"""Settings that have an entry per policy."""


def check_config(config: Any) -> None:
    """Raises: ValueError with one line that names a TD3Config's setting and what was expected."""
    settings = vars(config)
    check_settings(settings, vars(type(config)()))
    check_ranges(settings)
    for name in BY_POLICY:
        check_networks(settings[name], name)
    _check_classes(config)
    for name, policy in dict(config.policies).items():
        if isinstance(policy, PolicySpec) and policy != PolicySpec():
            raise ValueError(
                f"policies[{name!r}]: expected PolicySpec() without arguments; spaces are read "
                "from the environment, networks sets the networks of single policies"
            )


def check_policy_names(config: Any, policies: tuple[str, ...]) -> None:
    """Raises: ValueError for a setting of a policy that does not exist."""
    for setting in BY_POLICY:
        _require_known(setting, getattr(config, setting), policies)
    if isinstance(config.policies_to_train, list | tuple | set):
        _require_known("policies_to_train", config.policies_to_train, policies)


def _check_classes(config: Any) -> None:
    if config.env is None:
        raise ValueError("environment: expected one, as in TD3Config().environment(...)")
    if not issubclass(config.learner_class, TD3Learner):
        raise ValueError(f"learner_class={config.learner_class}: expected a TD3Learner")
    runner = config.env_runner_cls
    if not (isinstance(runner, type) and issubclass(runner, ColumnarEnvRunner)):
        raise ValueError(f"env_runner_cls={runner}: expected a ColumnarEnvRunner")
    spec = config._rl_module_spec
    # RLlib itself sets a spec of ours when policies are added.
    if spec is not None and getattr(spec, "multi_rl_module_class", None) != BankedMultiRLModule:
        raise ValueError(
            "rl_module_spec: expected none; actor_hiddens, critic_hiddens and networks set the "
            "networks, set_policy_weights loads weights"
        )


def _require_known(setting: str, names: Any, policies: tuple[str, ...]) -> None:
    for name in names:
        if name not in policies:
            raise ValueError(
                f"{setting}: no policy {name!r}, expected one of {', '.join(policies)}"
            )


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
