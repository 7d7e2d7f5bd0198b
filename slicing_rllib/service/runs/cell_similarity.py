"""How similar the cells of a run are: distances, separation of SLA groups, and the heat map."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from slicing_rllib.evaluation import figures
from slicing_rllib.evaluation.statistics import group_auc
from slicing_rllib.evaluation.transfer_figures import draw_heat_map
from slicing_rllib.service.config import RunConfig
from slicing_rllib.service.runs.experience import read_experience
from slicing_rllib.service.runs.run_directory import RunDirectory
from slicing_rllib.transfer import TransferDecision
from slicing_rllib.transfer.decision import (
    CellSamples,
    Distances,
    compute_distances,
    decide_from_distances,
)
from slicing_rllib.transfer.events import EventKind as TransferEventKind


class Comparison(NamedTuple):
    """All pairs of a run's cells by one measure."""

    measure: str
    distances: Distances
    groups: tuple[str, ...]
    """SLA group of every cell."""
    auc: float | None
    """Probability that two cells of one SLA group are nearer than two of different groups; None
    where there is only one group."""

    def nearest(self, target: str) -> TransferDecision:
        """The choice of the source with the smallest distance from a target cell."""
        names, matrix = self.distances.names, self.distances.mean
        column = matrix[:, names.index(target)]
        others = {name: float(d) for name, d in zip(names, column, strict=True) if name != target}
        return decide_from_distances(target, others, self.measure)


def compare_cells(run: RunDirectory, measure: str, seed: int = 0) -> Comparison:
    """Compares cells by their samples under the default action.

    `measure` is one of `transfer.MEASURES`; `seed` is that of the VAE, where it needs one.
    Raises: RunError where the run has left no samples.
    """
    config = run.config()
    cells = read_cell_samples(run, config)
    distances = compute_distances(cells, measure, config.transfer.vae, seed)
    groups = list_sla_groups(config)
    auc = group_auc(distances.mean, groups) if len(set(groups)) > 1 else None
    return Comparison(measure, distances, groups, auc)


def read_cell_samples(run: RunDirectory, config: RunConfig) -> dict[str, CellSamples]:
    """Each cell's [state, reward] under the default action, and its SLA."""
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


def list_sla_groups(config: RunConfig) -> tuple[str, ...]:
    """The SLA group of every cell."""
    return tuple(name for site in config.scenario.sites for name in site.sla_groups)


def find_chosen_sources(run: RunDirectory) -> dict[str, str]:
    """By target cell, the source of its last warm start."""
    return {
        event["cell"]: event["evidence"]["source"]
        for event in run.events()
        if event["kind"] == TransferEventKind.WARM_STARTED and event["evidence"].get("source")
    }


def draw_comparison(
    run: RunDirectory, compared: Comparison, folder: Path | None = None
) -> list[Path]:
    """PNG and SVG of the heat map. Frames mark the sources that the run has chosen."""
    figure = draw_heat_map(
        compared.distances.names,
        compared.distances.mean,
        compared.groups,
        find_chosen_sources(run),
        compared.measure,
    )
    return figures.save(figure, folder or run.figures, f"similarity-{compared.measure}")
