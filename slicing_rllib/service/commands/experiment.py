"""`slicing-rllib experiment`"""

from pathlib import Path
from typing import Annotated

import typer

from slicing_rllib.service.commands.options import Json


def experiment(
    name: Annotated[
        str, typer.Argument(help="Name of an experiment in tune_configs/, or a YAML file.")
    ],
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="Number of seeds. Default: as in the experiment's file."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
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
    from slicing_rllib.service.console import err, print_json
    from slicing_rllib.service.console import out as stdout
    from slicing_rllib.service.experiments.config import load_experiment
    from slicing_rllib.service.experiments.report import write_experiment_report
    from slicing_rllib.service.experiments.runner import run_experiment

    loaded = load_experiment(name, seeds)
    folder = out or Path("experiments") / loaded.name
    run_experiment(loaded, folder, lambda text: err.print(text, highlight=False, soft_wrap=True))
    report = write_experiment_report(folder)
    if json:
        print_json(report.summary)
        return
    stdout.print(report.table)
    for path in report.files:
        stdout.print(str(path), soft_wrap=True)
