"""Arguments that commands share."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Machine-readable result, alone on stdout.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Overrides one setting; may be repeated."),
]
Config = Annotated[
    str,
    typer.Argument(help="A YAML file, or a built-in name: paper, quick.", metavar="CONFIG"),
]
Run = Annotated[Path, typer.Argument(help="A run directory.", metavar="RUN")]
