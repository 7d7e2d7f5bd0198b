"""The stacked update against a separate, ordinary TD3 for each cell."""

import copy
import itertools

import pytest
import torch
from torch import nn

from slicing_rllib.env import ActorForm
from slicing_rllib.learning import stacked_td3 as update
from slicing_rllib.learning.rl_module import NETWORKS
from slicing_rllib.learning.stacked_networks import NetworkSizes, ParameterBank
from slicing_rllib.learning.stacked_td3 import (
    Batch,
    StackedTD3,
    smoothing_noise,
    td_target,
)
from slicing_rllib.policies.td3_settings import TD3Settings

SIZES = NetworkSizes((5, 8, 6, 3), (8, 7, 6, 1), ActorForm(3))
BOUNDED = NetworkSizes((5, 8, 6, 3), (8, 7, 6, 1), ActorForm(3, squash="tanh"))
HYPER = TD3Settings()


class Networks(nn.Module):
    """A cell's six networks."""

    def __init__(self, generator):
        super().__init__()
        for network in NETWORKS:
            widths = SIZES.find_widths(network)
            layers = []
            for fan_in, fan_out in itertools.pairwise(widths):
                linear = nn.Linear(fan_in, fan_out)
                for parameter in linear.parameters():
                    parameter.data.normal_(0, 0.4, generator=generator)
                layers += [linear, nn.ReLU()]
            setattr(self, network, nn.Sequential(*layers[:-1]))


def act(squash, logits, noise=0.0):
    """Shares with noise on their logits, or actions from -1 to 1 with noise on themselves."""
    if squash == "softmax":
        return torch.softmax(logits + noise, -1)
    return (torch.tanh(logits) + noise).clamp(-1, 1)


class OneCell:
    """TD3 as written in the paper that introduced it, by autograd and torch.optim."""

    def __init__(self, networks, squash):
        self.net, self.squash = networks, squash
        critics = [*networks.critic_1.parameters(), *networks.critic_2.parameters()]
        self.critic_adam = torch.optim.Adam(critics, HYPER.critic_lr)
        self.actor_adam = torch.optim.Adam(networks.actor.parameters(), HYPER.actor_lr)
        self.updates = 0

    def update(self, batch):
        net = self.net
        with torch.no_grad():
            noise = smoothing_noise(batch.noise, HYPER.target_noise, HYPER.target_noise_clip)
            action = act(self.squash, net.target_actor(batch.next_obs), noise)
            pair = torch.cat([batch.next_obs, action], -1)
            q1, q2 = net.target_critic_1(pair)[..., 0], net.target_critic_2(pair)[..., 0]
            target = td_target(batch.reward, batch.terminated, q1, q2, gamma=HYPER.gamma)
        pair = torch.cat([batch.obs, batch.action], -1)
        loss = sum(
            ((critic(pair)[..., 0] - target) ** 2).mean() for critic in (net.critic_1, net.critic_2)
        )
        self.critic_adam.zero_grad()
        loss.backward()
        self.critic_adam.step()
        self.updates += 1
        if self.updates % HYPER.policy_delay == 0:
            action = act(self.squash, net.actor(batch.obs))
            actor_loss = -net.critic_1(torch.cat([batch.obs, action], -1)).mean()
            self.actor_adam.zero_grad()
            actor_loss.backward()
            self.actor_adam.step()
            for network in ("actor", "critic_1", "critic_2"):
                online, slow = getattr(net, network), getattr(net, f"target_{network}")
                for ours, theirs in zip(online.parameters(), slow.parameters(), strict=True):
                    theirs.data.lerp_(ours.data, HYPER.tau)
        return float(loss.detach())


def batch_of(n_cells, generator, size=16):
    def draw(*shape):
        return torch.rand((n_cells, size, *shape), generator=generator)

    return Batch(
        draw(5),
        torch.softmax(draw(3), -1),
        draw(),
        draw(5),
        (draw() < 0.1).float(),
        draw(6),
        torch.randn((n_cells, size, 3), generator=generator),
    )


@pytest.mark.parametrize("sizes", [SIZES, BOUNDED], ids=["shares", "bounded"])
def test_twelve_cells_at_once_equal_twelve_separate_updates(sizes):
    """After forty updates every parameter agrees to 1e-5."""
    generator = torch.Generator().manual_seed(0)
    networks = [Networks(generator) for _ in range(12)]
    bank = ParameterBank(12, sizes)
    for row, cell in enumerate(networks):
        bank.adopt(row, copy.deepcopy(cell))
    separate = [OneCell(cell, sizes.form.squash) for cell in networks]
    stacked = StackedTD3(bank, HYPER)

    for number in range(40):
        batch = batch_of(12, generator)
        losses = stacked.update(batch, number)
        ours = [cell.update(batch.select(row)) for row, cell in enumerate(separate)]

    assert losses.critic.tolist() == pytest.approx(ours, abs=1e-5)
    for row, cell in enumerate(networks):
        parameters = dict(cell.named_parameters())
        for name, stacked_parameter in bank.iterate_row(row):
            assert torch.allclose(stacked_parameter, parameters[name], atol=1e-5), name


def test_the_target_is_that_of_the_definition():
    """With all weights zero both critics say their bias: r + gamma (1 - done) min(.3, .2)."""
    bank = ParameterBank(1, SIZES)
    bank.layers("target_critics")[-1][1][:] = torch.tensor([[0.3], [0.2]])
    batch = batch_of(1, torch.Generator().manual_seed(1))

    ((_, block),) = StackedTD3(bank, HYPER).blocks
    target = block.compute_target(batch)

    expected = batch.reward + 0.1 * (1 - batch.terminated) * 0.2
    assert torch.allclose(target, expected)


def test_so_many_cells_at_once_as_fit_the_caches_learn_the_bits_of_all_at_once(monkeypatch):
    def after(at_once):
        monkeypatch.setattr(update, "CELLS_PER_BLOCK", at_once)
        generator = torch.Generator().manual_seed(2)
        bank = ParameterBank(11, SIZES)
        for row in range(11):
            bank.adopt(row, Networks(generator))
        stacked = update.StackedTD3(bank, HYPER)
        losses = [stacked.update(batch_of(11, generator), number) for number in range(4)]
        return [*bank.flat.values(), *itertools.chain(*losses)]

    # Blocks of 5, 5 and 1.
    pairs = zip(after(11), after(5), strict=True)
    assert all(torch.equal(whole, blocks) for whole, blocks in pairs)


@pytest.mark.parametrize("form", [{"kind": "equivariant"}, {"base_policy": "persistence"}])
def test_actors_that_divide_a_whole_have_no_bounded_actions(form):
    with pytest.raises(ValueError, match="expected actions on a simplex, got bounded actions"):
        ActorForm(3, squash="tanh", **form)


def test_the_target_is_the_smaller_critic_discounted():
    """.5 + .1 x min(2, 3) = .7; terminated: .5."""
    reward, q1, q2 = torch.tensor([0.5, 0.5]), torch.tensor([2.0, 2.0]), torch.tensor([3.0, 3.0])

    target = td_target(reward, torch.tensor([0.0, 1.0]), q1, q2, gamma=0.1)

    assert target.tolist() == pytest.approx([0.7, 0.5])


def test_smoothing_noise_is_clipped():
    noise = smoothing_noise(torch.tensor([1.0, -10.0, 10.0]), 0.2, 0.5)

    assert noise.tolist() == pytest.approx([0.2, -0.5, 0.5])
