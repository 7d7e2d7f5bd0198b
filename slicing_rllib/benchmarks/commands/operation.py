"""Benchmarks of what runs around training: `cluster`, `telemetry`, `serving`."""

from typing import Annotated

import typer

from slicing_rllib.benchmarks.commands.options import Seconds, Turns
from slicing_rllib.benchmarks.commands.printing import print_rows
from slicing_rllib.service.commands.options import Json


def cluster(turns: Turns = 5, seconds: Seconds = 5.0, json: Json = False) -> None:
    """Measures steps per second with env runners on one and on two Ray nodes of this machine.

    Prints the rates of whole training and of sampling alone, with their ratio
    to one node.

    Exit code 0 when everything is measured.

    Example: slicing-rllib bench cluster --turns 5
    """
    from slicing_rllib.benchmarks import cluster as benchmark
    from slicing_rllib.service.console import err
    from slicing_rllib.service.ray_session import quieten

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
    from slicing_rllib.service.console import err
    from slicing_rllib.service.ray_session import ray_session

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
    from slicing_rllib.service.console import err
    from slicing_rllib.service.errors import RunError

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
