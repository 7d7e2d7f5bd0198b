"""`slicing-rllib submit`"""

from json import loads
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slicing_rllib.service.commands.options import Json

if TYPE_CHECKING:
    from slicing_rllib.service.cluster.client import Cluster

QUESTIONS = ("status", "logs", "stop")


def submit(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="-- train|sweep ... | status|logs|stop ID",
            help="The command to run as a job, after --; or a question about the job ID.",
        ),
    ],
    address: Annotated[
        str | None,
        typer.Option(
            envvar="RAY_API_SERVER_ADDRESS",
            help="URL of the cluster's dashboard. Default: http://127.0.0.1:8265.",
        ),
    ] = None,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow/--detach",
            help="With --follow, shows the job's log until it ends and fetches its results. With "
            "--detach, prints the job's ID and ends.",
        ),
    ] = True,
    submission_id: Annotated[
        str | None,
        typer.Option("--id", help="ID of the job. Default: built from the config and the time."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Local folder for the results. Default: runs/ID.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            envvar="SLICING_RLLIB_STORAGE",
            help="Folder that the cluster's nodes share and in which they keep runs. Default: the "
            "folder that SLICING_RLLIB_STORAGE names on the cluster, else "
            "/tmp/slicing-rllib-run on one node.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Runs train or sweep as a job on a Ray cluster.

    Shows what the command says, without Ray's own messages, and prints the result table when the
    job has ended; submit logs ID shows the whole log. The exit code is the job's own exit code; 130
    means that the job was stopped.

    If a job with the same ID, command and config exists, submit follows it instead. If that job
    failed or was stopped, it resumes from its last checkpoint in the storage.

    status prints the state of a job as JSON, logs prints its log, and stop asks it to write a
    checkpoint and end.

    The cluster's token is read from RAY_AUTH_TOKEN or ~/.ray/auth_token, with RAY_AUTH_MODE=token.

    Examples:

      slicing-rllib submit --address http://127.0.0.1:8265 -- train paper --set num_env_runners=4

      slicing-rllib submit --detach --id night --storage /results -- train paper

      slicing-rllib submit -- sweep learning_rates

      slicing-rllib submit status night
    """
    from slicing_rllib.service.cluster.client import Cluster
    from slicing_rllib.service.cluster.connection import DEFAULT_ADDRESS
    from slicing_rllib.service.cluster.job_spec import make_job_spec
    from slicing_rllib.service.cluster.results import fetch_results
    from slicing_rllib.service.console import err, print_json
    from slicing_rllib.service.console import out as stdout
    from slicing_rllib.service.errors import ConfigError
    from slicing_rllib.service.ray_session import quieten

    def show_message(text: str) -> None:
        err.print(text, highlight=False, markup=False, soft_wrap=True)

    quieten()
    dashboard = address or DEFAULT_ADDRESS
    if arguments[0] in QUESTIONS:
        if len(arguments) != 2:
            raise ConfigError(f"submit {arguments[0]}: expected one ID")
        _answer(Cluster(dashboard), arguments[0], arguments[1])
        return
    job_spec = make_job_spec(arguments, submission_id)
    cluster = Cluster(dashboard)
    if not cluster.submit(job_spec, storage, on_message=show_message):
        show_message(f"{job_spec.submission_id} exists already: following it")
    if not follow:
        job_id = job_spec.submission_id
        print_json({"submission_id": job_id}) if json else stdout.print(job_id)
        return
    code = cluster.follow(job_spec.submission_id, on_message=show_message)
    if code:
        show_message(f"all of the job's log: slicing-rllib submit logs {job_spec.submission_id}")
        raise typer.Exit(code)
    folder = fetch_results(cluster, job_spec, out or Path("runs") / job_spec.submission_id)
    _show_result(job_spec.command, folder, json)


def _answer(cluster: "Cluster", question: str, submission_id: str) -> None:
    from slicing_rllib.service.cluster.job_details import format_details

    if question == "logs":
        typer.echo(cluster.read_log(submission_id), nl=False)
        return
    if question == "stop":
        cluster.stop(submission_id)
    typer.echo(format_details(cluster.read_details(submission_id)))


def _show_result(command: str, folder: Path, json: bool) -> None:
    from slicing_rllib.service.console import (
        make_hours_table,
        make_policies_table,
        make_sweep_table,
        print_json,
    )
    from slicing_rllib.service.console import out as stdout
    from slicing_rllib.service.runs.run_directory import RunDirectory

    result: Any
    if command == "train":
        result = RunDirectory.open(folder).summary()
        table = make_policies_table(result["policies"])
    else:
        result = loads((folder / "results.json").read_text(encoding="utf-8"))
        table = make_sweep_table(result)
    if json:
        print_json(result)
        return
    stdout.print(table)
    if command == "train" and "hours" in result:
        stdout.print(make_hours_table(result["hours"]))
    stdout.print(f"results: {folder}", soft_wrap=True)
