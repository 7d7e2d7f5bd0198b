"""Actors in every form, and gradients as autograd's; a bank's row and a module are the same."""

import itertools

import pytest
import torch
from torch import nn

from slicing_rllib.env import ActorForm
from slicing_rllib.learning.stacked_networks import (
    ALIGNMENT,
    NetworkSizes,
    ParameterBank,
    backpropagate_logits,
    compute_logits,
    pool_features,
)

FORMS = [
    ActorForm(4, kind, base)
    for kind, base in itertools.product(("mlp", "equivariant"), ("none", "persistence"))
]


def draw_layers(form, n_cells=3, obs_size=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    widths = form.compute_widths(obs_size, (6, 5))
    return [
        (
            torch.randn(n_cells, fan_out, fan_in, generator=generator),
            torch.randn(n_cells, fan_out, generator=generator),
        )
        for fan_in, fan_out in itertools.pairwise(widths)
    ]


def draw_obs(batch=7, seed=1):
    return torch.randn(3, batch, 12, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_gradients_are_those_of_autograd(form):
    layers, obs = draw_layers(form), draw_obs()
    leaves = [(w.clone().requires_grad_(), b.clone().requires_grad_()) for w, b in layers]
    weight = torch.randn(3, 7, 4, generator=torch.Generator().manual_seed(2))
    (compute_logits(form, leaves, obs)[0] * weight).sum().backward()

    _, inputs = compute_logits(form, layers, obs)
    grads = [(torch.zeros_like(w), torch.zeros_like(b)) for w, b in layers]
    backpropagate_logits(form, layers, inputs, weight, grads)

    for leaf, grad in zip(itertools.chain(*leaves), itertools.chain(*grads), strict=True):
        assert torch.allclose(leaf.grad, grad, atol=1e-4)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_zero_network_answers_with_the_base_policy_or_with_equal_shares(form):
    layers = [(torch.zeros_like(w), torch.zeros_like(b)) for w, b in draw_layers(form)]
    obs = draw_obs()
    logits, _ = compute_logits(form, layers, obs)

    assert torch.equal(logits, obs[..., -4:] if form.base_policy != "none" else 0 * logits)


def test_relabelling_slices_relabels_an_equivariant_actors_answer():
    form, order = ActorForm(4, "equivariant", "persistence"), torch.tensor([2, 0, 3, 1])
    layers, obs = draw_layers(form), draw_obs()
    relabelled = obs.unflatten(-1, (3, 4))[..., order].flatten(-2)

    before, after = (compute_logits(form, layers, seen)[0] for seen in (obs, relabelled))
    assert torch.allclose(after, before[..., order], atol=1e-5)


def test_one_set_of_weights_serves_any_number_of_slices():
    layers = draw_layers(ActorForm(4, "equivariant"))
    five = ActorForm(5, "equivariant")

    assert compute_logits(five, layers, torch.ones(3, 2, 15))[0].shape == (3, 2, 5)


def test_pooled_features_are_value_mean_and_maximum():
    """One feature, slices 1, 2 and 6: beside each value stand the mean 3 and the maximum 6."""
    pooled = pool_features(torch.tensor([[[1.0, 2.0, 6.0]]]), 3)

    assert pooled.tolist() == [[[[1, 3, 6], [2, 3, 6], [6, 3, 6]]]]


def test_an_observation_without_blocks_is_refused():
    with pytest.raises(ValueError, match="expected blocks of 4 per-slice features, got 13"):
        ActorForm(4, "equivariant").compute_widths(13, (8,))


SIZES = NetworkSizes((3, 4, 2), (5, 1), ActorForm(2))


class Actor(nn.Module):
    def __init__(self):
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def test_names_are_those_of_the_module():
    bank = ParameterBank(1, SIZES, ["actor"])

    assert {name for name, _ in bank.iterate_row(0)} == set(Actor().state_dict())


def test_a_module_lives_in_its_row():
    bank, module = ParameterBank(2, SIZES, ["actor"]), Actor()
    before = module.actor(torch.ones(3))
    bank.adopt(1, module)

    assert torch.equal(module.actor(torch.ones(3)), before)
    bank.flat["actor"][1] = 0
    assert torch.equal(module.actor(torch.ones(3)), torch.zeros(2))
    module.load_state_dict({name: torch.ones_like(p) for name, p in module.state_dict().items()})
    assert all(view.eq(1).all() for _, view in bank.iterate_row(1))
    assert bank.flat["actor"][0].sum() == 0


def test_layers_are_views_of_the_rows():
    """Rows of layers go cell by cell, its twins together."""
    bank = ParameterBank(2, SIZES, ["critics"])
    weight, bias = bank.layers("critics")[0]
    named = dict(bank.iterate_row(1))
    named["critic_1.0.weight"].copy_(torch.arange(5.0))
    named["critic_1.0.bias"].fill_(5)

    assert weight[2].tolist() == [[0, 1, 2, 3, 4]]
    assert bias[2].tolist() == [5]
    assert weight[3].sum() == 0


def test_every_parameter_begins_a_cache_line():
    """So that a cell's sums don't depend on the row that it stands in."""
    bank = ParameterBank(3, SIZES)

    for row in range(3):
        assert all(view.data_ptr() % (4 * ALIGNMENT) == 0 for _, view in bank.iterate_row(row))
