"""TD3 for many cells as an RLlib algorithm: one policy per cell, all updated at once.

Checkpoints hold what RLlib's own state lacks: replay buffers, cell states and counters. Random
streams are functions of the seed and a step number, so the counters restore them.
"""

import copy
import logging
import math
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import ray
import torch
from jaxtyping import Bool
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    EPISODE_RETURN_MEAN,
    LEARNER_UPDATE_TIMER,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)

from slicing_rllib.learning.adapters import AdaptedEnv, offers_state
from slicing_rllib.learning.env_runner import EnvironmentFailed, Sampled, count_failures
from slicing_rllib.learning.learner import LearnerShards, TD3Learner, count_update_flops
from slicing_rllib.learning.policy_map import PolicyMap
from slicing_rllib.learning.policy_operations import PolicyOperations
from slicing_rllib.learning.replay import Replay, Transitions
from slicing_rllib.learning.response_critic import select_batch_fields
from slicing_rllib.learning.sampled_env import CellStates, Step
from slicing_rllib.learning.stacked_td3 import Batch, Losses
from slicing_rllib.learning.td3_config import TD3Config
from slicing_rllib.learning.training_metrics import IterationStats, NonFiniteUpdate, complete_result
from slicing_rllib.learning.workers import WorkerHealth, WorkerSampling
from slicing_rllib.policies.events import Event, EventKind
from slicing_rllib.random_streams import CellStreams, Stream, draw_normal, draw_uniform

logger = logging.getLogger(__name__)
BUFFERS = ("replay", "default_action_replay", "source_replay")
FEWEST_FLOPS_FOR_THREADS = 9.5e7
"""Floating-point operations of an update below which torch uses one thread. In smaller updates,
threads cost more than they gain: measured up to ten times as much on a busy machine. 48 cells of
the paper's networks are just above."""
MAX_EVENTS = 1000
WORKER_TIMEOUT_S = 60.0
"""How long an iteration waits for env runners of which none answers."""


class TD3(PolicyOperations):
    """Alternates one network step and one update of every cell, `steps_per_iteration` times."""

    config: TD3Config

    @classmethod
    def get_default_config(cls) -> TD3Config:
        """A config with the paper's hyper-parameters."""
        return TD3Config()

    def _set_up_metrics(self) -> None:
        """RLlib's last step before `on_algorithm_init`, which expects a whole algorithm."""
        super()._set_up_metrics()
        config, settings = self.config, self.settings
        # RLlib types env runners and learner groups loosely; here their classes are known.
        self._runner: Any = self.env_runner
        self._workers: Any = self.env_runner_group
        group: Any = self.learner_group
        self.td3_learner: TD3Learner = group._learner
        env = self._runner.env
        self.policies: PolicyMap = self._runner.policies
        self.cells: tuple[str, ...] = env.cells
        flops = sum(
            len(bank.cells) * count_update_flops(bank.bank.sizes, settings.batch_size)
            for bank in self.td3_learner.banked.groups
        )
        if flops < FEWEST_FLOPS_FOR_THREADS:
            torch.set_num_threads(1)
        self._build_buffers(env)
        noise = settings.exploration_noise if config.explore else 0.0
        self.cell_states = CellStates(self.policies.policies, self._exploration_steps, noise)
        self.pause_untrained()
        self.worker_health = WorkerHealth(self._workers)
        self.worker_sampling = WorkerSampling(
            self._workers, config.sample_timeout_s or WORKER_TIMEOUT_S, self._receive
        )
        self._failures_in_a_row: Counter[int] = Counter()
        """By env runner, requests that failed since the last one that did not."""
        self._last_episodes: dict[str, Any] = {EPISODE_RETURN_MEAN: math.nan}
        """Metrics of the last episodes that have ended."""
        self._has_collected_state = False
        self.callback_state: dict[str, Any] = {}
        """What callbacks need to find again after a restart; plain values and arrays."""
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self.env_steps = 0
        """Network steps so far, of all env runners together."""
        self.updates = 0
        """Updates so far; a cell that was not ready did not take part."""
        self.seconds_spent: defaultdict[str, float] = defaultdict(float)
        """Seconds spent on `sampling` and on `update` since the algorithm was built."""
        self.td3_learner.prepare(self.policies.policies, env.counterfactual)
        self._shards = (
            LearnerShards(self.td3_learner, config.num_learners) if config.num_learners else None
        )
        if not config.num_env_runners:
            # In one process the env runner acts with the learner's own tensors: nothing to copy.
            self._runner.module = self.td3_learner.module

    def _build_buffers(self, env: Any) -> None:
        """Replay buffers, and the random streams by which batches are drawn from them."""
        settings, policies = self.settings, self.policies.policies

        def build(capacity: int, precision: str = "float32") -> Replay:
            return Replay(
                policies,
                env.obs_size,
                env.action_size,
                capacity,
                env.reward_inputs_size,
                precision,
                env.counterfactual_inputs_size,
            )

        self.replay = build(settings.replay_capacity, settings.replay_precision)
        self.default_action_replay = build(settings.default_action_capacity)
        """Transitions under the default action, by which cells are compared."""
        self.source_replay = build(settings.replay_capacity, settings.replay_precision)
        """Other cells' experience, where a cell keeps it apart from its own."""
        self._agent_groups = self.policies.group_agents()
        seed, batch = self.config.seed or 0, (settings.batch_size,)
        noise = (*batch, env.action_size)
        self._batch_picks = CellStreams(seed, Stream.BATCH, policies, batch, draw_uniform)
        self._mixing = CellStreams(seed, Stream.MIXING, policies, (2, *batch), draw_uniform)
        self._smoothing = CellStreams(seed, Stream.SMOOTHING, policies, noise, draw_normal)

    @property
    def env(self) -> Any:
        """The environment of the driver's env runner."""
        return self._runner.env

    def step(self) -> dict[str, Any]:
        """RLlib's iteration, with the metrics of the last episodes even if none ended in it."""
        result: dict[str, Any] = super().step()
        self._last_episodes = complete_result(result, self._last_episodes)
        return result

    def training_step(self) -> None:
        """One iteration: network steps and updates, then what RLlib and callbacks read of it."""
        stats = IterationStats(self.policies)
        has_workers = bool(self.config.num_env_runners)
        try:
            (self._train_with_workers if has_workers else self._train_in_one_process)(stats)
        except Exception:
            # An action on observations that are not finite fails, but is not the cause.
            stats.check_finite(self.env_steps)
            raise
        self._publish(stats)

    def _train_in_one_process(self, stats: IterationStats) -> None:
        rounds = -(-self.settings.steps_per_iteration // self._runner.num_envs)
        sampled: list[Step] = []
        for _ in range(rounds):
            with self._timed("sampling", ENV_RUNNER_SAMPLING_TIMER):
                steps = self._runner.step(self.cell_states.sampling_settings())
            with self._timed("update", LEARNER_UPDATE_TIMER):
                self._learn_from(steps, stats)
            sampled += steps
        self._runner.callbacks.end_sample(sampled)
        failures = self._runner.take_failures()
        self._receive(0, Sampled(sampled, failures, self._runner.get_metrics()))

    def _receive(self, worker: int, sampled: Sampled) -> None:
        """Publish an env runner's metrics and failures. Raises: EnvironmentFailed."""
        self.metrics.aggregate([sampled.metrics], key=ENV_RUNNER_RESULTS)
        for failure in sampled.failures:
            self.report(
                Event(EventKind.ENVIRONMENT_FAILED, failure.message, evidence={"worker": worker})
            )
        tolerated = self.config.num_consecutive_env_runner_failures_tolerance or 0
        count_failures(self._failures_in_a_row, tolerated, worker, sampled.failures)

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
            if self.settings.sample_async:
                self._request_steps()
        with self._timed("update", LEARNER_UPDATE_TIMER):
            self._learn_from(steps, stats)
        self._events.extend(self.worker_health.check())

    def _request_steps(self) -> None:
        """Send the current weights to all env runners and request their share of an iteration."""
        with self.metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
            self._push_weights()
        steps = -(-self.settings.steps_per_iteration // self.settings.num_env_runners)
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
            self.cell_states.count_exploration(self.policies.any_agent(step.decided))
            self.env_steps += 1
            stats.add_step(step)
            ready = (
                (self.cell_states.exploration_left == 0)
                & (self.replay.size >= self.settings.batch_size)
                & ~self.cell_states.paused
            )
            if ready.any():
                for _ in range(self.settings.updates_per_step):
                    stats.add_losses(self._update(ready))
                stats.steps_trained += 1
        if self._shards:
            stats.add_losses(self._shards.finish())

    def _store(self, step: Step) -> None:
        """Each transition goes to its policy; agents that share a policy share its buffer."""
        under_default_action = step.present & ~step.decided
        for agents, exists in self._agent_groups:
            transitions = Transitions(*(array[agents] for array in step.transitions))
            self.replay.add(transitions, step.present[agents] & exists)
            by_default = under_default_action[agents] & exists
            if by_default.any():
                self.default_action_replay.add(transitions, by_default)

    def _update(self, ready: Bool[np.ndarray, " cell"]) -> list[Losses]:
        """One update of the cells that are ready; its losses, unless it is made elsewhere."""
        number, batch = self.updates, self._sample_batch(ready)
        self.updates += 1
        self.cell_states.count_update()
        if self._shards:
            self._shards.submit(batch, number)
            return []
        return [self.td3_learner.update_stacked(batch, number)]

    def _sample_batch(self, ready: Bool[np.ndarray, " cell"]) -> Batch:
        """A batch per cell: its own experience, mixed with that of sources where asked for."""
        states = self.cell_states
        learned = self.replay.sample(self._batch_picks.at(self.updates))
        sampled = select_batch_fields(learned, self.settings)
        share = np.where(self.source_replay.size > 0, states.source_share, 0.0)
        if share.any():
            # A random `share` of each cell's batch is replaced by transitions of its sources.
            mixed, pick = self._mixing.at(self.updates).swapaxes(0, 1)
            others = select_batch_fields(self.source_replay.sample(pick), self.settings)
            chosen = mixed < share[:, None]
            sampled = [
                np.where(chosen if own.ndim == 2 else chosen[..., None], other, own)
                for own, other in zip(sampled, others, strict=True)
            ]
        noise, paused_actors = self._smoothing.at(self.updates), states.actor_delay_updates > 0
        return Batch(*map(torch.from_numpy, (*sampled, noise, ~ready, ready & paused_actors)))

    def _publish(self, stats: IterationStats) -> None:
        """Raises: NonFiniteUpdate for a reward or loss that is not finite."""
        stats.check_finite(self.env_steps)
        self.last_iteration, self.last_steps = stats.summarise(), stats.steps
        settings = self.policies.expand(self.cell_states.sampling_settings())
        self.last_advantages = (
            self.compare_with_start(stats.steps, settings.guarded_rows)
            if self.has_initial_policy
            else stats.list_advantages(settings.guarded_rows)
        )
        reward_mean = self.last_iteration["reward_mean"]
        for key in ("reward_mean", (ENV_RUNNER_RESULTS, "reward_mean")):
            # Of this iteration alone: schedulers of Tune compare trials by it.
            self.metrics.log_value(key, reward_mean, window=1)
        for name in ("env_steps", "updates"):
            self.metrics.log_value(name, getattr(self, name), reduce="max")
        stats.log_training(self.metrics)

    @contextmanager
    def _timed(self, phase: str, timer: str) -> Iterator[None]:
        """Count the block's seconds, under RLlib's name of the timer and in `seconds_spent`."""
        started = time.perf_counter()
        with self.metrics.log_time((TIMERS, timer)):
            yield
        self.seconds_spent[phase] += time.perf_counter() - started

    def compute_actions(self, obs: np.ndarray) -> np.ndarray:
        """Every cell's action without noise: (cell, obs) -> (cell, action).

        Shares, or numbers from -1 to 1 where actions are bounded.
        """
        if self.config.num_env_runners:
            self._runner.module.set_state(self.td3_learner.banked.get_state(inference_only=True))
        return self._runner.actions(np.asarray(obs, np.float32))

    def report(self, event: Event) -> None:
        """Keep an event until `take_events`; the oldest is dropped beyond `MAX_EVENTS`."""
        self._events.append(event)

    def take_events(self) -> list[Event]:
        """Events since the last call, the oldest first."""
        taken, self._events = list(self._events), deque(maxlen=MAX_EVENTS)
        return taken

    def _before_evaluate(self) -> None:
        """Evaluate in environments of their own, so that training goes on as if there were none."""
        if self.eval_env_runner_group is None:
            self.eval_env_runner_group = EnvRunnerGroup(
                env_creator=self.env_creator,
                config=self.evaluation_config,
                local_env_runner=True,
                logdir=self.logdir,
            )
        group: Any = self.eval_env_runner_group
        module_ids = self.module_ids
        group.foreach_env_runner(lambda runner: runner.match_modules(module_ids))

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any):
        """RLlib's state, and under `td3` all else that a bit-exact continuation needs."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        if components is not None:
            return state
        if not self._has_collected_state and not offers_state(self.env):
            own = self.env.unwrapped.unwrapped if isinstance(self.env, AdaptedEnv) else self.env
            name = type(own).__name__
            logger.warning("environment %s cannot save its state; a resumed run resets it", name)
        self._has_collected_state = True
        # By env runner: where its environments stand. RLlib saves the driver's itself.
        workers: dict[int, Any] = {}
        kept_steps = self.worker_sampling.keep()
        if self.config.num_env_runners:
            workers |= self._workers.foreach_env_runner(
                lambda runner: (runner.index, runner.get_state()), local_env_runner=False
            )
        return state | {
            "td3": {
                "kept_steps": kept_steps,
                "workers": workers,
                **{name: getattr(self, name).state() for name in BUFFERS},
                "cell_states": self.cell_states.state(),
                "episode_results": dict(self._last_episodes),
                "modules": list(self.module_ids),
                "callback_state": copy.deepcopy(self.callback_state),
                "env_steps": self.env_steps,
                "updates": self.updates,
            }
        }

    def set_state(self, state: Any) -> None:
        """Put a state back."""
        super().set_state(state)
        if "td3" not in state:
            return
        own = state["td3"]
        for cell in set(self.module_ids) - set(own["modules"]):
            self.remove_module(cell)
        for name in BUFFERS:
            getattr(self, name).restore(own[name])
        self.cell_states.restore(own["cell_states"])
        self._last_episodes = dict(own["episode_results"])
        self.worker_sampling.restore(own["kept_steps"])
        if own["workers"]:
            kept = ray.put(own["workers"])
            self._workers.foreach_env_runner(
                lambda runner: runner.set_state(ray.get(kept).get(runner.index, {})),
                local_env_runner=False,
            )
        self.td3_learner.freeze(self.cell_states.frozen_parameters)
        self.callback_state = copy.deepcopy(own["callback_state"])
        self.env_steps, self.updates = int(own["env_steps"]), int(own["updates"])


__all__ = ["TD3", "EnvironmentFailed", "Event", "NonFiniteUpdate", "TD3Config"]
