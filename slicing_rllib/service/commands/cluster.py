"""`slicing-rllib cluster`"""

from typing import Annotated

import typer

from slicing_rllib.service.commands.options import Json

app = typer.Typer(no_args_is_help=True, help="Checks Ray clusters, and rolls policies out.")


@app.callback()
def _root() -> None:
    """Checks Ray clusters, and rolls policies out."""


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

    Prints one row per check: dashboard, versions of Ray, Python, PyTorch and our code, the code in
    the image, token, resources, Redis, shared storage, clocks and metrics ports. In a pod with the
    role of clusters/kuberay/preflight.yaml, it also checks KubeRay's version and feature gates, the
    volume claims and the service of Redis. The exit code is 1 if a check fails.

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


@app.command("roll-out")
def roll_out(
    service: Annotated[str, typer.Argument(metavar="RAYSERVICE", help="Name of the RayService.")],
    version: Annotated[
        int | None,
        typer.Option("--version", min=1, help="Default: the newest that every bundle has."),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help="URL of the service. Default: http://RAYSERVICE-serve-svc:8000."),
    ] = None,
    json: Json = False,
) -> None:
    """Serves another version of the policy library that a RayService serves.

    Runs in a pod with the role of clusters/kuberay/rollout.yaml. Changes the version in the
    arguments of the application, and waits until all replicas serve it. If the version does not
    run, restores the previous one, and the exit code is 1.

    Examples:

      slicing-rllib cluster roll-out slicing-serve

      slicing-rllib cluster roll-out slicing-serve --version 3
    """
    from slicing_rllib.service.cluster.kubernetes_api import find_kubernetes_api
    from slicing_rllib.service.cluster.rollout import roll_out as roll_out_version
    from slicing_rllib.service.console import err, print_json
    from slicing_rllib.service.errors import RunError

    api = find_kubernetes_api()
    if api is None:
        raise RunError("cluster roll-out: expected to run in a pod with a service account")
    url = url or f"http://{service}-serve-svc:8000"
    result = roll_out_version(api, service, version, url, on_message=err.print)
    if json:
        print_json(result._asdict())
