"""How fast cells learn: compared with other ways of training, and as networks grow.

Every way trains one policy per cell on the same network, with one update of each cell per network
step: this project's TD3; RLlib's own SAC, the off-policy algorithm closest to TD3 that RLlib still
contains; TD3 of Stable-Baselines3; and plain loops without Ray.
"""

import itertools
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import torch
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv
from ray.tune.registry import register_env
from torch import Tensor, nn

from slicing_rllib.benchmarks.rows import NetworkSize, Row, list_sizes, make_row, measure_medians
from slicing_rllib.env import ActorForm, SlicingEnv
from slicing_rllib.learning import TD3, TD3Config
from slicing_rllib.learning.replay import Replay, make_transitions
from slicing_rllib.learning.rl_module import NETWORKS, build_mlp
from slicing_rllib.learning.stacked_networks import NetworkSizes, ParameterBank, forward
from slicing_rllib.learning.stacked_td3 import (
    Batch,
    StackedTD3,
    smoothing_noise,
    td_target,
)
from slicing_rllib.policies.td3_settings import TD3Settings
from slicing_rllib.radio import Scenario, make_scenario

BATCH_SIZE = 32
"""Transitions per cell and update."""
WARM_UP_STEPS = 2 * BATCH_SIZE
"""Network steps that fill the replay buffers before the first update."""
REPLAY_CAPACITY = 10_000
"""Transitions per cell."""
ACTOR_HIDDENS, CRITIC_HIDDENS = (48, 24), (64, 24)
"""Hidden layer widths of the paper."""
ACTION_NOISE = 0.1
"""Standard deviation of the exploration noise of the peers."""
COUNTERFACTUAL_ACTORS = ("mlp", "equivariant")
GROWTH_CAPACITY = 1_000
"""Replay transitions per cell in large networks, so that replay fits into the memory."""
CRITICS = ("critic_1", "critic_2")
LEARNERS_SIZE = NetworkSize(8, 8)


def run(
    *, turns: int, seconds: float, max_cells: int, on_message: Callable[[str], None]
) -> Iterator[Row]:
    """Yields the comparison with references, a second learner's gain, and growth."""
    torch.set_num_threads(1)
    measure = partial(_measure_rates, turns=turns, seconds=seconds, on_message=on_message)
    yield from compare_with_references(measure)
    if max_cells >= LEARNERS_SIZE.n_cells:
        yield compare_learners(measure)
    smallest_us = None
    for size in list_sizes(max_cells):
        config = configure_td3(size.make_scenario()).training(replay_capacity=GROWTH_CAPACITY)
        name, n_cells = f"{size.n_cells} cells", size.n_cells
        us = 1e6 / measure({name: partial(OwnTD3, config)})[name] / n_cells
        smallest_us = smallest_us or us
        yield make_row(
            "learning.us_per_cell_step", us, "us", reference="12_cells", ratio=us / smallest_us,
            cells=n_cells,
        )  # fmt: skip


class Peer:
    """A training of all cells of a network whose speed can be measured."""

    def run(self, seconds: float) -> float:
        """Trains for at least `seconds`; returns network steps per second, updates included."""
        start, steps = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - start) < seconds or not steps:
            steps += self.train_briefly()
        return steps / elapsed

    def train_briefly(self) -> int:
        """Makes at least one network step with its updates; returns the number of steps."""
        raise NotImplementedError

    def close(self) -> None:
        """Frees processes and memory."""


Measure = Callable[[Mapping[str, Callable[[], Peer]]], dict[str, float]]
"""From the peers' constructors to their median steps per second."""


def compare_with_references(measure: Measure) -> Iterator[Row]:
    """Yields one row per reference, all measured in this call on the paper's network."""
    paper = make_scenario("paper")
    asynchronous = configure_td3(paper).env_runners(num_env_runners=1).training(sample_async=True)
    references: dict[str, Callable[[Scenario], Peer]] = {
        "stock_sac": StockSAC,
        "sb3_td3": Sb3TD3,
        "loops": make_separate_updates,
        "bare_loop": make_bare_loop,
    }
    counterfactual = {
        actor: partial(OwnTD3, configure_counterfactual(paper, actor))
        for actor in COUNTERFACTUAL_ACTORS
    }
    rates = measure(
        {"own": partial(OwnTD3, configure_td3(paper))}
        | {name: partial(build, paper) for name, build in references.items()}
        | counterfactual
        | {"own, with an env runner that samples asynchronously": partial(OwnTD3, asynchronous)}
    )
    compared = [("steps_per_s", "own", name) for name in references]
    for actor in COUNTERFACTUAL_ACTORS:
        name = f"counterfactual_{actor}_steps_per_s"
        compared += [(name, actor, "own"), (name, actor, "bare_loop")]
    compared.append(("overlapped_steps_per_s", list(rates)[-1], "bare_loop"))
    for name, ours, theirs in compared:
        yield make_row(
            f"learning.{name}", rates[ours], "steps/s",
            reference="td3" if theirs == "own" else theirs,
            ratio=rates[ours] / rates[theirs], reference_value=rates[theirs],
        )  # fmt: skip
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield make_row("learning.peak_memory", peak_kib / 2**20, "GiB")


def compare_learners(measure: Measure) -> Row:
    """The steps per second with two learners over those with one; one env runner samples."""
    # With several updates per step, the time goes into the learners, not into the env runner.
    config = configure_td3(LEARNERS_SIZE.make_scenario()).env_runners(num_env_runners=1)
    config = config.training(replay_capacity=GROWTH_CAPACITY, updates_per_step=4)
    one, two = "one learner", "two learners"
    rates = measure(
        {
            name: partial(OwnTD3, config.copy(copy_frozen=False).learners(num_learners=number))
            for name, number in ((one, 1), (two, 2))
        }
    )
    return make_row(
        "learning.two_learners_steps_per_s", rates[two], "steps/s", reference=one,
        ratio=rates[two] / rates[one], cells=LEARNERS_SIZE.n_cells,
    )  # fmt: skip


def _measure_rates(
    builds: Mapping[str, Callable[[], Peer]],
    *,
    turns: int,
    seconds: float,
    on_message: Callable[[str], None],
) -> dict[str, float]:
    """The median steps per second of each peer, which is closed afterwards."""
    peers: dict[str, Peer] = {}
    for name, build in builds.items():
        on_message(f"preparing {name}")
        peers[name] = build()
    on_message(f"measuring {turns} turns of {seconds:g} s each")
    rates = measure_medians({name: partial(p.run, seconds) for name, p in peers.items()}, turns)
    for peer in peers.values():
        peer.close()
    return rates


class OwnTD3(Peer):
    """This project's TD3, with everything that an iteration of the RLlib algorithm does."""

    def __init__(self, config: TD3Config) -> None:
        """Builds the algorithm and runs one iteration, which includes the exploration steps."""
        algorithm = config.build_algo()
        assert isinstance(algorithm, TD3)
        self._algorithm = algorithm
        self._algorithm.train()

    @property
    def n_nodes(self) -> int:
        """Number of cluster nodes on which the env runners run."""
        return len(set(self._algorithm.worker_health.nodes.values()))

    def train_briefly(self) -> int:
        before = self._algorithm.env_steps
        self._algorithm.train()
        return self._algorithm.env_steps - before

    def close(self) -> None:
        self._algorithm.stop()


def configure_td3(scenario: Scenario) -> TD3Config:
    """TD3 in one process, without learners or env runners."""
    return (
        TD3Config()
        .environment(SlicingEnv, env_config={"scenario": scenario})
        .training(exploration_steps=WARM_UP_STEPS, steps_per_iteration=100)
        .debugging(seed=0)
    )


def configure_counterfactual(scenario: Scenario, actor: str) -> TD3Config:
    """Counterfactual learning with an `mlp` or `equivariant` actor."""
    observation = "per_slice" if actor == "equivariant" else "widened"
    return (
        configure_td3(scenario)
        .environment(env_config={"scenario": scenario, "observation": observation})
        .training(
            actor_objective="counterfactual",
            base_policy="persistence",
            actor=actor,
            exploration_steps=0,
            exploration_noise=0.0,
        )
    )


class StockSAC(Peer):
    """One RLModule per cell, trained by RLlib without any code of this project's learning part."""

    def __init__(self, scenario: Scenario) -> None:
        register_env("slicing_stock", lambda _: ParallelPettingZooEnv(SlicingEnv(scenario)))
        config = (
            SACConfig()
            .environment("slicing_stock")
            .env_runners(num_env_runners=0, rollout_fragment_length=1)
            .multi_agent(policies=set(scenario.cells), policy_mapping_fn=_map_cell_to_policy)
            .training(
                train_batch_size_per_learner=BATCH_SIZE,
                num_steps_sampled_before_learning_starts=WARM_UP_STEPS,
                replay_buffer_config={
                    "type": "MultiAgentEpisodeReplayBuffer",
                    "capacity": REPLAY_CAPACITY,
                },
            )
            .reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=1)
            .debugging(seed=0)
        )
        self._algorithm = config.build_algo()
        while self._count_steps() <= WARM_UP_STEPS:
            self._algorithm.train()

    def train_briefly(self) -> int:
        before = self._count_steps()
        self._algorithm.train()
        return self._count_steps() - before

    def close(self) -> None:
        self._algorithm.stop()

    def _count_steps(self) -> int:
        path = ("env_runners", "num_env_steps_sampled_lifetime")
        return int(self._algorithm.metrics.peek(path, default=0))


def _map_cell_to_policy(cell: Any, episode: Any, **_: Any) -> Any:
    return cell


class Sb3TD3(Peer):
    """TD3 of Stable-Baselines3: steps one network with all models, then updates each model."""

    def __init__(self, scenario: Scenario) -> None:
        self._env = SlicingEnv(scenario)
        self._obs, _ = self._env.reset(seed=0)
        self._models = {cell: _make_sb3_model(self._env, cell) for cell in scenario.cells}
        self._rng = np.random.default_rng(0)
        for _ in range(WARM_UP_STEPS):
            self._step()

    def train_briefly(self) -> int:
        self._step()
        for model in self._models.values():
            model.train(gradient_steps=1, batch_size=BATCH_SIZE)
        return 1

    def _step(self) -> None:
        action = {cell: self._choose_action(cell) for cell in self._models}
        obs, reward, _, truncated, _ = self._env.step(action)
        for cell, model in self._models.items():
            scaled = model.policy.scale_action(action[cell])
            model.replay_buffer.add(
                self._obs[cell][None], obs[cell][None], scaled[None], np.array([reward[cell]]),
                np.array([False]), [{}],
            )  # fmt: skip
        self._obs = self._env.reset()[0] if any(truncated.values()) else obs

    def _choose_action(self, cell: str) -> np.ndarray:
        share, _ = self._models[cell].predict(self._obs[cell], deterministic=True)
        noise = self._rng.normal(0, ACTION_NOISE, self._env.action_size).astype(np.float32)
        return np.clip(share + noise, 0.01, 1)


class _SpacesOnlyEnv(gymnasium.Env):
    """An environment that is never stepped: Stable-Baselines3 reads the spaces of its models."""

    def __init__(self, observation_space: Any, action_space: Any) -> None:
        self.observation_space, self.action_space = observation_space, action_space


def _make_sb3_model(env: SlicingEnv, cell: str) -> Any:
    # Only this benchmark needs Stable-Baselines3, which users need not have installed.
    from stable_baselines3 import TD3 as Model
    from stable_baselines3.common.logger import Logger

    model = Model(
        "MlpPolicy",
        _SpacesOnlyEnv(env.observation_space(cell), env.action_space(cell)),
        batch_size=BATCH_SIZE,
        buffer_size=REPLAY_CAPACITY,
        device="cpu",
        policy_kwargs={"net_arch": {"pi": list(ACTOR_HIDDENS), "qf": list(CRITIC_HIDDENS)}},
        seed=0,
    )
    model.set_logger(Logger(None, []))
    return model


class PlainLoop(Peer):
    """Alternates one network step and one update of all cells: simulator and replay, without Ray.

    Args:
        env: The network.
        update: Updates all cells with one batch, (cell, batch, ...).
        actor: Returns the logits (cell, action) for observations (cell, obs).
    """

    def __init__(
        self,
        env: SlicingEnv,
        update: Callable[[Batch], object],
        actor: Callable[[Tensor], Tensor],
    ) -> None:
        self._env, self._update, self._actor = env, update, actor
        self._replay = Replay(
            env.cells, env.obs_size, env.action_size, REPLAY_CAPACITY,
            reward_inputs_size=env.reward_inputs_size,
            counterfactual_inputs_size=env.counterfactual_inputs_size,
        )  # fmt: skip
        self._rng = np.random.default_rng(0)
        self._batched = env.reset_batched(0)
        for _ in range(WARM_UP_STEPS):
            self._step()

    def train_briefly(self) -> int:
        self._step()
        n_cells = len(self._env.cells)
        sampled = self._replay.sample(self._rng.random((n_cells, BATCH_SIZE), np.float32))
        noise = self._rng.standard_normal((n_cells, BATCH_SIZE, self._env.action_size), np.float32)
        self._update(Batch(*map(torch.from_numpy, (*sampled[:-1], noise))))
        return 1

    def _step(self) -> None:
        before = self._batched
        with torch.no_grad():
            logits = self._actor(torch.from_numpy(before.obs))
        shape = (len(self._env.cells), self._env.action_size)
        noise = torch.from_numpy(self._rng.standard_normal(shape, np.float32))
        after = self._env.step_batched(torch.softmax(logits + ACTION_NOISE * noise, -1).numpy())
        self._replay.add(make_transitions(before, after), before.live & after.live)
        self._batched = self._env.reset_batched() if after.truncated.all() else after


def make_network_sizes(env: SlicingEnv) -> NetworkSizes:
    """The layer widths of each cell's actor and critics, as in the paper."""
    obs, action = env.obs_size, env.action_size
    return NetworkSizes(
        (obs, *ACTOR_HIDDENS, action), (obs + action, *CRITIC_HIDDENS, 1), ActorForm(action)
    )


def make_bare_loop(scenario: Scenario) -> PlainLoop:
    """A loop with this project's stacked update; shows what Ray adds in time."""
    env = SlicingEnv(scenario)
    bank = ParameterBank(len(scenario.cells), make_network_sizes(env))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameters in bank.flat.values():
            parameters.uniform_(-0.2, 0.2, generator=generator)
    stacked = StackedTD3(bank, TD3Settings())
    layers = bank.layers("actor")
    update_numbers = itertools.count()

    def update(batch: Batch) -> None:
        stacked.update(batch, next(update_numbers))

    return PlainLoop(env, update, lambda obs: forward(layers, obs[:, None])[0][:, 0])


def make_separate_updates(scenario: Scenario) -> PlainLoop:
    """A loop that updates one cell after the other; shows what stacking saves."""
    env = SlicingEnv(scenario)
    sizes = make_network_sizes(env)
    cells = [OneCellTD3(sizes, seed) for seed in range(len(scenario.cells))]

    def update(batch: Batch) -> None:
        for row, cell in enumerate(cells):
            cell.update(batch.select(row))

    def actor(obs: Tensor) -> Tensor:
        return torch.stack([cell.net["actor"](obs[row]) for row, cell in enumerate(cells)])

    return PlainLoop(env, update, actor)


class OneCellTD3:
    """TD3 of one cell, with autograd and torch.optim. Source: Fujimoto et al. 2018, Algorithm 1."""

    def __init__(self, sizes: NetworkSizes, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        widths: Any = sizes.find_widths
        self.net = nn.ModuleDict({name: build_mlp(widths(name), generator) for name in NETWORKS})
        self.settings = TD3Settings()
        critics = [*self.net["critic_1"].parameters(), *self.net["critic_2"].parameters()]
        self._critic_adam = torch.optim.Adam(critics, self.settings.critic_lr)
        self._actor_adam = torch.optim.Adam(self.net["actor"].parameters(), self.settings.actor_lr)
        self._updates = 0

    def update(self, batch: Batch) -> None:
        """Updates the critics, and every `policy_delay` updates the actor and the targets."""
        target = self._compute_target(batch)
        pair = torch.cat([batch.obs, batch.action], -1)
        losses = [(self.net[q](pair)[:, 0] - target).square().mean() for q in CRITICS]
        _descend(self._critic_adam, torch.stack(losses).sum())
        if (self._updates + 1) % self.settings.policy_delay == 0:
            action = torch.softmax(self.net["actor"](batch.obs), -1)
            q = self.net["critic_1"](torch.cat([batch.obs, action], -1))
            _descend(self._actor_adam, -q.mean())
            self._move_targets()
        self._updates += 1

    @torch.no_grad()
    def _compute_target(self, batch: Batch) -> Tensor:
        settings = self.settings
        noise = smoothing_noise(batch.noise, settings.target_noise, settings.target_noise_clip)
        action = torch.softmax(self.net["target_actor"](batch.next_obs) + noise, -1)
        pair = torch.cat([batch.next_obs, action], -1)
        q1, q2 = (self.net[f"target_{q}"](pair)[:, 0] for q in CRITICS)
        return td_target(batch.reward, batch.terminated, q1, q2, gamma=settings.gamma)

    @torch.no_grad()
    def _move_targets(self) -> None:
        for name in ("actor", *CRITICS):
            targets = self.net[f"target_{name}"].parameters()
            for online, target in zip(self.net[name].parameters(), targets, strict=True):
                target.lerp_(online, self.settings.tau)


def _descend(adam: torch.optim.Adam, loss: Tensor) -> None:
    adam.zero_grad()
    loss.backward()
    adam.step()
