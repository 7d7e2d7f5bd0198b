"""Where the sites of a run stand, from its config; a plain grid where the config can't say."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import TypeAdapter, ValidationError

from slicing_rllib.monitor.json_lines import read_whole
from slicing_rllib.monitor.untrusted import mapping, number
from slicing_rllib.radio import Scenario, built_in

MAX_CONFIG_BYTES = 2**18
MAX_NESTING = 40
MAX_CELLS = 20_000
MAX_CELLS_WITH_NEIGHBOURS = 240
"""Beyond, the neighbour graph takes longer than a page should wait; the page says so."""


def network_of(run_directory: Path) -> dict[str, Any]:
    """Sites, sectors, slices, SLAs and neighbours; `problem` says why some of it is missing."""
    try:
        scenario = read_scenario(run_directory / "config.yaml")
    except (OSError, ValueError, ValidationError, yaml.YAMLError, RecursionError) as error:
        return {"cells": [], "slices": [], "problem": _one_line(error)}
    return described(scenario)


def read_scenario(path: Path) -> Scenario:
    """The scenario of a resolved config. Raises: OSError, ValueError, yaml.YAMLError."""
    document = read_whole(path, at_most=MAX_CONFIG_BYTES)
    _refuse_deep(document)
    _refuse_aliases(document)
    spec = mapping(yaml.safe_load(document)).get("scenario")
    if isinstance(spec, str):
        return built_in(spec)
    _refuse_huge(mapping(mapping(spec).get("layout")))
    return TypeAdapter(Scenario).validate_python(spec)


def described(scenario: Scenario) -> dict[str, Any]:
    """The network as the page draws it; lengths in m, angles anticlockwise from east."""
    cells = [
        {"site": site, "azimuth_deg": azimuth, "half_width_deg": 180 / len(spec.mast.azimuths_deg)}
        for site, spec in enumerate(scenario.sites)
        for azimuth in spec.mast.azimuths_deg
    ]
    neighbours = _neighbours(scenario)
    for index, cell in enumerate(cells):
        cell |= {
            "id": scenario.cells[index],
            "sla_throughput_mbps": scenario.sla_throughput_mbps[index].tolist(),
            "sla_delay_ms": scenario.sla_delay_ms[index].tolist(),
            "neighbours": neighbours[index] if neighbours is not None else None,
        }
    sites = [[site.x_m, site.y_m] for site in scenario.sites]
    return {
        "name": scenario.name,
        "sites_m": sites,
        "reach_m": _reach_m(np.array(sites)),
        "cells": cells,
        "slices": [spec.name for spec in scenario.slices],
        "problem": None,
    }


def _neighbours(scenario: Scenario) -> list[list[str]] | None:
    if len(scenario.cells) > MAX_CELLS_WITH_NEIGHBOURS:
        return None
    return [[scenario.cells[i] for i in row if i >= 0] for row in scenario.neighbours]


def _reach_m(sites_m: np.ndarray) -> list[float]:
    """Per site, how far its sectors are drawn: they tile the plane if the sites are hexagonal."""
    if len(sites_m) < 2:
        return [250.0] * len(sites_m)
    reach = []
    for site in sites_m:
        distance = np.hypot(*(sites_m - site).T)
        reach.append(float(np.partition(distance, 1)[1] / np.sqrt(3)) or 1.0)
    return reach


def _refuse_deep(document: bytes) -> None:
    """YAML's parser takes quadratic time on deep nesting, so it does not get to see any."""
    depth = deepest = 0
    for sign in re.findall(rb"[\[\]{}]", document):
        depth += 1 if sign in b"[{" else -1
        deepest = max(deepest, depth)
    dashes = re.search(rb"(?:[-?:][ \t]+){%d}" % MAX_NESTING, document)
    indented = re.search(rb"^ {%d}" % (8 * MAX_NESTING), document, re.MULTILINE)
    if deepest > MAX_NESTING or dashes or indented:
        raise ValueError(f"config.yaml: expected nesting no deeper than {MAX_NESTING}")


def _refuse_aliases(document: bytes) -> None:
    """A few aliases can stand for billions of values; a resolved config has none."""
    if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(document)):
        raise ValueError("config.yaml: expected no YAML aliases")


def _refuse_huge(layout: dict[str, Any]) -> None:
    """A few numbers can describe a network that no memory holds."""
    rows, columns = (number(layout.get(key)) or 0 for key in ("rows", "columns"))
    rings = number(layout.get("rings")) or 0
    n_sites = max(rows * columns, 3 * rings * (rings + 1) + 1)
    azimuths = mapping(layout.get("mast")).get("azimuths_deg")
    n_cells = n_sites * (len(azimuths) if isinstance(azimuths, list) else 3)
    if n_cells > MAX_CELLS:
        raise ValueError(f"config.yaml: expected at most {MAX_CELLS} cells, got {n_cells:.0f}")


def _one_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"config.yaml: scenario.{where}: {first['msg']}"[:300]
    return str(error).splitlines()[0][:300] if str(error) else type(error).__name__
