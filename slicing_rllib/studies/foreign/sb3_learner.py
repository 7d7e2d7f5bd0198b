"""Algorithms of Stable-Baselines3: one for all cells, or one per cell on the same network.

Stable-Baselines3 calls its environment, so each learner has a thread. Only one of them runs at a
time, in the order of cells: the last one steps the network with the actions of all. Results are
therefore the same in every run.
"""

from collections.abc import Callable, Sequence
from threading import Semaphore, Thread
from typing import Any

import numpy as np
import stable_baselines3
from stable_baselines3.common.vec_env import VecEnv

from slicing_rllib.runs.run_config import RunConfig
from slicing_rllib.studies.foreign.recorded_network import (
    Actions,
    ForeignLearner,
    RecordedNetwork,
)

SETTINGS: dict[str, dict[str, Any]] = {
    "PPO": {"n_steps": 250, "batch_size": 250},
    "TD3": {"learning_starts": 500},
    "SAC": {"learning_starts": 500},
}
"""By algorithm, what is not Stable-Baselines3's default, for the thousands of steps of an arm."""


class Over(Exception):
    """Ends the thread of a learner."""


class Sb3Learner(ForeignLearner):
    """PPO, TD3 or SAC."""

    def __init__(self, config: RunConfig, kind: str, *, shared: bool) -> None:
        super().__init__(config, kind, shared=shared)
        self.network = RecordedNetwork(config, "logits" if kind == "PPO" else "weights")
        self.batched = self.network.reset_batched(config.seed)
        n_cells = len(self.network.cells)
        self.actions: Actions = np.zeros((n_cells, self.network.action_size), np.float32)
        groups = [list(range(n_cells))] if shared else [[row] for row in range(n_cells)]
        self._ports = [Port(self, rows) for rows in groups]
        algorithm = getattr(stable_baselines3, kind)
        self._models = [
            algorithm(
                "MlpPolicy", port, gamma=config.learning.gamma, seed=config.seed + number,
                device="cpu", **SETTINGS[kind],
            )
            for number, port in enumerate(self._ports)
        ]  # fmt: skip
        self._paused, self._target, self._error = Semaphore(0), 0, None
        self.over = False
        self._threads = [
            Thread(target=self._learn, args=pair, daemon=True)
            for pair in zip(self._models, self._ports, strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def train_until(self, step: int) -> None:
        self._target = step
        first = self._ports[0] if not self.network.log else self._ports[-1]
        first.turn.release()
        self._paused.acquire()
        if self._error is not None:
            raise self._error

    def choose(self, obs: np.ndarray) -> Actions:
        chosen = [
            model.predict(obs[port.rows], deterministic=True)[0]
            for model, port in zip(self._models, self._ports, strict=True)
        ]
        return np.concatenate(chosen).astype(np.float32)

    def stop(self) -> None:
        self.over = True
        for port in self._ports:
            port.turn.release()
        for thread in self._threads:
            thread.join()

    def end_turn(self, port: "Port") -> None:
        """Lets the next learner run; the last one steps the network, once it is to go on."""
        number = self._ports.index(port)
        if port is self._ports[-1]:
            if len(self.network.log) == self._target:
                self._paused.release()
                port.wait_for_turn()
            self.batched = self.network.step_on(self.actions)
        if len(self._ports) > 1:
            self._ports[(number + 1) % len(self._ports)].turn.release()
            port.wait_for_turn()

    def _learn(self, model: Any, port: "Port") -> None:
        try:
            port.wait_for_turn()
            # It is stopped before that.
            model.learn(len(port.rows) * (self.config.total_steps + 1000))
        except Over:
            pass
        except Exception as error:
            self._error = error
            self._paused.release()


class Port(VecEnv):
    """Some cells of the network as the environments of one learner."""

    def __init__(self, learner: Sb3Learner, rows: Sequence[int]) -> None:
        network = learner.network
        cell = network.cells[rows[0]]
        super().__init__(len(rows), network.observation_space(cell), network.action_space(cell))
        self.rows, self._learner = list(rows), learner
        self.turn = Semaphore(0)

    def wait_for_turn(self) -> None:
        """Raises: Over once the learner is stopped."""
        self.turn.acquire()
        if self._learner.over:
            raise Over

    def reset(self) -> np.ndarray:
        return self._learner.batched.obs[self.rows]

    def step_async(self, actions: np.ndarray) -> None:
        self._learner.actions[self.rows] = actions

    def step_wait(self) -> Any:
        self._learner.end_turn(self)
        batched = self._learner.batched
        over = batched.truncated[self.rows]
        infos: list[dict[str, Any]] = [
            {"TimeLimit.truncated": True, "terminal_observation": obs} if end else {}
            for end, obs in zip(over, batched.obs[self.rows], strict=True)
        ]
        return batched.obs[self.rows], batched.reward[self.rows], over, infos

    def close(self) -> None:
        """Nothing is open."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """The environments have no attributes."""

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> Any:
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: Callable[..., Any], indices: Any = None) -> list[bool]:
        return [False] * self.num_envs
