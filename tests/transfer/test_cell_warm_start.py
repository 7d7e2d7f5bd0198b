"""One cell's way through its stages: candidates, prescribed and tried sources, the guard."""

from dataclasses import replace

import numpy as np
import pytest

from slicing_rllib.transfer import Bundle, PolicyLibrary, TransferSettings
from slicing_rllib.transfer.sources import find_candidates

pytestmark = pytest.mark.usefixtures("unchecked")

TARGET, TOOK_OVER = "cell_6", 160


def set_constant_policy(algorithm, cell, logits):
    """A policy whose action does not depend on the observation, without further updates."""
    weights = {name: np.zeros_like(w) for name, w in algorithm.policy_weights(cell).items()}
    last = max(name for name in weights if name.startswith("actor.") and name.endswith("bias"))
    weights[last] = np.asarray(logits, np.float32)
    algorithm.set_policy_weights(cell, weights)
    algorithm.pause_updates(cell)


def test_policies_with_other_layer_widths_are_refused_with_the_reason(build, train_until):
    algorithm = build(networks={"cell_2": {"actor_hiddens": (8,), "critic_hiddens": (8,)}})
    chosen = train_until(algorithm, TOOK_OVER).find("source_chosen")
    found = find_candidates(algorithm, TARGET, TransferSettings(), ())

    assert found.refused["cell_2"].startswith("actor.0.weight is (8, ")
    assert "cell_2" not in found.usable
    assert chosen.evidence["source"] in found.usable


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
    assert events.kinds.count("guard_fell_back") == 2
    assert sources[0] != sources[1]
    assert sources[2:] == [None]


def test_a_policy_equal_to_the_default_action_passes_the_guard(build, train_until):
    algorithm = build()
    for cell in set(algorithm.cells) - {TARGET}:
        set_constant_policy(algorithm, cell, [0.0, 0, 0, 0])
    algorithm.cell_states.noise_sigma[:] = 0.0
    events = train_until(algorithm, TOOK_OVER + 80)

    assert "guard_passed" in events.kinds
    assert "negative_transfer" not in events.kinds


def test_the_source_with_the_highest_return_in_the_target_is_chosen(build, train_until):
    """One source divides the carrier equally; the others starve three slices."""
    algorithm = build(measure="zero_shot")
    for cell in set(algorithm.cells) - {TARGET}:
        logits = [0.0, 0, 0, 0] if cell == "cell_4" else [9.0, 0, 0, 0]
        set_constant_policy(algorithm, cell, logits)
    algorithm.cell_states.noise_sigma[:] = 0.0
    events = train_until(algorithm, TOOK_OVER + 120)
    chosen = events.find("source_chosen")

    assert chosen.evidence["source"] == "cell_4"
    assert chosen.evidence["target_steps_spent"] == 5 * 20


def test_a_source_that_loses_its_policy_while_sources_are_tried_is_skipped(build, train_until):
    algorithm = build(measure="zero_shot")
    train_until(algorithm, TOOK_OVER)
    algorithm.remove_module("cell_3")
    chosen = train_until(algorithm, TOOK_OVER + 120).find("source_chosen")

    assert set(chosen.evidence["distances"]) == {"cell_1", "cell_2", "cell_4", "cell_5"}


@pytest.mark.parametrize(("source", "expected"), [("cell_2", "cell_2"), ("next:2", "cell_2")])
def test_a_prescribed_source_is_taken(build, train_until, source, expected):
    """The second cell after cell_6, the last one, is cell_2."""
    events = train_until(build(source=source), TOOK_OVER)

    assert events.find("warm_started").evidence["source"] == expected


def test_a_prescribed_source_that_does_not_exist_means_learning_from_scratch(build, train_until):
    events = train_until(build(source="cell_99"), TOOK_OVER)

    assert "cell_99 is not there" in events.find("no_source").message
    assert events.find("warm_started").evidence["method"] == "none"


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
    narrow = replace(bundle, slices=("one",), sla_throughput_mbps=(1.0,), sla_delay_ms=(1.0,))
    library = PolicyLibrary(str(tmp_path))
    library.add("good", bundle)
    library.add("narrow", narrow)
    library.add(
        "self",
        replace(bundle, provenance={"network": f"{scenario.name}/{earlier.env.map_seed}/{TARGET}"}),
    )
    algorithm = build(library=str(tmp_path), source="library:good")
    events = train_until(algorithm, TOOK_OVER)
    distances = events.find("source_chosen").evidence["distances"]

    assert "library:good" in distances
    assert {"library:narrow", "library:self"}.isdisjoint(distances)
    assert events.find("warm_started").evidence["source"] == "library:good"
    for name, weights in algorithm.policy_weights(TARGET).items():
        assert np.array_equal(weights, bundle.weights[name])
