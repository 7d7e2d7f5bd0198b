"""Which cells of a run are like which: distances, how well they tell SLA groups apart, a map."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from slicing_rllib.evaluation import figures
from slicing_rllib.evaluation.statistics import group_auc
from slicing_rllib.evaluation.transfer_figures import heat_map
from slicing_rllib.service.config import RunConfig
from slicing_rllib.service.runs.experience import read_experience
from slicing_rllib.service.runs.run_directory import RunDirectory
from slicing_rllib.transfer import TransferDecision
from slicing_rllib.transfer.decision import (
    CellSamples,
    Distances,
    distances_between,
    from_distances,
)


class Comparison(NamedTuple):
    """All pairs of a run's cells."""

    measure: str
    distances: Distances
    groups: tuple[str, ...]
    auc: float | None
    """Chance that two cells of one SLA group are nearer than two of different groups."""

    def nearest(self, target: str) -> TransferDecision:
        """Whom a cell would learn from."""
        names, matrix = self.distances.names, self.distances.mean
        column = matrix[:, names.index(target)]
        others = {name: float(d) for name, d in zip(names, column, strict=True) if name != target}
        return from_distances(target, others, self.measure)


def compare_cells(run: RunDirectory, measure: str, seed: int = 0) -> Comparison:
    """By each cell's samples under the default action.

    Raises: RunError where the run has left none.
    """
    config = run.config()
    cells = samples_of_run(run, config)
    distances = distances_between(cells, measure, config.transfer.vae, seed)
    groups = sla_groups(config)
    auc = group_auc(distances.mean, groups) if len(set(groups)) > 1 else None
    return Comparison(measure, distances, groups, auc)


def samples_of_run(run: RunDirectory, config: RunConfig) -> dict[str, CellSamples]:
    """[s, r] under the default action, and what each cell promises."""
    scenario, experience = config.scenario, read_experience(run)
    promised = np.concatenate([scenario.sla_throughput_mbps, scenario.sla_delay_ms], axis=1)
    return {
        cell: CellSamples(
            np.concatenate(
                [experience[cell].default.obs, experience[cell].default.reward[:, None]], axis=1
            ).astype(np.float64),
            promised[row],
        )
        for row, cell in enumerate(scenario.cells)
    }


def sla_groups(config: RunConfig) -> tuple[str, ...]:
    """Of every cell."""
    return tuple(name for site in config.scenario.sites for name in site.sla_groups)


def chosen_sources(run: RunDirectory) -> dict[str, str]:
    """By target, whom it learned from last."""
    return {
        event["cell"]: event["evidence"]["source"]
        for event in run.events()
        if event["kind"] == "warm_started" and event["evidence"].get("source")
    }


def draw_comparison(run: RunDirectory, compared: Comparison, folder: Path | None = None):
    """PNG and SVG of the heat map, the sources that were chosen framed."""
    figure = heat_map(
        compared.distances.names,
        compared.distances.mean,
        compared.groups,
        chosen_sources(run),
        compared.measure,
    )
    return figures.save(figure, folder or run.figures, f"similarity-{compared.measure}")
