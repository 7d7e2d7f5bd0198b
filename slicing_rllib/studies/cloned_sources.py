"""Policies that imitate a baseline, as sources of a transfer.

They are a control: a target that starts from them knows reasonable actions, but neither critics nor
experience of a policy that has learned.
"""

import numpy as np
import torch

from slicing_rllib.env import ActorForm, BatchedStep, DecisionView
from slicing_rllib.learning.replay import Replay
from slicing_rllib.learning.rl_module import build_mlp
from slicing_rllib.learning.stacked_networks import NetworkSizes, ParameterBank, forward
from slicing_rllib.policies.baselines import make_policy
from slicing_rllib.random_streams import Stream, derive_seed, make_generator
from slicing_rllib.runs.experience import record_default_action, record_transitions
from slicing_rllib.runs.policy_evaluation import make_network
from slicing_rllib.runs.run_config import RunConfig
from slicing_rllib.transfer import Bundle, PolicyLibrary

STEPS = 2000
"""Network steps under the baseline, whose actions are imitated."""
EPOCHS = 400
LEARNING_RATE = 3e-3


def add_clones(library: PolicyLibrary, config: RunConfig, baseline: str) -> None:
    """Adds a bundle per cell, whose actor imitates the baseline and whose critics are untrained."""
    seed = derive_seed(config.seed, Stream.CLONING)
    scenario, env = config.scenario, make_network(config)
    rng = make_generator(seed, Stream.CLONED_BASELINE)
    policy = make_policy(baseline, scenario, rng, map_seed=config.map_seed)

    def act(before: BatchedStep) -> np.ndarray:
        view = DecisionView(before.obs, env.kpis, env.simulator, env.reports)
        return policy.prb_ratio(view).astype(np.float32)

    replay = record_transitions(env, act, STEPS, seed)
    default = record_default_action(config)
    actors = _imitate(config, replay, seed)
    for row, cell in enumerate(scenario.cells):
        # The actor's weights with those of untrained critics, and with all target networks.
        weights, fresh = actors[cell], torch.Generator().manual_seed(seed + row)
        widths = (env.obs_size + env.action_size, *config.learning.critic_hiddens, 1)
        for critic in ("critic_1", "critic_2"):
            for name, parameter in build_mlp(widths, fresh).named_parameters():
                weights[f"{critic}.{name}"] = parameter.detach().numpy()
        library.add(
            cell,
            Bundle(
                weights=weights | {f"target_{name}": value for name, value in weights.items()},
                experience=replay.last(cell, config.transfer.transferred_transitions),
                default_action_experience=default.last(cell, config.transfer.samples),
                slices=tuple(spec.name for spec in scenario.slices),
                sla_throughput_mbps=tuple(scenario.sla_throughput_mbps[row].tolist()),
                sla_delay_ms=tuple(scenario.sla_delay_ms[row].tolist()),
                message=config.env.message,
                returns={},
                provenance={"cloned_from": baseline, "cell": cell, "seed": config.seed},
            ),
        )


def _imitate(config: RunConfig, replay: Replay, seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Actors of all cells, trained at once on the cross entropy between baseline and own shares."""
    cells = config.scenario.cells
    recorded = [replay.last(cell, STEPS) for cell in cells]
    obs = torch.from_numpy(np.stack([transitions.obs for transitions in recorded]))
    shares = torch.from_numpy(np.stack([transitions.action for transitions in recorded]))
    widths = (obs.shape[2], *config.learning.actor_hiddens, shares.shape[2])
    bank = ParameterBank(
        len(cells), NetworkSizes(widths, (1, 1), ActorForm(widths[-1])), ("actor",)
    )
    generator = torch.Generator().manual_seed(seed)
    for row in range(len(cells)):
        fresh = dict(build_mlp(widths, generator).named_parameters())
        for name, view in bank.iterate_row(row):
            view.copy_(fresh[name.removeprefix("actor.")].data)
    flat = bank.flat["actor"].requires_grad_()
    adam = torch.optim.Adam([flat], lr=LEARNING_RATE)
    for _ in range(EPOCHS):
        logits, _ = forward(bank.layers("actor", flat), obs)
        adam.zero_grad()
        (-(shares * torch.log_softmax(logits, dim=-1)).sum(dim=-1).mean(dim=1).sum()).backward()
        adam.step()
    bank.flat["actor"] = flat.detach()
    return {
        cell: {name: view.numpy().copy() for name, view in bank.iterate_row(row)}
        for row, cell in enumerate(cells)
    }
