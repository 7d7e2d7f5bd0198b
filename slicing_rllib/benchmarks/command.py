"""`slicing-rllib bench`"""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from slicing_rllib.service.commands.options import Json

app = typer.Typer(
    no_args_is_help=True,
    help="Benchmarks: a table, or with --json a JSON line per figure.",
)


@app.command()
def calibration(
    reference: Annotated[
        Path | None, typer.Option(help="CSV of TR 36.873's phase-1 CDFs to hold the drops against.")
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(help="Config with another TR 36.873 setup as its scenario; only its CDFs."),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="PNG of both CDFs over the reference; needs --reference.")
    ] = None,
    json: Json = False,
) -> None:
    """The simulator against published path loss, closed forms, 3GPP's CDFs and the paper.

    Exit code 1 where a figure is out of tolerance.

    Example: slicing-rllib bench calibration --reference tr36873_phase1_uma.csv
    """
    from slicing_rllib.benchmarks import calibration as benchmark
    from slicing_rllib.benchmarks.tolerance import within
    from slicing_rllib.radio import built_in
    from slicing_rllib.service.config import load_config
    from slicing_rllib.service.console import err

    if figure is not None and reference is None:
        raise typer.BadParameter("--figure needs --reference")
    scenario = built_in("tr36873_uma") if config is None else load_config(config).scenario
    rows = benchmark.setup_rows(scenario, reference)
    if config is None:
        rows = benchmark.rows(reference_csv=reference, progress=err.print)
    found = _shown(rows, json)
    if figure is not None and reference is not None:
        benchmark.draw(scenario, benchmark.read_reference(reference), figure)
    if not all(within(row) for row in found if "expected" in row):
        raise typer.Exit(1)


@app.command("calibrate-traffic")
def calibrate_traffic(
    candidates: Annotated[int, typer.Option(min=1, help="Settings to try.")] = 200,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    json: Json = False,
) -> None:
    """Fits the traffic of `paper` to the paper's baseline figures; prints what it found.

    Example: slicing-rllib bench calibrate-traffic --candidates 50
    """
    from slicing_rllib.benchmarks import traffic_fit
    from slicing_rllib.service.console import err

    _shown(traffic_fit.rows(candidates=candidates, seed=seed, progress=err.print), json)


@app.command()
def simulator(
    turns: Annotated[
        int, typer.Option(min=1, max=20, help="Interleaved turns; medians count.")
    ] = 5,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each turn of each size.")] = 2.0,
    cells: Annotated[int, typer.Option(min=12, help="Largest network of the growth curve.")] = 3072,
    out: Annotated[Path | None, typer.Option(help="Folder for the growth curve.")] = None,
    json: Json = False,
) -> None:
    """Time and memory of a step on the paper's network, and as networks grow to 1,024 sites.

    Example: slicing-rllib bench simulator --cells 192
    """
    from slicing_rllib.benchmarks import simulator as benchmark
    from slicing_rllib.evaluation import figures
    from slicing_rllib.service.console import err

    costs = benchmark.measure(turns=turns, seconds=seconds, cells=cells, progress=err.print)
    _shown(benchmark.rows(costs), json)
    if out is not None:
        sizes, step_ms, _, peak_gib = zip(*costs, strict=True)
        figures.save(figures.growth(sizes, step_ms, peak_gib), out, "growth")


@app.command()
def coupling(
    seeds: Annotated[int, typer.Option(min=2, help="Seeds of movement and traffic.")] = 10,
    scenario: Annotated[
        list[str] | None, typer.Option(help="Built-in scenario; may be given more than once.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the figure.")] = None,
    json: Json = False,
) -> None:
    """How cells disturb each other under both placements, and what messages are worth.

    Example: slicing-rllib bench coupling --seeds 3 --scenario paper
    """
    from slicing_rllib.benchmarks import coupling as benchmark
    from slicing_rllib.evaluation import figures
    from slicing_rllib.service.console import err

    names = tuple(scenario or ("paper", "mixed"))
    found = _shown(benchmark.rows(scenarios=names, seeds=seeds, progress=err.print), json)
    if out is not None:
        figures.save(figures.coupling(found), out, "coupling")


@app.command()
def learning(
    turns: Annotated[int, typer.Option(min=1, help="Interleaved turns; medians count.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each turn of each peer.")] = 3.0,
    cells: Annotated[int, typer.Option(min=0, help="Largest network of the growth curve.")] = 768,
    whole_run: Annotated[bool, typer.Option(help="Time the paper's run from the shell.")] = True,
    json: Json = False,
) -> None:
    """Steps per second of training beside stock RLlib SAC, SB3's TD3, loops, and no Ray at all.

    Example: slicing-rllib bench learning --turns 5
    """
    from slicing_rllib.benchmarks import learning as benchmark
    from slicing_rllib.service.console import err
    from slicing_rllib.service.ray_session import ray_session

    found = list(benchmark.whole_run(progress=err.print)) if whole_run else []
    with ray_session(3):
        rows = benchmark.rows(turns=turns, seconds=seconds, cells=cells, progress=err.print)
        _shown(chain(found, rows), json)


@app.command()
def transfer(
    decisions: Annotated[int, typer.Option(min=1, help="In a live run; the median counts.")] = 20,
    turns: Annotated[int, typer.Option(min=1, help="Interleaved turns; medians count.")] = 5,
    warm_starts: Annotated[
        int, typer.Option(min=0, help="Healthy and poisoned ones that the guard judges.")
    ] = 60,
    json: Json = False,
) -> None:
    """How long a transfer takes: VAE, distances beside the double loop, decision to first action.

    And what the guard makes of healthy and of poisoned sources, over many warm starts.

    Example: slicing-rllib bench transfer --decisions 20
    """
    from slicing_rllib.benchmarks import transfer as benchmark
    from slicing_rllib.benchmarks import transfer_guard
    from slicing_rllib.service.console import err
    from slicing_rllib.service.ray_session import ray_session

    with ray_session(2):
        timings = benchmark.rows(decisions=decisions, turns=turns, progress=err.print)
        guard = transfer_guard.rows(warm_starts=warm_starts, progress=err.print)
        _shown(chain(timings, guard if warm_starts else ()), json)


@app.command()
def cluster(
    turns: Annotated[int, typer.Option(min=1, help="Interleaved turns; medians count.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each turn.")] = 5.0,
    json: Json = False,
) -> None:
    """Steps per second with env runners on one and on two nodes, all on this machine.

    Example: slicing-rllib bench cluster --turns 5
    """
    from slicing_rllib.benchmarks import cluster as benchmark
    from slicing_rllib.service.console import err
    from slicing_rllib.service.ray_session import quieten

    quieten()
    _shown(benchmark.rows(turns=turns, seconds=seconds, progress=err.print), json)


@app.command()
def telemetry(
    turns: Annotated[int, typer.Option(min=1, help="Turn about; the median ratio counts.")] = 60,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each turn.")] = 1.0,
    json: Json = False,
) -> None:
    """What metrics, run directory and an open live page cost, beside training alone.

    Example: slicing-rllib bench telemetry
    """
    from slicing_rllib.benchmarks import telemetry as benchmark
    from slicing_rllib.service.console import err
    from slicing_rllib.service.ray_session import ray_session

    with ray_session(2):
        _shown(benchmark.rows(turns=turns, seconds=seconds, progress=err.print), json)


def _shown(rows: Iterable[dict], json: bool) -> list[dict]:
    """Prints rows as they come, or as one table at the end; returns them."""
    from slicing_rllib.benchmarks.table import benchmark_table
    from slicing_rllib.service.console import out, print_json_line

    found = list(_each(rows, print_json_line) if json else rows)
    if not json:
        out.print(benchmark_table(found))
    return found


def _each(rows: Iterable[dict], heard) -> Iterator[dict]:
    for row in rows:
        heard(row)
        yield row
