"""The actors of all cells as one policy."""

import itertools

import numpy as np
import pytest
import torch

from slicing_rllib.env import ActorForm
from slicing_rllib.learning import stacked_networks as stacked_actor
from slicing_rllib.policies import TrainedPolicy


def make_weights(rng: np.random.Generator, hidden: int) -> dict[str, np.ndarray]:
    shapes = {
        "actor.0.weight": (hidden, 6),
        "actor.0.bias": (hidden,),
        "actor.2.weight": (3, hidden),
        "actor.2.bias": (3,),
    }
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def test_shares_by_hand():
    """Hidden units relu(1) = 1 and relu(-1) = 0; logits ln 1 and ln 3 give .25 and .75."""
    weights = {
        "actor.0.weight": np.array([[1.0], [-1.0]], np.float32),
        "actor.0.bias": np.zeros(2, np.float32),
        "actor.2.weight": np.array([[0.0, 5.0], [np.log(3.0), 5.0]], np.float32),
        "actor.2.bias": np.zeros(2, np.float32),
    }
    shares = TrainedPolicy(["cell_1"], {"cell_1": weights}).compute_actions(
        np.ones((1, 1), np.float32)
    )

    assert shares == pytest.approx(np.array([[0.25, 0.75]]))


def test_each_cell_uses_its_own_actor_whatever_the_shapes_of_others():
    """Cells 1 and 3 have equal shapes and are stacked; cell 2 is wider."""
    rng = np.random.default_rng(0)
    weights = {f"cell_{k}": make_weights(rng, hidden) for k, hidden in ((1, 4), (2, 8), (3, 4))}
    obs = rng.normal(size=(3, 6)).astype(np.float32)
    together = TrainedPolicy(list(weights), weights).compute_actions(obs)

    for row, cell in enumerate(weights):
        alone = TrainedPolicy([cell], weights).compute_actions(obs[row : row + 1])
        assert together[row] == pytest.approx(alone[0])
    assert together.dtype == np.float32
    assert together.sum(axis=1) == pytest.approx(1.0)


def test_a_cell_without_weights_raises_an_error():
    weights = {"cell_1": make_weights(np.random.default_rng(0), 4)}
    with pytest.raises(ValueError, match="one for each cell, none for cell_2"):
        TrainedPolicy(["cell_1", "cell_2"], weights)


@pytest.mark.parametrize("kind", ["mlp", "equivariant"])
@pytest.mark.parametrize("base_policy", ["none", "persistence"])
def test_numpy_and_torch_compute_the_same_actor(kind, base_policy):
    """Training's forward pass and this one agree to float32 precision, in every form."""
    form, rng = ActorForm(3, kind, base_policy), np.random.default_rng(0)
    widths = form.compute_widths(12, (8, 6))
    layers = [
        (rng.normal(size=(4, b, a)).astype(np.float32), rng.normal(size=(4, b)).astype(np.float32))
        for a, b in itertools.pairwise(widths)
    ]
    weights = {
        f"cell_{cell + 1}": {
            f"actor.{2 * number}.{part}": array[cell]
            for number, layer in enumerate(layers)
            for part, array in zip(("weight", "bias"), layer, strict=True)
        }
        for cell in range(4)
    }
    obs = rng.normal(size=(4, 12)).astype(np.float32)
    stacked = [tuple(map(torch.from_numpy, layer)) for layer in layers]
    logits, _ = stacked_actor.compute_logits(form, stacked, torch.from_numpy(obs)[:, None])

    expected = torch.softmax(logits[:, 0], -1).numpy()
    assert TrainedPolicy(list(weights), weights, form).compute_actions(obs) == pytest.approx(
        expected, abs=1e-6
    )
