"""Benchmarks of the simulator: `calibration`, `calibrate-traffic`, `simulator`, `coupling`."""

from pathlib import Path
from typing import Annotated

import typer

from slicing_rllib.benchmarks.commands.options import Seconds
from slicing_rllib.benchmarks.commands.printing import print_rows
from slicing_rllib.service.commands.options import Json


def calibration(
    reference: Annotated[
        Path | None,
        typer.Option(help="CSV file of TR 36.873's phase-1 CDFs to compare the simulator with."),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            help="Config whose scenario replaces TR 36.873's 3D-UMa. Only its CDFs are computed."
        ),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(help="PNG file for a figure of the CDFs. It needs --reference."),
    ] = None,
    json: Json = False,
) -> None:
    """Compares the simulator with published path loss, closed forms, 3GPP's CDFs and the paper.

    Prints one row per value with the expected value, and whether it is within
    tolerance.

    Exit code 0 if all values are within tolerance, 1 if one is not.

    Example: slicing-rllib bench calibration --reference tr36873_phase1_uma.csv
    """
    from slicing_rllib.benchmarks import calibration as benchmark
    from slicing_rllib.benchmarks import drop_cdfs
    from slicing_rllib.benchmarks.rows import is_within_tolerance
    from slicing_rllib.radio import make_scenario
    from slicing_rllib.service.config import load_config
    from slicing_rllib.service.console import err

    if figure is not None and reference is None:
        raise typer.BadParameter("--figure needs --reference")
    cdfs = None if reference is None else drop_cdfs.read_reference(reference)
    scenario = make_scenario("tr36873_uma") if config is None else load_config(config).scenario
    if config is None:
        rows = benchmark.run(reference=cdfs, on_message=err.print)
    elif cdfs is None:
        rows = drop_cdfs.measure_drop_cdfs(scenario)
    else:
        rows = drop_cdfs.compare_drop_cdfs(scenario, cdfs)
    found = print_rows(rows, json)
    if figure is not None and cdfs is not None:
        drop_cdfs.draw_cdfs(scenario, cdfs).savefig(figure)
    if not all(is_within_tolerance(row) for row in found if "expected" in row):
        raise typer.Exit(1)


def calibrate_traffic(
    candidates: Annotated[int, typer.Option(min=1, help="Number of settings to try.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random search.")] = 0,
    json: Json = False,
) -> None:
    """Searches traffic settings of `paper` with which the baseline performs as in the paper.

    Prints the best settings, and the results that they give beside the expected
    ones. It changes no file.

    Exit code 0 when the search is done.

    Example: slicing-rllib bench calibrate-traffic --candidates 50
    """
    from slicing_rllib.benchmarks import traffic_fit
    from slicing_rllib.service.console import err

    print_rows(traffic_fit.run(candidates=candidates, seed=seed, on_message=err.print), json)


def simulator(
    turns: Annotated[
        int,
        typer.Option(
            min=1, max=20, help="Number of interleaved turns. The median over turns counts."
        ),
    ] = 5,
    seconds: Seconds = 2.0,
    cells: Annotated[int, typer.Option(min=12, help="Largest network, in cells.")] = 3072,
    out: Annotated[
        Path | None, typer.Option(help="Folder for a figure of time and memory over cells.")
    ] = None,
    json: Json = False,
) -> None:
    """Measures time and memory of a simulator step in networks of 12 to 3,072 cells.

    Prints four rows per network size: time per step, time per cell and step
    with its ratio to that of 12 cells, set-up time, and peak memory.

    Exit code 0 when all sizes are measured.

    Example: slicing-rllib bench simulator --cells 192
    """
    from slicing_rllib.benchmarks import simulator as benchmark
    from slicing_rllib.evaluation import figures
    from slicing_rllib.service.console import err

    costs = benchmark.measure_costs(
        turns=turns, seconds=seconds, max_cells=cells, on_message=err.print
    )
    print_rows(benchmark.make_rows(costs), json)
    if out is not None:
        sizes, step_ms, _, peak_gib = zip(*costs, strict=True)
        figures.save(figures.draw_growth(sizes, step_ms, peak_gib), out, "growth")


def coupling(
    seeds: Annotated[
        int, typer.Option(min=2, help="Number of seeds of movement and traffic.")
    ] = 10,
    scenario: Annotated[
        list[str] | None,
        typer.Option(help="Built-in scenario; may be repeated. Default: paper and mixed."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for a figure of the results.")] = None,
    json: Json = False,
) -> None:
    """Measures how much cells disturb each other, and how much reward a message is worth.

    Prints, for both placements of PRBs, the changes of throughput and reward
    when cells change their splits, and the reward that messages add to a
    forecast, with 95 % intervals over seeds.

    Exit code 0 when all scenarios are measured.

    Example: slicing-rllib bench coupling --seeds 3 --scenario paper
    """
    from slicing_rllib.benchmarks.coupling import benchmark
    from slicing_rllib.evaluation import figures
    from slicing_rllib.service.console import err

    scenarios = scenario or ["paper", "mixed"]
    rows = benchmark.run(scenarios=scenarios, seeds=seeds, on_message=err.print)
    found = print_rows(rows, json)
    if out is not None:
        figures.save(figures.draw_coupling(found), out, "coupling")
