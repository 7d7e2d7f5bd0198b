"""What must stay as it is stays; state goes from one to another; the device does not matter."""

import numpy as np
import pytest
import torch

from slicing_rllib.env import ActorForm
from slicing_rllib.learning.stacked_networks import NetworkSizes, ParameterBank
from slicing_rllib.learning.stacked_td3 import Batch, StackedTD3
from slicing_rllib.policies.td3_settings import TD3Settings

CELLS = ("cell_1", "cell_2", "cell_3")
SIZES = NetworkSizes((5, 8, 2), (7, 8, 1), ActorForm(2))
NOBODY = torch.zeros(3, dtype=torch.bool)


def made(device="cpu"):
    update = StackedTD3(ParameterBank(3, SIZES, device=device), TD3Settings())
    generator = torch.Generator().manual_seed(1)
    for kind in update.bank.flat:
        drawn = torch.empty(update.bank.flat[kind].shape).uniform_(-0.3, 0.3, generator=generator)
        update.bank.flat[kind].copy_(drawn)
    return update


def make_batch(number, paused=NOBODY, paused_actors=NOBODY):
    generator = torch.Generator().manual_seed(number)

    def drawn(*shape):
        return torch.randn(3, 16, *shape, generator=generator)

    action = torch.softmax(drawn(2), -1)
    ended, inputs = torch.zeros(3, 16), torch.zeros(3, 16, 0)
    learned = Batch(drawn(5), action, drawn(), drawn(5), ended, inputs, drawn(2))
    return learned._replace(paused=paused, paused_actors=paused_actors)


def only(cell):
    return torch.tensor([name == cell for name in CELLS])


def test_a_paused_cell_stays_and_the_others_learn():
    update = made()
    before = update.state()
    for number in range(4):
        update.update(make_batch(number, paused=only("cell_2")), number)
    after = update.state()

    for name in set(before) - {"actor_loss", "critic_loss"}:
        assert np.array_equal(before[name][1], after[name][1])
    assert not np.array_equal(before["actor"][0], after["actor"][0])


def test_a_paused_actor_waits_while_its_critics_learn():
    update = made()
    before = update.state()
    for number in range(4):
        update.update(make_batch(number, paused_actors=only("cell_1")), number)
    after = update.state()

    assert np.array_equal(before["actor"][0], after["actor"][0])
    assert not np.array_equal(before["critics"][0], after["critics"][0])
    assert not np.array_equal(before["actor"][2], after["actor"][2])


def test_frozen_parameters_stay_until_they_are_released():
    update = made()
    update.freeze({2: ["actor.0"]})
    before = dict(update.bank.iterate_row(2))["actor.0.weight"].clone()
    for number in range(4):
        update.update(make_batch(number), number)
    frozen = dict(update.bank.iterate_row(2))["actor.0.weight"].clone()
    update.freeze({})
    for number in range(4):
        update.update(make_batch(number), number)

    assert torch.equal(before, frozen)
    assert not torch.equal(frozen, dict(update.bank.iterate_row(2))["actor.0.weight"])


@pytest.mark.parametrize("rows", [slice(0, 1), slice(1, 3)])
def test_some_cells_apart_give_the_same_bits(rows):
    whole = made()
    apart = StackedTD3(ParameterBank(len(CELLS[rows]), SIZES), TD3Settings())
    apart.restore(whole.state(rows))
    for number in range(6):
        given = make_batch(number, paused=only("cell_1"))
        whole.update(given, number)
        apart.update(given.select(np.arange(3)[rows]), number)

    expected = whole.state(rows)
    assert all(np.array_equal(expected[name], array) for name, array in apart.state().items())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_gives_the_same_to_rounding():
    here, there = made(), made("cuda")
    for number in range(20):
        here.update(make_batch(number), number)
        there.update(make_batch(number), number)

    for name, array in here.state().items():
        np.testing.assert_allclose(there.state()[name], array, atol=1e-4)


def test_a_cell_alone_learns_the_same_bits_as_among_others():
    together, alone = made(), StackedTD3(ParameterBank(1, SIZES), TD3Settings())
    alone.restore(together.state(slice(2, None)))
    for number in range(4):
        whole = make_batch(number)
        losses = together.update(whole, number)
        own = alone.update(whole.select(slice(2, None)), number)
        assert all(torch.equal(a[2:], b) for a, b in zip(losses, own, strict=True))

    ours, theirs = together.state(slice(2, None)), alone.state()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
