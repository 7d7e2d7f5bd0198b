"""`slicing-rllib export`"""

from pathlib import Path
from typing import Annotated

import typer

from slicing_rllib.service.commands.options import Json


def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN_OR_LIBRARY",
            help="A run directory, or a policy library: a folder or a URI.",
        ),
    ],
    cell: Annotated[
        list[str] | None,
        typer.Option(help="Cell whose policy is exported. May be repeated."),
    ] = None,
    all_cells: Annotated[
        bool, typer.Option("--all", help="Exports the policies of all cells.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("export"),
    version: Annotated[
        int | None,
        typer.Option("--version", min=1, help="Version of a library's bundles. Default: newest."),
    ] = None,
    json: Json = False,
) -> None:
    """Exports policies from measured KPIs to shares: safetensors, ONNX and a manifest per cell.

    The ONNX graph takes KPIs in physical units and contains encoder, base policy and actor. It is
    compared with NumPy on recorded and random KPIs before it is written. Equal policies give equal
    bytes. Without --cell, --all is required.

    Examples:

      slicing-rllib export runs/quick-20260101-120000 --cell cell_1

      slicing-rllib export policies --all --version 3 --out /srv/policies
    """
    from slicing_rllib.service.console import out as stdout
    from slicing_rllib.service.console import print_json
    from slicing_rllib.service.errors import ConfigError, RunError

    try:
        from slicing_rllib.service.serving.export import export_policies
    except ModuleNotFoundError as error:
        raise RunError(
            f'export: the package {error.name} is missing; pip install "slicing-rllib[serve]"'
        ) from error

    if bool(cell) == all_cells:
        raise ConfigError("export: expected either --cell or --all")
    exported = export_policies(source, out, cell, version)
    if json:
        print_json({"exported": [row._asdict() for row in exported]})
        return
    for row in exported:
        largest = max(value for key, value in row.parity.items() if key.endswith("difference"))
        stdout.print(f"{row.folder}  {row.policy}  ONNX − NumPy at most {largest:.1e}")
