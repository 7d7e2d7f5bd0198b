"""`slicing-rllib drill`"""

import signal
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from slicing_rllib.cli.console import Json


def drill(
    minutes: Annotated[
        float, typer.Option(min=0.1, help="After this time no further fault is injected.")
    ] = 5.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the order and times of the faults.")] = 0,
    kills: Annotated[
        int,
        typer.Option(
            min=0,
            max=10_000,
            help="Before the rest, kill so many processes while they write a checkpoint, and lose "
            "the power at each of its file operations in a model of a disk.",
        ),
    ] = 0,
    page: Annotated[
        Path | None,
        typer.Option(
            help="A Markdown page in which the table between the marks `<!-- begin drill -->` and "
            "`<!-- end drill -->` is replaced."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Trains on a Ray cluster of several local nodes and injects faults at random times.

    Kills, pauses and interrupts the training, its env runners, learners and nodes, fills its disk,
    damages its checkpoints, breaks its KPIs and clock. Prints a line per fault: what noticed it,
    how long until the training went on, and how many steps it had to make again. The exit code is 1
    if a training did not recover, lost more than the steps since its last checkpoint, or ended with
    other weights than an undisturbed one. Touches only processes and files of its own.

    Examples:

      slicing-rllib drill --minutes 2

      slicing-rllib drill --minutes 20 --kills 200 --seed 1 --json
    """
    from tempfile import TemporaryDirectory

    from slicing_rllib.cli.console import err, make_drill_table, print_json
    from slicing_rllib.cli.console import out as stdout
    from slicing_rllib.drill.report import (
        HEADINGS,
        MARK,
        describe_checkpoints,
        describe_failures,
        format_rows,
        make_summary,
        write_table,
    )
    from slicing_rllib.drill.result import DrillResult
    from slicing_rllib.drill.rounds import run_drill
    from slicing_rllib.storage.errors import RunError
    from slicing_rllib.studies.experiment_report import split_at_marks

    if page is not None:
        split_at_marks(page, MARK)  # Refused now rather than after the drill.

    def on_message(text: str) -> None:
        err.print(text, highlight=False, markup=False, soft_wrap=True)

    def end(signum: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    # Also where a shell has started the drill in the background, in which SIGINT is ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    result = DrillResult(on_message)
    try:
        with (
            TemporaryDirectory(prefix="drill-") as folder,
            TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as ray_folder,
        ):
            run_drill(
                Path(folder),
                Path(ray_folder),
                minutes=minutes,
                seed=seed,
                kills=kills,
                result=result,
            )
    finally:
        if json:
            print_json(make_summary(result, seed))
        else:
            stdout.print(make_drill_table(HEADINGS, format_rows(result)))
            stdout.print(describe_checkpoints(result), describe_failures(result))
        if page is not None:
            write_table(page, result, seed)
    if problems := result.problems:
        raise RunError(f"{len(problems)} of the faults show a problem, first: {problems[0]}")
