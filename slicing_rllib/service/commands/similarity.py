"""`slicing-rllib similarity`"""

from pathlib import Path
from typing import Annotated

import typer

from slicing_rllib.service.commands.options import Json, Run


def similarity(
    run: Run,
    measure: Annotated[
        str | None,
        typer.Option(
            help="Name of a similarity measure, or all. Default: the measure of the run's config.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the VAE's training.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the heat map. Default: the run's figures.")
    ] = None,
    json: Json = False,
) -> None:
    """Computes the distance between every two cells of a run, as a table and a heat map.

    Cells are compared by their states and rewards under the default action. Prints the distances
    and their AUC: the probability that two cells of the same SLA group are closer to each other
    than two cells of different groups.

    Examples:

      slicing-rllib similarity runs/seed7

      slicing-rllib similarity runs/seed7 --measure kl_paper --json

      slicing-rllib similarity runs/seed7 --measure all
    """
    from slicing_rllib.service.console import make_distances_table, print_json
    from slicing_rllib.service.console import out as stdout
    from slicing_rllib.service.runs.cell_similarity import compare_cells, draw_comparison
    from slicing_rllib.service.runs.foreign_run import explain_foreign_run
    from slicing_rllib.service.runs.run_directory import RunDirectory

    opened = RunDirectory.open(run)
    results = []
    for name in _select_measures(measure, opened.config().transfer.measure):
        with explain_foreign_run(str(run)):
            compared = compare_cells(opened, name, seed)
            files = draw_comparison(opened, compared, out)
        results.append(
            {
                "measure": name,
                "cells": list(compared.distances.names),
                "sla_groups": list(compared.groups),
                "distances": compared.distances.mean.tolist(),
                "nearest": {c: compared.nearest(c).source for c in compared.distances.names},
                "auc": compared.auc,
                "figures": [str(path) for path in files],
            }
        )
        if not json:
            stdout.print(make_distances_table(results[-1]))
            for path in files:
                stdout.print(str(path), soft_wrap=True)
    if json:
        print_json(results[0] if len(results) == 1 else {"measures": results})


def _select_measures(option: str | None, run_measure: str) -> tuple[str, ...]:
    """Names of the measures to compute. Raises: ConfigError for an unknown name."""
    from slicing_rllib.service.errors import ConfigError
    from slicing_rllib.transfer import MEASURES

    # A run may choose its sources by other rules, such as `random`, which define no distance.
    name = option or (run_measure if run_measure in MEASURES else "mean_shift")
    if name == "all":
        return tuple(MEASURES)
    if name not in MEASURES:
        known = ", ".join((*MEASURES, "all"))
        raise ConfigError(f"--measure: expected one of {known}, got {name!r}")
    return (name,)
