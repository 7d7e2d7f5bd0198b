"""Policies that imitate a baseline: does transfer only buy a sane start?"""

from collections.abc import Mapping

import numpy as np
import torch

from slicing_rllib.baselines import make_policy
from slicing_rllib.env import ActorForm, DecisionView
from slicing_rllib.learning.parameter_bank import NetworkSizes, ParameterBank
from slicing_rllib.learning.replay import Replay, Transitions
from slicing_rllib.learning.rl_module import build_mlp
from slicing_rllib.learning.stacked_mlp import forward
from slicing_rllib.service.config import RunConfig
from slicing_rllib.service.runs.evaluation import network_of
from slicing_rllib.service.runs.experience import default_window
from slicing_rllib.transfer import Bundle, PolicyLibrary

STEPS = 2000
EPOCHS = 400
_SPAWN_CLONING = 1_000_008


def add_clones(library: PolicyLibrary, config: RunConfig, baseline: str) -> None:
    """A bundle per cell: its actor does what the baseline did in what that cell observed."""
    sequence = np.random.SeedSequence(config.seed, spawn_key=(_SPAWN_CLONING,))
    seed = int(sequence.generate_state(1)[0])
    replay = _watched(config, baseline, seed)
    default = default_window(config)
    scenario = config.scenario
    actors = _imitated(config, replay, seed)
    for row, cell in enumerate(scenario.cells):
        library.add(
            cell,
            Bundle(
                weights=_with_critics(actors[cell], config, seed + row),
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


def _watched(config: RunConfig, baseline: str, seed: int) -> Replay:
    """What the baseline saw and did."""
    env = network_of(config)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))
    policy = make_policy(baseline, config.scenario, rng, map_seed=config.env.map_seed)
    replay = Replay(env.cells, env.obs_size, env.action_size, STEPS, env.outcome_size)
    before = env.reset_columns(seed)
    for _ in range(STEPS):
        view = DecisionView(before.obs, env.kpis, env.simulator)
        after = env.step_columns(policy.prb_ratio(view).astype(np.float32))
        ended = after.terminated.astype(np.float32)
        step = Transitions(
            before.obs, after.action, after.reward, after.obs, ended, after.feedback, after.outcome
        )
        replay.add(step, before.live & after.live)
        before = env.reset_columns() if after.truncated.all() else after
    return replay


def _imitated(config: RunConfig, replay: Replay, seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Cross entropy between the shares, all cells at once."""
    cells = config.scenario.cells
    seen = [replay.last(cell, STEPS) for cell in cells]
    obs = torch.from_numpy(np.stack([one.obs for one in seen]))
    shares = torch.from_numpy(np.stack([one.action for one in seen]))
    widths = (obs.shape[2], *config.learning.actor_hiddens, shares.shape[2])
    bank = ParameterBank(
        len(cells), NetworkSizes(widths, (1, 1), ActorForm(shares.shape[2])), ("actor",)
    )
    generator = torch.Generator().manual_seed(seed)
    for row in range(len(cells)):
        fresh = dict(build_mlp(widths, generator).named_parameters())
        for name, view in bank.iterate_row(row):
            view.copy_(fresh[name.removeprefix("actor.")].data)
    flat = bank.flat["actor"].requires_grad_()
    adam = torch.optim.Adam([flat], lr=3e-3)
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


def _with_critics(
    actor: Mapping[str, np.ndarray], config: RunConfig, seed: int
) -> dict[str, np.ndarray]:
    """Critics know nothing yet."""
    generator = torch.Generator().manual_seed(seed)
    first, last = actor["actor.0.weight"], list(actor.values())[-1]
    widths = (first.shape[1] + len(last), *config.learning.critic_hiddens, 1)
    weights = dict(actor)
    for critic in ("critic_1", "critic_2"):
        for name, parameter in build_mlp(widths, generator).named_parameters():
            weights[f"{critic}.{name}"] = parameter.detach().numpy()
    return weights | {f"target_{name}": value for name, value in weights.items()}
