"""Warm starts in a running training."""

import numpy as np
import pytest
from ray import tune

from slicing_rllib.env import SlicingEnv
from slicing_rllib.learning import TD3, TD3Config
from slicing_rllib.transfer import TransferSettings, WarmStartCallback
from slicing_rllib.transfer.stages import Settled, StageRecords
from slicing_rllib.transfer.transfer_settings import GuardSettings, VaeSettings

pytestmark = pytest.mark.usefixtures("unchecked")

TARGET, TOOK_OVER = "cell_6", 160


def dump_cell(algorithm, cell):
    """A cell's weights, moments, experience and exploration, as bytes."""
    row = algorithm.cell_states.row(cell)
    optimiser = algorithm.td3_learner.optimisers[cell].items()
    arrays = [
        *algorithm.policy_weights(cell).values(),
        *(tensor.numpy() for name, tensor in optimiser if not name.endswith("_loss")),
        *algorithm.replay.last(cell, 10_000),
        *algorithm.default_action_replay.last(cell, 10_000),
        algorithm.cell_states.exploration_left[row],
        algorithm.cell_states.noise_sigma[row],
    ]
    return [np.asarray(array).tobytes() for array in arrays]


def has_same_policy(algorithm, one, other):
    ours, theirs = algorithm.policy_weights(one), algorithm.policy_weights(other)
    return all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_the_nearest_source_is_copied_and_events_report_it(build, train_until):
    algorithm = build()
    events = train_until(algorithm, TOOK_OVER)
    chosen, started = events.find("source_chosen"), events.find("warm_started")

    assert events.kinds == ["cell_joined", "source_chosen", "warm_started"]
    assert chosen.evidence["target"] == TARGET
    assert set(chosen.evidence["distances"]) == set(algorithm.cells) - {TARGET}
    assert chosen.evidence["source"] == min(
        chosen.evidence["distances"], key=chosen.evidence["distances"].get
    )
    assert started.evidence["source"] == chosen.evidence["source"]
    assert has_same_policy(algorithm, TARGET, chosen.evidence["source"])
    assert started.evidence["instances"] == 100
    assert algorithm.cell_states.exploration_left[algorithm.cell_states.row(TARGET)] == 0


def test_other_cells_are_not_affected(build, train_until):
    """Their weights and experience are bit-identical to those of a run without transfer."""
    transferred, alone = build(), build(method="none")
    for algorithm in (transferred, alone):
        train_until(algorithm, TOOK_OVER)

    assert not has_same_policy(transferred, TARGET, "cell_1")
    for cell in set(transferred.cells) - {TARGET}:
        assert dump_cell(transferred, cell) == dump_cell(alone, cell)
    assert dump_cell(transferred, TARGET) != dump_cell(alone, TARGET)


def test_cells_that_decide_at_once_do_not_learn_from_each_other(build, train_until):
    """Also without a guard, where a cell is settled as soon as it has copied a policy."""
    algorithm = build(measure="raw", guard=GuardSettings(window_steps=0))
    train_until(algorithm, TOOK_OVER)
    for cell in ("cell_1", "cell_2"):
        WarmStartCallback.request(algorithm, cell)
    events = train_until(algorithm, TOOK_OVER + 240)

    distances = {e.cell: e.evidence["distances"] for e in events if e.kind == "source_chosen"}
    assert set(distances) == {"cell_1", "cell_2"}
    assert not {"cell_1", "cell_2"} & (set(distances["cell_1"]) | set(distances["cell_2"]))


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


def test_a_run_resumed_in_any_stage_equals_one_without_interruption(build, train_until, tmp_path):
    """The cuts fall into collecting, the warm start, and the guard's window."""
    cuts = TOOK_OVER - 40, TOOK_OVER, TOOK_OVER + 20
    whole = build()
    for cut in cuts:
        train_until(whole, cut)
        whole.save_to_path(str(tmp_path / str(cut)))
    train_until(whole, TOOK_OVER + 60)

    for cut in cuts:
        resumed = build()
        resumed.restore_from_path(str(tmp_path / str(cut)))
        train_until(resumed, TOOK_OVER + 60)
        for cell in whole.cells:
            assert dump_cell(resumed, cell) == dump_cell(whole, cell)


@pytest.mark.slow
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


def test_a_new_warm_start_can_be_requested(build, train_until):
    algorithm = build()
    train_until(algorithm, TOOK_OVER + 80)
    WarmStartCallback.request(algorithm, "cell_2")
    events = train_until(algorithm, TOOK_OVER + 320)

    assert events.kinds[:1] == ["cell_changed"]
    assert events.find("source_chosen").evidence["target"] == "cell_2"


@pytest.mark.slow
def test_the_callback_works_in_a_plain_tuner(ray_session, network, tmp_path):
    """Only a config, the callback and a Tuner; none of the service layer."""
    settings = TransferSettings(vae=VaeSettings(updates=20, members=1))
    config = (
        TD3Config()
        .environment(SlicingEnv, env_config=network)
        .training(exploration_steps=20, replay_capacity=400, steps_per_iteration=20)
        .callbacks(WarmStartCallback.bind(settings))
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
