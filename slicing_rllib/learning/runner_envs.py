"""The environments of an env runner: made, seeded, made anew where one fails, shown to callbacks.

RLlib's episodes are only built where a callback reads them.
"""

import logging
import pickle
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import cloudpickle
import numpy as np
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.callbacks.utils import make_callback
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils import force_list

from slicing_rllib.env import BatchedEnv, BatchedStep
from slicing_rllib.learning.adapters import SINGLE_AGENT, AdaptedEnv, create_env, get_infos
from slicing_rllib.learning.policy_map import PolicyMap
from slicing_rllib.learning.sampled_env import SampledEnv, Step


class EnvironmentFailed(RuntimeError):
    """An environment raised an error in an env runner; that error is the cause of this one."""


class EnvFailure(NamedTuple):
    """An error of one environment, as an env runner reports it to the algorithm."""

    worker: int
    message: str
    """Env runner, type and text of the error."""
    error: bytes | None
    """The error itself, pickled; None where it cannot be."""
    is_restarted: bool
    """Whether the env runner goes on with a new environment."""

    @classmethod
    def describe(cls, worker: int, error: Exception, *, is_restarted: bool) -> "EnvFailure":
        """The failure of an env runner's environment."""
        message = f"step of env runner {worker}: {type(error).__name__}: {error}"
        return cls(worker, message, _try_pickle(error), is_restarted)

    def make_error(self) -> EnvironmentFailed:
        """What the algorithm raises, with the environment's own error as its cause."""
        failed = EnvironmentFailed(self.message)
        if self.error is not None:
            failed.__cause__ = pickle.loads(self.error)
        return failed


class FailureCount:
    """Counts the failed requests of each env runner in a row, and ends a run that has too many."""

    def __init__(self, tolerated: int) -> None:
        """`tolerated` is RLlib's `num_consecutive_env_runner_failures_tolerance`."""
        self._tolerated = tolerated
        self._in_a_row: defaultdict[int, int] = defaultdict(int)

    def count(self, worker: int, failures: Sequence[EnvFailure]) -> None:
        """Count one answer of an env runner.

        Raises: EnvironmentFailed if there are too many in a row, or if env runners do not restart.
        """
        if not failures:
            self._in_a_row[worker] = 0
            return
        self._in_a_row[worker] += 1
        last = failures[-1]
        if not last.is_restarted:
            raise last.make_error()
        if self._in_a_row[worker] > self._tolerated:
            error = last.make_error()
            error.add_note(
                f"more than num_consecutive_env_runner_failures_tolerance={self._tolerated} "
                "failures in a row"
            )
            raise error


class FailureCatcher:
    """Catches the error of the block and gives it to `handle`, which says whether it is done with.

    Environments are other people's code: every error that is not an exit of the process counts.
    """

    def __init__(self, handle: Callable[[Exception], bool]) -> None:
        self._handle = handle
        self.has_failed = False

    def __enter__(self) -> "FailureCatcher":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self.has_failed = True
        return self._handle(error)


def _try_pickle(error: Exception) -> bytes | None:
    """The error pickled; None where it cannot be pickled and read again."""
    try:
        pickled = cloudpickle.dumps(error)
        pickle.loads(pickled)
    except (pickle.PicklingError, TypeError, AttributeError, ValueError):
        return None
    return pickled


class _SingleAgentWriter:
    """Writes the steps of a Gymnasium environment into an episode of RLlib."""

    def __init__(self, env: AdaptedEnv, episode_id: str) -> None:
        self._spaces = env.spaces[0]
        self.episode: Any = SingleAgentEpisode(
            id_=episode_id,
            observation_space=self._spaces.obs,
            action_space=self._spaces.action,
        )

    def add_reset(self, batched: BatchedStep, infos: Mapping[Any, Any]) -> None:
        obs = self._spaces.restore_obs(batched.obs[0])
        self.episode.add_env_reset(observation=obs, infos=infos.get(SINGLE_AGENT))

    def add_step(
        self, before: BatchedStep, after: BatchedStep, infos: Mapping[Any, Any], is_over: bool
    ) -> None:
        self.episode.add_env_step(
            observation=self._spaces.restore_obs(after.obs[0]),
            action=self._spaces.scale_action(after.action[0]),
            reward=float(after.reward[0]),
            infos=infos.get(SINGLE_AGENT),
            terminated=bool(after.terminated[0]),
            truncated=bool(after.truncated[0]),
        )


class _MultiAgentWriter:
    """Writes the steps of an environment of several agents into an episode of RLlib."""

    def __init__(self, env: BatchedEnv, policies: PolicyMap, episode_id: str) -> None:
        self._agents = env.cells
        self._spaces = env.spaces if isinstance(env, AdaptedEnv) else None
        ids = env.ids if isinstance(env, AdaptedEnv) else {cell: cell for cell in env.cells}
        self._ids = [ids[cell] for cell in env.cells]
        own_name = {agent: name for name, agent in ids.items()}
        self.episode: Any = MultiAgentEpisode(
            id_=episode_id,
            agent_to_module_mapping_fn=lambda agent, _: policies.find_policy(own_name[agent]),
        )
        self._is_done = np.zeros(len(env.cells), bool)

    def add_reset(self, batched: BatchedStep, infos: Mapping[Any, Any]) -> None:
        observations = self._collect_obs(batched, batched.live)
        own_infos = {agent: infos[agent] for agent in observations if agent in infos}
        self.episode.add_env_reset(observations=observations, infos=own_infos)

    def add_step(
        self, before: BatchedStep, after: BatchedStep, infos: Mapping[Any, Any], is_over: bool
    ) -> None:
        # In an episode of RLlib an agent that was done does not come back.
        live = after.live & ~self._is_done
        acted = live & before.live
        observations = self._collect_obs(after, live)
        terminated, truncated = after.terminated & live, after.truncated & live
        self._is_done |= terminated | truncated
        all_terminated = is_over and bool(terminated[live].all())
        if is_over and not terminated.any():
            # RLlib takes an episode for terminated if its agents are flagged one by one.
            truncated = np.zeros_like(truncated)
        self.episode.add_env_step(
            observations=observations,
            actions={
                self._ids[row]: self._read_action(row, after)
                for row in np.flatnonzero(acted).tolist()
            },
            rewards={
                self._ids[row]: float(after.reward[row]) for row in np.flatnonzero(acted).tolist()
            },
            infos={agent: infos[agent] for agent in observations if agent in infos},
            terminateds=self._collect_flags(terminated, all_terminated),
            truncateds=self._collect_flags(truncated, is_over and not all_terminated),
        )

    def _collect_obs(self, batched: BatchedStep, rows: np.ndarray) -> dict[Any, Any]:
        return {
            self._ids[row]: batched.obs[row]
            if self._spaces is None
            else self._spaces[row].restore_obs(batched.obs[row])
            for row in np.flatnonzero(rows).tolist()
        }

    def _read_action(self, row: int, after: BatchedStep) -> np.ndarray:
        action = after.action[row]
        return action if self._spaces is None else self._spaces[row].scale_action(action)

    def _collect_flags(self, flags: np.ndarray, everyone: bool) -> dict[Any, bool]:
        flagged = {self._ids[row]: True for row in np.flatnonzero(flags).tolist()}
        return {**flagged, "__all__": everyone}


EpisodeWriter = _SingleAgentWriter | _MultiAgentWriter


def make_episode_writer(env: BatchedEnv, policies: PolicyMap, episode_id: str) -> EpisodeWriter:
    """A writer of a new episode: of a single agent where the environment is Gymnasium's."""
    if env.cells == (SINGLE_AGENT,) and isinstance(env, AdaptedEnv):
        return _SingleAgentWriter(env, episode_id)
    return _MultiAgentWriter(env, policies, episode_id)


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

    def call_environment_created(self, env: BatchedEnv, context: Any) -> None:
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
        self._writers[index].add_reset(sampled.batched, get_infos(sampled.env))
        self._call_episode("on_episode_start", index, sampled)

    def end_step(
        self, index: int, sampled: SampledEnv, before: BatchedStep, after: BatchedStep
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


def _unwrap(env: BatchedEnv) -> Any:
    """The environment as the user wrote it."""
    return env.unwrapped if isinstance(env, AdaptedEnv) else env


EVALUATION_KEY = 1
"""Last part of the key of an evaluation's seeds, so that they are not those of training."""
logger = logging.getLogger(__name__)


class RunnerEnvs:
    """`num_envs_per_env_runner` environments, each with a seed of its own."""

    def __init__(self, config: Any, worker_index: int, callbacks: RunnerCallbacks) -> None:
        """`worker_index` is 0 in the driver."""
        self._config, self._worker_index, self._callbacks = config, worker_index, callbacks
        self.failures: list[EnvFailure] = []
        """Errors that the algorithm has not been told yet."""
        self.n_failures = 0
        self.sampled = [
            SampledEnv(self._create(index), self._derive_seed(index))
            for index in range(config.num_envs_per_env_runner)
        ]

    @property
    def episodes(self) -> int:
        """Episodes that have ended, of all environments together."""
        return sum(sampled.episodes for sampled in self.sampled)

    def start(self) -> list[int]:
        """Reset environments that are between episodes; the indices of those ready for a step."""
        return [index for index in range(len(self.sampled)) if self._start(index)]

    def catch_failure(self, index: int) -> FailureCatcher:
        """A block whose error counts as that of an environment."""
        return FailureCatcher(lambda error: self._handle(index, error))

    def abandon_episodes(self) -> None:
        """Let every environment begin anew with its first seed."""
        for index, sampled in enumerate(self.sampled):
            sampled.abandon_episode()
            self._callbacks.abandon_episode(index)

    def take_failures(self) -> list[EnvFailure]:
        """Errors since the last call."""
        taken, self.failures = self.failures, []
        return taken

    def close(self) -> None:
        """Close those that can be closed."""
        for sampled in self.sampled:
            close: Callable[[], None] | None = getattr(sampled.env, "close", None)
            if close is not None:
                close()

    def _start(self, index: int) -> bool:
        with self.catch_failure(index) as caught:
            self.sampled[index].start()
        return not caught.has_failed

    def _handle(self, index: int, error: Exception) -> bool:
        """Make a failed environment anew, if it may be; whether the error is dealt with.

        In the driver, and in evaluations, an error is raised unless single environments are to be
        restarted. Other env runners report it, so that the algorithm knows its text.
        """
        config = self._config
        is_reported = self._worker_index > 0 and not config.in_evaluation
        may_restart = config.restart_failed_sub_environments or (
            is_reported and (config.restart_failed_env_runners or config.ignore_env_runner_failures)
        )
        if not may_restart and not is_reported:
            return False
        failure = EnvFailure.describe(self._worker_index, error, is_restarted=may_restart)
        self.n_failures += 1
        if not config.in_evaluation:
            self.failures.append(failure)
        if may_restart:
            logger.warning("%s; its environment is made anew", failure.message)
            self._callbacks.abandon_episode(index)
            self.sampled[index].replace_env(self._create(index))
        return True

    def _create(self, index: int) -> Any:
        env, context = create_env(self._config, self._worker_index, index)
        self._callbacks.call_environment_created(env, context)
        return env

    def _derive_seed(self, index: int) -> np.random.SeedSequence:
        if self._config.in_evaluation:
            key = (self._worker_index, index, EVALUATION_KEY)
        else:
            key = (self._worker_index, index) if index else (self._worker_index,)
        return np.random.SeedSequence(self._config.seed, spawn_key=key)
