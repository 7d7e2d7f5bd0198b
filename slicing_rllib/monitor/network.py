"""The network of a run as the page draws it, read from the run's config."""

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, field_validator
from scipy.spatial import cKDTree

from slicing_rllib.monitor.untrusted_values import to_mapping, to_number
from slicing_rllib.radio import Scenario, make_scenario
from slicing_rllib.storage import make_printable
from slicing_rllib.storage.errors import ConfigError
from slicing_rllib.storage.safe_yaml import read_document
from slicing_rllib.storage.yaml_validation import validate_document

MAX_CONFIG_BYTES = 2**18
MAX_PROBLEM_CHARACTERS = 300
MAX_CELLS = 20_000
MAX_CELLS_WITH_NEIGHBOURS = 240
"""For more cells, computing the neighbours takes too long for a page; it then shows none."""


class _ShownConfig(BaseModel):
    """What the page shows of a run's config."""

    scenario: Scenario
    learning: Any = None

    @field_validator("scenario", mode="before")
    @classmethod
    def _check_scenario(cls, spec: Any) -> Any:
        """A scenario that is given by its name is made. Raises: ValueError for a huge network."""
        if isinstance(spec, str):
            return make_scenario(spec)
        layout = to_mapping(to_mapping(spec).get("layout"))
        rows, columns, rings = (
            to_number(layout.get(key)) or 0 for key in ("rows", "columns", "rings")
        )
        azimuths = to_mapping(layout.get("mast")).get("azimuths_deg")
        n_sites = max(rows * columns, 3 * rings * (rings + 1) + 1)
        n_cells = n_sites * (len(azimuths) if isinstance(azimuths, list) else 3)
        if n_cells > MAX_CELLS:
            raise ValueError(f"expected at most {MAX_CELLS} cells, got {n_cells:.0f}")
        return spec


def read_network(run_directory: Path) -> dict[str, Any]:
    """Sites, sectors, slices, SLAs and neighbours of a run, and the steps in which it explores.

    If the config cannot be read, there are no cells, and `problem` is the reason in one line.
    """
    path = run_directory / "config.yaml"
    try:
        document = read_document(
            path, f"{path}: expected a config", max_bytes=MAX_CONFIG_BYTES, follow_links=False
        )
        config = validate_document(_ShownConfig, document)
        network = _describe_network(config.scenario)
    except (ConfigError, ValueError) as error:
        problem = make_printable(str(error), MAX_PROBLEM_CHARACTERS)
        return {"cells": [], "slices": [], "problem": problem, "exploration_steps": 0}
    exploration_steps = to_number(to_mapping(config.learning).get("exploration_steps")) or 0.0
    return {**network, "exploration_steps": exploration_steps}


def _describe_network(scenario: Scenario) -> dict[str, Any]:
    """The network as JSON. Lengths are in m, angles in degrees anticlockwise from east."""
    cells = [
        {"site": site, "azimuth_deg": azimuth, "half_width_deg": 180 / len(spec.mast.azimuths_deg)}
        for site, spec in enumerate(scenario.sites)
        for azimuth in spec.mast.azimuths_deg
    ]
    neighbours: list[list[str]] | None = None
    if len(cells) <= MAX_CELLS_WITH_NEIGHBOURS:
        neighbours = [[scenario.cells[i] for i in row if i >= 0] for row in scenario.neighbours]
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


def _compute_reach_m(sites_m: np.ndarray) -> list[float]:
    """For each site, the radius of its sectors. On a hexagonal grid they cover the plane."""
    if len(sites_m) < 2:
        return [250.0] * len(sites_m)
    nearest_m = np.asarray(cKDTree(sites_m).query(sites_m, 2)[0])[:, 1]
    return np.where(nearest_m > 0, nearest_m / np.sqrt(3), 1.0).tolist()
