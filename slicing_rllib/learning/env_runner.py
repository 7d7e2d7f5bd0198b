"""RLlib's EnvRunner for batched environments: one forward pass for all cells of all of them.

Errors of environments are reported to the algorithm, which counts them; the environments are made
anew.
"""

import logging
import math
import pickle
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import cloudpickle
import numpy as np
import ray
import torch
from ray.rllib.env.env_runner import NUM_ENV_STEP_FAILURES_LIFETIME, EnvRunner
from ray.rllib.utils.checkpoints import Checkpointable

from slicing_rllib.env import BatchedEnv
from slicing_rllib.learning.adapters import create_env, unwrap
from slicing_rllib.learning.policy_map import PolicyMap
from slicing_rllib.learning.rl_module import BankedMultiRLModule, CellGroup
from slicing_rllib.learning.runner_callbacks import RunnerCallbacks
from slicing_rllib.learning.sampled_env import SampledEnv, SamplingSettings, Step
from slicing_rllib.learning.stacked_networks import Layers, ParameterBank, compute_logits, decide
from slicing_rllib.learning.training_metrics import RunnerMetrics

EVALUATION_KEY = 1
"""Last part of the key of an evaluation's seeds, so that they are not those of training."""
logger = logging.getLogger(__name__)


class EnvironmentFailed(RuntimeError):
    """An environment raised an error in an env runner; that error is the cause of this one."""


class EnvFailure(NamedTuple):
    """An error of one environment, as an env runner reports it to the algorithm."""

    message: str
    """Env runner, type and text of the error."""
    error: bytes | None
    """The error itself, pickled; None where it cannot be pickled and read again."""
    is_restarted: bool
    """Whether the env runner goes on with a new environment."""


def count_failures(
    in_a_row: Counter[int], tolerated: int, worker: int, failures: Sequence[EnvFailure]
) -> None:
    """Count one answer of an env runner: its failed requests in a row.

    `tolerated` is RLlib's `num_consecutive_env_runner_failures_tolerance`. Raises:
    EnvironmentFailed if there are more, or if env runners do not restart.
    """
    in_a_row[worker] = in_a_row[worker] + 1 if failures else 0
    if not failures or (failures[-1].is_restarted and in_a_row[worker] <= tolerated):
        return
    last = failures[-1]
    failed = EnvironmentFailed(last.message)
    if last.is_restarted:
        failed.add_note(
            f"more than num_consecutive_env_runner_failures_tolerance={tolerated} failures in a row"
        )
    raise failed from (None if last.error is None else pickle.loads(last.error))


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
        self.index = self.worker_index = kwargs.get("worker_index", 0) or 0
        self.callbacks = RunnerCallbacks(self, config)
        self.make_env()
        self.make_module()

    def make_env(self) -> None:
        """Make `num_envs_per_env_runner` environments, each with a seed of its own."""
        self.num_envs = self.config.num_envs_per_env_runner
        keys: list[tuple[int, ...]] = [(self.worker_index, index) for index in range(self.num_envs)]
        if self.config.in_evaluation:
            keys = [(*key, EVALUATION_KEY) for key in keys]
        else:
            keys[0] = (self.worker_index,)
        self.sampled = [
            SampledEnv(
                self._create_env(index), np.random.SeedSequence(self.config.seed, spawn_key=key)
            )
            for index, key in enumerate(keys)
        ]
        """The environments and where each stands."""
        self.config.require_usable(self.sampled[0].env)
        self.policies: PolicyMap = self.config.map_policies(self.sampled[0].ids)
        self.counts = RunnerMetrics(self.config, self.policies)
        self._failures: list[EnvFailure] = []
        """Errors that the algorithm has not been told yet."""

    def make_module(self) -> None:
        """Build the module with the actors of all policies."""
        spec = self.config.get_multi_rl_module_spec(spaces=self.get_spaces(), inference_only=True)
        module = spec.build()
        assert isinstance(module, BankedMultiRLModule)
        self.module = module
        self._bound_groups: tuple[CellGroup, ...] = ()
        self._actors: list[tuple[Any, Any, ParameterBank, Layers]] = []
        """By bank of the module: agents that follow its policies, their rows in it, and layers."""

    def get_spaces(self) -> dict[str, Any]:
        """Observation and action space by policy, as RLlib asks for them."""
        found = self.policies.share_spaces(self.sampled[0].spaces)
        first = next(iter(found.values()))
        return {**found, "__env__": first, "__env_single__": first}

    @property
    def env(self) -> Any:
        """The first environment."""
        return self.sampled[0].env

    @env.setter
    def env(self, env: Any) -> None:
        # RLlib's constructor sets None before there are environments.
        assert env is None

    def step(self, settings: SamplingSettings) -> list[Step]:
        """One step of every environment: exploring cells act at random, others with noise.

        `settings` are per policy. An environment that fails makes no step.
        """
        settings = self.policies.expand(settings)
        ready: list[int] = []
        for index, sampled in enumerate(self.sampled):
            with self._catch_failure(index):
                sampled.start()
                ready.append(index)
        steps: list[Step] = []
        if not ready:
            return steps
        acting = self._act([self.sampled[index] for index in ready], settings)
        for index, action, plain in zip(ready, *acting, strict=True):
            with self._catch_failure(index):
                steps.append(self._step_env(index, action, plain, settings))
        return steps

    def _act(
        self, sampled_envs: Sequence[SampledEnv], settings: SamplingSettings
    ) -> tuple[Sequence[np.ndarray], Sequence[np.ndarray | None]]:
        """The action of every environment and, if a cell is guarded, the action without noise."""
        without_guard = [None] * len(sampled_envs)
        if settings.explores.all():
            return [sampled.explore.at(sampled.steps) for sampled in sampled_envs], without_guard
        obs = np.stack([sampled.batched.obs for sampled in sampled_envs], axis=1)
        noise = None
        if settings.noise_sigma.any():
            drawn = np.stack([sampled.noise.at(sampled.steps) for sampled in sampled_envs], axis=1)
            noise = torch.from_numpy(settings.noise_sigma[:, None, None] * drawn)
        actions = [np.ascontiguousarray(own) for own in self._decide(obs, noise).swapaxes(0, 1)]
        if settings.explores.any():
            explores = settings.explores[:, None]
            actions = [
                np.where(explores, sampled.explore.at(sampled.steps), own)
                for sampled, own in zip(sampled_envs, actions, strict=True)
            ]
        if not settings.guarded_rows:
            return actions, without_guard
        return actions, list(self._decide(obs, None).swapaxes(0, 1))

    def _decide(self, obs: np.ndarray, noise: torch.Tensor | None) -> np.ndarray:
        """(cell, env, obs) -> (cell, env, action).

        Without a policy logits are zero: equal shares, or the middle of the range.
        """
        if self._bound_groups is not self.module.groups:
            self._bound_groups = self.module.groups
            self._actors = [
                (*self.policies.locate(group.cells), bank, bank.layers(bank.sizes.deciding_kind))
                for group in self.module.groups
                for bank in [group.bank]
            ]
        with torch.no_grad():
            given = torch.from_numpy(obs)
            logits = torch.zeros(*obs.shape[:2], self.env.action_size)
            for agents, rows, bank, layers in self._actors:
                if rows is not None:
                    # Agents that share a policy: a row for each of them.
                    kind = bank.sizes.deciding_kind
                    layers = bank.layers(kind, bank.flat[kind][rows])
                own, _ = compute_logits(bank.sizes.form, layers, given[agents].to(bank.device))
                if isinstance(agents, slice):
                    logits = own.cpu()
                else:
                    logits[agents] = own.cpu()
            return decide(self.sampled[0].spaces[0].squash, logits, noise).numpy()

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

        After an error of an environment there are fewer: it is reported first. `num_timesteps` is
        RLlib's other name of `num_env_steps`; without a number it is one step of each environment.
        Environments are reset before and after `num_episodes`, and before with `force_reset`.
        `settings` say how each policy acts, in place of `explore` and `random_actions`.
        """
        if settings is None:
            explores = self.config.explore if explore is None else explore
            sigma = self.config.exploration_noise if explores else 0.0
            n_policies = len(self.policies.policies)
            settings = SamplingSettings(
                np.full(n_policies, random_actions), np.full(n_policies, sigma, np.float32)
            )
        if force_reset or num_episodes is not None:
            self._abandon_episodes()
        if num_episodes is None:
            wanted = num_env_steps if num_timesteps is None else int(num_timesteps)
            rounds, episodes = -(-(1 if wanted is None else wanted) // self.num_envs), math.inf
        else:
            rounds, episodes = math.inf, self._count_episodes() + num_episodes
        steps: list[Step] = []
        while rounds > 0 and self._count_episodes() < episodes:
            steps += self.step(settings)
            rounds -= 1
            if self._failures:
                break
        if num_episodes is not None:
            self._abandon_episodes()
        self.callbacks.end_sample(steps)
        return steps

    def _abandon_episodes(self) -> None:
        for index, sampled in enumerate(self.sampled):
            sampled.abandon_episode()
            self.callbacks.abandon_episode(index)

    def _count_episodes(self) -> int:
        return sum(sampled.episodes for sampled in self.sampled)

    def sample_and_report(self, num_env_steps: int, settings: SamplingSettings) -> Sampled:
        """Steps, errors of environments and metrics, all in one answer."""
        steps = self.sample(num_env_steps=num_env_steps, settings=settings)
        return Sampled(steps, self.take_failures(), self.get_metrics())

    def take_failures(self) -> list[EnvFailure]:
        taken, self._failures = self._failures, []
        return taken

    def get_metrics(self) -> Any:
        """RLlib's metrics of this runner since the last call."""
        self.counts.log(self.metrics)
        return self.metrics.reduce()

    def actions(self, obs: np.ndarray) -> np.ndarray:
        """What every cell's policy does without noise: (cell, obs) -> (cell, action)."""
        return self._decide(obs[:, None], None)[:, 0]

    def set_phase(self, cell: str, phase: int) -> None:
        """Switch a cell off, to the default action or to its policy, from the next step on."""
        for sampled in self.sampled:
            sampled.set_phase(cell, phase)

    def get_state(self, components: Any = None, *, not_components: Any = None, **_: Any) -> dict:
        """Where each environment stands, and the module's weights where they are asked for."""
        if components is not None:
            is_asked_for = self._check_component("rl_module", components, not_components)
            return {"rl_module": self.module.get_state()} if is_asked_for else {}
        # Evaluations begin anew, and beside env runners of its own the driver's has no episode.
        is_sampling = self.worker_index > 0 or not self.config.num_env_runners
        if self.config.in_evaluation or not is_sampling:
            return {}
        networks = [sampled.state() for sampled in self.sampled]
        return {"networks": networks, "agents": list(self.env.cells)}

    def set_state(self, state: Any) -> None:
        """Put weights, environments, or both back.

        Raises: ValueError for a state of an environment with other agents.
        """
        state = ray.get(state) if isinstance(state, ray.ObjectRef) else state
        own, given = list(self.env.cells), state.get("agents")
        if given is not None and given != own:
            raise ValueError(
                f"checkpoint: expected the agents of the environment, {', '.join(own)}, got "
                f"{', '.join(given)}; environment(...) has another env or env_config"
            )
        if "rl_module" in state:
            weights = state["rl_module"]
            # For several runners RLlib puts the weights into the object store once.
            self.set_weights(ray.get(weights) if isinstance(weights, ray.ObjectRef) else weights)
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
        assert self.sampled

    def stop(self) -> None:
        """Close the environments that can be closed."""
        for sampled in self.sampled:
            env = unwrap(sampled.env)
            if hasattr(env, "close"):
                env.close()

    def _create_env(self, index: int) -> BatchedEnv:
        env, context = create_env(self.config, self.worker_index, index)
        self.callbacks.call_environment_created(env, context)
        return env

    def _catch_failure(self, index: int) -> ExitStack:
        """A block whose error counts as that of an environment.

        Environments are other people's code: every error that is not an exit of the process counts.
        """
        stack = ExitStack()
        stack.push(lambda _, error, __: isinstance(error, Exception) and self._handle(index, error))
        return stack

    def _handle(self, index: int, error: Exception) -> bool:
        """Make a failed environment anew, if it may be; whether the error is dealt with.

        In the driver, and in evaluations, an error is raised unless single environments are to be
        restarted. Other env runners report it, so that the algorithm knows its text.
        """
        config = self.config
        is_reported = self.worker_index > 0 and not config.in_evaluation
        may_restart = config.restart_failed_sub_environments or (
            is_reported and (config.restart_failed_env_runners or config.ignore_env_runner_failures)
        )
        if not may_restart and not is_reported:
            return False
        try:
            pickled = cloudpickle.dumps(error)
            pickle.loads(pickled)
        except (pickle.PicklingError, TypeError, AttributeError, ValueError):
            pickled = None
        message = f"step of env runner {self.worker_index}: {type(error).__name__}: {error}"
        self.metrics.log_value(NUM_ENV_STEP_FAILURES_LIFETIME, 1, reduce="lifetime_sum")
        if not config.in_evaluation:
            self._failures.append(EnvFailure(message, pickled, may_restart))
        if may_restart:
            logger.warning("%s; its environment is made anew", message)
            self.callbacks.abandon_episode(index)
            self.sampled[index].replace_env(self._create_env(index))
        return True
