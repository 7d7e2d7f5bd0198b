"""`slicing-rllib transfer`"""

import time
from pathlib import Path
from typing import Annotated

import typer

from slicing_rllib.service.commands.options import Json, Run


def transfer(
    run: Run,
    target: Annotated[str, typer.Option(help="Cell that is warm-started.")],
    source: Annotated[
        str | None,
        typer.Option(
            help="Cell or bundle whose policy is transferred. Default: the one that the measure "
            "finds most similar."
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="What is transferred: none, model, feature, instance, integrated, generalist or "
            "multi_source."
        ),
    ] = "integrated",
    measure: Annotated[
        str | None,
        typer.Option(
            help="Similarity measure. Default: the measure of the run's config.",
            show_default=False,
        ),
    ] = None,
    library: Annotated[
        str | None,
        typer.Option(help="Policy library whose bundles are further candidates for the source."),
    ] = None,
    steps: Annotated[
        int, typer.Option(min=1, help="Network steps under the target's own policy.")
    ] = 4000,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, help="Seed of traffic and movement. Default: one that the run has not used."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Run directory of the transfer. Default: runs/NAME-DATE-TIME."),
    ] = None,
    json: Json = False,
) -> None:
    """Warm-starts one cell of a finished run from a source and fine-tunes it on new traffic.

    The target is first served under the default action and compared with the candidates; its own
    earlier policy is not one of them. The other cells keep acting with the run's policies, which
    are not changed. Prints the result table and the chosen source.

    Examples:

      slicing-rllib transfer runs/seed7 --target cell_5

      slicing-rllib transfer runs/seed7 --target cell_5 --source cell_11 --method model --steps 500
    """
    from slicing_rllib.service.commands.progress_bar import ProgressBar
    from slicing_rllib.service.console import make_hours_table, make_policies_table, print_json
    from slicing_rllib.service.console import out as stdout
    from slicing_rllib.service.runs.run_directory import RunDirectory
    from slicing_rllib.service.runs.training import train
    from slicing_rllib.service.runs.transfer_run import make_transfer_config

    config = make_transfer_config(
        RunDirectory.open(run),
        target,
        source=source,
        method=method,
        measure=measure,
        library=library,
        steps=steps,
        seed=seed,
    )
    path = out or Path("runs") / f"{config.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    new = RunDirectory.create(path, config)
    with ProgressBar() as bar:
        bar.on_message(f"run: {path}")
        summary = train(config, new, bar)
    if json:
        print_json(summary)
        return
    stdout.print(make_policies_table(summary["policies"]))
    if "hours" in summary:
        stdout.print(make_hours_table(summary["hours"]))
    for cell, decision in summary["transfers"].items():
        stdout.print(f"{cell}: {decision['message']}", soft_wrap=True)
    stdout.print(f"figures, table and checkpoints: {path}", soft_wrap=True)
