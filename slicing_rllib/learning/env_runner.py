"""RLlib's EnvRunner for columnar environments: all cells act in one forward pass."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import ray
import torch
from gymnasium import spaces
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.checkpoints import Checkpointable

from slicing_rllib.env import ColumnarEnv, Counterfactual, StepColumns
from slicing_rllib.learning.cell_control import Orders
from slicing_rllib.learning.pettingzoo_adapter import columnar
from slicing_rllib.learning.replay import Transitions
from slicing_rllib.learning.rl_module import BankedMultiRLModule
from slicing_rllib.learning.streams import CellStreams, Purpose, flat_dirichlet, normal
from slicing_rllib.learning.update import forward


class Step(NamedTuple):
    """What one network step adds to experience."""

    transitions: Transitions
    present: np.ndarray
    """Cells whose transition is real: there before the step and after it."""
    live: np.ndarray
    decided: np.ndarray
    """Cells whose own policy, or exploration, made this step's action."""
    advantage: np.ndarray
    """Of watched cells: the policy's reward without noise less the default action's; else NaN."""


class ColumnarEnvRunner(EnvRunner, Checkpointable):
    """Steps one network, acting with the policies of its module."""

    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        self._context = kwargs.get("worker_index", 0) or 0
        self.make_env()
        self.make_module()
        seed = np.random.SeedSequence(config.seed or 0, spawn_key=(self._context,))
        self._env_seed, noise_seed = (int(word) for word in seed.generate_state(2))
        shape = (self.env.action_size,)
        cells = self.env.cells
        self._explore = CellStreams(noise_seed, Purpose.EXPLORE, cells, shape, flat_dirichlet)
        self._noise = CellStreams(noise_seed, Purpose.NOISE, cells, shape, normal)
        self.steps = 0
        """Network steps since the start."""
        self._columns: StepColumns | None = None
        n_cells = len(cells)
        self._plain_orders = Orders(
            np.zeros(n_cells, bool), np.full(n_cells, config.exploration_noise, np.float32)
        )

    def make_env(self) -> None:
        from ray.rllib.env.env_context import EnvContext
        from ray.tune.registry import ENV_CREATOR, _global_registry

        name: Any = self.config.env
        creator = (
            _global_registry.get(ENV_CREATOR, name)
            if isinstance(name, str)
            else (lambda context: name(**context))
        )
        context = EnvContext(self.config.env_config, worker_index=self._context)
        self.env: ColumnarEnv = columnar(creator(context))

    def make_module(self) -> None:
        spec = self.config.get_multi_rl_module_spec(spaces=self.get_spaces(), inference_only=True)
        module = spec.build()
        assert isinstance(module, BankedMultiRLModule)
        self.module = module

    def get_spaces(self) -> dict[str, Any]:
        obs = spaces.Box(-np.inf, np.inf, (self.env.obs_size,), np.float32)
        action = spaces.Box(0.0, 1.0, (self.env.action_size,), np.float32)
        return {cell: (obs, action) for cell in self.env.cells} | {"__env__": (obs, action)}

    @property
    def columns(self) -> StepColumns:
        """The last step; the first call starts the environment."""
        if self._columns is None:
            self._columns = self.env.reset_columns(self._env_seed)
        return self._columns

    def step(self, orders: Orders) -> Step:
        """One network step; cells that explore act at random, the others with noise."""
        before = self.columns
        action = self._act(before.obs, orders)
        advantage = self._advantage(before, action, orders.watched)
        after = self.env.step_columns(action)
        self.steps += 1
        present = before.live & after.live
        transitions = Transitions(
            before.obs,
            after.action,
            after.reward,
            after.obs,
            after.terminated.astype(np.float32),
            after.outcome,
        )
        done = after.terminated | after.truncated
        over = done[after.live].all()
        self._columns = self.env.reset_columns() if over else after
        return Step(transitions, present, after.live, present & before.controlled, advantage)

    def set_phase(self, cell: str, phase: int) -> None:
        """Switches a cell off, to the default action or to its policy, from the next step on."""
        env: Any = self.env
        env.set_phase(cell, phase)
        if self._columns is not None:
            self._columns = self._columns._replace(controlled=env.controlled)

    def _act(self, obs: np.ndarray, orders: Orders) -> np.ndarray:
        explores = orders.explores
        if explores.all():
            return self._explore.at(self.steps)
        noise = torch.from_numpy(orders.noise_sigma[:, None] * self._noise.at(self.steps))
        action = self.actions(obs, noise)
        if explores.any():
            action[explores] = self._explore.at(self.steps)[explores]
        return action

    def _advantage(
        self, before: StepColumns, action: np.ndarray, watched: tuple[int, ...]
    ) -> np.ndarray:
        """What a watched cell's policy gets in the coming step that the default would not."""
        advantage = np.full(len(self.env.cells), np.nan)
        if watched and isinstance(self.env, Counterfactual):
            plain = self.actions(before.obs)
            for row in watched:
                if before.controlled[row]:
                    own, default = action.copy(), action.copy()
                    own[row], default[row] = plain[row], 1.0
                    rewards = [self.env.rewards_if(joint)[row] for joint in (own, default)]
                    advantage[row] = rewards[0] - rewards[1]
        return advantage

    def actions(self, obs: np.ndarray, logit_noise: torch.Tensor | None = None) -> np.ndarray:
        """Every cell's shares (cell, action)."""
        with torch.no_grad():
            layers = self.module.bank.layers("actor")
            logits = forward(layers, torch.from_numpy(obs)[:, None])[0][:, 0]
            if logit_noise is not None:
                logits = logits + logit_noise
            return torch.softmax(logits, dim=-1).numpy()

    def sample(
        self, *, num_env_steps: int = 1, orders: Orders | None = None, **_: Any
    ) -> list[Step]:
        """As many network steps in a row."""
        return [self.step(orders or self._plain_orders) for _ in range(num_env_steps)]

    def get_metrics(self) -> Any:
        return self.metrics.reduce()

    def get_state(self, components: Any = None, *, not_components: Any = None, **_: Any) -> dict:
        return {
            "steps": self.steps,
            "env": None if self._columns is None else self.env.state(),
            "columns": None if self._columns is None else self._columns._asdict(),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        if "rl_module" in state:
            weights = state["rl_module"]
            # RLlib puts the weights of many runners into the object store once.
            self.module.set_state(
                ray.get(weights) if isinstance(weights, ray.ObjectRef) else weights
            )
        if "steps" in state:
            self.steps = int(state["steps"])
            if state["env"] is not None:
                self.env.restore(state["env"])
                self._columns = StepColumns(**state["columns"])

    def get_ctor_args_and_kwargs(self) -> tuple[tuple, dict]:
        return (), {"config": self.config}

    def assert_healthy(self) -> None:
        assert self.env is not None

    def stop(self) -> None:
        close = getattr(self.env, "close", None)
        if close is not None:
            close()
