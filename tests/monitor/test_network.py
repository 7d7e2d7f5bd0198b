"""The map comes from the config; a config that makes no sense costs the map, not the page."""

import math
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from slicing_rllib.monitor import network
from slicing_rllib.monitor.network import network_of
from slicing_rllib.radio import Scenario, built_in


def _config(folder: Path, text: str) -> Path:
    (folder / "config.yaml").write_text(text)
    return folder


def test_the_papers_network_has_four_sites_of_three_sectors(tmp_path: Path):
    """Sites are 500 m apart, so sectors reach 500 / sqrt(3) m."""
    drawn = network_of(_config(tmp_path, "scenario: paper\n"))

    assert [cell["site"] for cell in drawn["cells"]] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert drawn["reach_m"] == pytest.approx([500 / math.sqrt(3)] * 4)
    assert drawn["cells"][11]["id"] == "cell_12"
    assert drawn["cells"][0]["sla_throughput_mbps"] == [4, 3, 2, 1]
    assert len(drawn["cells"][0]["neighbours"]) == 6


def test_a_whole_scenario_in_the_config_is_understood(tmp_path: Path):
    spec = TypeAdapter(Scenario).dump_python(built_in("mixed"), mode="json")
    drawn = network_of(_config(tmp_path, yaml.safe_dump({"scenario": spec})))

    assert (drawn["name"], drawn["problem"]) == ("mixed", None)


def test_a_large_network_is_drawn_without_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(network, "MAX_CELLS_WITH_NEIGHBOURS", 11)
    drawn = network_of(_config(tmp_path, "scenario: paper\n"))

    assert drawn["cells"][0]["neighbours"] is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "scenario: no-such-network",
        "scenario: {layout: {kind: grid, rows: 1000000, columns: 1000000}}",
        "scenario: {layout: {kind: cluster, rings: 100000}}",
        "a: &a [1]\nscenario: [*a, *a]",
        "scenario: !!python/object/apply:os.system ['true']",
        "{" * 200_000,
        "- " * 100_000,
        "\n".join(" " * i + "a:" for i in range(700)),
        "\x00",
        "x" * (network.MAX_CONFIG_BYTES + 1),
    ],
)
def test_a_config_without_sense_is_a_problem_in_one_line(tmp_path: Path, text: str):
    problem = network_of(_config(tmp_path, text))["problem"]

    assert problem
    assert "\n" not in problem


def test_without_a_config_there_is_no_map(tmp_path: Path):
    assert network_of(tmp_path)["cells"] == []
