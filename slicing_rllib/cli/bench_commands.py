"""`slicing-rllib bench`: one subcommand per benchmark.

Benchmarks of what runs around training: `cluster`, `telemetry`, `serving`.

Benchmarks of the simulator: `calibration`, `calibrate-traffic`, `simulator`, `coupling`.

Benchmarks of learning and transfer: `learning`, `gymnasium`, `transfer`, `ceiling`, `vae`.

Options that several benchmarks have.

Prints the rows of a benchmark.
"""

from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from slicing_rllib.benchmarks.rows import Row
from slicing_rllib.cli.console import Json

Turns = Annotated[
    int, typer.Option(min=1, help="Number of interleaved turns. The median over turns counts.")
]
Seconds = Annotated[float, typer.Option(min=0.1, help="Least duration of a turn, in seconds.")]


def print_rows(rows: Iterable[Row], json: bool) -> list[Row]:
    """Prints rows and returns them: as JSON lines while they come, or as one table at the end."""
    from slicing_rllib.benchmarks.rows import make_benchmark_table
    from slicing_rllib.cli.console import out, print_json_line

    if json:
        return list(_call_with_each(rows, lambda row: print_json_line(_replace_nan(row))))
    found = list(rows)
    out.print(make_benchmark_table(found))
    return found


def _call_with_each(rows: Iterable[Row], print_row: Callable[[Row], None]) -> Iterator[Row]:
    for row in rows:
        print_row(row)
        yield row


def _replace_nan(row: Row) -> dict[str, float | str | int | None]:
    """The row with None in the place of NaN, which JSON does not have."""
    return {key: None if value != value else value for key, value in row.items()}


def cluster(turns: Turns = 5, seconds: Seconds = 5.0, json: Json = False) -> None:
    """Measures steps per second with env runners on one and on two Ray nodes of this machine.

    Prints the rates of whole training and of sampling alone, with their ratio
    to one node.

    Exit code 0 when everything is measured.

    Example: slicing-rllib bench cluster --turns 5
    """
    from slicing_rllib.benchmarks import cluster as benchmark
    from slicing_rllib.cli.console import err
    from slicing_rllib.runs.ray_session import quieten

    quieten()
    print_rows(benchmark.run(turns=turns, seconds=seconds, on_message=err.print), json)


def telemetry(turns: Turns = 60, seconds: Seconds = 1.0, json: Json = False) -> None:
    """Measures what metrics, run directory and an open live page cost.

    Prints the steps per second of training with all of them, and the median
    ratio to training without them, with its 95 % interval.

    Exit code 0 when everything is measured.

    Example: slicing-rllib bench telemetry
    """
    from slicing_rllib.benchmarks import telemetry as benchmark
    from slicing_rllib.cli.console import err
    from slicing_rllib.runs.ray_session import ray_session

    with ray_session(2):
        print_rows(benchmark.run(turns=turns, seconds=seconds, on_message=err.print), json)


def serving(
    turns: Annotated[
        int, typer.Option(min=1, help="Number of interleaved turns, whose latencies are pooled.")
    ] = 5,
    seconds: Seconds = 3.0,
    rate: Annotated[
        float, typer.Option(min=1.0, help="Requests per second of the load at a fixed rate.")
    ] = 50.0,
    cells: Annotated[
        int, typer.Option(min=12, max=768, help="Largest network, for decisions in batches.")
    ] = 192,
    faults: Annotated[
        bool,
        typer.Option("--faults", help="Measures roll-outs and killed replicas under load instead."),
    ] = False,
    json: Json = False,
) -> None:
    """Measures decisions over HTTP beside the bare call of ONNX Runtime, or faults under load.

    Prints median and 99th percentile of the latency of one decision and of
    twelve in one request, with one or four requests open and at a fixed rate,
    through Ray Serve and with `serve --direct`, and the cells per second of
    requests with a whole network.

    With --faults: lost requests and wrong answers while versions are rolled out
    and back and while a replica is killed, with one and with two replicas.

    Exit code 0 when everything is measured, 1 if an answer was wrong or a
    roll-out lost a request.

    Example: slicing-rllib bench serving --turns 3
    """
    from slicing_rllib.benchmarks.rows import is_within_tolerance
    from slicing_rllib.cli.console import err
    from slicing_rllib.storage.errors import RunError

    try:
        from slicing_rllib.benchmarks.serving import faults as fault_benchmark
        from slicing_rllib.benchmarks.serving import latency
    except ModuleNotFoundError as error:
        install = 'pip install "slicing-rllib[serve]"'
        raise RunError(f"bench serving: the package {error.name} is missing; {install}") from error

    if faults:
        rows = fault_benchmark.run(replicas=[1, 2], on_message=err.print)
    else:
        rows = latency.run(
            turns=turns, seconds=seconds, rate_per_s=rate, max_cells=cells, on_message=err.print
        )
    found = print_rows(rows, json)
    if not all(is_within_tolerance(row) for row in found if "expected" in row):
        raise typer.Exit(1)


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
    from slicing_rllib.benchmarks import calibration as drop_cdfs
    from slicing_rllib.benchmarks.rows import is_within_tolerance
    from slicing_rllib.cli.console import err
    from slicing_rllib.radio import make_scenario
    from slicing_rllib.runs.config_loading import load_config

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
    from slicing_rllib.cli.console import err

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
    from slicing_rllib.cli.console import err
    from slicing_rllib.evaluation.figures import save
    from slicing_rllib.evaluation.other_figures import draw_growth

    costs = benchmark.measure_costs(
        turns=turns, seconds=seconds, max_cells=cells, on_message=err.print
    )
    print_rows(benchmark.make_rows(costs), json)
    if out is not None:
        sizes, step_ms, _, peak_gib = zip(*costs, strict=True)
        save(draw_growth(sizes, step_ms, peak_gib), out, "growth")


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
    from slicing_rllib.cli.console import err
    from slicing_rllib.evaluation.figures import save
    from slicing_rllib.evaluation.other_figures import draw_coupling

    scenarios = scenario or ["paper", "mixed"]
    rows = benchmark.run(scenarios=scenarios, seeds=seeds, on_message=err.print)
    found = print_rows(rows, json)
    if out is not None:
        save(draw_coupling(found), out, "coupling")


def learning(
    turns: Turns = 5,
    seconds: Seconds = 3.0,
    cells: Annotated[
        int, typer.Option(min=0, help="Largest network of the growth curve, in cells.")
    ] = 768,
    whole_run: Annotated[
        bool, typer.Option(help="Also run `train paper` once and time its parts.")
    ] = True,
    json: Json = False,
) -> None:
    """Measures steps per second of training, compared with other ways of training.

    Prints the steps per second on the paper's network with the ratio to RLlib's
    SAC, to TD3 of Stable-Baselines3, to separate updates of each cell and to a
    loop without Ray; the ratio of two learners to one; and the time per cell
    and step as networks grow.

    Exit code 0 when everything is measured.

    Example: slicing-rllib bench learning --turns 5
    """
    from slicing_rllib.benchmarks import learning as benchmark
    from slicing_rllib.benchmarks import paper_run
    from slicing_rllib.cli.console import err
    from slicing_rllib.runs.ray_session import ray_session

    require_stable_baselines3("bench learning")
    # The whole run starts Ray by itself, so it ends before this process starts Ray.
    found = list(paper_run.run(on_message=err.print)) if whole_run else []
    with ray_session(3):
        rows = benchmark.run(turns=turns, seconds=seconds, max_cells=cells, on_message=err.print)
        print_rows(chain(found, rows), json)


def gymnasium_tasks(
    seeds: Annotated[int, typer.Option(min=1, help="Trainings per task and implementation.")] = 5,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="Pendulum-v1 or MountainCarContinuous-v0; may be repeated. Default: both."
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1000, help="Steps of each training in place of the task's own."),
    ] = None,
    json: Json = False,
) -> None:
    """Trains TD3 on tasks of Gymnasium, and compares with TD3 of Stable-Baselines3.

    Both have the same networks, settings and number of steps. Prints the mean
    return of the trained policies over the same 20 episodes with 95 % intervals
    over seeds (low, high), the difference, and the steps per second of training.
    It needs Stable-Baselines3, which the extra dev installs.

    Exit code 0 when everything is measured.

    Example: slicing-rllib bench gymnasium --task Pendulum-v1 --seeds 3
    """
    from slicing_rllib.benchmarks import gymnasium_tasks as benchmark
    from slicing_rllib.benchmarks.learning_peers.gymnasium_td3 import TASKS
    from slicing_rllib.cli.console import err
    from slicing_rllib.runs.ray_session import ray_session

    require_stable_baselines3("bench gymnasium")
    tasks = task or list(TASKS)
    unknown = [name for name in tasks if name not in TASKS]
    if unknown:
        raise typer.BadParameter(f"--task: expected one of {', '.join(TASKS)}, got {unknown[0]}")
    with ray_session(1):
        rows = benchmark.run(tasks=tasks, seeds=seeds, steps=steps, on_message=err.print)
        print_rows(rows, json)


def transfer(
    decisions: Annotated[
        int, typer.Option(min=1, help="Number of decisions in a live run. Their median counts.")
    ] = 20,
    turns: Turns = 5,
    warm_starts: Annotated[
        int, typer.Option(min=0, help="Warm starts of each kind that the guard judges.")
    ] = 60,
    json: Json = False,
) -> None:
    """Measures how long a transfer takes, and how many harmful sources the guard stops.

    Prints the times of VAE training, of distances (with the speed-up over the
    double loop of eq. (7)) and of a whole decision; then the share of warm
    starts that the guard stops, for healthy sources, for negated weights and
    for policies trained on inverted rewards.

    Exit code 0 when everything is measured.

    Example: slicing-rllib bench transfer --decisions 20
    """
    from slicing_rllib.benchmarks import transfer as benchmark
    from slicing_rllib.benchmarks import transfer_guard
    from slicing_rllib.cli.console import err
    from slicing_rllib.runs.ray_session import ray_session

    with ray_session(2):
        times = benchmark.run(decisions=decisions, turns=turns, on_message=err.print)
        guard = transfer_guard.run(warm_starts=warm_starts, on_message=err.print)
        print_rows(chain(times, guard), json)


def ceiling(
    scenario: Annotated[str, typer.Option(help="Built-in scenario.")] = "paper",
    maps: Annotated[int, typer.Option(min=1, help="Radio maps 0, 1, ...")] = 10,
    steps_per_map: Annotated[int, typer.Option(min=50, help="Training steps per map.")] = 2400,
    updates: Annotated[int, typer.Option(min=1, help="Updates of the large network.")] = 6000,
    seeds: Annotated[int, typer.Option(min=1, help="Evaluation seeds per map.")] = 4,
    steps: Annotated[int, typer.Option(min=1, help="Evaluation steps per seed.")] = 250,
    json: Json = False,
) -> None:
    """Estimates what any policy can earn that knows past measurements only.

    Trains a large network offline, on the reward that each step implies for
    every split, and prints its reward and its share of (cell, step) below 0.95
    beside the traffic-aware baseline. It takes about ten minutes.

    Exit code 0 when everything is measured.

    Example: slicing-rllib bench ceiling --maps 3
    """
    from slicing_rllib.benchmarks import ceiling as benchmark
    from slicing_rllib.cli.console import err
    from slicing_rllib.radio import make_scenario

    rows = benchmark.run(
        scenario=make_scenario(scenario),
        maps=maps,
        steps_per_map=steps_per_map,
        updates=updates,
        steps=steps,
        seeds=seeds,
        on_message=err.print,
    )
    print_rows(rows, json)


def vae_weight(
    scenario: Annotated[str, typer.Option(help="Built-in scenario.")] = "mixed",
    networks: Annotated[int, typer.Option(min=2, help="Radio maps and traffic seeds.")] = 10,
    vae_seeds: Annotated[int, typer.Option(min=2, help="VAEs on the same samples.")] = 3,
    samples: Annotated[int, typer.Option(min=50, help="Steps that every cell contributes.")] = 500,
    json: Json = False,
) -> None:
    """Measures what the weight alpha of eq. (6) does to the comparison of cells.

    Prints, for weights from 0.001 to 1, the error of the reconstruction, how
    many variances reach the encoder's limit, how well each measure separates
    SLA groups, and how often two VAEs choose the same source.

    Exit code 0 when everything is measured.

    Example: slicing-rllib bench vae --networks 5
    """
    from slicing_rllib.benchmarks import vae_weight as benchmark
    from slicing_rllib.cli.console import err
    from slicing_rllib.radio import make_scenario

    rows = benchmark.run(
        scenario=make_scenario(scenario),
        networks=networks,
        vae_seeds=vae_seeds,
        samples=samples,
        on_message=err.print,
    )
    print_rows(rows, json)


def require_stable_baselines3(command: str) -> None:
    """Raises: RunError where the package is missing; only benchmarks need it."""
    from slicing_rllib.storage.errors import RunError

    if find_spec("stable_baselines3") is None:
        raise RunError(f"{command}: expected the package stable-baselines3, which is missing")


app = typer.Typer(
    no_args_is_help=True,
    help="Runs a benchmark and prints its results as a table, or with --json as JSON lines.",
)

app.command()(calibration)
app.command("calibrate-traffic")(calibrate_traffic)
app.command()(simulator)
app.command()(coupling)
app.command()(learning)
app.command("gymnasium")(gymnasium_tasks)
app.command()(transfer)
app.command()(cluster)
app.command()(telemetry)
app.command()(serving)
app.command()(ceiling)
app.command("vae")(vae_weight)
