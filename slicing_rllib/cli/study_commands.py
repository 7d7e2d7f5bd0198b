"""Commands that compare: `experiment`, `sweep`, and `bench` with a subcommand per benchmark."""

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from typer import Argument, Option

from slicing_rllib.cli.console import (
    Json,
    explain_missing_packages,
    format_number,
    make_sweep_table,
    make_table,
    name_folder,
    print_line,
    print_message,
    print_result,
    print_summary,
    print_text,
    save_picture,
)
from slicing_rllib.storage.errors import ConfigError, RunError

if TYPE_CHECKING:
    from pandas import DataFrame

    from slicing_rllib.benchmarks.rows import Row

Turns = Annotated[int, Option(min=1, help="Number of interleaved turns.")]
Seconds = Annotated[float, Option(min=0.1, help="Least duration of a turn, in seconds.")]


def experiment(
    name: Annotated[str, Argument(help="Name of an experiment in tune_configs/, or a YAML file.")],
    seeds: Annotated[
        int | None, Option(min=1, help="Number of seeds. Default: as in the experiment's file.")
    ] = None,
    out: Annotated[
        Path | None,
        Option(
            help="Folder of the experiment. Default: experiments/NAME. If it exists, the "
            "experiment is continued there."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Trains and evaluates every arm of an experiment on every seed, and writes its report.

    Prints the table of results and the names of the files. Runs that are complete are kept: after
    an interruption (exit code 130), or with more seeds, the same command does what is missing.

    Examples:

      slicing-rllib experiment paper --seeds 10

      slicing-rllib experiment paper-quick --out experiments/try
    """
    from slicing_rllib.studies.experiment import run_experiment
    from slicing_rllib.studies.experiment_report import write_experiment_report
    from slicing_rllib.studies.study_configs import ExperimentConfig

    loaded = ExperimentConfig.load(name, seeds=seeds)
    folder = out or Path("experiments") / loaded.name
    run_experiment(loaded, folder, print_message)
    summary, files = write_experiment_report(folder)
    print_summary(summary, json, *map(str, files))


def sweep(
    source: Annotated[
        str | None,
        Argument(metavar="YAML", help="A sweep file, or the name of one in tune_configs/sweeps/."),
    ] = None,
    out: Annotated[
        Path | None, Option(help="Folder of the sweep. Default: sweeps/NAME-DATE-TIME.")
    ] = None,
    resume: Annotated[
        bool, Option("--resume", help="Continues the sweep in the folder --out.")
    ] = False,
    json: Json = False,
) -> None:
    """Runs many trainings that differ in a few settings, with Ray Tune.

    Prints a table of the trials, best first, and the names of the files; the exit code is 1 if a
    trial failed in the end. Runs on the cluster that
    RAY_ADDRESS names, else on this machine.

    Examples:

      slicing-rllib sweep learning_rates

      slicing-rllib sweep mine.yaml --out sweeps/mine

      slicing-rllib sweep --resume --out sweeps/mine
    """
    from slicing_rllib.runs.ray_session import ray_session
    from slicing_rllib.studies.study_configs import SweepConfig
    from slicing_rllib.studies.sweep import resume_sweep, run_sweep

    if resume and out is None:
        raise ConfigError("sweep --resume: expected --out with the folder of a sweep")
    if source is None and not resume:
        raise ConfigError("sweep: expected a YAML file or the name of a sweep")
    with ray_session(2):
        if resume and out is not None and (source is None or (out / "sweep.yaml").exists()):
            found = resume_sweep(out, print_message)
        else:
            loaded = SweepConfig.load(source or "")
            folder = out or name_folder("sweeps", loaded.name)
            found = run_sweep(loaded, folder, print_message)
    rows, groups, files = found
    tables = [make_sweep_table(rows)]
    if groups is not None:
        tables.append(make_groups_table(groups))
    print_result(rows, json, *tables, *map(str, files))
    failed = [row["error"] for row in rows if row["error"]]
    if failed:
        raise RunError(
            f"{len(failed)} of {len(rows)} trials failed, the first one: {failed[0]}; "
            "--resume --out tries them again"
        )


def print_rows(rows: "Iterable[Row]", json: bool) -> "list[Row]":
    """Prints rows and returns them: as JSON lines while they come, or as one table at the end."""
    from slicing_rllib.benchmarks.rows import make_benchmark_table

    found: list[Row] = []
    for row in rows:
        found.append(row)
        if json:
            # JSON has no NaN.
            print_line({k: None if v != v else v for k, v in row.items()})
    if not json:
        print_result(found, json, make_benchmark_table(found))
    return found


def calibration(
    reference: Annotated[
        Path | None,
        Option(help="CSV file of TR 36.873's phase-1 CDFs to compare the simulator with."),
    ] = None,
    config: Annotated[
        str | None,
        Option(
            help="Config whose scenario replaces TR 36.873's 3D-UMa. Only its CDFs are computed."
        ),
    ] = None,
    figure: Annotated[
        Path | None, Option(help="PNG file for a figure of the CDFs. It needs --reference.")
    ] = None,
    json: Json = False,
) -> None:
    """Compares the simulator with published path loss, closed forms, 3GPP's CDFs and the paper.

    Prints one row per value with the expected value, and whether it is within tolerance. The exit
    code is 1 if one is not.

    Example: slicing-rllib bench calibration --reference tr36873_phase1_uma.csv
    """
    from slicing_rllib.benchmarks import calibration as benchmark
    from slicing_rllib.benchmarks.rows import is_within_tolerance
    from slicing_rllib.radio import make_scenario
    from slicing_rllib.runs.config_loading import load_config

    if figure is not None and reference is None:
        raise typer.BadParameter("--figure needs --reference")
    cdfs = None if reference is None else benchmark.read_reference(reference)
    scenario = make_scenario("tr36873_uma") if config is None else load_config(config).scenario
    if config is None:
        rows = benchmark.run(reference=cdfs, on_message=print_message)
    else:
        rows = benchmark.compare_drop_cdfs(scenario, cdfs)
    found = print_rows(rows, json)
    if figure is not None and cdfs is not None:
        save_picture(benchmark.draw_cdfs(scenario, cdfs), figure)
    if not all(is_within_tolerance(row) for row in found if "expected" in row):
        raise typer.Exit(1)


def simulator(
    turns: Turns = 5,
    seconds: Seconds = 2.0,
    cells: Annotated[int, Option(min=12, help="Largest network, in cells.")] = 3072,
    out: Annotated[
        Path | None, Option(help="Folder for a figure of time and memory over cells.")
    ] = None,
    json: Json = False,
) -> None:
    """Measures time and memory of a simulator step in networks of 12 to 3,072 cells.

    Prints four rows per network size: time per step, time per cell and step with its ratio to that
    of 12 cells, set-up time, and peak memory.

    Example: slicing-rllib bench simulator --cells 192
    """
    from slicing_rllib.benchmarks import simulator as benchmark
    from slicing_rllib.evaluation.looks import save
    from slicing_rllib.evaluation.other_figures import draw_growth

    costs = benchmark.measure_costs(
        turns=turns, seconds=seconds, max_cells=cells, on_message=print_message
    )
    print_rows(benchmark.make_rows(costs), json)
    if out is not None:
        sizes, step_ms, _, peak_gib = zip(*costs, strict=True)
        save(draw_growth(sizes, step_ms, peak_gib), out, "growth")


def learning(
    turns: Turns = 5,
    seconds: Seconds = 3.0,
    cells: Annotated[
        int, Option(min=0, help="Largest network of the growth curve, in cells.")
    ] = 768,
    json: Json = False,
) -> None:
    """Measures steps per second of training, compared with other ways of training.

    Prints the steps per second on the paper's network with the ratio to RLlib's SAC, to TD3 of
    Stable-Baselines3, to separate updates of each cell and to a loop without Ray; the ratio of two
    learners to one; and the time per cell and step as networks grow.

    Example: slicing-rllib bench learning --turns 5
    """
    from slicing_rllib.runs.ray_session import ray_session

    if find_spec("stable_baselines3") is None:
        raise RunError("bench learning: expected the package stable-baselines3, which is missing")
    from slicing_rllib.benchmarks import learning as benchmark

    with ray_session(3):
        rows = benchmark.run(
            turns=turns, seconds=seconds, max_cells=cells, on_message=print_message
        )
        print_rows(rows, json)


def transfer(
    decisions: Annotated[
        int, Option(min=1, help="Number of decisions in a live run. Their median counts.")
    ] = 20,
    turns: Turns = 5,
    json: Json = False,
) -> None:
    """Measures how long a transfer takes.

    Prints the times of VAE training, of distances (with the speed-up over the double loop of
    eq. (7)) and of a whole decision.

    Example: slicing-rllib bench transfer --decisions 20
    """
    from slicing_rllib.benchmarks import transfer as benchmark
    from slicing_rllib.runs.ray_session import ray_session

    with ray_session(2):
        rows = benchmark.run(decisions=decisions, turns=turns, on_message=print_message)
        print_rows(rows, json)


def cluster(turns: Turns = 5, seconds: Seconds = 5.0, json: Json = False) -> None:
    """Measures steps per second with env runners on one and on two Ray nodes of this machine.

    Prints the rates of whole training and of sampling alone, with their ratio to one node.

    Example: slicing-rllib bench cluster --turns 5
    """
    from slicing_rllib.benchmarks import cluster as benchmark
    from slicing_rllib.runs.ray_session import quieten

    quieten()
    print_rows(benchmark.run(turns=turns, seconds=seconds, on_message=print_message), json)


def serving(
    turns: Turns = 5,
    seconds: Seconds = 3.0,
    rate: Annotated[
        float, Option(min=1.0, help="Requests per second of the load at a fixed rate.")
    ] = 50.0,
    cells: Annotated[
        int, Option(min=12, max=768, help="Largest network, for decisions in batches.")
    ] = 192,
    json: Json = False,
) -> None:
    """Measures decisions over HTTP beside the same decisions in this process.

    Prints median and 99th percentile of the latency of one decision and of twelve in one request,
    with one or four requests open and at a fixed rate, through Ray Serve and with `serve --direct`,
    and the cells per second of requests with a whole network.

    The exit code is 1 if an answer was wrong.

    Example: slicing-rllib bench serving --turns 3
    """
    with explain_missing_packages("bench serving"):
        from slicing_rllib.benchmarks import serving as benchmark

    rows = benchmark.run(
        turns=turns, seconds=seconds, rate_per_s=rate, max_cells=cells, on_message=print_message
    )
    print_rows(rows, json)


def ceiling(
    maps: Annotated[int, Option(min=1, help="Radio maps 0, 1, ... of `paper`.")] = 10,
    json: Json = False,
) -> None:
    """Estimates what any policy can earn that knows past measurements only.

    Trains a large network offline, on the reward that each step implies for every split, and prints
    its reward and its share of (cell, step) below 0.95 beside the traffic-aware baseline. It takes
    about ten minutes.

    Example: slicing-rllib bench ceiling --maps 3
    """
    from slicing_rllib.benchmarks import ceiling as benchmark

    print_rows(benchmark.run(maps=maps, on_message=print_message), json)


def networks(
    networks: Annotated[
        str | None,
        Option(help='Some of the networks: "paper,3 heavy UEs". Default: all.'),
    ] = None,
    seeds: Annotated[int, Option(min=1, help="Maps and traffic of each network.")] = 5,
    steps: Annotated[int, Option(min=1, help="Steps of an evaluation.")] = 200,
    own_steps: Annotated[
        str, Option(help="Own steps after which critics per slice are evaluated.")
    ] = "200,1000",
    out: Annotated[
        Path | None,
        Option(help="Folder of the rows, the report and its figure. Rows in it are not repeated."),
    ] = None,
    readme: Annotated[
        Path | None,
        Option(help="Page whose text between the marks `networks` becomes the report."),
    ] = None,
    json: Json = False,
) -> None:
    """Compares simple rules with pretrained and learned curves in very different networks.

    31 networks of the built-in simulator and two that are scheduled in every TTI. Prints a table,
    whether the goals are met, and how often predicted changes of reward have the right sign; with
    --json a line per network and seed. It takes hours; with --out, a call continues the last one.

    Example: slicing-rllib bench networks --networks paper,tti --seeds 2 --out networks
    """
    from slicing_rllib.benchmarks import networks as benchmark
    from slicing_rllib.evaluation.looks import save
    from slicing_rllib.evaluation.tables import write_between_marks
    from slicing_rllib.runs.ray_session import ray_session
    from slicing_rllib.storage import write_durably

    try:
        counts = tuple(int(number) for number in own_steps.split(","))
        settings = benchmark.NetworksSettings(seeds=seeds, steps=steps, own_steps=counts)
    except ValueError as error:
        raise ConfigError(f"bench networks: {error}") from error
    found: list[benchmark.NetworkRow] = []
    with ray_session(1):
        for row in benchmark.run(
            settings,
            networks=None if networks is None else [n.strip() for n in networks.split(",")],
            rows=None if out is None else out / "rows.jsonl",
            on_message=print_message,
        ):
            found.append(row)
            if json:
                print_line(row)
    report = benchmark.format_report(found)
    if not json:
        print_text(f"{report}\n")
    if out is not None:
        write_durably(out / "report.md", f"{report}\n".encode())
        save(benchmark.draw(found), out, "networks")
    if readme is not None:
        write_between_marks(readme, "networks", report)


bench_app = typer.Typer(
    no_args_is_help=True,
    help="Runs a benchmark and prints its results as a table, or with --json as JSON lines.",
)
for command in (
    *(calibration, simulator, learning, transfer, cluster, serving, ceiling, networks),
):
    bench_app.command()(command)


def make_groups_table(groups: "DataFrame") -> Table:
    """The table of a sweep's settings, over seeds."""
    settings = [str(name) for name in groups if name not in ("seeds", "mean", "low", "high")]
    rows = (
        (
            *(str(row[name]) for name in settings),
            str(row["seeds"]),
            format_number(row["mean"]),
            f"[{format_number(row['low'])}, {format_number(row['high'])}]",
        )
        for row in groups.to_dict("records")
    )
    headings = [name.rpartition(".")[2] for name in settings]
    few = int(groups["seeds"].min()) < 4
    spread = "least and greatest" if few else "95 % interval"
    return make_table(
        "settings over seeds", (*headings, "seeds", "mean", spread), rows, numbers=True
    )
