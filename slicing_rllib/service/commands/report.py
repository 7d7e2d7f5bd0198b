"""`slicing-rllib report`"""

from pathlib import Path
from typing import Annotated

import typer

from slicing_rllib.service.commands.options import Json


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to. Default: the run's own.")
    ] = None,
    json: Json = False,
) -> None:
    """Tables (Markdown, CSV) and figures (PNG, SVG) of a run; of several, each run one seed.

    Examples:

      slicing-rllib report runs/seed7

      slicing-rllib report runs/seed1 runs/seed2 runs/seed3 --out report
    """
    from slicing_rllib.service.console import out as stdout
    from slicing_rllib.service.console import policies_table, print_json
    from slicing_rllib.service.reports import write_report
    from slicing_rllib.service.run_directory import RunDirectory

    written = write_report([RunDirectory.open(path) for path in runs], out)
    if json:
        print_json({"policies": written.policies, "files": [str(path) for path in written.files]})
        return
    stdout.print(policies_table(written.policies))
    for path in written.files:
        stdout.print(str(path), soft_wrap=True)
