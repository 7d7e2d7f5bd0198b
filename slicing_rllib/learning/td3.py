"""TD3 for many cells as an RLlib algorithm: one policy per cell, all updated at once."""

import copy
import math
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.policy.policy import PolicySpec
from ray.rllib.utils.metrics import (
    ENV_RUNNER_SAMPLING_TIMER,
    LEARNER_UPDATE_TIMER,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)

from slicing_rllib.learning.cell_state import CellStates
from slicing_rllib.learning.events import Event
from slicing_rllib.learning.initial_policies import InitialPolicies
from slicing_rllib.learning.iteration_stats import IterationStats, NonFiniteUpdate
from slicing_rllib.learning.learner import TD3Learner
from slicing_rllib.learning.parameter_bank import NetworkSizes, list_layer_shapes
from slicing_rllib.learning.random_streams import Purpose, cell_key
from slicing_rllib.learning.replay import Replay
from slicing_rllib.learning.rl_module import NETWORKS, TD3Module, compute_sizes
from slicing_rllib.learning.sampled_env import Step
from slicing_rllib.learning.stacked_td3 import Hyperparameters
from slicing_rllib.learning.td3_config import TD3Config
from slicing_rllib.learning.td3_state import collect_state, restore_state
from slicing_rllib.learning.update_loop import UpdateLoop
from slicing_rllib.learning.worker_health import WorkerHealth
from slicing_rllib.learning.worker_sampling import WorkerSampling
from slicing_rllib.radio import Phase

MAX_EVENTS = 1000
FEWEST_FLOPS_FOR_THREADS = 9.5e7
"""Floating-point operations of an update below which torch uses one thread. In smaller updates,
threads cost more than they gain: measured up to ten times as much on a busy machine. 48 cells of
the paper's networks are just above."""
WORKER_TIMEOUT_S = 60.0
"""How long an iteration waits for env runners of which none answers."""


class TD3(Algorithm):
    """Alternates one network step and one update of every cell, `steps_per_iteration` times."""

    config: TD3Config

    @classmethod
    def get_default_config(cls) -> TD3Config:
        """A config with the paper's hyper-parameters."""
        return TD3Config()

    def setup(self, config: TD3Config) -> None:
        """RLlib's set-up, then replay buffers, cell states and the update loop."""
        super().setup(config)
        config = self.config
        # RLlib types env runners and learner groups loosely; here their classes are known.
        self._runner: Any = self.env_runner
        self._workers: Any = self.env_runner_group
        group: Any = self.learner_group
        self.td3_learner: TD3Learner = group._learner
        env = self._runner.env
        self.cells: tuple[str, ...] = env.cells
        if self._estimate_update_flops() < FEWEST_FLOPS_FOR_THREADS:
            torch.set_num_threads(1)
        self._build_buffers(env)
        self.cell_states = CellStates(
            self.cells, config.exploration_steps, config.exploration_noise
        )
        self.worker_health = WorkerHealth(self._workers)
        self.worker_sampling = WorkerSampling(
            self._workers, config.sample_timeout_s or WORKER_TIMEOUT_S
        )
        self.callback_state: dict[str, Any] = {}
        """What callbacks need to find again after a restart; plain values and arrays."""
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self.env_steps = 0
        """Network steps so far, of all env runners together."""
        self.seconds_spent: defaultdict[str, float] = defaultdict(float)
        """Seconds spent on `sampling` and on `update` since the algorithm was built."""
        self.td3_learner.prepare(self.cells, env.counterfactual)
        self._update_loop = UpdateLoop(
            config, self.cells, self.replay, self.source_replay, self.cell_states, self.td3_learner
        )
        if not config.num_env_runners:
            # In one process the env runner acts with the learner's own tensors: nothing to copy.
            self._runner.module = self.td3_learner.module

    def _build_buffers(self, env: Any) -> None:
        config, sizes = self.config, (env.obs_size, env.action_size)
        measured = {"outcome_size": env.outcome_size, "feedback_size": env.feedback_size}
        stored = {"capacity": config.replay_capacity, "precision": config.replay_precision}
        self.replay = Replay(self.cells, *sizes, **stored, **measured)
        self.default_action_replay = Replay(self.cells, *sizes, config.default_capacity, **measured)
        """Transitions under the default action, by which cells are compared."""
        self.source_replay = Replay(self.cells, *sizes, **stored, **measured)
        """Other cells' experience, where a cell keeps it apart from its own."""

    def _estimate_update_flops(self) -> float:
        """Two per parameter and transition in each of an update's forward and backward passes."""
        total = 0
        for group in self.td3_learner.banked.groups:
            sizes = group.bank.sizes
            actor, critic = (
                sum(math.prod(shape) for shape in list_layer_shapes(widths).values())
                for widths in (sizes.actor, sizes.critic)
            )
            # Critics: two targets forward, two forward and backward. Actor: target, and itself.
            total += len(group.cells) * (8 * critic + 4 * actor)
        return 2.0 * self.config.batch_size * total

    @property
    def env(self) -> Any:
        """The environment of the driver's env runner."""
        return self._runner.env

    @property
    def has_initial_policy(self) -> bool:
        """Whether cells start from a policy that is worth comparing with: one with a base policy.

        The guard then compares cells with what they started from instead of the default action.
        """
        return self.config.base_policy != "none" and self.env.counterfactual is not None

    @cached_property
    def initial_policies(self) -> InitialPolicies:
        """What cells started from; only where `has_initial_policy`."""
        return InitialPolicies(self.env.counterfactual, lambda cell: self.fresh_weights(cell, 0))

    @property
    def updates(self) -> int:
        """Updates so far."""
        return self._update_loop.updates

    @updates.setter
    def updates(self, updates: int) -> None:
        self._update_loop.updates = updates

    def training_step(self) -> None:
        """One iteration: network steps and updates, then what RLlib and callbacks read of it."""
        stats = IterationStats(self.cells)
        if self.config.num_env_runners:
            self._train_with_workers(stats)
        else:
            rounds = -(-self.config.steps_per_iteration // len(self._runner.sampled))
            for _ in range(rounds):
                with self._timed("sampling", ENV_RUNNER_SAMPLING_TIMER):
                    steps = self._runner.step(self.cell_states.sampling_settings())
                with self._timed("update", LEARNER_UPDATE_TIMER):
                    self._learn_from(steps, stats)
        self._publish(stats)

    def _train_with_workers(self, stats: IterationStats) -> None:
        """Env runners sample with the weights that the iteration starts with.

        With `sample_async` they sample the next iteration's steps during this iteration's updates.
        """
        if self.worker_health.lost:
            self._workers.probe_unhealthy_env_runners(timeout_seconds=WORKER_TIMEOUT_S)
        with self._timed("sampling", ENV_RUNNER_SAMPLING_TIMER):
            if not self.worker_sampling.is_under_way:
                self._request_steps()
            steps = self.worker_sampling.take()
            if self.config.sample_async:
                self._request_steps()
        with self._timed("update", LEARNER_UPDATE_TIMER):
            self._learn_from(steps, stats)
        self._events.extend(self.worker_health.check())

    def _request_steps(self) -> None:
        """Send the current weights to all env runners and request their share of an iteration."""
        with self.metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
            self._push_weights()
        steps = -(-self.config.steps_per_iteration // self.config.num_env_runners)
        self.worker_sampling.request(steps, self.cell_states.sampling_settings())

    def _push_weights(self) -> None:
        state = ray.put(self.td3_learner.banked.get_state(inference_only=True))
        self._workers.foreach_env_runner(
            lambda runner: runner.module.set_state(ray.get(state)),
            local_env_runner=False,
            timeout_seconds=self.config.sample_timeout_s,
        )

    def _learn_from(self, steps: Sequence[Step], stats: IterationStats) -> None:
        """Store each step and make the updates that belong to it."""
        for step in steps:
            self._store(step)
            stats.add_step(step)
            ready = (
                (self.cell_states.exploration_left == 0)
                & (self.replay.size >= self.config.batch_size)
                & ~self.cell_states.paused
            )
            if ready.any():
                for _ in range(self.config.updates_per_step):
                    stats.add_losses(self._update_loop.update(ready))
        stats.add_losses(self._update_loop.finish())

    def _store(self, step: Step) -> None:
        self.replay.add(step.transitions, step.present)
        under_default_action = step.present & ~step.decided
        if under_default_action.any():
            self.default_action_replay.add(step.transitions, under_default_action)
        self.cell_states.count_exploration(step.decided)
        self.env_steps += 1

    def _publish(self, stats: IterationStats) -> None:
        """Raises: NonFiniteUpdate for a reward or loss that is not finite."""
        stats.check_finite(self.env_steps)
        self.last_iteration, self.last_steps = stats.summarise(), stats.steps
        guarded_rows = self.cell_states.sampling_settings().guarded_rows
        self.last_advantages = (
            self._compare_with_start(stats, guarded_rows)
            if self.has_initial_policy
            else stats.list_advantages(guarded_rows)
        )
        self.metrics.log_value(("env_runners", "reward_mean"), self.last_iteration["reward_mean"])
        for name in ("env_steps", "updates"):
            self.metrics.log_value(name, getattr(self, name), reduce="max")

    def _compare_with_start(
        self, stats: IterationStats, rows: Sequence[int]
    ) -> dict[str, list[float]]:
        advantages = {}
        for row in rows:
            cell, steps = self.cells[row], stats.steps
            sizes = self.network_sizes(cell)
            advantages[cell] = self.initial_policies.compute_advantages(
                steps, cell, row, sizes.form, sizes.actor
            )
        return advantages

    @contextmanager
    def _timed(self, phase: str, timer: str) -> Iterator[None]:
        """Count the block's seconds, under RLlib's name of the timer and in `seconds_spent`."""
        started = time.perf_counter()
        with self.metrics.log_time((TIMERS, timer)):
            yield
        self.seconds_spent[phase] += time.perf_counter() - started

    def compute_actions(self, obs: np.ndarray) -> np.ndarray:
        """Every cell's shares without noise: (cell, obs) -> (cell, action)."""
        if self.config.num_env_runners:
            self._runner.module.set_state(self.td3_learner.banked.get_state(inference_only=True))
        return self._runner.actions(np.asarray(obs, np.float32))

    def policy_weights(self, module_id: str) -> dict[str, np.ndarray]:
        """Copies of a cell's parameters by name, target networks included."""
        module: Any = self.td3_learner.banked[module_id]
        return {name: p.detach().cpu().numpy().copy() for name, p in module.named_parameters()}

    def set_policy_weights(self, module_id: str, weights: Mapping[str, np.ndarray]) -> None:
        """Replace a cell's parameters. Raises: ValueError for a missing name or another shape."""
        module: Any = self.td3_learner.banked[module_id]
        own = dict(module.named_parameters())
        for name, parameter in own.items():
            if name not in weights or tuple(weights[name].shape) != tuple(parameter.shape):
                got = tuple(weights[name].shape) if name in weights else "nothing"
                raise ValueError(
                    f"weights for {module_id}: expected {name} of shape {tuple(parameter.shape)}, "
                    f"got {got}"
                )
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(torch.as_tensor(np.asarray(weights[name])))

    def reset_optimizer(self, module_id: str) -> None:
        """Set a cell's Adam moments and step counts to zero."""
        row, adams = self.td3_learner.find_adams(module_id)
        for adam in adams:
            adam.reset(row)

    def copy_optimizer(self, source: str, module_id: str) -> None:
        """Copy Adam's state from one cell to another; their networks must have equal widths."""
        row, adams = self.td3_learner.find_adams(module_id)
        source_row, source_adams = self.td3_learner.find_adams(source)
        for adam, source_adam in zip(adams, source_adams, strict=True):
            for tensor, values in zip(adam.tensors, source_adam.tensors, strict=True):
                tensor[row] = values[source_row]

    @property
    def module_ids(self) -> tuple[str, ...]:
        """Cells that have a policy at the moment."""
        return tuple(self.td3_learner.banked.cells)

    def add_module(
        self, module_id: str, module_spec: RLModuleSpec | None = None, **rllib: Any
    ) -> Any:
        """Add a policy for a cell of the environment; without a spec, one like those at the start.

        Its replay buffer is empty, and it explores first. Raises: KeyError for an unknown cell;
        ValueError for a cell that has a policy.
        """
        row = self.cell_states.row(module_id)
        if module_id in self.module_ids:
            raise ValueError(f"{module_id}: has a policy already")
        spec = copy.copy(module_spec) or self.config.module_spec(
            module_id, *self._runner.get_spaces()[module_id]
        )
        # This flag concerns env runners: a learner always builds all networks.
        spec.inference_only = True
        # In one process the env runner has the learner's module, where it is added once.
        rllib.setdefault("add_to_env_runners", bool(self.config.num_env_runners))
        added = super().add_module(module_id, spec, **rllib)
        self.td3_learner.freeze(self.cell_states.frozen_parameters)
        self.cell_states.exploration_left[row] = self.config.exploration_steps
        return added

    def remove_module(self, module_id: str, **rllib: Any) -> Any:
        """Remove a cell's policy and experience; without a policy the cell gets equal shares.

        Raises: ValueError for a cell without a policy, or for the last cell that has one.
        """
        if module_id not in self.module_ids or len(self.module_ids) == 1:
            raise ValueError(f"{module_id}: expected one of several cells with a policy")
        for buffer in (self.replay, self.default_action_replay, self.source_replay):
            buffer.clear(module_id)
        self.freeze(module_id, ())
        # RLlib deletes the module's PolicySpec from these configs and fails where there is none.
        group: Any = self.learner_group
        for config in (self.config, group.config, self.td3_learner.config):
            config.policies.setdefault(module_id, PolicySpec())
        rllib.setdefault("remove_from_env_runners", bool(self.config.num_env_runners))
        return super().remove_module(module_id, **rllib)

    @property
    def hyperparameters(self) -> Hyperparameters:
        """Those of the update."""
        return self.td3_learner.hyperparameters

    def network_sizes(self, module_id: str) -> NetworkSizes:
        """Widths of a cell's networks, and the form of its actor."""
        return compute_sizes(self.td3_learner.banked[module_id])

    def fresh_weights(self, module_id: str, attempt: int) -> dict[str, np.ndarray]:
        """Random initial weights for a cell; every `attempt` gives others."""
        key = (int(Purpose.INITIAL_WEIGHTS), cell_key(module_id), attempt)
        seed = np.random.SeedSequence(self.config.seed or 0, spawn_key=key)
        module: Any = self.td3_learner.banked[module_id]
        fresh = TD3Module(
            observation_space=module.observation_space,
            action_space=module.action_space,
            model_config=module.model_config | {"init_seed": int(seed.generate_state(1)[0])},
        )
        return {name: p.detach().numpy() for name, p in fresh.named_parameters()}

    def explore(self, module_id: str, steps: int) -> None:
        """Let a cell act at random for the next `steps` steps that it decides; 0 ends it."""
        self.cell_states.exploration_left[self.cell_states.row(module_id)] = steps

    def freeze(self, module_id: str, prefixes: Sequence[str]) -> None:
        """Keep a cell's parameters whose names begin with one of these; none unfreezes all."""
        frozen = self.cell_states.frozen_parameters | {module_id: tuple(prefixes)}
        self.cell_states.frozen_parameters = {
            cell: names for cell, names in frozen.items() if names
        }
        self.td3_learner.freeze(self.cell_states.frozen_parameters)

    def pause_updates(self, module_id: str) -> None:
        """Keep a cell's policy as it is until `resume_updates`; it goes on acting."""
        self.cell_states.paused[self.cell_states.row(module_id)] = True

    def resume_updates(self, module_id: str) -> None:
        """Let a cell's policy learn again."""
        self.cell_states.paused[self.cell_states.row(module_id)] = False

    def set_phase(self, cell: str, phase: int) -> None:
        """Switch a cell off, to the default action or to its policy, in every environment."""
        self._workers.foreach_env_runner(
            lambda runner: runner.set_phase(cell, Phase(phase)),
            local_env_runner=not self.config.num_env_runners,
        )

    def report(self, event: Event) -> None:
        """Keep an event until `take_events`; the oldest is dropped beyond `MAX_EVENTS`."""
        self._events.append(event)

    def take_events(self) -> list[Event]:
        """Events since the last call, the oldest first."""
        taken = list(self._events)
        self._events.clear()
        return taken

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any):
        """RLlib's state, and under `td3` what `td3_state` collects."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        return state | ({"td3": collect_state(self)} if components is None else {})

    def set_state(self, state: Any) -> None:
        """Put a state back."""
        super().set_state(state)
        if "td3" in state:
            restore_state(self, state["td3"])


__all__ = ["NETWORKS", "TD3", "Event", "NonFiniteUpdate", "TD3Config"]
