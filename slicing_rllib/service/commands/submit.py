"""`slicing-rllib submit`"""

from json import loads
from pathlib import Path
from typing import Annotated

import typer

from slicing_rllib.service.commands.options import Json


def submit(
    arguments: Annotated[
        list[str],
        typer.Argument(metavar="-- train|sweep ... | status|logs|stop ID", help="What to do."),
    ],
    address: Annotated[
        str | None,
        typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="Dashboard of the cluster."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow/--detach", help="Stay, show its log, fetch its results.")
    ] = True,
    submission_id: Annotated[
        str | None,
        typer.Option("--id", help="Name of the job; the same order twice is one job."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results. Default: runs/ID.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            envvar="SLICING_RLLIB_STORAGE",
            help="Folder that the cluster's nodes share and keep runs in. Default: what the "
            "cluster's own SLICING_RLLIB_STORAGE says, else /tmp/slicing-rllib-run of one node.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """The same command as a job on a Ray cluster; exits with the job's own exit code.

    The same order again goes on with its job: a job that failed or was stopped resumes from its
    last checkpoint in the storage.

    The token comes from RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or ~/.ray/auth_token.

    Examples:

      slicing-rllib submit --address http://127.0.0.1:8265 -- train paper --set num_env_runners=4

      slicing-rllib submit --detach --id night --storage /results -- train paper

      slicing-rllib submit -- sweep learning_rates

      slicing-rllib submit status night
    """
    from slicing_rllib.service.cluster.client import DEFAULT_ADDRESS, Cluster, as_json
    from slicing_rllib.service.cluster.job_spec import make_job_spec
    from slicing_rllib.service.console import err, policies_table, print_json, sweep_table
    from slicing_rllib.service.console import out as stdout
    from slicing_rllib.service.errors import ConfigError
    from slicing_rllib.service.ray_session import quieten
    from slicing_rllib.service.runs.run_directory import RunDirectory

    quieten()
    where = address or DEFAULT_ADDRESS
    if arguments[0] in ("status", "logs", "stop"):
        if len(arguments) != 2:
            raise ConfigError(f"submit {arguments[0]}: expected one ID")
        _about(Cluster(where), arguments[0], arguments[1], as_json)
        return
    order = make_job_spec(arguments, submission_id)
    cluster = Cluster(where)
    says = lambda text: err.print(text, highlight=False, markup=False, soft_wrap=True)  # noqa: E731
    if not cluster.submit(order, storage, says):
        says(f"{order.submission_id} is there already: going on with it")
    if not follow:
        print_json({"submission_id": order.submission_id}) if json else stdout.print(
            order.submission_id
        )
        return
    code = cluster.follow(order.submission_id, says)
    if code:
        raise typer.Exit(code)
    folder = cluster.fetch(order, out or Path("runs") / order.submission_id)
    if order.command == "train":
        result = RunDirectory.open(folder).summary()
        table = policies_table(result["policies"])
    else:
        result = loads((folder / "results.json").read_text(encoding="utf-8"))
        table = sweep_table(result)
    if json:
        print_json(result)
        return
    stdout.print(table)
    stdout.print(f"results: {folder}", soft_wrap=True)


def _about(cluster, question: str, submission_id: str, as_json) -> None:
    if question == "logs":
        typer.echo(cluster.logs(submission_id), nl=False)
        return
    if question == "stop":
        cluster.stop(submission_id)
    typer.echo(as_json(cluster.status(submission_id)))
