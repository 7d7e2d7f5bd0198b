"""RLlib's EnvRunner for columnar environments: one forward pass for all cells of all of them."""

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
from slicing_rllib.learning.pettingzoo_adapter import make_columnar
from slicing_rllib.learning.rl_module import BankedMultiRLModule, CellGroup, indices
from slicing_rllib.learning.sampled_env import ColumnarEpisode, SampledEnv, Step
from slicing_rllib.learning.stacked_actor import compute_logits

HOOKS = ("on_episode_start", "on_episode_step", "on_episode_end", "on_sample_end")


class ColumnarEnvRunner(EnvRunner, Checkpointable):
    """Steps its environments (each a whole network of cells) with the policies of its module."""

    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        """Arguments are RLlib's: the algorithm's config, and `worker_index`, 0 for the driver's."""
        super().__init__(config=config, **kwargs)
        self._worker_index = kwargs.get("worker_index", 0) or 0
        self._callbacks = [made() for made in force_list(config.callbacks_class)]
        self._hooks = {hook for hook in HOOKS if self._has_callback(hook)}
        self.make_env()
        self.make_module()
        n_cells = len(self.env.cells)
        self._default_settings = SamplingSettings(
            np.zeros(n_cells, bool), np.full(n_cells, config.exploration_noise, np.float32)
        )

    def make_env(self) -> None:
        """Make `num_envs_per_env_runner` environments, each with a seed of its own."""
        self.sampled = [
            SampledEnv(self._create_env(index), self._derive_seed(index))
            for index in range(self.config.num_envs_per_env_runner or 1)
        ]
        self.env: Any = self.sampled[0].env
        """The first environment."""
        self._episodes: list[ColumnarEpisode | None] = [None] * len(self.sampled)

    def make_module(self) -> None:
        """Build the module with the actors of all cells."""
        spec = self.config.get_multi_rl_module_spec(spaces=self.get_spaces(), inference_only=True)
        module = spec.build()
        assert isinstance(module, BankedMultiRLModule)
        self.module = module
        self._actor_groups: tuple[CellGroup, ...] = ()

    def get_spaces(self) -> dict[str, Any]:
        """Observation and action space by cell, as RLlib asks for them."""
        obs = spaces.Box(-np.inf, np.inf, (self.env.obs_size,), np.float32)
        action = spaces.Box(0.0, 1.0, (self.env.action_size,), np.float32)
        return {cell: (obs, action) for cell in self.env.cells} | {"__env__": (obs, action)}

    @property
    def index(self) -> int:
        """This runner's number among the env runners; 0 is the one in the driver."""
        return self._worker_index

    @property
    def steps(self) -> int:
        """Steps since the start, of all environments together."""
        return sum(sampled.steps for sampled in self.sampled)

    def step(self, settings: SamplingSettings) -> list[Step]:
        """One step of every environment: exploring cells act at random, others with noise."""
        for sampled in self.sampled:
            sampled.start()
        actions, plain = self._act(settings)
        steps = []
        for index, sampled in enumerate(self.sampled):
            self._begin_episode(index)
            own_plain = None if plain is None else plain[index]
            step, after = sampled.step(actions[index], own_plain, settings.guarded_rows)
            steps.append(step)
            self._record_step(index, after)
        return steps

    def sample(
        self, *, num_env_steps: int = 1, settings: SamplingSettings | None = None, **_: Any
    ) -> list[Step]:
        """At least `num_env_steps` steps, the same number from every environment."""
        rounds = -(-num_env_steps // len(self.sampled))
        steps = [
            step for _ in range(rounds) for step in self.step(settings or self._default_settings)
        ]
        if "on_sample_end" in self._hooks:
            self._call("on_sample_end", samples=steps)
        return steps

    def actions(self, obs: np.ndarray, logit_noise: torch.Tensor | None = None) -> np.ndarray:
        """Every cell's shares: (cell, obs) -> (cell, action)."""
        noise = None if logit_noise is None else logit_noise[:, None]
        return self._compute_actions(obs[:, None], noise)[:, 0]

    def set_phase(self, cell: str, phase: int) -> None:
        """Switch a cell off, to the default action or to its policy, from the next step on."""
        for sampled in self.sampled:
            env: Any = sampled.env
            env.set_phase(cell, phase)
            sampled.refresh_controlled()

    def get_metrics(self) -> Any:
        """RLlib's metrics of this runner since the last call."""
        return self.metrics.reduce()

    def get_state(self, components: Any = None, *, not_components: Any = None, **_: Any) -> dict:
        """Where each environment stands, for a checkpoint."""
        return {"networks": [sampled.state() for sampled in self.sampled]}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Put weights, environments, or both back."""
        if "rl_module" in state:
            weights = state["rl_module"]
            # For several runners RLlib puts the weights into the object store once.
            self.module.set_state(
                ray.get(weights) if isinstance(weights, ray.ObjectRef) else weights
            )
        for sampled, own in zip(self.sampled, state.get("networks", ()), strict=False):
            sampled.restore(own)

    def get_ctor_args_and_kwargs(self) -> tuple[tuple, dict]:
        """What RLlib builds this runner from again."""
        return (), {"config": self.config}

    def assert_healthy(self) -> None:
        """Raises: AssertionError without environments."""
        assert self.sampled

    def stop(self) -> None:
        """Close the environments."""
        for sampled in self.sampled:
            close = getattr(sampled.env, "close", None)
            if close is not None:
                close()

    def _act(self, settings: SamplingSettings) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
        """The action of every environment and, if a cell is guarded, the action without noise."""
        if settings.explores.all():
            return [sampled.random_action() for sampled in self.sampled], None
        obs = np.stack([sampled.columns.obs for sampled in self.sampled], axis=1)
        noise = None
        if settings.noise_sigma.any():
            drawn = np.stack([sampled.noise(settings) for sampled in self.sampled], axis=1)
            noise = torch.from_numpy(drawn)
        noisy = self._compute_actions(obs, noise).swapaxes(0, 1)
        actions = [
            sampled.add_exploration(np.ascontiguousarray(noisy[index]), settings)
            for index, sampled in enumerate(self.sampled)
        ]
        plain = self._compute_actions(obs, None).swapaxes(0, 1) if settings.guarded_rows else None
        return actions, None if plain is None else list(plain)

    def _compute_actions(self, obs: np.ndarray, noise: torch.Tensor | None) -> np.ndarray:
        """(cell, env, obs) -> (cell, env, action)."""
        with torch.no_grad():
            logits = self._logits(torch.from_numpy(obs))
            if noise is not None:
                logits = logits + noise
            return torch.softmax(logits, dim=-1).numpy()

    def _logits(self, obs: torch.Tensor) -> torch.Tensor:
        """Logits of every cell; zeros (equal shares) where a cell has no policy."""
        if self._actor_groups is not self.module.groups:
            self._actor_groups = self.module.groups
            self._actors = [
                (
                    indices(group.cells, self.env.cells),
                    group.bank.sizes.form,
                    group.bank.layers("actor"),
                )
                for group in self._actor_groups
            ]
        device = self._actor_groups[0].bank.device
        by_group = [
            (where, compute_logits(form, layers, obs[where].to(device))[0].cpu())
            for where, form, layers in self._actors
        ]
        if isinstance(by_group[0][0], slice):
            return by_group[0][1]
        logits = torch.zeros(*obs.shape[:2], self.env.action_size)
        for where, own in by_group:
            logits[where] = own
        return logits

    def _create_env(self, index: int) -> ColumnarEnv:
        name: Any = self.config.env
        creator = (
            _global_registry.get(ENV_CREATOR, name)
            if isinstance(name, str)
            else (lambda context: name(**context))
        )
        context = EnvContext(
            self.config.env_config, worker_index=self._worker_index, vector_index=index
        )
        return make_columnar(creator(context))

    def _derive_seed(self, index: int) -> np.random.SeedSequence:
        key = (self._worker_index, index) if index else (self._worker_index,)
        return np.random.SeedSequence(self.config.seed or 0, spawn_key=key)

    def _has_callback(self, hook: str) -> bool:
        """Whether a callback is attached to this hook; without one the calls are skipped."""
        own = getattr(RLlibCallback, hook)
        overridden = any(getattr(type(each), hook) is not own for each in self._callbacks)
        return overridden or bool(getattr(self.config, f"callbacks_{hook}", None))

    def _begin_episode(self, index: int) -> None:
        if self._hooks and self._episodes[index] is None:
            sampled = self.sampled[index]
            episode = ColumnarEpisode(sampled.episodes, sampled.columns, sampled.env.cells)
            self._episodes[index] = episode
            if "on_episode_start" in self._hooks:
                self._call_episode_hook(index, "on_episode_start", episode)

    def _record_step(self, index: int, after: Any) -> None:
        episode = self._episodes[index]
        if episode is None:
            return
        episode.add(after)
        if "on_episode_step" in self._hooks:
            self._call_episode_hook(index, "on_episode_step", episode)
        if self.sampled[index].over:
            if "on_episode_end" in self._hooks:
                self._call_episode_hook(index, "on_episode_end", episode)
            self._episodes[index] = None

    def _call_episode_hook(self, index: int, hook: str, episode: ColumnarEpisode) -> None:
        self._call(
            hook,
            episode=episode,
            env=self.sampled[index].env,
            env_index=index,
            rl_module=self.module,
        )

    def _call(self, hook: str, **arguments: Any) -> None:
        make_callback(
            hook,
            callbacks_objects=self._callbacks,
            callbacks_functions=getattr(self.config, f"callbacks_{hook}", None) or [],
            kwargs={"env_runner": self, "metrics_logger": self.metrics, **arguments},
        )
