"""Policies with own parts: exported with a graph where they offer one, and served elsewhere."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from slicing_rllib import register, registry
from slicing_rllib.env import ActorForm, SlicingEnv
from slicing_rllib.env.observation import find_heard
from slicing_rllib.examples import own_actor, own_message
from slicing_rllib.learning.stacked_networks import ModuleSpec
from slicing_rllib.policies import CellPolicy, PolicyError, load_policy, make_encoders
from slicing_rllib.policies.cell_policy import MANIFEST_FILE, WEIGHTS_FILE, make_manifest
from slicing_rllib.radio import make_scenario
from slicing_rllib.serving.export import check_parity, explain_no_graph, make_graph

SCENARIO = make_scenario("paper")
ACTOR = "slicing_rllib.examples.own_actor:NormalisedActor"
ATTENTION = "slicing_rllib.examples.own_actor:attention"


def observe_load(reports, network, message):
    load = reports.measured[-1].kpis.load
    return {"load": load, "heard": 2 * message(load)}


observe_load.as_torch = lambda: lambda kpis, message: [kpis["load"], 2 * message]


def make_policy(observation: str, message: str, actor: str = ACTOR) -> CellPolicy:
    env = SlicingEnv(SCENARIO, observation=observation, message=message)
    heard = find_heard(message, env.layout, SCENARIO)
    torch.manual_seed(1)
    module = ModuleSpec("actor", actor, env.obs_size, 4, (8,), heard).build()
    weights = {f"actor.{name}": own.detach().numpy() for name, own in module.named_parameters()}
    encoder = make_encoders(SCENARIO, observation, message)["cell_1"]
    form = ActorForm(4, actor, heard=heard)
    return CellPolicy(encoder=encoder, form=form, weights=weights, name="own-cell_1")


@pytest.mark.parametrize(
    ("observation", "message", "actor"),
    [
        ("paper", "mean_load", ACTOR),
        ("paper", ATTENTION, "mlp"),
        (f"{__name__}:observe_load", "per_neighbour", ACTOR),
    ],
)
def test_the_graph_of_own_parts_agrees_with_numpy(observation, message, actor):
    policy = make_policy(observation, message, actor)
    assert not explain_no_graph(policy)
    check_parity(policy, make_graph(policy), None, np.random.default_rng(0))


def test_a_part_without_as_torch_is_named_and_has_no_graph():
    policy = make_policy("slicing_rllib.examples.own_message:observe_delay", "mean_load")
    assert "own_message:observe_delay does not offer as_torch()" in explain_no_graph(policy)


def write_bundle(policy: CellPolicy, folder: Path) -> Path:
    files = {WEIGHTS_FILE: policy.serialise_weights()}
    manifest = make_manifest(policy, files, {})
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest), encoding="utf-8")
    (folder / WEIGHTS_FILE).write_bytes(files[WEIGHTS_FILE])
    return folder


@pytest.fixture
def nothing_in_use(monkeypatch):
    monkeypatch.setattr(registry, "_parts", {})
    monkeypatch.setattr(registry, "_registered", {})


def test_a_bundle_whose_part_is_missing_is_refused_in_one_line(tmp_path, nothing_in_use):
    folder = write_bundle(make_policy("paper", ATTENTION), tmp_path)
    registry._parts.clear()
    with pytest.raises(PolicyError, match=r"message .*own_actor:attention.*--allow-parts") as why:
        load_policy(folder)
    assert "\n" not in str(why.value)


def test_a_part_that_has_changed_is_told_once(tmp_path, nothing_in_use, caplog):
    register("observation", "mine", own_message.observe_delay)
    policy = make_policy("mine", "mean_load")
    folder = write_bundle(policy, tmp_path)
    registry._parts["observation", "mine"] = lambda *three: own_message.observe_delay(*three)

    for _ in range(2):
        load_policy(folder)

    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "policy own-cell_1@0: observation mine: its source has changed since the policy was written"
    ]


def test_parts_in_use_are_named_with_their_digest(nothing_in_use):
    described = make_manifest(make_policy("paper", ATTENTION), {}, {})["own_parts"]
    assert set(described) == {f"actor {ACTOR}", f"message {ATTENTION}"}
    assert all(len(digest) == 64 for digest in described.values())
    assert own_actor.attention.build is own_actor.Attention
