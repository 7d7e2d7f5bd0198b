"""`slicing-rllib cluster`"""

from typing import Annotated

import typer

from slicing_rllib.service.commands.options import Json

app = typer.Typer(no_args_is_help=True, help="Checks the Ray clusters on which jobs are to run.")


@app.callback()
def _root() -> None:
    """Checks the Ray clusters on which jobs are to run."""


@app.command()
def check(
    address: Annotated[
        str,
        typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="URL of the cluster's dashboard."),
    ] = "http://127.0.0.1:8265",
    storage: Annotated[
        str | None,
        typer.Option(
            envvar="SLICING_RLLIB_STORAGE",
            help="Folder that all nodes share. Default: the same as for submit.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Checks whether a cluster can run jobs.

    Prints one row per check: dashboard, versions of Ray, Python, PyTorch and our code, token,
    resources, shared storage, clocks and metrics ports. The exit code is 1 if a check fails.

    Example: slicing-rllib cluster check --address http://127.0.0.1:8265 --storage /results
    """
    from slicing_rllib.service.cluster.preflight import run_checks
    from slicing_rllib.service.console import err, make_checks_table, out, print_json
    from slicing_rllib.service.ray_session import quieten

    quieten()
    checks = list(run_checks(address, storage, on_message=err.print))
    if json:
        print_json([check._asdict() for check in checks])
    else:
        out.print(make_checks_table(checks))
    if not all(check.ok for check in checks):
        raise typer.Exit(1)
