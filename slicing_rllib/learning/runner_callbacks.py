"""RLlib's callbacks of an env runner, and the episodes that they are given."""

from collections.abc import Sequence
from typing import Any

from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.callbacks.utils import make_callback
from ray.rllib.utils import force_list

from slicing_rllib.env import ColumnarEnv, StepColumns
from slicing_rllib.learning.adapted_env import AdaptedEnv, get_infos
from slicing_rllib.learning.callback_episodes import EpisodeWriter, make_episode_writer
from slicing_rllib.learning.policy_map import PolicyMap
from slicing_rllib.learning.sampled_env import SampledEnv, Step

EPISODE_HOOKS = ("on_episode_created", "on_episode_start", "on_episode_step", "on_episode_end")
HOOKS = (*EPISODE_HOOKS, "on_sample_end", "on_environment_created")


class RunnerCallbacks:
    """Calls what is attached; without any callback nothing is recorded, which costs no time."""

    def __init__(self, runner: Any, config: Any) -> None:
        """`runner` is what RLlib passes as `env_runner`."""
        self._runner, self._config = runner, config
        self._objects = [made() for made in force_list(config.callbacks_class)]
        self._hooks = {hook for hook in HOOKS if self._is_attached(hook)}
        self._is_recording = bool(self._hooks & {*EPISODE_HOOKS, "on_sample_end"})
        self._writers: dict[int, EpisodeWriter] = {}
        self._chunks: dict[int, list[Any]] = {}
        """By environment, what `on_sample_end` was given of the episode under way."""
        self._done: list[Any] = []

    def call_environment_created(self, env: ColumnarEnv, context: Any) -> None:
        """The environment exists."""
        if "on_environment_created" in self._hooks:
            self._call("on_environment_created", env=_unwrap(env), env_context=context)

    def begin_step(self, index: int, sampled: SampledEnv, policies: PolicyMap) -> None:
        """A step begins; with it an episode, if none is under way."""
        if not self._is_recording or index in self._writers:
            return
        name = f"{self._runner.index}_{index}_{sampled.episodes}"
        self._writers[index] = make_episode_writer(sampled.env, policies, name)
        self._chunks[index] = []
        self._call_episode("on_episode_created", index, sampled)
        self._writers[index].add_reset(sampled.columns, get_infos(sampled.env))
        self._call_episode("on_episode_start", index, sampled)

    def end_step(
        self, index: int, sampled: SampledEnv, before: StepColumns, after: StepColumns
    ) -> None:
        """A step has been made; the episode may be over."""
        if not self._is_recording:
            return
        self._writers[index].add_step(before, after, sampled.infos, sampled.over)
        self._call_episode("on_episode_step", index, sampled)
        if sampled.over:
            chunks = self._chunks.pop(index)
            self._call_episode("on_episode_end", index, sampled, prev_episode_chunks=chunks)
            self._done.append(self._writers.pop(index).episode)

    def abandon_episode(self, index: int) -> None:
        """Forget an episode that will not be continued."""
        self._writers.pop(index, None)
        self._chunks.pop(index, None)

    def end_sample(self, steps: Sequence[Step]) -> None:
        """A request for samples is done: `on_sample_end` is given the episodes, or what there is.

        Episodes under way are cut, so that each step is given once.
        """
        done, self._done = self._done, []
        if not steps or "on_sample_end" not in self._hooks:
            return
        samples = list(done)
        for index, writer in self._writers.items():
            if len(writer.episode):
                samples.append(writer.episode)
                self._chunks[index].append(writer.episode)
                horizon = self._config.episode_lookback_horizon
                writer.episode = writer.episode.cut(len_lookback_buffer=horizon)
        self._call("on_sample_end", samples=samples)

    def _is_attached(self, hook: str) -> bool:
        own = getattr(RLlibCallback, hook)
        overridden = any(getattr(type(each), hook) is not own for each in self._objects)
        return overridden or bool(getattr(self._config, f"callbacks_{hook}", None))

    def _call_episode(self, hook: str, index: int, sampled: SampledEnv, **more: Any) -> None:
        if hook in self._hooks:
            self._call(
                hook,
                episode=self._writers[index].episode,
                env=_unwrap(sampled.env),
                env_index=index,
                rl_module=self._runner.module,
                **more,
            )

    def _call(self, hook: str, **arguments: Any) -> None:
        make_callback(
            hook,
            callbacks_objects=self._objects,
            callbacks_functions=getattr(self._config, f"callbacks_{hook}", None) or [],
            kwargs={
                "env_runner": self._runner,
                "metrics_logger": self._runner.metrics,
                **arguments,
            },
        )


def _unwrap(env: ColumnarEnv) -> Any:
    """The environment as the user wrote it."""
    return env.unwrapped if isinstance(env, AdaptedEnv) else env
