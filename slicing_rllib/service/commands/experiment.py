"""`slicing-rllib experiment`"""

from pathlib import Path
from typing import Annotated

import typer

from slicing_rllib.service.commands.options import Json


def experiment(
    name: Annotated[str, typer.Argument(help="A name in tune_configs/, or a YAML file.")],
    seeds: Annotated[int | None, typer.Option(min=1, help="Default: the experiment's.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder. Default: experiments/NAME; goes on with it.")
    ] = None,
    json: Json = False,
) -> None:
    """A whole experiment: every arm on every seed, then tables and figures.

    What is done is kept: interrupted, or asked for more seeds, it does only what is missing.

    Examples:

      slicing-rllib experiment paper --seeds 10

      slicing-rllib experiment paper-quick --out experiments/try
    """
    from slicing_rllib.service.console import err, print_json
    from slicing_rllib.service.console import out as stdout
    from slicing_rllib.service.experiments.config import load_experiment
    from slicing_rllib.service.experiments.report import write_experiment_report
    from slicing_rllib.service.experiments.runner import run_experiment

    wanted = load_experiment(name, seeds)
    folder = out or Path("experiments") / wanted.name
    run_experiment(wanted, folder, lambda text: err.print(text, highlight=False, soft_wrap=True))
    report = write_experiment_report(folder)
    if json:
        print_json(report.summary)
        return
    stdout.print(report.table)
    for path in report.files:
        stdout.print(str(path), soft_wrap=True)
