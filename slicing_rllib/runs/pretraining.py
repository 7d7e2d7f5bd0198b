"""Trains one equivariant actor on many networks, to be used in networks that it has never seen.

The networks are stepped under the actor itself. Each step's KPIs give the reward of every split, so
that every step of every cell is a training example with a known gradient. A table of networks that
no training has seen shows what the actor is worth.
"""

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from slicing_rllib.env import ActorForm, Policy, SlicingEnv, SplitReward
from slicing_rllib.evaluation import rollout
from slicing_rllib.evaluation.statistics import METRICS, seed_metrics
from slicing_rllib.evaluation.tables import format_table
from slicing_rllib.learning.replay import Replay, make_transitions
from slicing_rllib.learning.rl_module import build_mlp
from slicing_rllib.learning.stacked_networks import compute_logits, softmax_gradient
from slicing_rllib.policies import PretrainedActor, PretrainedCurves, PretrainedPolicy
from slicing_rllib.policies.baselines import Baseline
from slicing_rllib.policies.td3_settings import Count
from slicing_rllib.radio import draw_scenario, make_scenario
from slicing_rllib.runs.progress import OnMessage

REWARD = SplitReward()


@dataclass(frozen=True, kw_only=True)
class PretrainingSettings:
    """How the actor is trained. Raises: ValueError for a number below 1, or a rate not above 0."""

    hiddens: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers."""
    rounds: Count = 60
    """Alternations of steps in all networks and updates."""
    steps_per_round: Count = 25
    """Steps of each network per round."""
    updates_per_round: Count = 100
    """Updates per round."""
    batch_size: Count = 1024
    """Steps of cells per update, all from networks with the same number of slices."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Adam's learning rate at the start; it falls to zero along a cosine."""
    seed: int = 0
    """What initial weights, batches and traffic are drawn from."""


def pretrain(
    networks: Sequence[SlicingEnv], settings: PretrainingSettings, on_message: OnMessage
) -> dict[str, np.ndarray]:
    """Weights of the actor's layers by parameter name (`actor.0.weight`).

    Args:
        networks: environments with `observation="per_slice"`; they may differ in anything.
        settings: how to train.
        on_message: called with a line of text after every tenth of the rounds.

    Raises: ValueError for a network with another observation.
    """
    for network in networks:
        if network.observation != "per_slice":
            raise ValueError(f"pretraining: expected per_slice, got {network.observation}")
    seeds = np.random.SeedSequence(settings.seed).spawn(len(networks) + 1)
    form = ActorForm(networks[0].action_size, "equivariant", "persistence")
    generator = torch.Generator().manual_seed(settings.seed)
    actor = build_mlp(form.compute_widths(networks[0].obs_size, settings.hiddens), generator)
    for parameter in actor[-1].parameters():
        nn.init.zeros_(parameter)
    adam = torch.optim.Adam(actor.parameters(), settings.lr)
    total = settings.rounds * settings.updates_per_round
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, total)
    sampled = [
        _SampledNetwork(network, int(seed.generate_state(1)[0]), settings)
        for network, seed in zip(networks, seeds, strict=False)
    ]
    rng = np.random.default_rng(seeds[-1])
    for number in range(settings.rounds):
        rewards = [network.run(actor, settings.steps_per_round) for network in sampled]
        for _ in range(settings.updates_per_round):
            network = sampled[rng.integers(len(sampled))]
            adam.zero_grad()
            network.compute_gradients(actor, settings.batch_size, rng)
            adam.step()
            schedule.step()
        if (number + 1) % max(settings.rounds // 10, 1) == 0:
            on_message(
                f"round {number + 1} of {settings.rounds}: mean reward {np.mean(rewards):.4f} in "
                f"{len(networks)} networks"
            )
    return {f"actor.{name}": p.detach().numpy().copy() for name, p in actor.named_parameters()}


class _SampledNetwork:
    """A network, where it stands, and the steps that it has contributed."""

    def __init__(self, env: SlicingEnv, seed: int, settings: PretrainingSettings) -> None:
        self._env = env
        self._form = ActorForm(env.action_size, "equivariant", "persistence")
        steps = settings.rounds * settings.steps_per_round
        self._replay = Replay(
            env.cells,
            env.obs_size,
            env.action_size,
            steps,
            reward_inputs_size=env.reward_inputs_size,
            counterfactual_inputs_size=env.counterfactual_inputs_size,
        )
        self._batched = env.reset_batched(seed)

    def run(self, actor: nn.Sequential, steps: int) -> float:
        """Step the network under the actor; returns the mean reward of all cells."""
        rewards = []
        for _ in range(steps):
            before = self._batched
            with torch.no_grad():
                logits = self._compute_logits(actor, torch.from_numpy(before.obs))
                action = torch.softmax(logits[0], dim=-1).numpy()
            after = self._env.step_batched(action)
            self._replay.add(make_transitions(before, after), before.live & after.live)
            rewards.append(float(after.reward.mean()))
            self._batched = self._env.reset_batched() if after.truncated.all() else after
        return float(np.mean(rewards))

    def compute_gradients(self, actor: nn.Sequential, size: int, rng: np.random.Generator) -> None:
        """Adds the gradients of the negative mean reward in about `size` random steps of cells."""
        n_cells = len(self._env.cells)
        picks = rng.random((n_cells, max(size // n_cells, 1)), np.float32)
        batch = self._replay.sample(picks)
        obs = torch.from_numpy(batch.obs.reshape(-1, batch.obs.shape[-1]))
        logits = self._compute_logits(actor, obs)
        shares = torch.softmax(logits.detach(), dim=-1)
        inputs = batch.counterfactual_inputs.reshape(len(obs), -1)
        gradient = torch.from_numpy(REWARD.reward_and_gradient(inputs, shares[0].numpy())[1])
        logits.backward(softmax_gradient(shares, -gradient[None]) / len(obs))

    def _compute_logits(self, actor: nn.Sequential, obs: Tensor) -> Tensor:
        layers = [
            (layer.weight[None], layer.bias[None])
            for layer in actor
            if isinstance(layer, nn.Linear)
        ]
        return compute_logits(self._form, layers, obs[None])[0]


EVALUATION_MAPS = {"paper": (0, 1, 2, 3, 9), "mixed": (0, 1, 2)}
"""Radio maps of the built-in scenarios for the evaluation; the actor trains on none of them."""
FIRST_TRAINING_MAP = 1000
EVALUATION_SEED = 90_000
COMPARED = ("traffic_aware", "persistence", "smoothed_persistence")


def train_actor(
    n_random: int, n_paper: int, settings: PretrainingSettings, on_message: OnMessage
) -> PretrainedActor:
    """Train an actor in `n_random` random networks and on `n_paper` maps of `paper`."""
    rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(1,)))
    scenarios = [draw_scenario(rng, f"random_{number}") for number in range(n_random)]
    scenarios += [make_scenario("paper")] * n_paper
    networks = [
        SlicingEnv(scenario, observation="per_slice", map_seed=FIRST_TRAINING_MAP + number)
        for number, scenario in enumerate(scenarios)
    ]
    weights = pretrain(networks, settings, on_message)
    provenance = {
        "command": f"slicing-rllib pretrain --random {n_random} --paper {n_paper} "
        f"--rounds {settings.rounds} --seed {settings.seed}",
        "settings": asdict(settings) | {"hiddens": list(settings.hiddens)},
        "version": version("slicing-rllib"),
        "training_networks": [
            f"{scenario.name}: {scenario.n_slices} slices" for scenario in scenarios
        ],
    }
    return PretrainedActor(weights, provenance)


def evaluate_actor(
    actor: PretrainedActor, steps: int, seeds: int, on_message: OnMessage
) -> list[dict[str, Any]]:
    """Per unseen network, the metrics of the actor and of baselines on the same traffic.

    `actor` are the weights of an actor, or those of critics per slice.
    """
    has_actor = any(name.startswith("actor.") for name in actor.weights)
    make_policy = PretrainedPolicy if has_actor else PretrainedCurves
    networks = [
        (f"{name}, map {map_seed}", make_scenario(name), map_seed)
        for name, map_seeds in EVALUATION_MAPS.items()
        for map_seed in map_seeds
    ]
    rng = np.random.default_rng(np.random.SeedSequence(EVALUATION_SEED))
    # No training network has five slices.
    for first_seed, what, slices in ((0, "5 slices", ((5,),)), (10, "other SLAs", ())):
        for number in range(3):
            scenario = draw_scenario(rng, f"{what.replace(' ', '_')}_{number}", *slices)
            seed = EVALUATION_SEED + first_seed + number
            networks.append((f"{what}, network {number}", scenario, seed))
    rows: list[dict[str, Any]] = []
    for name, scenario, map_seed in networks:
        policies: dict[str, Policy] = {
            **{name: Baseline(name, scenario) for name in COMPARED},
            "pretrained": make_policy(scenario, actor),
        }
        env = SlicingEnv(scenario, map_seed=map_seed)
        row: dict[str, Any] = {"network": name, "seeds": seeds, "steps": steps}
        for policy_name, policy in policies.items():
            found = [
                seed_metrics(rollout(env, policy, steps, EVALUATION_SEED + seed))
                for seed in range(seeds)
            ]
            means = np.mean(found, axis=0).tolist()
            row[policy_name] = dict(zip(METRICS, means, strict=True))
        rows.append(row)
        gain = row["pretrained"]["reward_mean"] - row["smoothed_persistence"]["reward_mean"]
        on_message(f"{name}: reward {gain:+.4f} over smoothed_persistence")
    return rows


def format_unseen_table(rows: Sequence[dict[str, Any]]) -> str:
    """The `unseen_networks` of a manifest as a Markdown table: differences from the best rule."""
    columns = ("persistence", "traffic_aware", "pretrained")
    lines = format_table(
        ["network", "`smoothed_persistence`", *(f"`{name}` −" for name in columns)],
        [
            [
                row["network"],
                f"{row['smoothed_persistence']['reward_mean']:.3f}",
                *(
                    f"{row[name]['reward_mean'] - row['smoothed_persistence']['reward_mean']:+.4f}"
                    for name in columns
                ),
            ]
            for row in rows
        ],
    )
    return "\n".join(lines)
