"""A cell comes up in a live run."""

from dataclasses import replace

import numpy as np
import pytest
from ray import tune

from slicing_rllib.env import SlicingEnv
from slicing_rllib.learning import TD3, TD3Config
from slicing_rllib.transfer import Bundle, PolicyLibrary, TransferSettings, WarmStartCallback
from slicing_rllib.transfer.candidates import candidates
from slicing_rllib.transfer.settings import VaeSettings

pytestmark = pytest.mark.usefixtures("unchecked")

TARGET, TOOK_OVER = "cell_6", 160


def kinds(happened):
    return [h.kind for h in happened]


def of(happened, kind):
    return next(h for h in happened if h.kind == kind)


def everything_of(algorithm, cell):
    """A cell's weights, moments, experience and control, as bytes."""
    row = algorithm.cell_states.row(cell)
    stacked = algorithm.td3_learner.parts[0][0].stacked
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


def same_policy(algorithm, one, other):
    return all(
        np.array_equal(a, b)
        for a, b in zip(
            algorithm.policy_weights(one).values(),
            algorithm.policy_weights(other).values(),
            strict=True,
        )
    )


def shares_out(algorithm, cell, logits):
    """A policy that gives the same shares whatever it sees."""
    weights = {name: np.zeros_like(w) for name, w in algorithm.policy_weights(cell).items()}
    last = max(name for name in weights if name.startswith("actor.") and name.endswith("bias"))
    weights[last] = np.asarray(logits, np.float32)
    algorithm.set_policy_weights(cell, weights)
    algorithm.pause_updates(cell)


def test_the_nearest_source_is_copied_and_everything_is_told(built, trained):
    algorithm = built()
    happened = trained(algorithm, TOOK_OVER)
    chosen, started = of(happened, "source_chosen"), of(happened, "warm_started")

    assert kinds(happened) == ["cell_joined", "source_chosen", "warm_started"]
    assert chosen.evidence["target"] == TARGET
    assert set(chosen.evidence["distances"]) == set(algorithm.cells) - {TARGET}
    assert chosen.evidence["source"] == min(
        chosen.evidence["distances"], key=chosen.evidence["distances"].get
    )
    assert started.evidence["source"] == chosen.evidence["source"]
    assert same_policy(algorithm, TARGET, chosen.evidence["source"])
    assert started.evidence["instances"] == 100
    assert algorithm.cell_states.exploration_left[algorithm.cell_states.row(TARGET)] == 0


def test_other_cells_do_not_notice(built, trained):
    """Bit for bit what they would be without a transfer."""
    transferred, alone = built(), built(method="none")
    for algorithm in (transferred, alone):
        trained(algorithm, TOOK_OVER)

    assert not same_policy(transferred, TARGET, "cell_1")
    for cell in set(transferred.cells) - {TARGET}:
        assert everything_of(transferred, cell) == everything_of(alone, cell)
    assert everything_of(transferred, TARGET) != everything_of(alone, TARGET)


def test_a_cell_without_a_policy_is_given_one_at_run_time(built, trained):
    """Its module is added when it takes over, and the result is the same as had it been there."""
    there, added = built(), built()
    added.remove_module(TARGET)
    for algorithm in (there, added):
        trained(algorithm, TOOK_OVER + 20)

    for cell in there.cells:
        for one, other in zip(
            there.policy_weights(cell).values(), added.policy_weights(cell).values(), strict=True
        ):
            np.testing.assert_allclose(one, other, atol=1e-6)
    assert np.array_equal(there.replay.size, added.replay.size)


def test_policies_of_other_widths_are_refused_with_the_reason(built, trained):
    algorithm = built(networks={"cell_2": {"actor_hiddens": (8,), "critic_hiddens": (8,)}})
    chosen = of(trained(algorithm, TOOK_OVER), "source_chosen")
    found, refused = candidates(algorithm, TARGET, TransferSettings(), ())

    assert refused["cell_2"].startswith("actor.0.weight is (8, ")
    assert "cell_2" not in found
    assert chosen.evidence["source"] in found


@pytest.mark.parametrize("cut", [TOOK_OVER - 40, TOOK_OVER, TOOK_OVER + 20])
def test_stopping_around_a_warm_start_changes_nothing(built, trained, tmp_path, cut):
    """Collecting, just warm-started, and watched by the guard."""
    whole, until_cut, resumed = built(), built(), built()
    trained(whole, TOOK_OVER + 60)
    trained(until_cut, cut)
    until_cut.save_to_path(str(tmp_path / "checkpoint"))
    resumed.restore_from_path(str(tmp_path / "checkpoint"))
    trained(resumed, TOOK_OVER + 60)

    for cell in whole.cells:
        assert everything_of(resumed, cell) == everything_of(whole, cell)


def test_workers_act_with_the_new_policy_on_the_very_next_step(built, trained):
    algorithm = built(workers=2)
    trained(algorithm, TOOK_OVER)
    for cell in algorithm.cells:
        algorithm.pause_updates(cell)
    algorithm.train()
    own = algorithm.policy_weights(TARGET)
    seen = algorithm.env_runner_group.foreach_env_runner(
        lambda runner: dict(runner.module["cell_6"].named_parameters()), local_env_runner=False
    )

    assert len(seen) == 2
    for weights in seen:
        for name, parameter in weights.items():
            assert np.array_equal(parameter.detach().numpy(), own[name])


def test_a_harmful_policy_is_rolled_back_twice_and_then_nobody_is_trusted(built, trained):
    """All sources give everything to one slice."""
    algorithm = built()
    for cell in set(algorithm.cells) - {TARGET}:
        shares_out(algorithm, cell, [9.0, 0, 0, 0])
    happened = trained(algorithm, TOOK_OVER + 200)
    told = [h for h in happened if h.kind == "negative_transfer"]
    started = [h.evidence["source"] for h in happened if h.kind == "warm_started"]

    assert len(told) == 2
    assert told[0].evidence["mean_loss"] > 0
    assert kinds(happened).count("guard_fell_back") == 2
    assert started[0] != started[1]
    assert started[2:] == [None]


def test_a_policy_as_good_as_the_default_passes_the_guard(built, trained):
    algorithm = built()
    for cell in set(algorithm.cells) - {TARGET}:
        shares_out(algorithm, cell, [0.0, 0, 0, 0])
    algorithm.cell_states.noise_sigma[:] = 0.0
    happened = trained(algorithm, TOOK_OVER + 80)

    assert "guard_passed" in kinds(happened)
    assert "negative_transfer" not in kinds(happened)


def test_sources_may_be_tried_out_in_the_target(built, trained):
    """One source shares equally, the others starve three slices."""
    algorithm = built(measure="zero_shot")
    for cell in set(algorithm.cells) - {TARGET}:
        shares_out(algorithm, cell, [0.0, 0, 0, 0] if cell == "cell_4" else [9.0, 0, 0, 0])
    algorithm.cell_states.noise_sigma[:] = 0.0
    happened = trained(algorithm, TOOK_OVER + 120)
    chosen = of(happened, "source_chosen")

    assert chosen.evidence["source"] == "cell_4"
    assert chosen.evidence["target_steps_spent"] == 5 * 20


def test_a_source_can_be_named(built, trained):
    happened = trained(built(source="cell_2"), TOOK_OVER)

    assert of(happened, "warm_started").evidence["source"] == "cell_2"


def test_a_named_source_that_is_not_there_means_learning_from_scratch(built, trained):
    happened = trained(built(source="cell_99"), TOOK_OVER)

    assert "cell_99 is not there" in of(happened, "no_source").message
    assert of(happened, "warm_started").evidence["method"] == "none"


@pytest.mark.parametrize("method", ["model", "feature", "instance", "multi_source", "generalist"])
def test_every_method_runs_in_a_live_training(built, trained, method):
    algorithm = built(method=method, generalist_updates=20)
    happened = trained(algorithm, TOOK_OVER + 20)

    assert of(happened, "warm_started").evidence["method"] == method


def test_feature_transfer_leaves_frozen_layers_alone(built, trained):
    algorithm = built(method="feature")
    trained(algorithm, TOOK_OVER)
    before = algorithm.policy_weights(TARGET)
    trained(algorithm, TOOK_OVER + 80)
    after = algorithm.policy_weights(TARGET)

    assert np.array_equal(before["actor.0.weight"], after["actor.0.weight"])
    assert not np.array_equal(before["actor.2.weight"], after["actor.2.weight"])


def test_foreign_experience_can_be_kept_apart_and_fade(built, trained):
    algorithm = built(source_share=0.5, source_share_half_life_updates=10)
    trained(algorithm, TOOK_OVER)
    row = algorithm.cell_states.row(TARGET)

    assert algorithm.source_replay.size[row] == 100
    assert algorithm.cell_states.source_share[row] == 0.5
    trained(algorithm, TOOK_OVER + 20)
    assert algorithm.cell_states.source_share[row] == pytest.approx(0.125)


def test_the_actor_can_wait_for_its_critics(built, trained):
    algorithm = built(actor_delay_updates=20)
    trained(algorithm, TOOK_OVER)
    before = algorithm.policy_weights(TARGET)
    trained(algorithm, TOOK_OVER + 20)
    after = algorithm.policy_weights(TARGET)

    assert np.array_equal(before["actor.0.weight"], after["actor.0.weight"])
    assert not np.array_equal(before["critic_1.0.weight"], after["critic_1.0.weight"])


def test_a_cell_is_brought_up_anew_by_hand(built, trained):
    algorithm = built()
    trained(algorithm, TOOK_OVER + 80)
    WarmStartCallback.request(algorithm, "cell_2")
    happened = trained(algorithm, TOOK_OVER + 320)

    assert kinds(happened)[:1] == ["cell_changed"]
    assert of(happened, "source_chosen").evidence["target"] == "cell_2"


def test_bundles_of_a_library_are_candidates_but_not_ones_earlier_self(built, trained, tmp_path):
    earlier = built()
    trained(earlier, TOOK_OVER)
    scenario = earlier.env.scenario
    bundle = Bundle(
        weights=earlier.policy_weights("cell_1"),
        experience=earlier.replay.last("cell_1", 50),
        default_experience=earlier.default_action_replay.last("cell_1", 50),
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
    happened = trained(built(library=str(tmp_path), source="library:good"), TOOK_OVER)
    distances = of(happened, "source_chosen").evidence["distances"]

    assert "library:good" in distances
    assert {"library:narrow", "library:self"}.isdisjoint(distances)
    assert of(happened, "warm_started").evidence["source"] == "library:good"


def test_it_works_under_plain_tune(ray_session, network, tmp_path):
    """No service layer: a Tuner, a config, the callback."""
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
    assert restored.callback_state["transfer"][TARGET]["source"] in restored.cells
    restored.stop()
