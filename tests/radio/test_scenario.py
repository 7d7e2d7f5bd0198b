"""Scenarios: the values of the built-in ones, neighbours, and invalid settings."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from slicing_rllib.radio import (
    BUILT_IN,
    HexagonalCluster,
    HexagonalGrid,
    MobilitySpec,
    RadioSpec,
    Scenario,
    SiteList,
    SiteSpec,
    SliceSla,
    TrafficSpec,
    make_hexagonal_scenario,
    make_scenario,
)


def test_the_scenario_paper_has_twelve_cells_in_two_sla_groups(paper):
    assert paper.cells == tuple(f"cell_{k}" for k in range(1, 13))
    assert paper.n_slices == 4
    group_a = [0, 1, 2, 6, 7, 8]
    group_b = [3, 4, 5, 9, 10, 11]
    assert (paper.sla_throughput_mbps[group_a] == [4, 3, 2, 1]).all()
    assert (paper.sla_throughput_mbps[group_b] == [2.5, 2, 1.5, 1]).all()
    assert (paper.sla_delay_ms[group_a] == [3, 2, 1, 1]).all()
    assert (paper.sla_delay_ms[group_b] == 1).all()
    assert paper.radio.bandwidth_hz == 18e6


def test_scenarios_with_equal_settings_are_equal_and_have_equal_hashes(paper):
    assert paper == make_scenario("paper")
    assert hash(paper) == hash(make_scenario("paper"))


@pytest.mark.parametrize("name", BUILT_IN)
def test_pydantic_builds_every_scenario_from_plain_data(name):
    adapter = TypeAdapter(Scenario)
    scenario = make_scenario(name)
    assert adapter.validate_json(adapter.dump_json(scenario)) == scenario


def test_an_unknown_key_is_a_validation_error(paper):
    adapter = TypeAdapter(Scenario)
    data = adapter.dump_python(paper)
    data["radio"]["carier_hz"] = 1
    with pytest.raises(ValidationError, match="carier_hz"):
        adapter.validate_python(data)


def test_neighbours_are_the_six_most_strongly_coupled_cells(paper):
    assert paper.neighbours.shape == (12, 6)
    for cell, row in enumerate(paper.neighbours):
        assert cell not in row
        assert len(set(row)) == 6
    # The other two sectors of a site are among the most strongly coupled cells.
    assert {1, 2} <= set(paper.neighbours[0])


def test_in_a_wrapped_grid_every_site_is_a_neighbour_equally_often():
    scenario = make_hexagonal_scenario(4, 4, like=make_scenario("paper"))
    counts = np.bincount(scenario.neighbours.ravel(), minlength=48)
    assert counts.reshape(16, 3).sum(axis=1) == pytest.approx(18, abs=2)


def test_all_cells_or_none_can_be_neighbours(paper):
    assert replace(paper, neighbours_kept="none").neighbours.shape == (12, 0)
    all_cells = replace(paper, neighbours_kept="all").neighbours
    assert all_cells.shape == (12, 11)
    assert all_cells[3].tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11]


def test_a_small_network_has_fewer_neighbours_than_the_setting(paper):
    one_site = replace(paper, layout=replace(paper.layout, rows=1, columns=1))
    assert one_site.neighbours.shape == (3, 2)


def test_sites_of_a_grid_get_sla_groups_in_turn(paper):
    scenario = make_hexagonal_scenario(3, 5, like=paper)
    assert len(scenario.cells) == 45
    assert [site.sla_groups[0] for site in scenario.sites[:3]] == ["A", "B", "A"]


def test_a_cluster_of_two_rings_has_57_cells(paper):
    layout = HexagonalCluster(rings=2, sla_groups=("A",))
    assert len(replace(paper, layout=layout).cells) == 57


def test_the_area_of_sites_by_coordinates_is_a_rectangle_with_a_margin(paper):
    sites = (
        SiteSpec(x_m=0, y_m=0, sla_groups=("A",) * 3),
        SiteSpec(x_m=400, y_m=100, sla_groups=("B",) * 3),
    )
    area = replace(paper, layout=SiteList(sites=sites, margin_m=200.0)).area
    assert not area.wraps
    assert area.origin_m == (-200, -200)
    assert area.size_m2 == pytest.approx(800 * 500)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda paper: SliceSla(throughput_mbps=0, delay_ms=1),
            r"throughput_mbps\n.* greater than 0",
        ),
        (
            lambda paper: TrafficSpec(rate_kbps=1, packet_kbit=float("nan")),
            r"packet_kbit\n.*finite",
        ),
        (lambda paper: MobilitySpec(min_speed_kmh=5, max_speed_kmh=3), "min_speed_kmh <= max"),
        (lambda paper: RadioSpec(environment="mars"), "expected one of winner_c2, .*'mars'"),
        (lambda paper: RadioSpec(idle_load=1.5), r"idle_load\n.*less than or equal to 1 "),
        (lambda paper: RadioSpec(n_prbs=0), r"n_prbs\n.*greater than or equal to 1 "),
        (lambda paper: HexagonalGrid(rows=0, sla_groups=("A",)), r"rows\n.*equal to 1 "),
        (lambda paper: HexagonalGrid(sla_groups=()), r"sla_groups\n.*at least 1 item"),
        (lambda paper: HexagonalCluster(rings=-1, sla_groups=("A",)), r"rings\n.*equal to 0 "),
        (lambda paper: SiteList(sites=()), r"sites\n.*at least 1 item"),
        (lambda paper: SiteSpec(x_m=0, y_m=0, sla_groups=("A",)), "as many sla_groups as azimuths"),
        (lambda paper: replace(paper, slices=()), r"slices\n.*at least 1 item"),
        (lambda paper: replace(paper, slices=paper.slices[:3]), "'A' must have 3 slices, got 4"),
        (lambda paper: replace(paper, slices=paper.slices[:1] * 4), "appears more than once"),
        (lambda paper: replace(paper, sla_groups=paper.sla_groups[:1]), "one of A, got 'B'"),
        (lambda paper: replace(paper, neighbours_kept=0), r"neighbours_kept.*\n.*equal to 1 "),
        (lambda paper: replace(paper, step_s=-1), r"step_s\n.*greater than 0 "),
        (lambda paper: make_scenario("papers"), "expected one of paper, .*got 'papers'"),
    ],
)
def test_an_invalid_setting_raises_an_error_with_its_name_and_what_was_expected(
    paper, build, message
):
    with pytest.raises(ValueError, match=message):
        build(paper)


def list_settings(node, path=""):
    """Path and JSON Schema of every setting and of every number, list items included."""
    for name, below in node.get("properties", {}).items():
        yield f"{path}.{name}", below
        yield from list_settings(below, f"{path}.{name}")
    for below in (
        *node.get("anyOf", []),
        *node.get("oneOf", []),
        *node.get("prefixItems", []),
        *([node["items"]] if isinstance(node.get("items"), dict) else []),
    ):
        yield f"{path}[]", below
        yield from list_settings(below, f"{path}[]")


def test_every_setting_has_a_description_and_every_number_a_range():
    schema = TypeAdapter(Scenario).json_schema()
    found = dict(list_settings(schema))
    for name, node in schema["$defs"].items():
        found.update(list_settings(node, name))
    for path, node in found.items():
        assert path.endswith("]") or node.get("description"), path
        if node.get("type") in ("number", "integer"):
            assert {"minimum", "exclusiveMinimum"} & set(node), path
            assert {"maximum", "exclusiveMaximum"} & set(node), path
    assert len(found) > 100
