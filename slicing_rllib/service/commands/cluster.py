"""`slicing-rllib cluster`"""

from typing import Annotated

import typer

from slicing_rllib.service.commands.options import Json

app = typer.Typer(no_args_is_help=True, help="Ray clusters that jobs are to run on.")


@app.callback()
def _root() -> None:
    """Ray clusters that jobs are to run on."""


@app.command()
def check(
    address: Annotated[
        str, typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="Dashboard of the cluster.")
    ] = "http://127.0.0.1:8265",
    storage: Annotated[
        str | None,
        typer.Option(
            envvar="SLICING_RLLIB_STORAGE", help="Folder that all nodes share, as for submit."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Versions, resources, storage, clocks, token and ports of a cluster, before a job needs them.

    Exit code 1 where something is amiss.

    Example: slicing-rllib cluster check --address http://127.0.0.1:8265 --storage /results
    """
    from slicing_rllib.service.cluster.preflight import checks
    from slicing_rllib.service.console import checks_table, err, out, print_json
    from slicing_rllib.service.ray_session import quieten

    quieten()
    found = list(checks(address, storage, err.print))
    if json:
        print_json([row._asdict() for row in found])
    else:
        out.print(checks_table(found))
    if not all(row.ok for row in found):
        raise typer.Exit(1)
