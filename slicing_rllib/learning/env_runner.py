"""RLlib's EnvRunner for columnar environments: all cells of all environments act in one pass."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import ray
import torch
from gymnasium import spaces
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.callbacks.utils import make_callback
from ray.rllib.env.env_context import EnvContext
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils import force_list
from ray.rllib.utils.checkpoints import Checkpointable
from ray.tune.registry import ENV_CREATOR, _global_registry

from slicing_rllib.env import ColumnarEnv
from slicing_rllib.learning.cell_state import SamplingSettings
from slicing_rllib.learning.pettingzoo_adapter import columnar
from slicing_rllib.learning.rl_module import BankedMultiRLModule, CellGroup, indices
from slicing_rllib.learning.sampled_env import ColumnarEpisode, SampledEnv, Step
from slicing_rllib.learning.stacked_td3 import forward

HOOKS = ("on_episode_start", "on_episode_step", "on_episode_end", "on_sample_end")


class ColumnarEnvRunner(EnvRunner, Checkpointable):
    """Steps its networks, acting with the policies of its module."""

    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        self._context = kwargs.get("worker_index", 0) or 0
        self._callbacks = [made() for made in force_list(config.callbacks_class)]
        self._hooks = {hook for hook in HOOKS if self._is_wanted(hook)}
        self.make_env()
        self.make_module()
        n_cells = len(self.env.cells)
        self._plain_orders = SamplingSettings(
            np.zeros(n_cells, bool), np.full(n_cells, config.exploration_noise, np.float32)
        )

    def make_env(self) -> None:
        """`num_envs_per_env_runner` networks, each with a seed of its own."""
        self.sampled = [
            SampledEnv(self._made_env(index), self._seed_of(index))
            for index in range(self.config.num_envs_per_env_runner or 1)
        ]
        self.env: Any = self.sampled[0].env
        """The first network."""
        self._episodes: list[ColumnarEpisode | None] = [None] * len(self.sampled)

    def make_module(self) -> None:
        spec = self.config.get_multi_rl_module_spec(spaces=self.get_spaces(), inference_only=True)
        module = spec.build()
        assert isinstance(module, BankedMultiRLModule)
        self.module = module
        self._placed_groups: tuple[CellGroup, ...] = ()

    def get_spaces(self) -> dict[str, Any]:
        obs = spaces.Box(-np.inf, np.inf, (self.env.obs_size,), np.float32)
        action = spaces.Box(0.0, 1.0, (self.env.action_size,), np.float32)
        return {cell: (obs, action) for cell in self.env.cells} | {"__env__": (obs, action)}

    @property
    def index(self) -> int:
        """Of this runner among the workers; 0 is the driver's own."""
        return self._context

    @property
    def steps(self) -> int:
        """Network steps since the start, of all networks."""
        return sum(sampled.steps for sampled in self.sampled)

    def step(self, orders: SamplingSettings) -> list[Step]:
        """One step of every network; cells that explore act at random, the others with noise."""
        actions, plain = self._act(orders)
        steps = []
        for index, sampled in enumerate(self.sampled):
            self._begin_episode(index)
            watched_plain = None if plain is None else plain[index]
            step, after = sampled.step(actions[index], watched_plain, orders.guarded_rows)
            steps.append(step)
            self._tell_step(index, after)
        return steps

    def sample(
        self, *, num_env_steps: int = 1, orders: SamplingSettings | None = None, **_: Any
    ) -> list[Step]:
        """At least as many network steps, evenly from all networks."""
        rounds = -(-num_env_steps // len(self.sampled))
        steps = [step for _ in range(rounds) for step in self.step(orders or self._plain_orders)]
        if "on_sample_end" in self._hooks:
            self._call("on_sample_end", samples=steps)
        return steps

    def actions(self, obs: np.ndarray, logit_noise: torch.Tensor | None = None) -> np.ndarray:
        """Every cell's shares, (cell, obs) to (cell, action)."""
        noise = None if logit_noise is None else logit_noise[:, None]
        return self._policies(obs[:, None], noise)[:, 0]

    def set_phase(self, cell: str, phase: int) -> None:
        """Switches a cell off, to the default action or to its policy, from the next step on."""
        for sampled in self.sampled:
            env: Any = sampled.env
            env.set_phase(cell, phase)
            sampled.refresh_controlled()

    def get_metrics(self) -> Any:
        return self.metrics.reduce()

    def get_state(self, components: Any = None, *, not_components: Any = None, **_: Any) -> dict:
        return {"networks": [sampled.state() for sampled in self.sampled]}

    def set_state(self, state: Mapping[str, Any]) -> None:
        if "rl_module" in state:
            weights = state["rl_module"]
            # RLlib puts the weights of many runners into the object store once.
            self.module.set_state(
                ray.get(weights) if isinstance(weights, ray.ObjectRef) else weights
            )
        for sampled, own in zip(self.sampled, state.get("networks", ()), strict=False):
            sampled.restore(own)

    def get_ctor_args_and_kwargs(self) -> tuple[tuple, dict]:
        return (), {"config": self.config}

    def assert_healthy(self) -> None:
        assert self.sampled

    def stop(self) -> None:
        for sampled in self.sampled:
            close = getattr(sampled.env, "close", None)
            if close is not None:
                close()

    def _act(self, orders: SamplingSettings) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
        """Actions of every network; what policies do without noise where a cell is guarded_rows."""
        if orders.explores.all():
            return [sampled.random_action() for sampled in self.sampled], None
        obs = np.stack([sampled.columns.obs for sampled in self.sampled], axis=1)
        noise = np.stack([sampled.noise(orders) for sampled in self.sampled], axis=1)
        noisy = self._policies(obs, torch.from_numpy(noise)).swapaxes(0, 1)
        actions = [
            sampled.explored(np.ascontiguousarray(noisy[index]), orders)
            for index, sampled in enumerate(self.sampled)
        ]
        plain = self._policies(obs, None).swapaxes(0, 1) if orders.guarded_rows else None
        return actions, None if plain is None else list(plain)

    def _policies(self, obs: np.ndarray, noise: torch.Tensor | None) -> np.ndarray:
        """(cell, env, obs) to (cell, env, action)."""
        with torch.no_grad():
            logits = self._logits(torch.from_numpy(obs))
            if noise is not None:
                logits = logits + noise
            return torch.softmax(logits, dim=-1).numpy()

    def _logits(self, obs: torch.Tensor) -> torch.Tensor:
        """Zero where a cell has no policy: equal shares."""
        if self._placed_groups is not self.module.groups:
            self._placed_groups = self.module.groups
            self._actors = [
                (indices(group.cells, self.env.cells), group.bank.layers("actor"))
                for group in self._placed_groups
            ]
        device = self._placed_groups[0].bank.device
        found = [
            (where, forward(layers, obs[where].to(device))[0].cpu())
            for where, layers in self._actors
        ]
        if isinstance(found[0][0], slice):
            return found[0][1]
        logits = torch.zeros(*obs.shape[:2], self.env.action_size)
        for where, some in found:
            logits[where] = some
        return logits

    def _made_env(self, index: int) -> ColumnarEnv:
        name: Any = self.config.env
        creator = (
            _global_registry.get(ENV_CREATOR, name)
            if isinstance(name, str)
            else (lambda context: name(**context))
        )
        context = EnvContext(self.config.env_config, worker_index=self._context, vector_index=index)
        return columnar(creator(context))

    def _seed_of(self, index: int) -> np.random.SeedSequence:
        key = (self._context, index) if index else (self._context,)
        return np.random.SeedSequence(self.config.seed or 0, spawn_key=key)

    def _is_wanted(self, hook: str) -> bool:
        """Somebody attached something: calls that nobody hears are not made."""
        own = getattr(RLlibCallback, hook)
        overridden = any(getattr(type(each), hook) is not own for each in self._callbacks)
        return overridden or bool(getattr(self.config, f"callbacks_{hook}", None))

    def _begin_episode(self, index: int) -> None:
        if self._hooks and self._episodes[index] is None:
            sampled = self.sampled[index]
            episode = ColumnarEpisode(sampled.episodes, sampled.columns, sampled.env.cells)
            self._episodes[index] = episode
            if "on_episode_start" in self._hooks:
                self._call_of(index, "on_episode_start", episode)

    def _tell_step(self, index: int, after: Any) -> None:
        episode = self._episodes[index]
        if episode is None:
            return
        episode.add(after)
        if "on_episode_step" in self._hooks:
            self._call_of(index, "on_episode_step", episode)
        if self.sampled[index].over:
            if "on_episode_end" in self._hooks:
                self._call_of(index, "on_episode_end", episode)
            self._episodes[index] = None

    def _call_of(self, index: int, hook: str, episode: ColumnarEpisode) -> None:
        self._call(
            hook,
            episode=episode,
            env=self.sampled[index].env,
            env_index=index,
            rl_module=self.module,
        )

    def _call(self, hook: str, **told: Any) -> None:
        make_callback(
            hook,
            callbacks_objects=self._callbacks,
            callbacks_functions=getattr(self.config, f"callbacks_{hook}", None) or [],
            kwargs={"env_runner": self, "metrics_logger": self.metrics, **told},
        )
