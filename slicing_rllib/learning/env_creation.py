"""From an algorithm's config to the environment that its env runners step."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils.conversions import aec_to_parallel
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.env.env_context import EnvContext
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv, PettingZooEnv
from ray.rllib.utils.error import EnvError

from slicing_rllib.env import ColumnarEnv
from slicing_rllib.learning.agent_spaces import SpaceError
from slicing_rllib.learning.defaults import SquashSetting
from slicing_rllib.learning.gymnasium_adapter import GymnasiumColumns
from slicing_rllib.learning.pettingzoo_adapter import ParallelColumns

CONFIG_PARAMETERS = {"config", "cfg", "env_config", "env_context", "context", "ctx", "_"}
"""Names under which classes written for RLlib expect the whole `env_config`."""
EXPECTED = (
    "expected an environment of Gymnasium, a parallel one of PettingZoo, RLlib's MultiAgentEnv or "
    "a columnar one (cells, reset_columns, step_columns)"
)


def create_env(config: Any, worker_index: int, vector_index: int) -> tuple[ColumnarEnv, EnvContext]:
    """An environment of `config.env`, and the context that it was made with.

    Raises: ValueError that says what is wrong with the environment's name, class or spaces.
    """
    context = EnvContext(
        config.env_config,
        worker_index=worker_index,
        vector_index=vector_index,
        num_workers=config.num_env_runners,
    )
    return make_columnar(find_creator(config)(context), config.squash), context


def find_creator(config: Any) -> Callable[[EnvContext], Any]:
    """What makes the environment that a config names: by registered name, id, path or class."""
    env: Any = config.env
    if isinstance(env, type) and not issubclass(env, gymnasium.Env):
        return lambda context: _construct(env, context)
    # RLlib's rules for everything else, which it keeps in a private function.
    _, creator = Algorithm._get_env_id_and_creator(env, config)

    def create(context: EnvContext) -> Any:
        try:
            return creator(context)
        except EnvError as error:
            raise ValueError(f"environment {env!r}: not found; {EXPECTED}") from error

    return create


def make_columnar(env: Any, squash: SquashSetting = "auto") -> ColumnarEnv:
    """The environment itself if it is columnar, else an adapter around it.

    Raises: SpaceError for what is no environment that TD3 can use.
    """
    if isinstance(env, ColumnarEnv):
        if squash == "tanh":
            raise SpaceError(
                f"squash tanh: expected softmax or auto, the actions of {type(env).__name__} are "
                "shares"
            )
        return env
    # These wrappers of RLlib list agents in the order of a set, and their episodes never end when
    # some agents terminate and others are truncated.
    if isinstance(env, ParallelPettingZooEnv):
        return make_columnar(env.par_env, squash)
    if isinstance(env, PettingZooEnv):
        return make_columnar(env.env, squash)
    if isinstance(env, AECEnv):
        return make_columnar(_parallelise(env), squash)
    if isinstance(env, ParallelEnv | MultiAgentEnv):
        return ParallelColumns(env, squash)
    if isinstance(env, gymnasium.Env):
        return GymnasiumColumns(env, squash)
    raise SpaceError(f"environment of type {type(env).__name__}: {EXPECTED}")


def _parallelise(env: AECEnv[Any, Any, Any]) -> Any:
    if not env.metadata.get("is_parallelizable", False):
        raise SpaceError(
            f"environment {env}: its agents act in turn, expected a parallel environment"
        )
    return aec_to_parallel(env)


def _construct(env_class: type, context: EnvContext) -> Any:
    """Call a class with the whole config, as RLlib does, or with its entries as keywords.

    Raises: ValueError for a config that does not fit the class's parameters.
    """
    parameters = inspect.signature(env_class).parameters
    first = next(iter(parameters), None)
    if first in CONFIG_PARAMETERS and first not in context:
        return env_class(context)
    entries: Mapping[str, Any] = dict(context)
    try:
        inspect.signature(env_class).bind(**entries)
    except TypeError as error:
        raise ValueError(
            f"env_config of {env_class.__name__}: {error}; expected its parameters "
            f"{', '.join(parameters)}, got {', '.join(entries) or 'none'}"
        ) from error
    return env_class(**entries)
