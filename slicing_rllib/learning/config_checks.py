"""Checks of a whole config: its settings, their ranges, and the parts of RLlib that it names."""

from typing import Any

from ray.rllib.policy.policy import PolicySpec

from slicing_rllib.learning.env_runner import ColumnarEnvRunner
from slicing_rllib.learning.learner import TD3Learner
from slicing_rllib.learning.rl_module import BankedMultiRLModule
from slicing_rllib.learning.rllib_settings import check_settings
from slicing_rllib.learning.setting_ranges import check_networks, check_ranges

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
