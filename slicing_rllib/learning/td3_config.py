"""Settings of TD3 for many cells, as an RLlib AlgorithmConfig."""

import inspect
from collections.abc import Mapping
from typing import Any

from pydantic import Field, StrictBool, ValidationError
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.policy.policy import PolicySpec

from slicing_rllib.learning.env_runner import BatchedEnvRunner
from slicing_rllib.learning.learner import TD3Learner
from slicing_rllib.learning.policy_map import PolicyMap, map_policies
from slicing_rllib.learning.rl_module import BankedMultiRLModule, TD3Module, choose_squash
from slicing_rllib.learning.rllib_settings import check_settings, describe_unknown
from slicing_rllib.learning.td3_settings import (
    Count,
    CountOrZero,
    NetworkSettings,
    TD3Arguments,
    describe_range,
)
from slicing_rllib.random_streams import Stream, cell_key, derive_seed

BY_POLICY = ("networks", "algorithm_config_overrides_per_module")
"""Settings that have an entry per policy."""
ENV_SPACE_KEYS = ("__env__", "__env_single__")


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


def read_settings(settings: Mapping[str, Any]) -> CheckedSettings:
    """Raises: ValueError with one line that names the setting, its value and its range."""
    own = {name: settings[name] for name in CheckedSettings.model_fields}
    try:
        return CheckedSettings.model_validate(own)
    except ValidationError as error:
        problem = error.errors()[0]
    name, *below = [str(part) for part in problem["loc"]]
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    if problem["type"] == "extra_forbidden":
        known = ", ".join(NetworkSettings.model_fields)
        raise ValueError(f"{'.'.join([name, *below])}: unknown setting, expected one of {known}")
    if below and name in BY_POLICY:
        raise ValueError(f"{'.'.join([name, *below])}={problem['input']!r}: {message}")
    if problem["type"] != "value_error":
        schema = CheckedSettings.model_json_schema()["properties"]
        message = f"expected {describe_range(schema[name])}"
    raise ValueError(f"{name}={own[name]!r}: {message}")


class TD3Config(AlgorithmConfig):
    """Settings of TD3 for many cells: those of `TD3Settings`, which `training` documents."""

    def __init__(self, algo_class: type | None = None) -> None:
        """`algo_class` is for subclasses of TD3."""
        super().__init__(algo_class=algo_class or _import_td3())
        vars(self).update(CheckedSettings().model_dump())
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
        ours = TD3Arguments.model_fields.keys() | {"gamma"}
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
        return self

    def validate(self) -> None:
        """RLlib's checks, and that every setting is in its range and has an effect.

        Raises: ValueError with one line that names the setting and what was expected.
        """
        if self._validate_config:
            check_settings(vars(self), vars(type(self)()))
            # As pydantic reads them: NumPy's numbers become Python's, lists of widths tuples.
            vars(self).update(self.settings.model_dump(exclude_none=True))
            self._check_classes()
        super().validate()

    @property
    def settings(self) -> CheckedSettings:
        """The settings that have a range. Raises: ValueError that names one outside its range."""
        return read_settings(vars(self))

    def map_policies(self, agents: Mapping[str, Any]) -> PolicyMap:
        """The policy of each agent; `agents` gives the environment's own name of each.

        Raises: ValueError where `policies`, `policy_mapping_fn`, `policies_to_train` or `networks`
        do not fit the agents or each other.
        """
        is_default = self.policy_mapping_fn is AlgorithmConfig.DEFAULT_POLICY_MAPPING_FN
        found = map_policies(
            agents, None if is_default else self.policy_mapping_fn, self._list_policies()
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
            | {"squash": choose_squash(cell, action, self.settings.squash)},
        )

    def _list_policies(self) -> list[str] | None:
        """Names of the policies that the user gave; None where it is left to the agents."""
        given = list(self.policies)
        return None if given == [DEFAULT_MODULE_ID] else given

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
            "actor": settings.actor,
            "base_policy": settings.base_policy,
            "initial_actor": dict(settings.initial_actor_weights),
            "init_seed": derive_seed(self.seed, Stream.INITIAL_WEIGHTS, cell_key(cell)),
        }


def _import_td3() -> type:
    # Imported late: the algorithm names its config class, and the config its algorithm class.
    from slicing_rllib.learning.td3 import TD3

    return TD3


def _require_known(setting: str, names: Any, policies: tuple[str, ...]) -> None:
    for name in names:
        if name not in policies:
            raise ValueError(
                f"{setting}: no policy {name!r}, expected one of {', '.join(policies)}"
            )


def _document_training() -> None:
    """Give `TD3Config.training` the signature and the list of arguments that `help` shows."""
    fields = TD3Arguments.model_fields
    TD3Config.training.__signature__ = inspect.Signature(  # pyright: ignore
        [
            inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD),
            *(
                inspect.Parameter(
                    name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=field.annotation
                )
                for name, field in fields.items()
            ),
            inspect.Parameter("rllib", inspect.Parameter.VAR_KEYWORD),
        ]
    )
    lines = [f"    {name}: {field.description}" for name, field in fields.items()]
    described = "\n".join(["Args:", *lines, "    rllib: RLlib's own arguments."])
    TD3Config.training.__doc__ = f"{inspect.getdoc(TD3Config.training)}\n\n{described}"


_document_training()
