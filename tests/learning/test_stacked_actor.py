"""Actors in every form: what they answer, and that their gradients are autograd's."""

import itertools

import pytest
import torch

from slicing_rllib.env import ActorForm
from slicing_rllib.learning.stacked_networks import (
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
