"""Own actors, critics and learned messages learn as built-in networks do, cell by cell."""

import numpy as np
import pytest
import torch
from torch import nn

from slicing_rllib import register, registry
from slicing_rllib.env import ActorForm, Heard
from slicing_rllib.env.observation import LearnedMessage
from slicing_rllib.examples.own_actor import Attention
from slicing_rllib.learning.rl_module import EquivariantActor, JointCritic, MlpActor, build_mlp
from slicing_rllib.learning.stacked_networks import (
    ModuleLayers,
    ModuleSpec,
    NetworkSizes,
    ParameterBank,
    compute_logits,
)
from slicing_rllib.learning.stacked_td3 import Batch, StackedTD3
from slicing_rllib.policies.td3_settings import TD3Settings
from slicing_rllib.policies.trained_policy import TrainedPolicy

OBS, ACTION, CELLS, BATCH = 12, 4, 3, 8
HEARD = Heard("attention", start=0, n_neighbours=2)


@pytest.fixture(autouse=True)
def own_parts(monkeypatch):
    monkeypatch.setattr(registry, "_parts", {})
    monkeypatch.setattr(registry, "_registered", {})
    register("actor", "twin_of_mlp", lambda obs, n: MlpActor(obs, n, (5,)))
    register("critic", "twin_of_joint", lambda obs, n: JointCritic(obs, n, (6,)))
    register("message", "attention", LearnedMessage(Attention))


def make_batch(seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(CELLS, BATCH, *shape, generator=generator)

    action = torch.softmax(draw(ACTION), dim=-1)
    nothing = torch.zeros(CELLS, BATCH)
    return Batch(
        draw(OBS), action, draw(), draw(OBS), nothing, torch.zeros(CELLS, BATCH, 0), draw(ACTION)
    )


def make_bank(actor, critic, form: ActorForm) -> ParameterBank:
    """Banks with the same numbers wherever networks have equal shapes."""
    bank = ParameterBank(CELLS, NetworkSizes(actor, critic, form))
    generator = torch.Generator().manual_seed(3)
    for row in range(CELLS):
        for name, view in bank.iterate_row(row):
            if not name.startswith("target_"):
                view.copy_(0.3 * torch.randn(view.shape, generator=generator))
    for kind in ("actor", "critics"):
        bank.flat[f"target_{kind}"].copy_(bank.flat[kind])
    return bank


def specify(kind: str, part: str, heard: Heard | None = None) -> ModuleSpec:
    return ModuleSpec(kind, part, OBS, ACTION, (7,), heard)


@pytest.mark.parametrize(("kind", "module"), [("mlp", MlpActor), ("equivariant", EquivariantActor)])
def test_a_built_in_actor_is_a_module_like_any_other(kind, module):
    """The parts of the registry compute the logits that the stacked passes compute."""
    form = ActorForm(ACTION, kind)
    bank = make_bank(form.compute_widths(OBS, (7,)), (OBS + ACTION, 1), form)
    obs = make_batch(1).obs
    own = module(OBS, ACTION, (7,))
    names = [name for name, _ in own.named_parameters()]
    stacked = bank.layers("actor")
    values = [parameter for layer in stacked for parameter in layer]
    as_module = ModuleLayers(specify("actor", kind), dict(zip(names, values, strict=True)))

    expected, _ = compute_logits(form, stacked, obs)
    assert torch.allclose(as_module.forward(obs)[0], expected, atol=1e-5)


def test_an_own_module_learns_what_the_built_in_one_of_equal_layers_learns():
    form, own_form = ActorForm(ACTION), ActorForm(ACTION, "twin_of_mlp")
    built_in = make_bank((OBS, 5, ACTION), (OBS + ACTION, 6, 1), form)
    own = make_bank(specify("actor", "twin_of_mlp"), specify("critic", "twin_of_joint"), own_form)
    updates = [StackedTD3(bank, TD3Settings()) for bank in (built_in, own)]

    for number in range(4):
        losses = [update.update(make_batch(number), number) for update in updates]

    assert torch.allclose(losses[0].critic, losses[1].critic, rtol=1e-4)
    for kind, flat in built_in.flat.items():
        assert torch.allclose(own.flat[kind], flat, atol=1e-5), kind


@pytest.mark.parametrize("part", ["mlp", "twin_of_mlp"])
def test_a_learned_message_learns_within_its_own_cell(part):
    """Other observations of cell 3 change nothing in cells 1 and 2; messages do learn."""
    form = ActorForm(ACTION, part, heard=HEARD)
    sizes = specify("actor", part, HEARD), specify("critic", "joint", HEARD)
    first, second = (make_bank(*sizes, form) for _ in range(2))
    before = first.flat["actor"].clone()
    batch = make_batch(5)
    other = batch._replace(obs=torch.cat([batch.obs[:2], 2 * batch.obs[2:]]))
    StackedTD3(first, TD3Settings()).update(batch, 1)
    StackedTD3(second, TD3Settings()).update(other, 1)

    names = [name for name, _ in first.iterate_row(0)]
    assert {"actor.message.score.weight", "critic_1.message.score.weight"} <= set(names)
    for kind, flat in first.flat.items():
        assert torch.equal(flat[:2], second.flat[kind][:2]), kind
        assert not torch.equal(flat[2], second.flat[kind][2]), kind
    moved = dict(first.iterate_row(0))["actor.message.score.weight"]
    kept = ParameterBank(CELLS, first.sizes)
    kept.flat["actor"].copy_(before)
    assert not torch.equal(moved, dict(kept.iterate_row(0))["actor.message.score.weight"])


@pytest.mark.parametrize("heard", [None, HEARD])
@pytest.mark.parametrize("part", ["mlp", "twin_of_mlp"])
def test_evaluation_computes_the_actions_of_training(part, heard):
    form = ActorForm(ACTION, part, "persistence", heard=heard)
    is_mlp = part == "mlp" and heard is None
    actor = (OBS, 7, ACTION) if is_mlp else specify("actor", part, heard)
    bank = make_bank(actor, (OBS + ACTION, 1), form)
    cells = [f"cell_{row}" for row in range(CELLS)]
    weights = {
        cell: {name: view.numpy() for name, view in bank.iterate_row(row)}
        for row, cell in enumerate(cells)
    }
    obs = make_batch(2).obs[:, 0]

    logits, _ = compute_logits(form, bank.layers("actor"), obs[:, None])
    expected = torch.softmax(logits[:, 0], dim=-1).numpy()
    policy = TrainedPolicy(cells, weights, form)

    assert policy.compute_actions(obs.numpy()) == pytest.approx(expected, abs=1e-6)
    first = TrainedPolicy(cells[:1], weights, form)
    shared = first.compute_shared_actions(obs.numpy()[:1].repeat(5, axis=0))
    assert shared == pytest.approx(np.tile(expected[0], (5, 1)), abs=1e-6)


class WithBuffer(nn.Module):
    def __init__(self, obs_size: int, n_actions: int) -> None:
        super().__init__()
        self.norm, self.last = nn.BatchNorm1d(obs_size), nn.Linear(obs_size, n_actions)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (WithBuffer, "without buffers"),
        (lambda obs, n: nn.ReLU(), "with parameters"),
        (lambda obs, n: 3, "expected a torch module"),
        (lambda obs, n: nn.Linear(obs + 1, n), "its module fails: mat1 and mat2"),
        (lambda obs, n: nn.Linear(obs, n + 1), r"expected \(batch, 4\) logits, got \(2, 5\)"),
    ],
)
def test_a_module_that_cannot_be_an_actor_is_refused_in_one_line(make, problem):
    register("actor", "wrong", make)
    with pytest.raises(ValueError, match=problem) as refused:
        specify("actor", "wrong").build()
    assert "\n" not in str(refused.value)


def test_an_own_critic_gives_one_value_per_observation():
    register("critic", "wrong", lambda obs, n: build_critic_of_two_values(obs, n))
    with pytest.raises(ValueError, match=r"expected \(batch,\) values, got \(2, 2\)"):
        specify("critic", "wrong").build()


def build_critic_of_two_values(obs: int, n: int) -> nn.Module:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = build_mlp((obs + n, 2))

        def forward(self, seen: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
            return self.layers(torch.cat([seen, action], dim=-1))

    return Two()
