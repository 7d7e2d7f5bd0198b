"""The network of a run as the page draws it, read from the run's config."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import TypeAdapter, ValidationError

from slicing_rllib.monitor.untrusted_rows import read_small, to_mapping, to_number
from slicing_rllib.radio import Scenario, make_scenario

MAX_CONFIG_BYTES = 2**18
MAX_NESTING = 40
MAX_CELLS = 20_000
MAX_CELLS_WITH_NEIGHBOURS = 240
"""For more cells, computing the neighbours takes too long for a page; it then shows none."""


def read_network(run_directory: Path) -> dict[str, Any]:
    """Sites, sectors, slices, SLAs and neighbours of a run, and the steps in which it explores.

    If the config cannot be read, there are no cells, and `problem` is the reason in one line.
    """
    try:
        config = _read_config(run_directory / "config.yaml")
        scenario = _make_scenario(config)
    except (OSError, ValueError, ValidationError, yaml.YAMLError, RecursionError) as error:
        return {"cells": [], "slices": [], "problem": _format_error(error), "exploration_steps": 0}
    learning = to_mapping(config.get("learning"))
    exploration_steps = to_number(learning.get("exploration_steps")) or 0.0
    return {**describe_network(scenario), "exploration_steps": exploration_steps}


def read_scenario(path: Path) -> Scenario:
    """The scenario of a resolved config. Raises: OSError, ValueError, yaml.YAMLError."""
    return _make_scenario(_read_config(path))


def _read_config(path: Path) -> dict[str, Any]:
    document = read_small(path, max_bytes=MAX_CONFIG_BYTES)
    _refuse_deep(document)
    _refuse_aliases(document)
    return to_mapping(yaml.safe_load(document))


def _make_scenario(config: dict[str, Any]) -> Scenario:
    spec = config.get("scenario")
    if isinstance(spec, str):
        return make_scenario(spec)
    _refuse_huge(to_mapping(to_mapping(spec).get("layout")))
    return TypeAdapter(Scenario).validate_python(spec)


def describe_network(scenario: Scenario) -> dict[str, Any]:
    """The network as JSON. Lengths are in m, angles in degrees anticlockwise from east."""
    cells = [
        {"site": site, "azimuth_deg": azimuth, "half_width_deg": 180 / len(spec.mast.azimuths_deg)}
        for site, spec in enumerate(scenario.sites)
        for azimuth in spec.mast.azimuths_deg
    ]
    neighbours = _list_neighbours(scenario)
    for index, cell in enumerate(cells):
        cell |= {
            "id": scenario.cells[index],
            "cell_id": scenario.cell_ids[index],
            "sla_throughput_mbps": scenario.sla_throughput_mbps[index].tolist(),
            "sla_delay_ms": scenario.sla_delay_ms[index].tolist(),
            "neighbours": neighbours[index] if neighbours is not None else None,
        }
    sites = [[site.x_m, site.y_m] for site in scenario.sites]
    return {
        "name": scenario.name,
        "sites_m": sites,
        "reach_m": _compute_reach_m(np.array(sites)),
        "cells": cells,
        "slices": [spec.name for spec in scenario.slices],
        "problem": None,
    }


def _list_neighbours(scenario: Scenario) -> list[list[str]] | None:
    if len(scenario.cells) > MAX_CELLS_WITH_NEIGHBOURS:
        return None
    return [[scenario.cells[i] for i in row if i >= 0] for row in scenario.neighbours]


def _compute_reach_m(sites_m: np.ndarray) -> list[float]:
    """For each site, the radius of its sectors. On a hexagonal grid they cover the plane."""
    if len(sites_m) < 2:
        return [250.0] * len(sites_m)
    reach = []
    for site in sites_m:
        distance = np.hypot(*(sites_m - site).T)
        reach.append(float(np.partition(distance, 1)[1] / np.sqrt(3)) or 1.0)
    return reach


def _refuse_deep(document: bytes) -> None:
    """Raises: ValueError for deep nesting, on which YAML's parser takes quadratic time."""
    depth = deepest = 0
    for sign in re.findall(rb"[\[\]{}]", document):
        depth += 1 if sign in b"[{" else -1
        deepest = max(deepest, depth)
    dashes = re.search(rb"(?:[-?:][ \t]+){%d}" % MAX_NESTING, document)
    indented = re.search(rb"^ {%d}" % (8 * MAX_NESTING), document, re.MULTILINE)
    if deepest > MAX_NESTING or dashes or indented:
        raise ValueError(f"config.yaml: expected nesting no deeper than {MAX_NESTING}")


def _refuse_aliases(document: bytes) -> None:
    """Raises: ValueError for aliases: a few of them can expand to billions of values.

    A resolved config has none.
    """
    if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(document)):
        raise ValueError("config.yaml: expected no YAML aliases")


def _refuse_huge(layout: dict[str, Any]) -> None:
    """Raises: ValueError for a layout whose network would not fit into memory."""
    rows, columns = (to_number(layout.get(key)) or 0 for key in ("rows", "columns"))
    rings = to_number(layout.get("rings")) or 0
    n_sites = max(rows * columns, 3 * rings * (rings + 1) + 1)
    azimuths = to_mapping(layout.get("mast")).get("azimuths_deg")
    n_cells = n_sites * (len(azimuths) if isinstance(azimuths, list) else 3)
    if n_cells > MAX_CELLS:
        raise ValueError(f"config.yaml: expected at most {MAX_CELLS} cells, got {n_cells:.0f}")


def _format_error(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"config.yaml: scenario.{where}: {first['msg']}"[:300]
    return str(error).splitlines()[0][:300] if str(error) else type(error).__name__
