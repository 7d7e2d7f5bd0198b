"""`slicing-rllib transfer`"""

import time
from pathlib import Path
from typing import Annotated

import typer

from slicing_rllib.service.commands.options import Json, Run


def transfer(
    run: Run,
    target: Annotated[str, typer.Option(help="Cell that learns.")],
    source: Annotated[
        str | None, typer.Option(help="Cell or bundle to learn from. Default: the nearest.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="none, model, feature, instance, integrated, generalist or multi_source."
        ),
    ] = "integrated",
    measure: Annotated[
        str | None, typer.Option(help="Of distance. Default: the run's.", show_default=False)
    ] = None,
    library: Annotated[
        str | None, typer.Option(help="Policy library whose bundles are candidates as well.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Under the target's own policy.")] = 4000,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of traffic and movement. Default: an unseen one.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory of the transfer.")] = None,
    json: Json = False,
) -> None:
    """Warm-starts a cell of a finished run from another and fine-tunes it, on unseen traffic.

    The other cells act with the run's policies and do not change. The target starts under the
    default action, is compared with its candidates, and never learns from its own earlier self.

    Examples:

      slicing-rllib transfer runs/seed7 --target cell_5

      slicing-rllib transfer runs/seed7 --target cell_5 --source cell_11 --method model --steps 500
    """
    from slicing_rllib.service.console import ProgressBar, policies_table, print_json
    from slicing_rllib.service.console import out as stdout
    from slicing_rllib.service.runs.run_directory import RunDirectory
    from slicing_rllib.service.runs.training import train
    from slicing_rllib.service.runs.transfer_run import transfer_config

    config = transfer_config(
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
    stdout.print(policies_table(summary["policies"]))
    for cell, told in summary["transfers"].items():
        stdout.print(f"{cell}: {told['message']}", soft_wrap=True)
    stdout.print(f"figures, table and checkpoints: {path}", soft_wrap=True)
