"""One cell's policy from measured KPIs to shares."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slicing_rllib.env import ActorForm, SlicingEnv
from slicing_rllib.policies import (
    REQUIRED_KPIS,
    CellPolicy,
    PolicyError,
    TrainedPolicy,
    describe_policy,
    load_policy,
    make_encoders,
    parse_policy,
    select_actor,
)
from slicing_rllib.policies.cell_policy import (
    MANIFEST_FILE,
    WEIGHTS_FILE,
    group_policies,
    make_manifest,
)
from slicing_rllib.policies.encoder import encode_rows
from slicing_rllib.radio import Scenario, make_scenario

FORMS = [
    ("paper", "mean_load", "mlp", "none"),
    ("paper", "all_cells", "mlp", "none"),
    ("paper", "none", "mlp", "none"),
    ("widened", "per_neighbour", "mlp", "persistence"),
    ("per_slice", "mean_load", "equivariant", "persistence"),
    ("response", "mean_load", "max_min", "none"),
    ("response", "none", "max_min", "none"),
]


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return make_scenario("paper")


def make_weights(form: ActorForm, obs_size: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    widths, networks = form.compute_widths(obs_size, (8,)), ("actor",)
    if form.kind == "max_min":
        widths, networks = (obs_size // form.n_actions + 1, 8, 1), ("critic_1", "critic_2")
    shapes = {
        f"{network}.{2 * n}.{part}": (b, a) if part == "weight" else (b,)
        for network in networks
        for n, (a, b) in enumerate(itertools.pairwise(widths))
        for part in ("weight", "bias")
    }
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def make_policies(
    scenario: Scenario, observation: str, message: str, form: ActorForm, obs_size: int
) -> dict[str, CellPolicy]:
    encoders = make_encoders(scenario, observation, message)
    rng = np.random.default_rng(0)
    return {
        cell: CellPolicy(
            encoder=encoders[cell], form=form, weights=make_weights(form, obs_size, rng), name=cell
        )
        for cell in scenario.cells
    }


@pytest.mark.parametrize(("observation", "message", "kind", "base_policy"), FORMS)
def test_kpis_lead_to_the_observations_and_shares_of_the_environment(
    scenario, observation, message, kind, base_policy
):
    """Bit for bit, after a step with unequal shares."""
    env = SlicingEnv(scenario, message=message, observation=observation, default_seed=1)
    form = ActorForm(scenario.n_slices, kind, base_policy)
    policies = make_policies(scenario, observation, message, form, env.obs_size)
    trained = TrainedPolicy(env.cells, {c: p.weights for c, p in policies.items()}, form)
    batched = env.step_batched(trained.compute_actions(env.reset_batched(1).obs))
    expected = trained.compute_actions(batched.obs)

    for row, policy in enumerate(policies.values()):
        names = policy.encoder.required_kpis
        kpis = {name: getattr(env.kpis, name)[row : row + 1] for name in names}
        load = env.kpis.load[[env.cells.index(c) for c in policy.encoder.neighbours]][None]
        before = {name: getattr(env.reports[0], name)[row : row + 1] for name in names}
        obs = encode_rows([policy.encoder], kpis, load, [before])[0]
        assert (obs == batched.obs[row]).all()
        assert policy.decide(kpis, load, [before])[0] == pytest.approx(expected[row], abs=1e-7)


@pytest.mark.parametrize(("observation", "message", "kind", "base_policy"), FORMS)
def test_a_group_decides_like_its_policies_one_by_one(
    scenario, observation, message, kind, base_policy
):
    """Bit for bit, for all cells and for some of them in another order."""
    env = SlicingEnv(scenario, message=message, observation=observation, default_seed=1)
    form = ActorForm(scenario.n_slices, kind, base_policy)
    policies = list(make_policies(scenario, observation, message, form, env.obs_size).values())
    (group,) = group_policies(policies)
    env.reset_batched(1)
    first = policies[0].encoder
    for rows in (list(range(12)), [7, 2]):
        encoders = [policies[row].encoder for row in rows]
        columns = {name: getattr(env.kpis, name)[rows] for name in first.required_kpis}
        load = np.zeros((len(rows), first.message_slots, scenario.n_slices))
        for number, encoder in enumerate(encoders):
            neighbours = [env.cells.index(cell) for cell in encoder.neighbours]
            load[number, : len(neighbours)] = env.kpis.load[neighbours]
        together = group.decide(encoders, columns, load)
        for number, row in enumerate(rows):
            one = {name: values[number : number + 1] for name, values in columns.items()}
            slots = len(encoders[number].neighbours)
            alone = policies[row].decide(one, load[number : number + 1, :slots])
            assert (together[number] == alone[0]).all()


def test_policies_of_different_forms_are_in_different_groups(scenario):
    narrow, wide = (
        next(iter(make_policies(scenario, *form, ActorForm(4, kind, base), size).values()))
        for form, kind, base, size in (
            (("paper", "mean_load"), "mlp", "none", 16),
            (("per_slice", "none"), "equivariant", "persistence", 36),
        )
    )
    assert len(group_policies([narrow, wide])) == 2


@pytest.fixture
def policy(scenario: Scenario) -> CellPolicy:
    env = SlicingEnv(scenario, default_seed=1)
    form = ActorForm(scenario.n_slices)
    return make_policies(scenario, "paper", "mean_load", form, env.obs_size)["cell_3"]


def write(policy: CellPolicy, folder: Path) -> None:
    files = {WEIGHTS_FILE: policy.serialise_weights()}
    (folder / WEIGHTS_FILE).write_bytes(files[WEIGHTS_FILE])
    (folder / MANIFEST_FILE).write_text(json.dumps(make_manifest(policy, files, {})))


def test_files_hold_the_whole_policy(policy: CellPolicy, tmp_path: Path):
    write(policy, tmp_path)
    read = load_policy(tmp_path)

    assert read.encoder == policy.encoder
    assert read.digest == policy.digest
    manifest = json.loads((tmp_path / MANIFEST_FILE).read_text())
    assert manifest["kpis"]["throughput_mbps"]["unit"] == "Mbit/s"
    assert set(manifest["kpis"]) == set(REQUIRED_KPIS["paper"])


@pytest.mark.parametrize("where", ["encoder", "weights"])
def test_a_changed_file_is_noticed(policy: CellPolicy, tmp_path: Path, where: str):
    write(policy, tmp_path)
    if where == "weights":
        data = bytearray((tmp_path / WEIGHTS_FILE).read_bytes())
        data[-1] ^= 1
        (tmp_path / WEIGHTS_FILE).write_bytes(data)
    else:
        manifest = json.loads((tmp_path / MANIFEST_FILE).read_text())
        manifest["encoder"]["sla_delay_ms"][0] *= 2
        (tmp_path / MANIFEST_FILE).write_text(json.dumps(manifest))

    with pytest.raises(PolicyError, match="has changed since it was written"):
        load_policy(tmp_path)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_weights_that_are_not_finite_are_refused(policy: CellPolicy, value: float):
    broken: Mapping[str, np.ndarray] = {n: w.copy() for n, w in policy.weights.items()}
    broken["actor.0.weight"][0, 0] = value

    with pytest.raises(PolicyError, match=r"cell_3@0: actor.0.weight has values that are not"):
        replace(policy, weights=broken)


def test_an_actor_that_does_not_fit_is_refused(policy: CellPolicy, scenario: Scenario):
    encoder = make_encoders(scenario, "paper", "none")["cell_3"]
    with pytest.raises(PolicyError, match="its actor does not fit its encoder"):
        replace(policy, encoder=encoder)
    with pytest.raises(PolicyError, match="expected the weights of an actor"):
        select_actor({"critic.0.weight": np.zeros((1, 1))})


def test_a_description_with_a_mistake_is_one_line(policy: CellPolicy):
    description = describe_policy(policy)
    description["encoder"]["users"] = [-1] * 4
    with pytest.raises(PolicyError, match="expected a positive users per slice") as failure:
        parse_policy(description, policy.weights, name="p", version=1, provenance={})
    assert "\n" not in str(failure.value)


def test_the_digest_depends_on_the_sla(policy: CellPolicy):
    stricter = replace(
        policy.encoder, sla_delay_ms=tuple(v / 2 for v in policy.encoder.sla_delay_ms)
    )
    assert replace(policy, encoder=stricter).digest != policy.digest
