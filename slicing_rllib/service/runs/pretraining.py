"""Makes a pretrained actor: networks to train in, training, and a table of unseen networks."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np

from slicing_rllib.baselines import Persistence, TrafficAware
from slicing_rllib.env import Policy, SlicingEnv
from slicing_rllib.evaluation import rollout
from slicing_rllib.evaluation.statistics import METRICS, seed_metrics
from slicing_rllib.learning.pretraining import PretrainingSettings, pretrain
from slicing_rllib.policies import PretrainedActor, PretrainedPolicy
from slicing_rllib.radio import Scenario, draw_scenario, make_scenario

UNSEEN_SLICE_COUNT = 5
"""No training network has as many slices."""
PAPER_MAPS, MIXED_MAPS = (0, 1, 2, 3, 9), (0, 1, 2)
"""Radio maps of the built-in scenarios for the evaluation; the actor trains on none of them."""
FIRST_TRAINING_MAP = 1000
EVALUATION_SEED = 90_000
OnMessage = Callable[[str], None]


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


def list_unseen_networks() -> Iterator[tuple[str, Scenario, int]]:
    """Name, scenario and map seed of networks that no training has seen."""
    for map_seed in PAPER_MAPS:
        yield f"paper, map {map_seed}", make_scenario("paper"), map_seed
    for map_seed in MIXED_MAPS:
        yield f"mixed, map {map_seed}", make_scenario("mixed"), map_seed
    rng = np.random.default_rng(np.random.SeedSequence(EVALUATION_SEED))
    for number in range(3):
        scenario = draw_scenario(rng, f"five_{number}", (UNSEEN_SLICE_COUNT,))
        yield f"5 slices, network {number}", scenario, EVALUATION_SEED + number
    for number in range(3):
        scenario = draw_scenario(rng, f"unseen_{number}")
        yield f"other SLAs, network {number}", scenario, EVALUATION_SEED + 10 + number


def evaluate_actor(
    actor: PretrainedActor, steps: int, seeds: int, on_message: OnMessage
) -> list[dict[str, Any]]:
    """Per unseen network, the metrics of the actor and of baselines on the same traffic."""
    rows: list[dict[str, Any]] = []
    for name, scenario, map_seed in list_unseen_networks():
        policies: dict[str, Policy] = {
            "traffic_aware": TrafficAware(),
            "persistence": Persistence(scenario),
            "pretrained": PretrainedPolicy(scenario, actor),
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
        gain = row["pretrained"]["reward_mean"] - row["traffic_aware"]["reward_mean"]
        on_message(f"{name}: reward {gain:+.4f} over traffic_aware")
    return rows
