"""`slicing-rllib report`"""

from pathlib import Path
from typing import Annotated

import typer

from slicing_rllib.service.commands.options import Json


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Run directories, or the folder of one experiment."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to write to. Default: the folder of the run or experiment."),
    ] = None,
    readme: Annotated[
        Path | None,
        typer.Option(
            help="Markdown file in which the block between the experiment's marks is replaced by "
            "its main results."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Writes tables (Markdown, CSV) and figures (PNG, SVG) of runs or of an experiment.

    Prints the result table and the names of the files. Each of several runs counts as one seed. An
    experiment is reported on the seeds that are complete.

    Examples:

      slicing-rllib report runs/seed7

      slicing-rllib report runs/seed1 runs/seed2 runs/seed3 --out report

      slicing-rllib report experiments/paper --readme tune_configs/README.md
    """
    from slicing_rllib.service.console import make_policies_table, print_json
    from slicing_rllib.service.console import out as stdout
    from slicing_rllib.service.runs.foreign_run import explain_foreign_run
    from slicing_rllib.service.runs.report import write_report
    from slicing_rllib.service.runs.run_directory import RunDirectory

    if len(runs) == 1 and (runs[0] / "experiment.yaml").is_file():
        _report_experiment(runs[0], out, readme, json)
        return
    with explain_foreign_run(" ".join(map(str, runs))):
        written = write_report([RunDirectory.open(path) for path in runs], out)
        table = make_policies_table(written.policies)
    if json:
        print_json({"policies": written.policies, "files": [str(path) for path in written.files]})
        return
    stdout.print(table)
    for path in written.files:
        stdout.print(str(path), soft_wrap=True)


def _report_experiment(folder: Path, out: Path | None, readme: Path | None, json: bool) -> None:
    from slicing_rllib.service.console import out as stdout
    from slicing_rllib.service.console import print_json
    from slicing_rllib.service.experiments.report import (
        format_headline,
        write_between_marks,
        write_experiment_report,
    )

    written = write_experiment_report(folder, out)
    if readme is not None:
        write_between_marks(readme, written.summary["experiment"], format_headline(out or folder))
    if json:
        print_json(written.summary)
        return
    stdout.print(written.table)
    for path in written.files:
        stdout.print(str(path), soft_wrap=True)
