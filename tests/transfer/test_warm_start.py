"""Warm starts in a running training."""

from dataclasses import replace

import numpy as np
import pytest
from ray import tune

from slicing_rllib.env import SlicingEnv
from slicing_rllib.learning import TD3, TD3Config
from slicing_rllib.transfer import Bundle, PolicyLibrary, TransferSettings, WarmStartCallback
from slicing_rllib.transfer.candidates import find_candidates
from slicing_rllib.transfer.settings import VaeSettings
from slicing_rllib.transfer.stages import Settled, StageRecords
from slicing_rllib.transfer.strategies import compute_source_shares

pytestmark = pytest.mark.usefixtures("unchecked")

TARGET, TOOK_OVER, TRANSFERRED = "cell_6", 160, 100


def list_kinds(events):
    return [event.kind for event in events]


def find_event(events, kind):
    return next(event for event in events if event.kind == kind)


def dump_cell(algorithm, cell):
    """A cell's weights, moments, experience and exploration, as bytes."""
    row = algorithm.cell_states.row(cell)
    stacked = algorithm._td3_learner.parts[0][0].stacked
    tensors = [*stacked.actor_adam.tensors, *stacked.critic_adam.tensors]
    arrays = [
        *algorithm.policy_weights(cell).values(),
        *(tensor[row].numpy() for tensor in tensors),
        *algorithm.replay.last(cell, 10_000),
        *algorithm.default_action_replay.last(cell, 10_000),
        algorithm.cell_states.exploration_left[row],
        algorithm.cell_states.noise_sigma[row],
    ]
    return [np.asarray(array).tobytes() for array in arrays]


def list_equal_parameters(one, other):
    """Names of the parameters that are equal in two policies."""
    return {name for name in one if np.array_equal(one[name], other[name])}


def has_same_policy(algorithm, one, other):
    ours, theirs = algorithm.policy_weights(one), algorithm.policy_weights(other)
    return list_equal_parameters(ours, theirs) == set(ours)


def set_constant_policy(algorithm, cell, logits):
    """A policy whose action does not depend on the observation, without further updates."""
    weights = {name: np.zeros_like(w) for name, w in algorithm.policy_weights(cell).items()}
    last = max(name for name in weights if name.startswith("actor.") and name.endswith("bias"))
    weights[last] = np.asarray(logits, np.float32)
    algorithm.set_policy_weights(cell, weights)
    algorithm.pause_updates(cell)


def start_target(algorithm, train_until):
    """The `warm_started` event; the training ends right after it."""
    return find_event(train_until(algorithm, TOOK_OVER), "warm_started")


def count_own_transitions(algorithm):
    """Transitions in the target's replay, which it has made under the default action."""
    row = algorithm.cell_states.row(TARGET)
    return int(algorithm.default_action_replay.size[row])


def count_replay(algorithm):
    return int(algorithm.replay.size[algorithm.cell_states.row(TARGET)])


def explores(algorithm):
    return algorithm.cell_states.exploration_left[algorithm.cell_states.row(TARGET)] > 0


def test_the_nearest_source_is_copied_and_every_step_is_reported(build, train_until):
    algorithm = build()
    events = train_until(algorithm, TOOK_OVER)
    chosen, started = find_event(events, "source_chosen"), find_event(events, "warm_started")

    assert list_kinds(events) == ["cell_joined", "source_chosen", "warm_started"]
    assert chosen.evidence["target"] == TARGET
    assert set(chosen.evidence["distances"]) == set(algorithm.cells) - {TARGET}
    assert chosen.evidence["source"] == min(
        chosen.evidence["distances"], key=chosen.evidence["distances"].get
    )
    assert started.evidence["source"] == chosen.evidence["source"]
    assert has_same_policy(algorithm, TARGET, chosen.evidence["source"])
    assert started.evidence["instances"] == TRANSFERRED
    assert not explores(algorithm)


def test_other_cells_are_not_affected(build, train_until):
    """Their weights and experience are bit-identical to those of a run without transfer."""
    transferred, alone = build(), build(method="none")
    for algorithm in (transferred, alone):
        train_until(algorithm, TOOK_OVER)

    assert not has_same_policy(transferred, TARGET, "cell_1")
    for cell in set(transferred.cells) - {TARGET}:
        assert dump_cell(transferred, cell) == dump_cell(alone, cell)
    assert dump_cell(transferred, TARGET) != dump_cell(alone, TARGET)


def test_a_cell_without_a_policy_is_given_one_before_it_takes_over(build, train_until):
    """The result equals that of a run in which the cell had a policy from the start."""
    present, added = build(), build()
    added.remove_module(TARGET)
    for algorithm in (present, added):
        train_until(algorithm, TOOK_OVER + 20)

    for cell in present.cells:
        for one, other in zip(
            present.policy_weights(cell).values(), added.policy_weights(cell).values(), strict=True
        ):
            np.testing.assert_allclose(one, other, atol=1e-6)
    assert np.array_equal(present.replay.size, added.replay.size)


def test_policies_with_other_layer_widths_are_refused_with_the_reason(build, train_until):
    algorithm = build(networks={"cell_2": {"actor_hiddens": (8,), "critic_hiddens": (8,)}})
    chosen = find_event(train_until(algorithm, TOOK_OVER), "source_chosen")
    found = find_candidates(algorithm, TARGET, TransferSettings(), ())

    assert found.refused["cell_2"].startswith("actor.0.weight is (8, ")
    assert "cell_2" not in found.usable
    assert chosen.evidence["source"] in found.usable


@pytest.mark.parametrize("cut", [TOOK_OVER - 40, TOOK_OVER, TOOK_OVER + 20])
def test_a_run_resumed_in_any_stage_equals_one_without_interruption(
    build, train_until, tmp_path, cut
):
    """The cuts fall into collecting, the warm start, and the guard's window."""
    whole, until_cut, resumed = build(), build(), build()
    train_until(whole, TOOK_OVER + 60)
    train_until(until_cut, cut)
    until_cut.save_to_path(str(tmp_path / "checkpoint"))
    resumed.restore_from_path(str(tmp_path / "checkpoint"))
    train_until(resumed, TOOK_OVER + 60)

    for cell in whole.cells:
        assert dump_cell(resumed, cell) == dump_cell(whole, cell)


def test_env_runners_act_with_the_new_policy_in_the_next_step(build, train_until):
    algorithm = build(workers=2)
    train_until(algorithm, TOOK_OVER)
    for cell in algorithm.cells:
        algorithm.pause_updates(cell)
    algorithm.train()
    own = algorithm.policy_weights(TARGET)
    of_runners = algorithm.env_runner_group.foreach_env_runner(
        lambda runner: dict(runner.module["cell_6"].named_parameters()), local_env_runner=False
    )

    assert len(of_runners) == 2
    for weights in of_runners:
        for name, parameter in weights.items():
            assert np.array_equal(parameter.detach().numpy(), own[name])


def test_two_harmful_sources_are_rolled_back_and_the_third_start_is_from_scratch(
    build, train_until
):
    """The policies of all sources give the whole carrier to one slice."""
    algorithm = build()
    for cell in set(algorithm.cells) - {TARGET}:
        set_constant_policy(algorithm, cell, [9.0, 0, 0, 0])
    events = train_until(algorithm, TOOK_OVER + 200)
    harmful = [event for event in events if event.kind == "negative_transfer"]
    sources = [event.evidence["source"] for event in events if event.kind == "warm_started"]

    assert len(harmful) == 2
    assert harmful[0].evidence["mean_loss"] > 0
    assert list_kinds(events).count("guard_fell_back") == 2
    assert sources[0] != sources[1]
    assert sources[2:] == [None]


def test_a_policy_equal_to_the_default_action_passes_the_guard(build, train_until):
    algorithm = build()
    for cell in set(algorithm.cells) - {TARGET}:
        set_constant_policy(algorithm, cell, [0.0, 0, 0, 0])
    algorithm.cell_states.noise_sigma[:] = 0.0
    events = train_until(algorithm, TOOK_OVER + 80)

    assert "guard_passed" in list_kinds(events)
    assert "negative_transfer" not in list_kinds(events)


def test_the_source_with_the_highest_return_in_the_target_is_chosen(build, train_until):
    """One source divides the carrier equally; the others starve three slices."""
    algorithm = build(measure="zero_shot")
    for cell in set(algorithm.cells) - {TARGET}:
        logits = [0.0, 0, 0, 0] if cell == "cell_4" else [9.0, 0, 0, 0]
        set_constant_policy(algorithm, cell, logits)
    algorithm.cell_states.noise_sigma[:] = 0.0
    events = train_until(algorithm, TOOK_OVER + 120)
    chosen = find_event(events, "source_chosen")

    assert chosen.evidence["source"] == "cell_4"
    assert chosen.evidence["target_steps_spent"] == 5 * 20


def test_a_source_that_loses_its_policy_while_sources_are_tried_is_skipped(build, train_until):
    algorithm = build(measure="zero_shot")
    train_until(algorithm, TOOK_OVER)
    algorithm.remove_module("cell_3")
    chosen = find_event(train_until(algorithm, TOOK_OVER + 120), "source_chosen")

    assert set(chosen.evidence["distances"]) == {"cell_1", "cell_2", "cell_4", "cell_5"}


@pytest.mark.parametrize(("source", "expected"), [("cell_2", "cell_2"), ("next:2", "cell_2")])
def test_a_prescribed_source_is_taken(build, train_until, source, expected):
    """The second cell after cell_6, the last one, is cell_2."""
    started = start_target(build(source=source), train_until)

    assert started.evidence["source"] == expected


def test_a_prescribed_source_that_does_not_exist_means_learning_from_scratch(build, train_until):
    events = train_until(build(source="cell_99"), TOOK_OVER)

    assert "cell_99 is not there" in find_event(events, "no_source").message
    assert find_event(events, "warm_started").evidence["method"] == "none"


def test_method_model_sets_all_weights_and_no_experience(build, train_until):
    algorithm = build(method="model")
    started = start_target(algorithm, train_until)

    assert has_same_policy(algorithm, TARGET, started.evidence["source"])
    assert count_replay(algorithm) == count_own_transitions(algorithm)
    assert not explores(algorithm)


def test_method_feature_sets_the_first_layer_of_every_network_and_freezes_it(build, train_until):
    algorithm = build(method="feature")
    started = start_target(algorithm, train_until)
    before = algorithm.policy_weights(TARGET)
    copied = list_equal_parameters(before, algorithm.policy_weights(started.evidence["source"]))

    assert {name.split(".")[1] for name in copied if name.endswith("weight")} == {"0"}
    assert {name for name in before if name.split(".")[1] == "0"} <= copied
    assert count_replay(algorithm) == count_own_transitions(algorithm)
    assert explores(algorithm)

    train_until(algorithm, TOOK_OVER + 80)
    unchanged = list_equal_parameters(before, algorithm.policy_weights(TARGET))
    assert "actor.0.weight" in unchanged
    assert "actor.2.weight" not in unchanged


def test_method_instance_adds_the_newest_experience_of_the_source_to_random_weights(
    build, train_until
):
    algorithm = build(method="instance", relabel=False)
    started = start_target(algorithm, train_until)
    ours = algorithm.replay.last(TARGET, TRANSFERRED)
    theirs = algorithm.replay.last(started.evidence["source"], TRANSFERRED)
    fresh = algorithm.fresh_weights(TARGET, 0)

    assert list_equal_parameters(algorithm.policy_weights(TARGET), fresh) == set(fresh)
    assert count_replay(algorithm) == count_own_transitions(algorithm) + TRANSFERRED
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert not explores(algorithm)


def test_method_multi_source_sets_the_nearest_weights_and_experience_of_three_cells(
    build, train_until
):
    algorithm = build(method="multi_source", measure="mean_shift")
    chosen = find_event(train_until(algorithm, TOOK_OVER), "source_chosen")
    distances = chosen.evidence["distances"]
    nearest = sorted(distances, key=distances.get)[:3]
    added = algorithm.replay.last(
        TARGET, count_replay(algorithm) - count_own_transitions(algorithm)
    )
    contributed = {
        cell: sum(
            (added.obs == obs).all(axis=1).any() for obs in algorithm.replay.last(cell, 100).obs
        )
        for cell in set(algorithm.cells) - {TARGET}
    }

    shares = compute_source_shares([distances[cell] for cell in nearest])

    assert has_same_policy(algorithm, TARGET, nearest[0])
    assert {cell: count for cell, count in contributed.items() if count} == {
        cell: int(TRANSFERRED * share) for cell, share in zip(nearest, shares, strict=True)
    }


def test_method_generalist_sets_new_weights_and_experience_of_every_source(build, train_until):
    algorithm = build(method="generalist", generalist_updates=20)
    start_target(algorithm, train_until)
    own = algorithm.policy_weights(TARGET)
    others = [algorithm.policy_weights(cell) for cell in set(algorithm.cells) - {TARGET}]
    added = algorithm.replay.last(TARGET, TRANSFERRED)

    for policy in (*others, algorithm.fresh_weights(TARGET, 0)):
        assert "actor.0.weight" not in list_equal_parameters(own, policy)
    assert count_replay(algorithm) == count_own_transitions(algorithm) + TRANSFERRED
    for cell in set(algorithm.cells) - {TARGET}:
        newest = algorithm.replay.last(cell, 1).obs[0]
        assert (added.obs == newest).all(axis=1).any()


def test_transferred_experience_can_be_kept_apart_and_its_share_decays(build, train_until):
    """A half-life of 10 updates: 20 updates leave a quarter of the share."""
    algorithm = build(source_share=0.5, source_share_half_life_updates=10)
    train_until(algorithm, TOOK_OVER)
    row = algorithm.cell_states.row(TARGET)

    assert algorithm.source_replay.size[row] == TRANSFERRED
    assert algorithm.cell_states.source_share[row] == 0.5
    train_until(algorithm, TOOK_OVER + 20)
    assert algorithm.cell_states.source_share[row] == pytest.approx(0.125)


def test_the_first_update_of_the_actor_can_be_delayed(build, train_until):
    algorithm = build(actor_delay_updates=20)
    train_until(algorithm, TOOK_OVER)
    before = algorithm.policy_weights(TARGET)
    train_until(algorithm, TOOK_OVER + 20)
    after = algorithm.policy_weights(TARGET)

    assert np.array_equal(before["actor.0.weight"], after["actor.0.weight"])
    assert not np.array_equal(before["critic_1.0.weight"], after["critic_1.0.weight"])


def test_a_new_warm_start_can_be_requested(build, train_until):
    algorithm = build()
    train_until(algorithm, TOOK_OVER + 80)
    WarmStartCallback.request(algorithm, "cell_2")
    events = train_until(algorithm, TOOK_OVER + 320)

    assert list_kinds(events)[:1] == ["cell_changed"]
    assert find_event(events, "source_chosen").evidence["target"] == "cell_2"


def test_bundles_of_a_library_are_candidates_except_those_of_the_target_itself(
    build, train_until, tmp_path
):
    earlier = build()
    train_until(earlier, TOOK_OVER)
    scenario = earlier.env.scenario
    bundle = Bundle(
        weights=earlier.policy_weights("cell_1"),
        experience=earlier.replay.last("cell_1", 50),
        default_action_experience=earlier.default_action_replay.last("cell_1", 50),
        slices=tuple(spec.name for spec in scenario.slices),
        sla_throughput_mbps=tuple(scenario.sla_throughput_mbps[0]),
        sla_delay_ms=tuple(scenario.sla_delay_ms[0]),
        message="mean_load",
        returns={},
        provenance={"network": "elsewhere/0/cell_1"},
    )
    library = PolicyLibrary(str(tmp_path))
    library.add("good", bundle)
    library.add("narrow", replace(bundle, slices=("one",)))
    library.add("self", replace(bundle, provenance={"network": f"{scenario.name}/0/{TARGET}"}))
    algorithm = build(library=str(tmp_path), source="library:good")
    events = train_until(algorithm, TOOK_OVER)
    distances = find_event(events, "source_chosen").evidence["distances"]

    assert "library:good" in distances
    assert {"library:narrow", "library:self"}.isdisjoint(distances)
    assert find_event(events, "warm_started").evidence["source"] == "library:good"
    assert list_equal_parameters(algorithm.policy_weights(TARGET), bundle.weights) == set(
        bundle.weights
    )


def test_the_callback_works_in_a_plain_tuner(ray_session, network, tmp_path):
    """Only a config, the callback and a Tuner; none of the service layer."""
    settings = TransferSettings(vae=VaeSettings(updates=20, members=1))
    config = (
        TD3Config()
        .environment(SlicingEnv, env_config=network)
        .training(exploration_steps=20, replay_capacity=400, steps_per_iteration=20)
        .callbacks(WarmStartCallback.configured(settings))
    )
    result = tune.Tuner(
        TD3,
        param_space=config,
        run_config=tune.RunConfig(
            storage_path=str(tmp_path), stop={"env_steps": TOOK_OVER + 20}, verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=True),
        ),
    ).fit()[0]  # fmt: skip

    assert result.error is None
    restored = config.build_algo()
    restored.restore_from_path(result.checkpoint.path)
    stage = StageRecords(restored.callback_state).read(TARGET)
    assert not isinstance(stage, Settled)
    assert stage.source in restored.cells
    restored.stop()
