"""From KPIs to decisions: messages of neighbours, fallbacks and refusals."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from starlette.exceptions import HTTPException

from slicing_rllib.env import ActorForm, SlicingEnv, max_min_split
from slicing_rllib.policies import CellPolicy, load_pretrained, make_encoders
from slicing_rllib.radio import make_scenario
from slicing_rllib.runs.policy_evaluation import make_cell_policies, record_kpis
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.serving.answers import Decision, Method, Reason
from slicing_rllib.serving.closed_loop import make_request
from slicing_rllib.serving.decisions import (
    PolicySet,
    choose_fallback,
    decide,
    list_new_reports,
    list_wanted_reports,
    require_known_slices,
)
from slicing_rllib.serving.requests import KPI_NAMES, DecisionRequest, parse_request

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
MAX_AGE_S = 10.0
SLICES = [f"slice_{n}" for n in range(1, 5)]
CELLS = [f"cell_{n}" for n in range(1, 13)]
A1 = {
    "scope": {"sliceId": {"sst": 1, "plmnId": {"mcc": "001", "mnc": "01"}}},
    "sliceSlaObjectives": {"guaDlThptPerSlice": 9000},
}


@pytest.fixture(scope="module")
def network(served_run: RunDirectory) -> tuple[dict[str, CellPolicy], dict, np.ndarray]:
    """Policies that read messages; a request of the whole network; and NumPy's shares for it."""
    config = served_run.config()
    weights = served_run.policies()
    recorded = record_kpis(config, weights, 20)
    policies = make_cell_policies(config, weights, recorded)
    kpis = recorded[-1]
    expected = []
    for row, policy in enumerate(policies.values()):
        columns = {n: getattr(kpis, n)[row : row + 1] for n in policy.encoder.required_kpis}
        load = kpis.load[[CELLS.index(cell) for cell in policy.encoder.neighbours]][None]
        expected.append(policy.decide(columns, load)[0])
    return policies, make_request(kpis, CELLS, SLICES), np.stack(expected)


@pytest.fixture
def body(network) -> dict:
    """The request of the whole network, to be changed."""
    return json.loads(json.dumps(network[1]))


@pytest.fixture
def ask(network) -> Callable[..., dict[str, Decision]]:
    """The decisions of a request, with reports of an earlier request."""

    def call(body: dict, earlier: dict | None = None, policies=None) -> dict[str, Decision]:
        served = PolicySet(policies or network[0])
        reports = {}
        for part in (earlier, body):
            if part:
                reports |= list_new_reports(parse(part), served, NOW)
        return decide(parse(body), served, reports, NOW, MAX_AGE_S)

    return call


def parse(body: dict) -> DecisionRequest:
    return parse_request(json.dumps(body).encode())


def reasons(decisions: dict[str, Decision]) -> dict[str, Reason]:
    return {cell: made.fallback.reason for cell, made in decisions.items() if made.fallback}


def split(made: Decision) -> list[float]:
    return list(made.shares.values())


def why(made: Decision) -> tuple[Reason, Method]:
    return made.fallback.reason, made.fallback.method


def test_a_whole_network_gets_the_shares_of_its_policies(network, ask):
    """Bit for bit."""
    decisions = ask(network[1])
    assert list(decisions) == CELLS
    assert not reasons(decisions)
    assert [split(made) for made in decisions.values()] == network[2].tolist()


def test_one_cell_gets_the_same_shares_from_earlier_reports_of_its_neighbours(network, ask, body):
    one = {"cells": {"cell_5": body["cells"]["cell_5"]}}
    assert split(ask(one, earlier=body)["cell_5"]) == pytest.approx(network[2][4], abs=1e-7)
    needed = list_wanted_reports(parse(one), PolicySet(network[0]))
    assert needed == set(network[0]["cell_5"].encoder.neighbours)


def test_a_neighbour_without_a_report_or_with_an_old_one_leads_to_a_fallback(network, ask, body):
    neighbour = network[0]["cell_5"].encoder.neighbours[0]
    old = (NOW - timedelta(seconds=60)).isoformat()
    one = {"cells": {"cell_5": body["cells"]["cell_5"]}}

    assert reasons(ask(one)) == {"cell_5": Reason.MISSING_NEIGHBOURS}
    body["cells"][neighbour]["measured_at"] = old
    made = ask(one, earlier=body)["cell_5"]
    assert why(made) == (Reason.STALE_NEIGHBOURS, Method.BASE_POLICY)
    assert made.neighbours_age_s == pytest.approx(60.0)


def test_a_neighbour_that_is_off_has_no_load_and_gets_no_shares(network, ask, body):
    neighbour = network[0]["cell_5"].encoder.neighbours[0]
    body["cells"][neighbour] = {"off": True}
    decisions = ask(body)
    assert neighbour not in decisions
    assert not reasons(decisions)
    assert split(decisions["cell_5"]) != pytest.approx(network[2][4], abs=1e-7)


@pytest.mark.parametrize("seconds", [-60, 60])
def test_kpis_from_long_ago_or_from_the_future_are_stale(ask, body, seconds: int):
    """The clock of the caller or ours has jumped."""
    body["cells"]["cell_1"]["measured_at"] = (NOW + timedelta(seconds=seconds)).isoformat()
    made = ask({"cells": {"cell_1": body["cells"]["cell_1"]}}, earlier=body)["cell_1"]
    assert (made.fallback.reason, made.age_s) == (Reason.STALE_KPIS, -seconds)


def test_kpis_far_outside_of_training_lead_to_the_base_policy(ask, body):
    body["cells"]["cell_2"]["slices"]["slice_3"]["users"] = 5000
    made = ask(body)["cell_2"]
    assert why(made) == (Reason.OUTSIDE_TRAINING, Method.BASE_POLICY)
    assert made.fallback.detail == "users of slice_3 is far from what the policy has met"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_an_answer_that_is_not_finite_is_replaced_by_the_base_policys(served_run, ask, body):
    scenario = served_run.config().scenario
    weights = load_pretrained().weights
    policy = CellPolicy(
        encoder=make_encoders(scenario, "per_slice", "none")["cell_1"],
        form=ActorForm(4, "equivariant", "persistence"),
        weights=weights,
        name="pretrained",
    )
    one = {"cells": {"cell_1": body["cells"]["cell_1"]}}
    assert ask(one, policies={"cell_1": policy})["cell_1"].fallback is None

    # Finite weights whose products are not.
    large = {name: np.full_like(w, 1e38) for name, w in weights.items()}
    broken = replace(policy, weights={n: w.astype(float) * 1e270 for n, w in large.items()})
    made = ask(one, policies={"cell_1": broken})["cell_1"]
    assert why(made)[0] == Reason.POLICY_FAILED
    assert sum(split(made)) == pytest.approx(1.0)


def test_slices_that_wait_without_being_served_are_divided_equally(served_run, ask, body):
    """Each of them needs the whole carrier, so none has a better claim."""
    policy = CellPolicy(
        encoder=make_encoders(served_run.config().scenario, "per_slice", "none")["cell_1"],
        form=ActorForm(4, "equivariant", "persistence"),
        weights={name: 0.0 * w for name, w in load_pretrained().weights.items()},
        name="pretrained",
    )
    one = {"cells": {"cell_1": body["cells"]["cell_1"]}}
    for kpis in one["cells"]["cell_1"]["slices"].values():
        kpis |= {"throughput_mbps": 0.0, "demand_mbps": 2.0, "mean_inverse_rate": 0.05}
    made = ask(one, policies={"cell_1": policy})["cell_1"]

    assert made.fallback is None
    assert split(made) == pytest.approx([0.25] * 4)


def test_an_unknown_cell_gets_shares_by_its_traffic_and_others_their_policies(ask, body, network):
    """Demands of 1 and 3 Mbit/s: a quarter and three quarters."""
    body["cells"]["tower"] = {"slices": {"a": {"demand_mbps": 1.0}, "b": {"demand_mbps": 3.0}}}
    decisions = ask(body)
    assert split(decisions["tower"]) == [0.25, 0.75]
    assert why(decisions.pop("tower")) == (Reason.UNKNOWN_CELL, Method.TRAFFIC_PROPORTIONAL)
    assert [split(made) for made in decisions.values()] == network[2].tolist()


def test_without_any_traffic_shares_are_equal(ask):
    nothing = {"slices": {"a": {"demand_mbps": 0.0}, "b": {"demand_mbps": 0.0}}}
    made = ask({"cells": {"tower": nothing}})["tower"]
    assert (split(made), made.fallback.method) == ([0.5, 0.5], Method.EQUAL)


def drop(slices: dict, name: str) -> None:
    del slices["slice_2"][name]


def change(slices: dict, **values: object) -> None:
    slices["slice_2"] |= values


def make_delays_smaller(slices: dict) -> None:
    for kpis in slices.values():
        kpis["delay_ms"] /= 1000


@pytest.mark.parametrize(
    ("spoil", "reason", "detail"),
    [
        (lambda s: drop(s, "users"), Reason.MISSING_KPIS, "slices.slice_2.users: the policy needs"),
        (lambda s: s.pop("slice_2"), Reason.SLICES_CHANGED, "slices: expected exactly slice_1, "),
        (
            lambda s: s.update(new=s["slice_1"] | {"prb_ratio": 0}),
            Reason.SLICES_CHANGED,
            "slices: ",
        ),
        (lambda s: change(s, load=7), Reason.INVALID_REPORT, "slices.slice_2.load: Input should"),
        (lambda s: change(s, load="7"), Reason.INVALID_REPORT, "slices.slice_2.load: Input should"),
        (lambda s: change(s, users=None), Reason.MISSING_KPIS, "slices.slice_2.users: "),
        (lambda s: change(s, lod=1), Reason.INVALID_REPORT, "slices.slice_2.lod: Extra inputs"),
        (lambda s: s.update(slice_2=5), Reason.INVALID_REPORT, "slices.slice_2: Input should"),
        (lambda s: change(s, prb_ratio=0.9), Reason.INVALID_REPORT, "the prb_ratio of all slices"),
        (make_delays_smaller, Reason.INVALID_REPORT, "slices.slice_1: a delay of "),
    ],
)
def test_a_mistake_in_one_cell_is_that_cells_fallback(ask, body, network, spoil, reason, detail):
    """The others get the shares of their policies; a strict request is refused as a whole."""
    spoil(body["cells"]["cell_1"]["slices"])
    neighbours = {"cells": {"cell_1": json.loads(json.dumps(network[1]["cells"]["cell_1"]))}}
    decisions = ask(body, earlier=neighbours)
    made = decisions["cell_1"]

    assert made.fallback.reason is reason
    assert made.fallback.detail.startswith(detail)
    assert made.shares.keys() == {*SLICES, *body["cells"]["cell_1"]["slices"]}
    assert sum(split(made)) == pytest.approx(1.0)
    assert not reasons(decisions).keys() - {"cell_1"}
    if "load" not in detail:
        others = [split(made) for cell, made in decisions.items() if cell != "cell_1"]
        assert np.array(others) == pytest.approx(network[2][1:], abs=1e-6)
    with pytest.raises(HTTPException, match=r"cells\.cell_1") as refusal:
        ask(body | {"strict": True})
    assert refusal.value.status_code == 422


def test_a_report_that_cannot_be_read_at_all_is_that_cells_fallback(ask, body):
    body["cells"]["cell_1"] = 5
    body["cells"]["tower"] = []
    decisions = ask(body)
    assert why(decisions["cell_1"]) == (Reason.INVALID_REPORT, Method.EQUAL)
    assert split(decisions["cell_1"]) == [0.25] * 4
    assert decisions["tower"].shares == {}
    assert decisions["tower"].fallback.detail.startswith("no policy for this cell; report: ")


def test_a_strict_request_with_an_unknown_cell_is_not_found(ask, body):
    body["cells"]["tower"] = {"slices": {"a": {}}}
    with pytest.raises(HTTPException, match="tower: no policy for this cell") as refusal:
        ask(body | {"strict": True})
    assert refusal.value.status_code == 404


def test_an_objective_for_a_slice_that_no_cell_has_is_refused(network, body):
    body["a1_policies"] = {"slice_9": A1}
    with pytest.raises(HTTPException, match=r"a1_policies\.slice_9: no cell has this slice"):
        require_known_slices(parse(body), PolicySet(network[0]))


def test_another_sla_is_said_where_the_policy_cannot_see_it(ask, body):
    body["a1_policies"] = {"slice_1": A1}
    made = ask(body)
    assert set(reasons(made).values()) == {Reason.SLA_NOT_OBSERVED}
    assert made["cell_1"].fallback.method is Method.BASE_POLICY


def test_a_value_with_its_unit_is_converted(ask, body):
    """500 kbit/s are 0.5 Mbit/s; 20 % are 0.2."""
    slices = body["cells"]["cell_1"]["slices"]
    before = ask(body)["cell_1"].shares
    for kpis in slices.values():
        throughput, load = kpis.pop("throughput_mbps"), kpis.pop("load")
        kpis["measurements"] = {
            "throughput": {"value": 1e3 * throughput, "unit": "kbit/s"},
            "load": {"value": 100 * load, "unit": "%"},
        }
    assert ask(body)["cell_1"].shares == pytest.approx(before, abs=1e-6)


def test_the_base_policy_of_a_fallback_is_that_of_the_environment():
    """From the KPIs alone, the same split as the environment's observations contain."""
    scenario = make_scenario("paper")
    env = SlicingEnv(scenario, observation="widened", default_seed=1)
    env.reset_batched(1)
    base_split = max_min_split(env.measured.offered, env.measured.needed)
    tables = np.stack([getattr(env.kpis, name) for name in KPI_NAMES], axis=2)
    for row, table in enumerate(tables):
        sla = scenario.sla_throughput_mbps[row], scenario.sla_delay_ms[row]
        shares, method = choose_fallback(table, *sla)
        assert method is Method.BASE_POLICY
        assert shares == pytest.approx(base_split[row], abs=1e-12)
