"""The map is read from the config. With an invalid config there is no map but still a page."""

import math
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from slicing_rllib.monitor import network
from slicing_rllib.monitor.network import read_network
from slicing_rllib.radio import Scenario, make_scenario


def _write_config(folder: Path, text: str) -> Path:
    (folder / "config.yaml").write_text(text)
    return folder


def test_the_papers_network_has_four_sites_of_three_sectors(tmp_path: Path):
    """Sites are 500 m apart, so the radius of a sector is 500 / sqrt(3) m."""
    result = read_network(_write_config(tmp_path, "scenario: paper\n"))

    assert [cell["site"] for cell in result["cells"]] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert result["reach_m"] == pytest.approx([500 / math.sqrt(3)] * 4)
    assert result["cells"][11]["id"] == "cell_12"
    assert result["cells"][0]["sla_throughput_mbps"] == [4, 3, 2, 1]
    assert len(result["cells"][0]["neighbours"]) == 6


def test_a_whole_scenario_in_the_config_is_read(tmp_path: Path):
    spec = TypeAdapter(Scenario).dump_python(make_scenario("mixed"), mode="json")
    result = read_network(_write_config(tmp_path, yaml.safe_dump({"scenario": spec})))

    assert (result["name"], result["problem"]) == ("mixed", None)


def test_a_large_network_is_result_without_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(network, "MAX_CELLS_WITH_NEIGHBOURS", 11)
    result = read_network(_write_config(tmp_path, "scenario: paper\n"))

    assert result["cells"][0]["neighbours"] is None


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
def test_an_invalid_config_is_a_problem_in_one_line(tmp_path: Path, text: str):
    problem = read_network(_write_config(tmp_path, text))["problem"]

    assert problem
    assert "\n" not in problem


def test_without_a_config_there_is_no_map(tmp_path: Path):
    assert read_network(tmp_path)["cells"] == []
