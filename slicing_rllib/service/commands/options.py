"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[
    bool, typer.Option("--json", help="Prints the result as JSON, and nothing else, on stdout.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Overrides one setting of the config. May be repeated."
    ),
]
Config = Annotated[
    str,
    typer.Argument(help="A YAML file, or a built-in name: paper or quick.", metavar="CONFIG"),
]
Run = Annotated[Path, typer.Argument(help="A run directory, as train writes it.", metavar="RUN")]
