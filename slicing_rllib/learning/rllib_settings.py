"""Which of RLlib's settings have an effect in TD3. Every other one is refused if it is changed."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

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
    "target_network_update_freq": "policy_delay, critic_delay and tau set the target networks",
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
