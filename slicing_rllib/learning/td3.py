"""TD3 for many cells as an RLlib algorithm: a policy per cell, all updated at once."""

import copy
import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.policy.policy import PolicySpec

from slicing_rllib.learning.cell_state import CellStates
from slicing_rllib.learning.cell_update import UpdateRequest
from slicing_rllib.learning.learner import TD3Learner
from slicing_rllib.learning.learner_shards import LearnerShards
from slicing_rllib.learning.random_streams import CellStreams, Purpose, cell_key, normal, uniform
from slicing_rllib.learning.replay import Replay
from slicing_rllib.learning.rl_module import NETWORKS, TD3Module
from slicing_rllib.learning.sampled_env import Step
from slicing_rllib.learning.stacked_td3 import Batch, Hyperparameters
from slicing_rllib.learning.td3_config import TD3Config
from slicing_rllib.learning.worker_health import WorkerHealth
from slicing_rllib.learning.worker_sampling import WorkerSampling
from slicing_rllib.radio import Phase

EVENTS_KEPT = 1000
CELLS_FOR_THREADS = 48
"""With fewer, threads cost an update more than they bring: ten times as much on a busy machine."""
WAIT_FOR_WORKERS_S = 60.0
"""Per iteration, where none answers."""


class Event(NamedTuple):
    """Something that a callback did, and why: an event of the run."""

    kind: str
    message: str
    cell: str | None = None
    evidence: Mapping[str, Any] = {}


class NonFiniteUpdate(RuntimeError):
    """A cell's loss or reward stopped being a number."""


class TD3(Algorithm):
    """Alternates a network step and an update of every cell, `steps_per_iteration` times."""

    config: TD3Config

    @classmethod
    def get_default_config(cls) -> TD3Config:
        return TD3Config()

    def setup(self, config: TD3Config) -> None:
        super().setup(config)
        config = self.config
        # In one process the runner and the learner are ours to call; RLlib types them loosely.
        self._runner: Any = self.env_runner
        self._workers: Any = self.env_runner_group
        self.worker_health = WorkerHealth(self._workers)
        self._sampling = WorkerSampling(
            self._workers, config.sample_timeout_s or WAIT_FOR_WORKERS_S
        )
        env = self._runner.env
        self.cells: tuple[str, ...] = env.cells
        if len(self.cells) < CELLS_FOR_THREADS:
            torch.set_num_threads(1)
        sizes = (env.obs_size, env.action_size)
        kept = (config.replay_capacity, env.outcome_size, config.replay_precision)
        self.replay = Replay(self.cells, *sizes, *kept)
        self.default_action_replay = Replay(
            self.cells, *sizes, config.default_capacity, env.outcome_size
        )
        """Steps under the default action: what cells are compared by."""
        self.source_replay = Replay(self.cells, *sizes, *kept)
        """Other cells' experience that a cell learns from, where it is kept apart from its own."""
        self.cell_states = CellStates(
            self.cells, config.exploration_steps, config.exploration_noise
        )
        self.callback_state: dict[str, Any] = {}
        """What callbacks want to find again after a restart; plain values and arrays."""
        self._events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        batch = (config.batch_size,)
        self._picks = CellStreams(config.seed or 0, Purpose.BATCH, self.cells, batch, uniform)
        self._smoothing = CellStreams(
            config.seed or 0, Purpose.SMOOTHING, self.cells, (*batch, env.action_size), normal
        )
        self._mixing = CellStreams(
            config.seed or 0, Purpose.MIXING, self.cells, (2, *batch), uniform
        )
        self.env_steps = 0
        self.updates = 0
        self.seconds_spent: defaultdict[str, float] = defaultdict(float)
        """On sampling and on updates since the algorithm was built."""
        group: Any = self.learner_group
        self._td3_learner: TD3Learner = group._learner
        self._td3_learner.arrange(self.cells)
        self._shards = (
            LearnerShards(self._td3_learner, config.num_learners) if config.num_learners else None
        )
        if not config.num_env_runners:
            # One process: the runner acts with the learner's own tensors, nothing to copy.
            self._runner.module = self._td3_learner.module

    @property
    def env(self) -> Any:
        """The environment of the local runner."""
        return self._runner.env

    def training_step(self) -> None:
        self._iteration_rewards = np.zeros(len(self.cells))
        self._iteration_live = np.zeros(len(self.cells))
        self._iteration_advantages: list[np.ndarray] = []
        self._iteration_losses: list[Any] = []
        if self.config.num_env_runners:
            self._train_with_workers()
        else:
            rounds = -(-self.config.steps_per_iteration // len(self._runner.sampled))
            for _ in range(rounds):
                started = time.perf_counter()
                self._learn_from(self._runner.step(self.cell_states.orders()), started)
        self._log()

    def _train_with_workers(self) -> None:
        """Workers sample with the weights of the iteration's start.

        With `sample_async` they sample the next iteration's steps while the learner learns from these.
        """
        if self.worker_health.lost:
            self._workers.probe_unhealthy_env_runners(timeout_seconds=WAIT_FOR_WORKERS_S)
        started = time.perf_counter()
        if not self._sampling.under_way:
            self._ask_workers()
        steps = self._sampling.take()
        if self.config.sample_async:
            self._ask_workers()
        self._learn_from(steps, started)
        for kind, message, evidence in self.worker_health.look():
            self.report(Event(kind, message, evidence=evidence))

    def _learn_from(self, steps: Sequence[Step], started: float) -> None:
        """Stores steps that were sampled since `started`, and makes their updates."""
        sampled = time.perf_counter()
        for step in steps:
            self._take(step)
        if self._shards:
            self._iteration_losses += self._shards.finish()
        self.seconds_spent["sampling"] += sampled - started
        self.seconds_spent["update"] += time.perf_counter() - sampled

    def _ask_workers(self) -> None:
        """For their part of an iteration, acting with the weights of now."""
        self._push_weights()
        steps = -(-self.config.steps_per_iteration // self.config.num_env_runners)
        self._sampling.ask(steps, self.cell_states.orders())

    def _push_weights(self) -> None:
        state = ray.put(self._td3_learner.banked.get_state(inference_only=True))
        self._workers.foreach_env_runner(
            lambda runner: runner.module.set_state(ray.get(state)),
            local_env_runner=False,
            timeout_seconds=self.config.sample_timeout_s,
        )

    def _take(self, step: Step) -> None:
        """Stores a network step and makes its updates."""
        self.replay.add(step.transitions, step.present)
        self._iteration_rewards += step.transitions.reward
        self._iteration_live += step.live
        self._iteration_advantages.append(step.advantage)
        defaulted = step.present & ~step.decided
        if defaulted.any():
            self.default_action_replay.add(step.transitions, defaulted)
        self.cell_states.explored(step.decided)
        self.env_steps += 1
        ready = (
            (self.cell_states.exploration_left == 0)
            & (self.replay.size >= self.config.batch_size)
            & ~self.cell_states.paused
        )
        if ready.any():
            for _ in range(self.config.updates_per_step):
                self._update(ready)

    def _update(self, ready: np.ndarray) -> None:
        """One update of the cells that are ready, here or by a learner elsewhere."""
        noise = torch.from_numpy(self._smoothing.at(self.updates))
        obs, action, reward, next_obs, terminated = map(torch.from_numpy, self._sampled())
        batch = Batch(obs, action, reward, next_obs, terminated, noise)
        order = UpdateRequest(batch, ~ready, ready & (self.cell_states.actor_delay_updates > 0))
        if self._shards:
            self._shards.take(order, self.cell_states.frozen_parameters)
        else:
            self._iteration_losses.append(self._td3_learner.update_stacked(order))
        self.updates += 1
        self.cell_states.updated()

    def _sampled(self) -> list[np.ndarray]:
        """A batch per cell: its own experience, mixed with foreign where that is wanted."""
        own = self.replay.sample(self._picks.at(self.updates))[:5]
        share = np.where(self.source_replay.size > 0, self.cell_states.source_share, 0.0)
        if not share.any():
            return list(own)
        mixed, pick = self._mixing.at(self.updates).swapaxes(0, 1)
        foreign = self.source_replay.sample(pick)
        chosen = mixed < share[:, None]
        return [
            np.where(chosen if a.ndim == 2 else chosen[..., None], b, a)
            for a, b in zip(own, foreign[:5], strict=True)
        ]

    def _log(self) -> None:
        reward = self._iteration_rewards / np.maximum(self._iteration_live, 1)
        live = self._iteration_live > 0
        self._check_finite(reward)
        self.last_iteration: dict[str, Any] = {
            "reward_mean": float(reward[live].mean()) if live.any() else 0.0,
            "cells": {
                cell: {"reward": float(reward[row])}
                for row, cell in enumerate(self.cells)
                if live[row]
            },
        }
        self.last_advantages = {
            self.cells[row]: [float(a[row]) for a in self._iteration_advantages]
            for row in self.cell_states.orders().guarded_rows
        }
        if self._iteration_losses:
            critic = torch.stack([losses.critic for losses in self._iteration_losses]).mean(0).cpu()
            actor = self._iteration_losses[-1].actor.cpu()
            for cell, record in self.last_iteration["cells"].items():
                row = self.cell_states.row(cell)
                record["critic_loss"] = float(critic[row])
                record["actor_loss"] = float(actor[row])
        self.metrics.log_value(("env_runners", "reward_mean"), self.last_iteration["reward_mean"])
        for name in ("env_steps", "updates"):
            self.metrics.log_value(name, getattr(self, name), reduce="max")

    def _check_finite(self, reward: np.ndarray) -> None:
        values = [reward]
        if self._iteration_losses:
            values += [self._iteration_losses[-1].critic.cpu().numpy()]
        bad = ~np.logical_and.reduce([np.isfinite(value) for value in values])
        if bad.any():
            cell = self.cells[int(np.argmax(bad))]
            raise NonFiniteUpdate(f"{cell}: reward or loss is not finite at step {self.env_steps}")

    def compute_actions(self, obs: np.ndarray) -> np.ndarray:
        """Every cell's shares without noise: (cell, obs) -> (cell, action)."""
        if self.config.num_env_runners:
            self._runner.module.set_state(self._td3_learner.banked.get_state(inference_only=True))
        return self._runner.actions(np.asarray(obs, np.float32))

    def policy_weights(self, module_id: str) -> dict[str, np.ndarray]:
        """A cell's parameters by name, targets included; copies."""
        module: Any = self._td3_learner.banked[module_id]
        return {name: p.detach().cpu().numpy().copy() for name, p in module.named_parameters()}

    def set_policy_weights(self, module_id: str, weights: Mapping[str, np.ndarray]) -> None:
        """Replaces a cell's parameters. Raises: ValueError for a missing name or another shape."""
        module: Any = self._td3_learner.banked[module_id]
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
        """Forgets a cell's Adam moments."""
        row, adams = self._td3_learner.adams_of(module_id)
        for adam in adams:
            adam.reset(row)

    def copy_optimizer(self, source: str, module_id: str) -> None:
        """Gives a cell another's Adam moments, where their networks are equally wide."""
        row, adams = self._td3_learner.adams_of(module_id)
        other, theirs = self._td3_learner.adams_of(source)
        for adam, like in zip(adams, theirs, strict=True):
            for tensor, values in zip(adam.tensors, like.tensors, strict=True):
                tensor[row] = values[other]

    @property
    def module_ids(self) -> tuple[str, ...]:
        """Cells that have a policy now."""
        return tuple(self._td3_learner.banked.cells)

    def add_module(
        self, module_id: str, module_spec: RLModuleSpec | None = None, **rllib: Any
    ) -> Any:
        """A policy for a cell of the environment that has none; without a spec, as at the start.

        Its experience is empty, and it explores first. Raises: KeyError for an unknown cell;
        ValueError for one that has a policy.
        """
        row = self.cell_states.row(module_id)
        if module_id in self.module_ids:
            raise ValueError(f"{module_id}: has a policy already")
        spec = copy.copy(module_spec) or self.config.module_spec(
            module_id, *self._runner.get_spaces()[module_id]
        )
        # For the runners: learners always build everything.
        spec.inference_only = True
        # In one process runner and learner share their modules: what is added once is there.
        rllib.setdefault("add_to_env_runners", bool(self.config.num_env_runners))
        added = super().add_module(module_id, spec, **rllib)
        self._td3_learner.freeze(self.cell_states.frozen_parameters)
        self.cell_states.exploration_left[row] = self.config.exploration_steps
        return added

    def remove_module(self, module_id: str, **rllib: Any) -> Any:
        """Forgets a cell's policy and experience; until it has another it asks for equal shares.

        Raises: ValueError where it has none, or where it is the last that has one.
        """
        if module_id not in self.module_ids or len(self.module_ids) == 1:
            raise ValueError(f"{module_id}: expected one of several cells with a policy")
        for ring in (self.replay, self.default_action_replay, self.source_replay):
            ring.clear(module_id)
        self.freeze(module_id, ())
        # RLlib forgets what it noted about a module without asking whether it had noted any.
        group: Any = self.learner_group
        for noted in (self.config, group.config, self._td3_learner.config):
            noted.policies.setdefault(module_id, PolicySpec())
        rllib.setdefault("remove_from_env_runners", bool(self.config.num_env_runners))
        return super().remove_module(module_id, **rllib)

    @property
    def hyperparameters(self) -> Hyperparameters:
        """Of the update."""
        return self._td3_learner.hyperparameters

    def fresh_weights(self, module_id: str, attempt: int) -> dict[str, np.ndarray]:
        """Random weights as a cell would start with; each attempt has others."""
        key = (int(Purpose.INITIAL_WEIGHTS), cell_key(module_id), attempt)
        seed = np.random.SeedSequence(self.config.seed or 0, spawn_key=key)
        module: Any = self._td3_learner.banked[module_id]
        fresh = TD3Module(
            observation_space=module.observation_space,
            action_space=module.action_space,
            model_config=module.model_config | {"init_seed": int(seed.generate_state(1)[0])},
        )
        return {name: p.detach().numpy() for name, p in fresh.named_parameters()}

    def explore(self, module_id: str, steps: int) -> None:
        """A cell acts at random for as many steps that it decides: none, as after a transfer."""
        self.cell_states.exploration_left[self.cell_states.row(module_id)] = steps

    def freeze(self, module_id: str, beginnings: Sequence[str]) -> None:
        """Parameters whose names begin so stay as they are; nothing thaws all."""
        frozen = self.cell_states.frozen_parameters | {module_id: tuple(beginnings)}
        self.cell_states.frozen_parameters = {
            cell: names for cell, names in frozen.items() if names
        }
        self._td3_learner.freeze(self.cell_states.frozen_parameters)

    def pause_updates(self, module_id: str) -> None:
        """A cell's policy stays as it is until it wakes."""
        self.cell_states.paused[self.cell_states.row(module_id)] = True

    def resume_updates(self, module_id: str) -> None:
        self.cell_states.paused[self.cell_states.row(module_id)] = False

    def set_phase(self, cell: str, phase: int) -> None:
        """Switches a cell off, to the default action or to its policy in every network."""
        self._workers.foreach_env_runner(
            lambda runner: runner.set_phase(cell, Phase(phase)),
            local_env_runner=not self.config.num_env_runners,
        )

    def report(self, event: "Event") -> None:
        """Keeps what a callback decided until somebody takes it."""
        self._events.append(event)

    def take_events(self) -> list["Event"]:
        """What was reported since the last call, oldest first."""
        taken = list(self._events)
        self._events.clear()
        return taken

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any):
        state = super().get_state(components, not_components=not_components, **kwargs)
        if components is None:
            state["td3"] = {
                "kept_steps": self._sampling.keep(),
                "workers": self._worker_states(),
                "replay": self.replay.state(),
                "default_action_replay": self.default_action_replay.state(),
                "source_replay": self.source_replay.state(),
                "cell_states": self.cell_states.state(),
                "modules": list(self.module_ids),
                "callback_state": copy.deepcopy(self.callback_state),
                "env_steps": self.env_steps,
                "updates": self.updates,
            }
        return state

    def _worker_states(self) -> dict[int, Any]:
        """Where the networks of each env runner stand."""
        if not self.config.num_env_runners:
            return {}
        return dict(
            self._workers.foreach_env_runner(
                lambda runner: (runner.index, runner.get_state()), local_env_runner=False
            )
        )

    def _restore_workers(self, states: Mapping[int, Any]) -> None:
        if states:
            kept = ray.put(dict(states))
            self._workers.foreach_env_runner(
                lambda runner: runner.set_state(ray.get(kept).get(runner.index, {})),
                local_env_runner=False,
            )

    def set_state(self, state: Any) -> None:
        super().set_state(state)
        if "td3" in state:
            ours = state["td3"]
            for cell in set(self.module_ids) - set(ours["modules"]):
                self.remove_module(cell)
            for name in ("replay", "default_action_replay", "source_replay", "cell_states"):
                getattr(self, name).restore(ours[name])
            self._sampling.restore(ours["kept_steps"])
            self._restore_workers(ours["workers"])
            self._td3_learner.freeze(self.cell_states.frozen_parameters)
            self.callback_state = copy.deepcopy(ours["callback_state"])
            self.env_steps = int(ours["env_steps"])
            self.updates = int(ours["updates"])


__all__ = ["NETWORKS", "TD3", "NonFiniteUpdate", "TD3Config"]
