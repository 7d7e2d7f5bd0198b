"""`slicing-rllib report`"""

from pathlib import Path
from typing import Annotated

import typer

from slicing_rllib.service.commands.options import Json


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run directories, or one experiment.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to. Default: the run's own.")
    ] = None,
    readme: Annotated[
        Path | None, typer.Option(help="Page that gets an experiment's headline between its marks.")
    ] = None,
    json: Json = False,
) -> None:
    """Tables (Markdown, CSV) and figures (PNG, SVG) of a run or an experiment.

    Of several runs each counts as one seed. An experiment is reported on its complete seeds.

    Examples:

      slicing-rllib report runs/seed7

      slicing-rllib report runs/seed1 runs/seed2 runs/seed3 --out report

      slicing-rllib report experiments/paper --readme tune_configs/README.md
    """
    from slicing_rllib.service.console import out as stdout
    from slicing_rllib.service.console import policies_table, print_json
    from slicing_rllib.service.runs.report import write_report
    from slicing_rllib.service.runs.run_directory import RunDirectory

    if len(runs) == 1 and (runs[0] / "experiment.yaml").is_file():
        _of_experiment(runs[0], out, readme, json)
        return
    written = write_report([RunDirectory.open(path) for path in runs], out)
    if json:
        print_json({"policies": written.policies, "files": [str(path) for path in written.files]})
        return
    stdout.print(policies_table(written.policies))
    for path in written.files:
        stdout.print(str(path), soft_wrap=True)


def _of_experiment(folder: Path, out: Path | None, readme: Path | None, json: bool) -> None:
    from slicing_rllib.service.console import out as stdout
    from slicing_rllib.service.console import print_json
    from slicing_rllib.service.experiments.report import (
        headline,
        write_experiment_report,
        write_into,
    )

    written = write_experiment_report(folder, out)
    if readme is not None:
        write_into(readme, written.summary["experiment"], headline(out or folder))
    if json:
        print_json(written.summary)
        return
    stdout.print(written.table)
    for path in written.files:
        stdout.print(str(path), soft_wrap=True)
