"""The environments of an env runner: made, seeded, and made anew where one fails."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from slicing_rllib.learning.env_creation import create_env
from slicing_rllib.learning.env_failure import EnvFailure, FailureCatcher
from slicing_rllib.learning.runner_callbacks import RunnerCallbacks
from slicing_rllib.learning.sampled_env import SampledEnv

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
