"""Settings of TD3 for many cells, as an RLlib AlgorithmConfig.

Each of RLlib's own settings has an effect here, or is refused with the name of ours that has.
"""

import difflib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import Field, StrictBool, ValidationError
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.policy.policy import PolicySpec

from slicing_rllib.learning.adapters import AdaptedEnv
from slicing_rllib.learning.env_runner import BatchedEnvRunner
from slicing_rllib.learning.learner import TD3Learner
from slicing_rllib.learning.policy_map import PolicyMap, map_policies
from slicing_rllib.learning.rl_module import BankedMultiRLModule, TD3Module, choose_squash
from slicing_rllib.policies.td3_settings import (
    PER_SLICE_DEFAULTS,
    Count,
    CountOrZero,
    NetworkSettings,
    TD3Arguments,
    describe_range,
)
from slicing_rllib.random_streams import Stream, cell_key, derive_seed
from slicing_rllib.registry import OwnParts

RLLIB_NAMES = frozenset(vars(AlgorithmConfig()))

ACCEPTED = frozenset([
    "env", "env_config", "seed", "gamma", "explore", "log_level", "log_sys_usage", "policies",
    "policy_mapping_fn", "policies_to_train", "algorithm_config_overrides_per_module",
    "env_runner_cls", "num_env_runners", "num_envs_per_env_runner", "num_cpus_per_env_runner",
    "custom_resources_per_env_runner", "validate_env_runners_after_construction",
    "sample_timeout_s", "episode_lookback_horizon", "metrics_num_episodes_for_smoothing",
    "min_time_s_per_iteration", "min_train_timesteps_per_iteration",
    "min_sample_timesteps_per_iteration", "num_learners", "num_gpus_per_learner",
    "num_cpus_per_learner", "custom_resources_per_learner", "num_cpus_for_main_process",
    "custom_resources_for_main_process", "placement_strategy", "local_gpu_idx",
    "extra_python_environs_for_driver", "extra_python_environs_for_worker", "callbacks_class",
    "callbacks_on_algorithm_init", "callbacks_on_env_runners_recreated",
    "callbacks_on_checkpoint_loaded", "callbacks_on_environment_created",
    "callbacks_on_episode_created", "callbacks_on_episode_start", "callbacks_on_episode_step",
    "callbacks_on_episode_end", "callbacks_on_evaluate_start", "callbacks_on_evaluate_end",
    "callbacks_on_sample_end", "callbacks_on_train_result", "evaluation_interval",
    "evaluation_duration", "evaluation_duration_unit", "evaluation_sample_timeout_s",
    "evaluation_auto_duration_min_env_steps_per_sample",
    "evaluation_auto_duration_max_env_steps_per_sample", "evaluation_parallel_to_training",
    "evaluation_unhealthy_workers_timeout_s", "evaluation_error_after_n_consecutive_skips",
    "evaluation_force_reset_envs_before_iteration", "evaluation_config",
    "evaluation_num_env_runners", "custom_evaluation_function", "in_evaluation",
    "restart_failed_env_runners", "ignore_env_runner_failures", "max_num_env_runner_restarts",
    "delay_between_env_runner_restarts_s", "restart_failed_sub_environments",
    "num_consecutive_env_runner_failures_tolerance", "env_runner_health_probe_timeout_s",
    "env_runner_restore_timeout_s", "stats_cls_lookup", "_learner_class", "_rl_module_spec",
    "_validate_config",
    # These cannot change what TD3 does: actions are always within their bounds, spaces are always
    # checked, RLlib sets the others itself.
    "algo_class", "normalize_actions", "clip_actions", "disable_env_checking",
    "create_env_on_local_worker", "simple_optimizer", "_is_frozen", "_is_atari", "_is_online",
    "_dont_auto_sync_env_runner_states",
])  # fmt: skip
"""RLlib's settings that do what RLlib's users expect; the others are refused."""

_ANSWERS = {
    "actor_lr and critic_lr are the learning rates": "lr",
    "TD3 does not clip gradients": "grad_clip grad_clip_by",
    "batch_size is the number of transitions per policy and update":
        "train_batch_size minibatch_size",
    "steps_per_iteration is the number of steps between two syncs":
        "rollout_fragment_length batch_mode",
    "actor_hiddens, critic_hiddens and networks set the networks":
        "_model_config model model_config _rl_module_spec",
    "replay_capacity and replay_precision set the replay buffer": "replay_buffer_config",
    "checkpoints always contain the replay buffer": "store_buffer_in_checkpoints",
    "exploration_steps is the number of random steps": "num_steps_sampled_before_learning_starts",
    "updates_per_step is the number of updates per step": "training_intensity num_epochs",
    "policy_delay, critic_delay and tau set the target networks": "target_network_update_freq",
    "TD3 always has two critics": "twin_q",
    "TD3 learns from single steps": "n_step",
    "exploration_steps and exploration_noise set exploration": "exploration_config",
    "spaces are read from the environment": "observation_space action_space",
    "TD3 has no connector pipelines; wrap the environment":
        "_env_to_module_connector _module_to_env_connector _learner_connector observation_filter",
    "wrap the environment to change rewards": "clip_rewards",
    "steps are steps of the whole environment": "count_steps_by",
    "environments of an env runner are stepped one after the other": "gym_env_vectorize_mode",
}  # fmt: skip
OUR_NAMES = {name: answer for answer, names in _ANSWERS.items() for name in names.split()}
"""What does the same here, by the name of a setting that RLlib's users know."""
BY_POLICY = ("networks", "algorithm_config_overrides_per_module")
"""Settings that have an entry per policy."""


class CheckedSettings(TD3Arguments):
    """TD3's settings, and those of RLlib that have a range."""

    algorithm_config_overrides_per_module: dict[str, NetworkSettings] = Field(default_factory=dict)
    """RLlib's name of `networks`."""
    explore: StrictBool = True
    """Whether env runners act with noise."""
    seed: CountOrZero = 0
    """Seed of weights, exploration, traffic and movement."""
    num_env_runners: CountOrZero = 0
    """Processes that each step an environment of their own."""
    num_envs_per_env_runner: Count = 1
    """Environments that each env runner steps."""
    num_learners: CountOrZero = 0
    """Processes that share the cells' updates among them."""


def require_effect(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Raises: ValueError for an unknown setting, and for one of RLlib's that has no effect here.

    `defaults` are those of a new config of the same class; settings of its own have an effect.
    """
    for name in settings:
        # RLlib adds `class` to configs that it copies, Tune names that begin with two underscores.
        if name not in defaults and name != "class" and not name.startswith("__"):
            raise ValueError(describe_unknown(name, defaults))
    # RLlib changes these itself in configs of evaluations.
    changed = {"batch_mode", "rollout_fragment_length"} if settings["in_evaluation"] else set()
    for name in RLLIB_NAMES - ACCEPTED - changed:
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


class TD3Config(AlgorithmConfig):
    """Settings of TD3 for many cells: those of `TD3Settings`, which `training` documents."""

    def __init__(self, algo_class: type | None = None) -> None:
        """`algo_class` is for subclasses of TD3."""
        # Imported late: the algorithm names its config class, and the config its algorithm class.
        from slicing_rllib.learning.td3 import TD3

        super().__init__(algo_class=algo_class or TD3)
        vars(self).update(CheckedSettings().model_dump())
        self.own_parts = OwnParts()
        """Takes what `slicing_rllib.register` has entered along to Ray's workers."""
        self.env_runner_cls = BatchedEnvRunner
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

    def training(self, **settings: Any) -> "TD3Config":  # type: ignore[override]
        """TD3's own settings; RLlib's `train_batch_size_per_learner` is `batch_size`.

        Raises: TypeError for an argument that neither TD3 nor RLlib's `training` has.
        """
        ours = TD3Arguments.model_fields
        rllib = {name: value for name, value in settings.items() if name not in ours}
        known = inspect.signature(AlgorithmConfig.training).parameters
        for name in rllib:
            if name not in known:
                raise TypeError(f"training(): {describe_unknown(name, [*ours, *known])}")
        batch_size = rllib.pop("train_batch_size_per_learner", None)
        super().training(**rllib)
        for name, value in {"batch_size": batch_size, **settings}.items():
            if name in ours and value is not None:
                setattr(self, name, value)
        if settings.get("critic") == "per_slice":
            for name, value in PER_SLICE_DEFAULTS.items():
                if settings.get(name) is None:
                    setattr(self, name, value)
        return self

    def validate(self) -> None:
        """RLlib's checks, and that every setting is in its range and has an effect.

        Raises: ValueError with one line that names the setting and what was expected.
        """
        if self._validate_config:
            require_effect(vars(self), vars(type(self)()))
            # As pydantic reads them: NumPy's numbers become Python's, lists of widths tuples.
            vars(self).update(self.settings.model_dump(exclude_none=True))
            self._check_classes()
        super().validate()

    @property
    def settings(self) -> CheckedSettings:
        """The settings that have a range.

        Raises: ValueError with one line that names the setting, its value and its range.
        """
        own = {name: vars(self)[name] for name in CheckedSettings.model_fields}
        try:
            return CheckedSettings.model_validate(own)
        except ValidationError as error:
            problem = error.errors()[0]
        name, *below = [str(part) for part in problem["loc"]]
        path = ".".join([name, *below])
        message = problem["msg"].removeprefix("Value error, ")
        message = message.replace("Input should be", "expected")
        if problem["type"] == "extra_forbidden":
            known = ", ".join(NetworkSettings.model_fields)
            raise ValueError(f"{path}: unknown setting, expected one of {known}")
        if below and name in BY_POLICY:
            raise ValueError(f"{path}={problem['input']!r}: {message}")
        if problem["type"] != "value_error":
            schema = CheckedSettings.model_json_schema()["properties"]
            message = f"expected {describe_range(schema[name])}"
        raise ValueError(f"{name}={own[name]!r}: {message}")

    def require_usable(self, env: Any) -> None:
        """Raises: ValueError for an environment that critics per slice cannot learn from."""
        if self.settings.critic == "per_slice" and not getattr(env, "measures_slices", False):
            own = env.unwrapped.unwrapped if isinstance(env, AdaptedEnv) else env
            raise ValueError(
                f"critic per_slice: {type(own).__name__} does not report each slice's throughput "
                "and delay, expected SlicingEnv with observation response; critic joint works with "
                "any environment"
            )

    def map_policies(self, agents: Mapping[str, Any]) -> PolicyMap:
        """The policy of each agent; `agents` gives the environment's own name of each.

        Raises: ValueError where `policies`, `policy_mapping_fn`, `policies_to_train` or `networks`
        do not fit the agents or each other.
        """
        is_default = self.policy_mapping_fn is AlgorithmConfig.DEFAULT_POLICY_MAPPING_FN
        names = list(self.policies)
        found = map_policies(
            agents,
            None if is_default else self.policy_mapping_fn,
            None if names == [DEFAULT_MODULE_ID] else names,
        )
        for setting in BY_POLICY:
            _require_known(setting, getattr(self.settings, setting), found.policies)
        if isinstance(self.policies_to_train, list | tuple | set):
            _require_known("policies_to_train", self.policies_to_train, found.policies)
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
        return TD3Learner

    def build_learner_group(self, **arguments: Any) -> Any:
        """One local learner; the processes of `num_learners` are those of `LearnerShards`."""
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
            if cell not in ("__env__", "__env_single__")
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
            | {"squash": choose_squash(cell, action, self.settings.squash)},
        )

    def _check_classes(self) -> None:
        if self.env is None:
            raise ValueError("environment: expected one, as in TD3Config().environment(...)")
        if not issubclass(self.learner_class, TD3Learner):
            raise ValueError(f"learner_class={self.learner_class}: expected a TD3Learner")
        runner = self.env_runner_cls
        if not (isinstance(runner, type) and issubclass(runner, BatchedEnvRunner)):
            raise ValueError(f"env_runner_cls={runner}: expected a BatchedEnvRunner")
        spec = self._rl_module_spec
        # RLlib itself sets a spec of ours when policies are added.
        if spec is not None and getattr(spec, "multi_rl_module_class", None) != BankedMultiRLModule:
            raise ValueError(
                "rl_module_spec: expected none; actor_hiddens, critic_hiddens and networks set the "
                "networks, set_policy_weights loads weights"
            )
        for name, policy in dict(self.policies).items():
            if isinstance(policy, PolicySpec) and policy != PolicySpec():
                raise ValueError(
                    f"policies[{name!r}]: expected PolicySpec() without arguments; spaces are read "
                    "from the environment, networks sets the networks of single policies"
                )

    def _validate_multi_agent_settings(self) -> None:
        """Left to `map_policies`: by default policies are known once there is an environment."""

    def _make_model_config(self, cell: str) -> dict[str, Any]:
        settings = self.settings
        own = {name: getattr(settings, name) for name in NetworkSettings.model_fields}
        for by_policy in (settings.algorithm_config_overrides_per_module, settings.networks):
            if cell in by_policy:
                own |= by_policy[cell].model_dump(exclude_none=True)
        return {
            **own,
            "critic": settings.critic,
            "actor": settings.actor,
            "base_policy": settings.base_policy,
            "initial_weights": dict(settings.initial_weights),
            "init_seed": derive_seed(self.seed, Stream.INITIAL_WEIGHTS, cell_key(cell)),
        }


def _require_known(setting: str, names: Any, policies: tuple[str, ...]) -> None:
    for name in names:
        if name not in policies:
            raise ValueError(
                f"{setting}: no policy {name!r}, expected one of {', '.join(policies)}"
            )


def _document_training() -> None:
    """Give `TD3Config.training` the signature and the list of arguments that `help` shows."""
    fields, of = TD3Arguments.model_fields, inspect.Parameter
    ours = [
        of(name, of.KEYWORD_ONLY, default=None, annotation=field.annotation)
        for name, field in fields.items()
    ]
    TD3Config.training.__signature__ = inspect.Signature(  # pyright: ignore
        [of("self", of.POSITIONAL_OR_KEYWORD), *ours, of("rllib", of.VAR_KEYWORD)]
    )
    lines = [f"    {name}: {field.description}" for name, field in fields.items()]
    described = "\n".join(["Args:", *lines, "    rllib: RLlib's own arguments."])
    TD3Config.training.__doc__ = f"{inspect.getdoc(TD3Config.training)}\n\n{described}"


_document_training()
