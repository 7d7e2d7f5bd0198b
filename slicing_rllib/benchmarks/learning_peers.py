"""Ways to train a policy per cell on the paper's network, one update of each per network step."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import nn

from slicing_rllib.env import ActorForm, SlicingEnv
from slicing_rllib.learning import TD3, TD3Config
from slicing_rllib.learning.losses import smoothing_noise, td_target
from slicing_rllib.learning.parameter_bank import NetworkSizes, ParameterBank
from slicing_rllib.learning.replay import Replay, Transitions
from slicing_rllib.learning.rl_module import NETWORKS, build_mlp
from slicing_rllib.learning.stacked_mlp import forward
from slicing_rllib.learning.stacked_td3 import Batch, Hyperparameters, StackedTD3
from slicing_rllib.radio import Scenario

BATCH = 32
WARM_UP_STEPS = 2 * BATCH
CAPACITY = 10_000
HYPER = Hyperparameters()


@runtime_checkable
class Peer(Protocol):
    """Something that trains."""

    def run(self, seconds: float) -> float:
        """Network steps per second, updates included, over at least so long."""
        ...

    def close(self) -> None: ...


class Timed:
    """Runs whole calls until the time is up."""

    def run(self, seconds: float) -> float:
        start, steps = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - start) < seconds or not steps:
            steps += self._some()
        return steps / elapsed

    def _some(self) -> int:
        """Trains a little; returns its network steps."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to end."""


class Ours(Timed):
    """This project's TD3, an RLlib algorithm, with everything that belongs to an iteration."""

    def __init__(
        self, scenario: Scenario, *, env_runners: int = 0, learners: int = 0, **settings: Any
    ) -> None:
        config = (
            TD3Config()
            .environment(SlicingEnv, env_config={"scenario": scenario})
            .training(exploration_steps=WARM_UP_STEPS, steps_per_iteration=100, **settings)
            .env_runners(num_env_runners=env_runners)
            .learners(num_learners=learners)
            .debugging(seed=0)
        )
        algorithm = config.build_algo()
        assert isinstance(algorithm, TD3)
        self._algorithm = algorithm
        self._algorithm.train()

    def _some(self) -> int:
        before = self._algorithm.env_steps
        self._algorithm.train()
        return self._algorithm.env_steps - before

    def close(self) -> None:
        self._algorithm.stop()


class StockSAC(Timed):
    """RLlib's SAC as it comes, the nearest algorithm that it still has: a module per cell."""

    def __init__(self, scenario: Scenario) -> None:
        from ray.rllib.algorithms.sac import SACConfig
        from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv
        from ray.tune.registry import register_env

        register_env("slicing_stock", lambda _: ParallelPettingZooEnv(SlicingEnv(scenario)))
        config = (
            SACConfig()
            .environment("slicing_stock")
            .env_runners(num_env_runners=0, rollout_fragment_length=1)
            .multi_agent(policies=set(scenario.cells), policy_mapping_fn=_own_policy)
            .training(
                train_batch_size_per_learner=BATCH,
                num_steps_sampled_before_learning_starts=WARM_UP_STEPS,
                replay_buffer_config={
                    "type": "MultiAgentEpisodeReplayBuffer",
                    "capacity": CAPACITY,
                },
            )
            .reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=1)
            .debugging(seed=0)
        )
        self._algorithm = config.build_algo()
        while self._steps() <= WARM_UP_STEPS:
            self._algorithm.train()

    def _some(self) -> int:
        before = self._steps()
        self._algorithm.train()
        return self._steps() - before

    def _steps(self) -> int:
        path = ("env_runners", "num_env_steps_sampled_lifetime")
        return int(self._algorithm.metrics.peek(path, default=0))

    def close(self) -> None:
        self._algorithm.stop()


def _own_policy(agent: Any, episode: Any, **_: Any) -> Any:
    return agent


class Sb3TD3(Timed):
    """Stable-Baselines3's TD3, a model per cell, all on one network."""

    def __init__(self, scenario: Scenario) -> None:
        from stable_baselines3 import TD3 as Model
        from stable_baselines3.common.logger import Logger

        self._env = SlicingEnv(scenario)
        self._obs, _ = self._env.reset(seed=0)
        self._models = {}
        for cell in scenario.cells:
            face = _SpacesOnly(self._env.observation_space(cell), self._env.action_space(cell))
            model = Model(
                "MlpPolicy",
                face.as_gym(),
                batch_size=BATCH,
                buffer_size=CAPACITY,
                device="cpu",
                policy_kwargs={"net_arch": {"pi": [48, 24], "qf": [64, 24]}},
                seed=0,
            )
            model.set_logger(Logger(None, []))
            self._models[cell] = model
        self._rng = np.random.default_rng(0)
        for _ in range(WARM_UP_STEPS):
            self._step()

    def _some(self) -> int:
        self._step()
        for model in self._models.values():
            model.train(gradient_steps=1, batch_size=BATCH)
        return 1

    def _step(self) -> None:
        action = {
            cell: np.clip(
                model.predict(self._obs[cell], deterministic=True)[0]
                + self._rng.normal(0, 0.1, 4).astype(np.float32),
                0.01,
                1,
            )
            for cell, model in self._models.items()
        }
        obs, reward, _, truncated, _ = self._env.step(action)
        for cell, model in self._models.items():
            scaled = model.policy.scale_action(action[cell])
            model.replay_buffer.add(
                self._obs[cell][None],
                obs[cell][None],
                scaled[None],
                np.array([reward[cell]]),
                np.array([False]),
                [{}],
            )
        self._obs = self._env.reset()[0] if any(truncated.values()) else obs


class _SpacesOnly:
    """What SB3 wants of an environment to build a model: its spaces."""

    def __init__(self, observation_space: Any, action_space: Any) -> None:
        self._spaces = observation_space, action_space

    def as_gym(self) -> Any:
        import gymnasium

        class Face(gymnasium.Env):
            observation_space, action_space = self._spaces

        return Face()


class NoRay(Timed):
    """The simulator, a replay and some update, in a bare loop: what Ray's part costs."""

    def __init__(self, scenario: Scenario, update: Callable[[Batch], object], actor: Any) -> None:
        self._env = SlicingEnv(scenario)
        sizes = (self._env.obs_size, self._env.action_size, CAPACITY, self._env.outcome_size)
        self._replay = Replay(scenario.cells, *sizes)
        self._update, self._actor = update, actor
        self._rng = np.random.default_rng(0)
        self._columns = self._env.reset_columns(0)
        for _ in range(WARM_UP_STEPS):
            self._step()

    def _some(self) -> int:
        self._step()
        n_cells = len(self._env.cells)
        sampled = self._replay.sample(self._rng.random((n_cells, BATCH), np.float32))
        noise = self._rng.standard_normal((n_cells, BATCH, self._env.action_size), np.float32)
        columns = map(torch.from_numpy, (*sampled[:5], noise))
        obs, action, reward, next_obs, terminated, smoothing = columns
        self._update(Batch(obs, action, reward, next_obs, terminated, smoothing))
        return 1

    def _step(self) -> None:
        before = self._columns
        with torch.no_grad():
            logits = self._actor(torch.from_numpy(before.obs))
        shape = (len(self._env.cells), self._env.action_size)
        noise = torch.from_numpy(self._rng.standard_normal(shape, np.float32))
        after = self._env.step_columns(torch.softmax(logits + 0.1 * noise, -1).numpy())
        transitions = Transitions(
            before.obs,
            after.action,
            after.reward,
            after.obs,
            after.terminated.astype(np.float32),
            after.outcome,
        )
        self._replay.add(transitions, before.live & after.live)
        self._columns = self._env.reset_columns() if after.truncated.all() else after


def bare_loop(scenario: Scenario) -> NoRay:
    """The stacked update without Ray."""
    bank, generator = (
        ParameterBank(len(scenario.cells), _sizes(scenario)),
        torch.Generator().manual_seed(0),
    )
    with torch.no_grad():
        for parameters in bank.flat.values():
            parameters.uniform_(-0.2, 0.2, generator=generator)
    stacked = StackedTD3(bank, HYPER)
    layers = bank.layers("actor")
    numbers = itertools.count()

    def update(batch: Batch) -> None:
        stacked.update(batch, with_actor=HYPER.updates_actor(next(numbers)))

    return NoRay(scenario, update, lambda obs: forward(layers, obs[:, None])[0][:, 0])


def loops(scenario: Scenario) -> NoRay:
    """An ordinary TD3 per cell, by autograd and torch.optim, one after the other."""
    cells = [_OneCell(_sizes(scenario), seed) for seed in range(len(scenario.cells))]

    def update(batch: Batch) -> None:
        for row, cell in enumerate(cells):
            cell.update(Batch(*(column[row] for column in batch)))

    def actor(obs: torch.Tensor) -> torch.Tensor:
        return torch.stack([cell.net["actor"](obs[row]) for row, cell in enumerate(cells)])

    return NoRay(scenario, update, actor)


class _OneCell:
    def __init__(self, sizes: NetworkSizes, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.net = nn.ModuleDict(
            {name: build_mlp(sizes.find_widths(name), generator) for name in NETWORKS}
        )
        critics = itertools.chain(
            self.net["critic_1"].parameters(), self.net["critic_2"].parameters()
        )
        self._critic_adam = torch.optim.Adam(critics, HYPER.critic_lr)
        self._actor_adam = torch.optim.Adam(self.net["actor"].parameters(), HYPER.actor_lr)
        self._updates = 0

    def update(self, batch: Batch) -> None:
        target = self._target(batch)
        pair = torch.cat([batch.obs, batch.action], -1)
        loss = torch.stack(
            [(self.net[q](pair)[:, 0] - target).square().mean() for q in ("critic_1", "critic_2")]
        ).sum()
        _descend(self._critic_adam, loss)
        self._updates += 1
        if self._updates % HYPER.policy_delay == 0:
            action = torch.softmax(self.net["actor"](batch.obs), -1)
            q = self.net["critic_1"](torch.cat([batch.obs, action], -1))
            _descend(self._actor_adam, -q.mean())
            self._follow()

    @torch.no_grad()
    def _target(self, batch: Batch) -> torch.Tensor:
        noise = smoothing_noise(batch.noise, HYPER.target_noise, HYPER.target_noise_clip)
        action = torch.softmax(self.net["target_actor"](batch.next_obs) + noise, -1)
        pair = torch.cat([batch.next_obs, action], -1)
        q1, q2 = (self.net[f"target_{q}"](pair)[:, 0] for q in ("critic_1", "critic_2"))
        return td_target(batch.reward, batch.terminated, q1, q2, gamma=HYPER.gamma)

    @torch.no_grad()
    def _follow(self) -> None:
        for name in ("actor", "critic_1", "critic_2"):
            targets = self.net[f"target_{name}"].parameters()
            for ours, theirs in zip(self.net[name].parameters(), targets, strict=True):
                theirs.lerp_(ours, HYPER.tau)


def _descend(adam: torch.optim.Adam, loss: torch.Tensor) -> None:
    adam.zero_grad()
    loss.backward()
    adam.step()


def _sizes(scenario: Scenario) -> NetworkSizes:
    env = SlicingEnv(scenario)
    obs, action = env.obs_size, env.action_size
    return NetworkSizes((obs, 48, 24, action), (obs + action, 64, 24, 1), ActorForm(action))


PEERS: Mapping[str, Callable[[Scenario], Peer]] = {
    "stock_sac": StockSAC,
    "sb3_td3": Sb3TD3,
    "loops": loops,
    "bare_loop": bare_loop,
}


def medians(peers: Mapping[str, Peer], turns: int, seconds: float) -> Iterator[tuple[str, float]]:
    """Steps per second of each, turns interleaved so that all meet the same machine."""
    found: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(turns):
        for name, peer in peers.items():
            found[name].append(peer.run(seconds))
    for name, rates in found.items():
        yield name, float(np.median(rates))
