"""RLlib's EnvRunner for batched environments: one forward pass for all cells of all of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import ray
import torch
from gymnasium import spaces
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.spaces.simplex import Simplex

from slicing_rllib.env import ActorForm, Squash
from slicing_rllib.learning.adapters import AdaptedEnv, find_squash
from slicing_rllib.learning.policy_map import PolicyMap
from slicing_rllib.learning.rl_module import BankedMultiRLModule, CellGroup
from slicing_rllib.learning.runner_envs import EnvFailure, RunnerCallbacks, RunnerEnvs
from slicing_rllib.learning.sampled_env import SampledEnv, SamplingSettings, Step
from slicing_rllib.learning.stacked_networks import Layers, compute_logits, decide
from slicing_rllib.learning.training_metrics import RunnerMetrics


class Actors:
    """Finds the actor of each agent in the module's banks, and computes actions with them."""

    def __init__(self, policies: PolicyMap, action_size: int, squash: Squash) -> None:
        """`squash` is how the environment's actions are computed from logits."""
        self._policies, self._action_size = policies, action_size
        self._squash: Squash = squash
        self._groups: tuple[CellGroup, ...] = ()
        self._bound: list[_BoundActors] = []

    def act(
        self,
        module: BankedMultiRLModule,
        sampled_envs: Sequence[SampledEnv],
        settings: SamplingSettings,
    ) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
        """The action of every environment and, if a cell is guarded, the action without noise."""
        if settings.explores.all():
            return [sampled.random_action() for sampled in sampled_envs], None
        obs = np.stack([sampled.batched.obs for sampled in sampled_envs], axis=1)
        noise = None
        if settings.noise_sigma.any():
            drawn = np.stack([sampled.noise(settings) for sampled in sampled_envs], axis=1)
            noise = torch.from_numpy(drawn)
        noisy = self.compute(module, obs, noise).swapaxes(0, 1)
        actions = [
            sampled.add_exploration(np.ascontiguousarray(noisy[index]), settings)
            for index, sampled in enumerate(sampled_envs)
        ]
        plain = self.compute(module, obs, None).swapaxes(0, 1) if settings.guarded_rows else None
        return actions, None if plain is None else list(plain)

    def compute(
        self, module: BankedMultiRLModule, obs: np.ndarray, noise: torch.Tensor | None
    ) -> np.ndarray:
        """(cell, env, obs) -> (cell, env, action)."""
        with torch.no_grad():
            logits = self._compute_logits(module, torch.from_numpy(obs))
            return decide(self._squash, logits, noise).numpy()

    def _compute_logits(self, module: BankedMultiRLModule, obs: torch.Tensor) -> torch.Tensor:
        """Logits of every cell; zeros (equal shares, middle of the range) without a policy."""
        if self._groups is not module.groups:
            self._groups = module.groups
            self._bound = [_BoundActors(group, self._policies) for group in module.groups]
        device = self._groups[0].bank.device
        by_group = [(bound.agents, bound.compute(obs, device)) for bound in self._bound]
        if isinstance(by_group[0][0], slice):
            return by_group[0][1]
        logits = torch.zeros(*obs.shape[:2], self._action_size)
        for agents, own in by_group:
            logits[agents] = own
        return logits


class _BoundActors:
    """The actors of one bank, and the agents that follow them."""

    def __init__(self, group: CellGroup, policies: PolicyMap) -> None:
        self.agents, self._positions = policies.locate(group.cells)
        self._bank = group.bank
        self._form: ActorForm = group.bank.sizes.form
        self._layers: Layers = group.bank.layers("actor")

    def compute(self, obs: torch.Tensor, device: Any) -> torch.Tensor:
        """Logits (agent, env, action) of the group's agents."""
        layers = self._layers
        if self._positions is not None:
            # Agents that share a policy: a row for each of them.
            rows = self._bank.flat["actor"][self._positions]
            layers = self._bank.layers("actor", rows)
        return compute_logits(self._form, layers, obs[self.agents].to(device))[0].cpu()


class Sampled(NamedTuple):
    """What an env runner answers to a request for samples."""

    steps: list[Step]
    failures: list[EnvFailure]
    """Errors that environments raised; each was made anew afterwards, if it may be."""
    metrics: Any
    """RLlib's metrics since the last request."""


class BatchedEnvRunner(EnvRunner, Checkpointable):
    """Steps its environments (each a whole network of cells) with the policies of its module."""

    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        """Arguments are RLlib's: the algorithm's config, and `worker_index`, 0 for the driver's."""
        super().__init__(config=config, **kwargs)
        self.config: Any
        self.worker_index = kwargs.get("worker_index", 0) or 0
        self.callbacks = RunnerCallbacks(self, config)
        self.make_env()
        self.make_module()

    def make_env(self) -> None:
        """Make `num_envs_per_env_runner` environments, each with a seed of its own."""
        self._envs = RunnerEnvs(self.config, self.worker_index, self.callbacks)
        self.num_envs = len(self.sampled)
        ids = self.env.ids if isinstance(self.env, AdaptedEnv) else _name_by_themselves(self.env)
        self.policies: PolicyMap = self.config.map_policies(ids)
        self.counts = RunnerMetrics(self.config, self.policies)

    def make_module(self) -> None:
        """Build the module with the actors of all policies."""
        spec = self.config.get_multi_rl_module_spec(spaces=self.get_spaces(), inference_only=True)
        module = spec.build()
        assert isinstance(module, BankedMultiRLModule)
        self.module = module
        self._actors = Actors(self.policies, self.env.action_size, find_squash(self.env))

    def get_spaces(self) -> dict[str, Any]:
        """Observation and action space by policy, as RLlib asks for them."""
        if not isinstance(self.env, AdaptedEnv):
            obs = spaces.Box(-np.inf, np.inf, (self.env.obs_size,), np.float32)
            action: gymnasium.Space[Any] = Simplex((self.env.action_size,))
            found = dict.fromkeys(self.policies.policies, (obs, action))
        else:
            found = self.policies.share_spaces(self.env.spaces)
            obs, action = next(iter(found.values()))
        return {**found, "__env__": (obs, action), "__env_single__": (obs, action)}

    @property
    def sampled(self) -> list[SampledEnv]:
        """The environments and where each stands."""
        return self._envs.sampled

    @property
    def env(self) -> Any:
        """The first environment."""
        return self.sampled[0].env

    @env.setter
    def env(self, env: Any) -> None:
        # RLlib's constructor sets None before there are environments.
        assert env is None

    @property
    def index(self) -> int:
        """This runner's number among the env runners; 0 is the one in the driver."""
        return self.worker_index

    @property
    def steps(self) -> int:
        """Steps since the start, of all environments together."""
        return sum(sampled.steps for sampled in self.sampled)

    @property
    def _is_sampling(self) -> bool:
        """Whether this runner samples for training: the driver's leaves that to the others."""
        return self.worker_index > 0 or not self.config.num_env_runners

    def step(self, settings: SamplingSettings) -> list[Step]:
        """One step of every environment: exploring cells act at random, others with noise.

        `settings` are per policy. An environment that fails makes no step.
        """
        settings = self.policies.expand(settings)
        steps: list[Step] = []
        ready = self._envs.start()
        if not ready:
            return steps
        acting = [self.sampled[index] for index in ready]
        actions, plain = self._actors.act(self.module, acting, settings)
        for number, index in enumerate(ready):
            own_plain = None if plain is None else plain[number]
            with self._envs.catch_failure(index):
                steps.append(self._step_env(index, actions[number], own_plain, settings))
        return steps

    def sample(
        self,
        *,
        num_env_steps: int | None = None,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool | None = None,
        random_actions: bool = False,
        force_reset: bool = False,
        settings: SamplingSettings | None = None,
        **_: Any,
    ) -> list[Step]:
        """At least so many steps or episodes, the same number of steps from every environment.

        Args:
            num_env_steps: Least number of steps; `num_timesteps` is RLlib's name of it.
            num_timesteps: See there; a fragment of `rollout_fragment_length` if all are None.
            num_episodes: Least number of episodes; environments are reset before and after.
            explore: Whether policies act with noise; by default what the config says.
            random_actions: Whether all actions are random.
            force_reset: Whether environments are reset before.
            settings: How each policy acts, in place of `explore` and `random_actions`.
        """
        if settings is None:
            explores = self.config.explore if explore is None else explore
            settings = self._make_settings(explores, random_actions)
        if force_reset or num_episodes is not None:
            self._envs.abandon_episodes()
        wanted = num_env_steps if num_timesteps is None else int(num_timesteps)
        if num_episodes is not None:
            steps = self._sample_episodes(num_episodes, settings)
            self._envs.abandon_episodes()
        else:
            rounds = -(-(1 if wanted is None else wanted) // self.num_envs)
            steps = [step for _ in self._repeat(rounds) for step in self.step(settings)]
        self.callbacks.end_sample(steps)
        return steps

    def sample_and_report(self, num_env_steps: int, settings: SamplingSettings) -> Sampled:
        """Steps, errors of environments and metrics, all in one answer."""
        steps = self.sample(num_env_steps=num_env_steps, settings=settings)
        return Sampled(steps, self.take_failures(), self.get_metrics())

    def take_failures(self) -> list[EnvFailure]:
        """Errors of environments since the last call."""
        return self._envs.take_failures()

    def actions(self, obs: np.ndarray) -> np.ndarray:
        """What every cell's policy does without noise: (cell, obs) -> (cell, action)."""
        return self._actors.compute(self.module, obs[:, None], None)[:, 0]

    def set_phase(self, cell: str, phase: int) -> None:
        """Switch a cell off, to the default action or to its policy, from the next step on."""
        for sampled in self.sampled:
            env: Any = sampled.env
            env.set_phase(cell, phase)
            sampled.refresh_controlled()

    def get_metrics(self) -> Any:
        """RLlib's metrics of this runner since the last call."""
        self.counts.log(self.metrics, self._envs.n_failures)
        return self.metrics.reduce()

    def get_state(self, components: Any = None, *, not_components: Any = None, **_: Any) -> dict:
        """Where each environment stands, and the module's weights where they are asked for."""
        state: dict[str, Any] = {}
        # Evaluations begin anew, and beside env runners of its own the driver's has no episode.
        is_training = not self.config.in_evaluation
        if components is None and is_training and self._is_sampling:
            state["networks"] = [sampled.state() for sampled in self.sampled]
        if components is not None and self._check_component(
            "rl_module", components, not_components
        ):
            state["rl_module"] = self.module.get_state()
        return state

    def set_state(self, state: Any) -> None:
        """Put weights, environments, or both back."""
        state = ray.get(state) if isinstance(state, ray.ObjectRef) else state
        if "rl_module" in state:
            weights = state["rl_module"]
            # For several runners RLlib puts the weights into the object store once.
            self.module.set_state(
                ray.get(weights) if isinstance(weights, ray.ObjectRef) else weights
            )
        for sampled, own in zip(self.sampled, state.get("networks", ()), strict=False):
            sampled.restore(own)

    def get_weights(self, modules: Any = None) -> dict[str, Any]:
        """Weights of the actors by policy, of all or of those in `modules`."""
        state = self.module.get_state()
        return {name: state[name] for name in state if modules is None or name in modules}

    def set_weights(self, weights: Mapping[str, Any], *_: Any, **__: Any) -> None:
        """Replace weights of actors, by policy."""
        self.module.set_state(dict(weights))

    def match_modules(self, names: tuple[str, ...]) -> None:
        """Have a module for each of these policies and for no other; new ones wait for weights."""
        missing = [name for name in names if name not in self.module]
        for name in [name for name in self.module.cells if name not in names]:
            self.module.remove_module(name)
        spaces = self.get_spaces() if missing else {}
        for name in missing:
            spec = self.config.module_spec(name, *spaces[name], inference_only=True)
            self.module.add_module(name, spec.build())

    def get_ctor_args_and_kwargs(self) -> tuple[tuple, dict]:
        """What RLlib builds this runner from again."""
        return (), {"config": self.config}

    def assert_healthy(self) -> None:
        """Raises: AssertionError without environments."""
        assert self.sampled

    def stop(self) -> None:
        """Close the environments."""
        self._envs.close()

    def _step_env(
        self, index: int, action: np.ndarray, plain: np.ndarray | None, settings: SamplingSettings
    ) -> Step:
        sampled = self.sampled[index]
        self.callbacks.begin_step(index, sampled, self.policies)
        before = sampled.batched
        step, after = sampled.step(action, plain, settings.guarded_rows)
        self.counts.add_step(step)
        if sampled.over:
            self.counts.add_episode(sampled.returns)
        self.callbacks.end_step(index, sampled, before, after)
        return step

    def _sample_episodes(self, episodes: int, settings: SamplingSettings) -> list[Step]:
        steps, left = [], episodes
        while left > 0:
            before = self._envs.episodes
            steps += self.step(settings)
            left -= self._envs.episodes - before
            if self._envs.failures:
                break
        return steps

    def _repeat(self, rounds: int) -> Iterator[int]:
        """Up to so many rounds; none after an environment has failed, which is reported first."""
        for number in range(rounds):
            yield number
            if self._envs.failures:
                return

    def _make_settings(self, explores: bool, is_random: bool = False) -> SamplingSettings:
        n_policies = len(self.policies.policies)
        sigma = self.config.exploration_noise if explores else 0.0
        return SamplingSettings(
            np.full(n_policies, is_random), np.full(n_policies, sigma, np.float32)
        )


def _name_by_themselves(env: Any) -> dict[str, str]:
    return {cell: cell for cell in env.cells}
