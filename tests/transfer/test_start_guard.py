"""Cells with a base policy: what they start from, and how they are kept above it."""

import numpy as np
import pytest

from slicing_rllib.env import SlicingEnv
from slicing_rllib.learning import TD3Config
from slicing_rllib.radio import make_hexagonal_scenario, make_scenario
from slicing_rllib.transfer import TransferSettings, WarmStartCallback
from slicing_rllib.transfer.transfer_settings import GuardSettings

pytestmark = pytest.mark.usefixtures("unchecked")

COUNTERFACTUAL = {
    "actor_objective": "counterfactual",
    "base_policy": "persistence",
    "actor": "equivariant",
    "actor_hiddens": (16, 16),
    "exploration_steps": 0,
    "exploration_noise": 0.0,
    "steps_per_iteration": 20,
    "replay_capacity": 400,
}


@pytest.fixture
def build(ray_session, network):
    """A function that builds an algorithm that learns counterfactually; all are stopped."""
    made = []

    def build_algorithm(*, deployments=None, targets=(), training=None, **settings):
        env = network | {"observation": "per_slice", "default_seed": 5}
        env["deployments"] = network["deployments"] if deployments is None else deployments
        config = (
            TD3Config()
            .environment(SlicingEnv, env_config=env)
            .training(**COUNTERFACTUAL | (training or {}))
            .callbacks(WarmStartCallback.bind(TransferSettings(targets=targets, **settings)))
            .debugging(seed=4)
        )
        algorithm = config.build_algo()
        made.append(algorithm)
        return algorithm

    yield build_algorithm
    for algorithm in made:
        algorithm.stop()


def spoil(algorithm, cell):
    """Let a cell's actor give nearly everything to its first slice."""
    weights = algorithm.policy_weights(cell)
    last = max(name for name in weights if name.startswith("actor.") and name.endswith("weight"))
    generator = np.random.default_rng(0)
    weights[last] = 30.0 * generator.standard_normal(weights[last].shape).astype(np.float32)
    algorithm.set_policy_weights(cell, weights)
    algorithm.pause_updates(cell)


def test_a_new_cell_answers_with_its_base_policy(build):
    algorithm = build(deployments=())
    obs = algorithm.env.reset_batched(3).obs
    base = np.exp(obs[:, -4:])

    assert algorithm.compute_actions(obs) == pytest.approx(
        base / base.sum(axis=1, keepdims=True), abs=1e-5
    )


def test_advantages_over_the_initial_policy_are_zero_before_learning(build):
    """The first iteration acts with the initial policy itself, up to the first updates."""
    algorithm = build(deployments=(), training={"batch_size": 64})
    algorithm.cell_states.set_guarded("cell_1")
    algorithm.train()

    assert algorithm.last_advantages["cell_1"] == pytest.approx([0.0] * 20, abs=1e-4)


def test_a_cell_below_its_initial_policy_gets_it_back(build):
    guard = GuardSettings(every_cell=True, window_steps=400)
    algorithm = build(deployments=(), guard=guard)
    algorithm.train()
    spoil(algorithm, "cell_2")
    events = []
    while not any(event.kind == "policy_restored" for event in events):
        algorithm.train()
        events += algorithm.take_events()
        assert algorithm.env_steps <= 320

    restored = [event for event in events if event.kind == "policy_restored"]
    assert [event.cell for event in restored] == ["cell_2"]
    assert restored[0].evidence["mean_loss"] > 0
    initial = algorithm.fresh_weights("cell_2", 0)
    now = algorithm.policy_weights("cell_2")
    assert all(np.array_equal(now[name], w) for name, w in initial.items())


@pytest.mark.slow
def test_healthy_learning_raises_no_alarm(build):
    guard = GuardSettings(every_cell=True, window_steps=100)
    algorithm = build(deployments=(), guard=guard)
    events = []
    for _ in range(20):
        algorithm.train()
        events += algorithm.take_events()

    assert not [event for event in events if event.kind == "policy_restored"]
    assert set(algorithm.callback_state["start_guard"]) == set(algorithm.cells)


def test_a_harmful_source_is_followed_by_the_initial_policy(build, network):
    """The fallback is the base policy's split, and the cell stays under its own policy."""
    guard = GuardSettings(window_steps=200, cool_down_steps=40)
    algorithm = build(source="cell_1", guard=guard)
    events = []
    while not any(event.kind == "warm_started" for event in events):
        if algorithm.env_steps == 140:
            spoil(algorithm, "cell_1")
        algorithm.train()
        events += algorithm.take_events()
    algorithm.pause_updates("cell_6")
    while not any(event.kind == "guard_fell_back" for event in events):
        algorithm.train()
        events += algorithm.take_events()
        assert algorithm.env_steps < 600

    fell_back = next(event for event in events if event.kind == "guard_fell_back")
    assert fell_back.message.startswith("its initial policy until step")
    initial = algorithm.fresh_weights("cell_6", 0)
    now = algorithm.policy_weights("cell_6")
    assert all(np.array_equal(now[name], initial[name]) for name in initial)


def test_a_cell_may_act_with_its_base_policy_from_its_first_step(build, network):
    """Without any step under the default action, sources are compared by their SLAs."""
    joins = network["deployments"][0]
    immediate = type(joins)(cell=joins.cell, off_until=100, default_action_until=100)
    algorithm = build(deployments=(immediate, *network["deployments"][1:]))
    events = []
    while algorithm.env_steps < 140:
        algorithm.train()
        events += algorithm.take_events()

    chosen = next(event for event in events if event.kind == "source_chosen")
    assert chosen.evidence["measure"] == "sla"
    assert not algorithm.default_action_replay.size[algorithm.cells.index("cell_6")]
    assert any(event.kind == "warm_started" for event in events)


def test_the_pretrained_actor_starts_a_cell_where_no_source_can_be_compared(build, network):
    """It is taken by name of the library; critics stay the cell's own."""
    algorithm = build(
        training={"actor_hiddens": (64, 64)},
        deployments=(network["deployments"][0],),
        library="builtin",
        measure="mean_shift",
    )
    events = []
    while not any(event.kind == "warm_started" for event in events):
        algorithm.train()
        events += algorithm.take_events()

    chosen = next(event for event in events if event.kind == "source_chosen")
    assert chosen.evidence["source"] == "builtin"


def test_every_cell_may_start_from_the_pretrained_actor(ray_session):
    from slicing_rllib.policies import load_pretrained

    actor = load_pretrained()
    scenario = make_hexagonal_scenario(1, 2, like=make_scenario("paper"))
    config = (
        TD3Config()
        .environment(SlicingEnv, env_config={"scenario": scenario, "observation": "per_slice"})
        .training(
            **COUNTERFACTUAL | {"actor_hiddens": actor.hiddens, "initial_weights": actor.weights}
        )
    )
    algorithm = config.build_algo()
    weights = algorithm.policy_weights("cell_3")
    algorithm.stop()

    assert all(np.array_equal(weights[name], w) for name, w in actor.weights.items())
    assert all(np.array_equal(weights[f"target_{n}"], w) for n, w in actor.weights.items())
