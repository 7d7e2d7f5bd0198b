"""Commands on clusters: `submit`, `cluster check|release`; and the page of runs, `monitor`."""

import socket
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from slicing_rllib.cli.console import (
    Json,
    Version,
    make_sweep_table,
    make_table,
    open_run,
    print_message,
    print_result,
    print_summary,
    print_text,
    print_url,
    show,
)
from slicing_rllib.storage import read_json
from slicing_rllib.storage.errors import ConfigError, RunError

Address = Annotated[
    str, Option(envvar="RAY_API_SERVER_ADDRESS", help="URL of the cluster's dashboard.")
]
SharedStorage = Annotated[
    str | None,
    Option(
        envvar="SLICING_RLLIB_STORAGE",
        help="Folder that the cluster's nodes share and in which they keep runs. Default: the "
        "folder that SLICING_RLLIB_STORAGE names on the cluster, else /tmp/slicing-rllib-run on "
        "one node.",
    ),
]

cluster_app = typer.Typer(
    no_args_is_help=True, help="Checks Ray clusters, and releases policies on Kubernetes."
)


@cluster_app.command()
def check(
    address: Address = "http://127.0.0.1:8265", storage: SharedStorage = None, json: Json = False
) -> None:
    """Checks whether a cluster can run jobs.

    Prints one row per check: dashboard, versions of Ray, Python, PyTorch and our code, the code in
    the image, token, resources, Redis, shared storage, clocks and metrics ports. In a pod with the
    role of clusters/kuberay/preflight.yaml, it also checks KubeRay's version and feature gates, the
    volume claims and the service of Redis. The exit code is 1 if a check fails.

    Example: slicing-rllib cluster check --address http://127.0.0.1:8265 --storage /results
    """
    from slicing_rllib.cluster.preflight import run_checks
    from slicing_rllib.runs.ray_session import quieten

    quieten()
    checks = list(run_checks(address, storage, on_message=print_message))
    rows = ((c.name, "yes" if c.ok else "[bold red]NO[/]", show(c.found)) for c in checks)
    table = make_table("", ("check", "ok", "found"), rows, folded=("found",))
    print_result([check._asdict() for check in checks], json, table)
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


@cluster_app.command()
def release(
    service: Annotated[str, Argument(metavar="RAYSERVICE", help="Name of the RayService.")],
    version: Version = None,
    url: Annotated[
        str | None, Option(help="URL of the service. Default: http://RAYSERVICE-serve-svc:8000.")
    ] = None,
    json: Json = False,
) -> None:
    """Serves another version of the policy library that a RayService serves.

    Runs in a pod with the role of clusters/kuberay/release.yaml. Changes the version in the
    arguments of the application, and waits until all replicas serve it. If the version does not
    run, restores the previous one, and the exit code is 1.

    Examples:

      slicing-rllib cluster release slicing-serve

      slicing-rllib cluster release slicing-serve --version 3
    """
    from slicing_rllib.cluster.kubernetes import find_kubernetes_api, release_version

    api = find_kubernetes_api()
    if api is None:
        raise RunError("cluster release: expected to run in a pod with a service account")
    url = url or f"http://{service}-serve-svc:8000"
    result = release_version(api, service, version, url, on_message=print_message)
    print_result(result._asdict(), json, f"{service}: {result}")


def submit(
    arguments: Annotated[
        list[str],
        Argument(
            metavar="-- train|sweep ... | status|logs|stop ID",
            help="The command to run as a job, after --; or a question about the job ID.",
        ),
    ],
    address: Address = "http://127.0.0.1:8265",
    follow: Annotated[
        bool,
        Option(
            "--follow/--detach",
            help="With --follow, shows the job's log until it ends and fetches its results. With "
            "--detach, prints the job's ID and ends.",
        ),
    ] = True,
    submission_id: Annotated[
        str | None,
        Option("--id", help="ID of the job. Default: built from the config and the time."),
    ] = None,
    out: Annotated[
        Path | None, Option(help="Local folder for the results. Default: runs/ID.")
    ] = None,
    storage: SharedStorage = None,
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
    from slicing_rllib.cluster.client import Cluster, fetch_results
    from slicing_rllib.cluster.jobs import format_details, make_job_spec
    from slicing_rllib.runs.ray_session import quieten

    quieten()
    cluster = Cluster(address)
    if arguments[0] in ("status", "logs", "stop"):
        if len(arguments) != 2:
            raise ConfigError(f"submit {arguments[0]}: expected one ID")
        question, asked = arguments
        if question == "logs":
            print_text(cluster.read_log(asked))
            return
        if question == "stop":
            cluster.stop(asked)
        print_text(format_details(cluster.read_details(asked)) + "\n")
        return
    job_spec = make_job_spec(arguments, submission_id)
    if not cluster.submit(job_spec, storage, on_message=print_message):
        print_message(f"{job_spec.submission_id} exists already: following it")
    if not follow:
        print_result({"submission_id": job_spec.submission_id}, json, job_spec.submission_id)
        return
    code = cluster.follow(job_spec.submission_id, on_message=print_message)
    if code:
        print_message(f"all of the job's log: slicing-rllib submit logs {job_spec.submission_id}")
        raise typer.Exit(code)
    folder = fetch_results(cluster, job_spec, out or Path("runs") / job_spec.submission_id)
    where = f"results: {folder}"
    if job_spec.command == "train":
        print_summary(open_run(folder).summary(), json, where)
    else:
        result = read_json(folder / "results.json")
        print_result(result, json, make_sweep_table(result), where)


def monitor(
    directory: Annotated[
        Path, Argument(metavar="RUN_OR_DIR", help="A run directory, or a folder of them.")
    ],
    port: Annotated[
        int, Option(min=0, max=65535, help="Port to listen on; 0 means any free port.")
    ] = 8080,
    host: Annotated[str, Option(help="Address to listen on.")] = "127.0.0.1",
    allow_host: Annotated[
        list[str] | None,
        Option(
            help="Host name, besides localhost, under which browsers may open the page. May be "
            "repeated."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Serves a live web page of one or more runs until Ctrl-C.

    Prints the URL of the page. The page is read-only, needs no Ray, and shows runs that are in
    progress and runs that have ended.

    Example: slicing-rllib monitor runs --port 8080
    """
    from slicing_rllib.monitor import MonitorServer, make_monitor_app

    if not directory.is_dir():
        raise RunError(f"{directory}: expected a run directory or a folder of them")
    for name in allow_host or ():
        if "*" in name:
            raise ConfigError(f"--allow-host: expected a host name without '*', got {name!r}")
    try:
        listener = socket.create_server((host, port))
    except OSError as error:
        raise RunError(f"port {port} on {host}: cannot listen ({error.strerror})") from error
    with listener:
        url = f"http://{host}:{listener.getsockname()[1]}/"
        print_url(url, json)
        MonitorServer(make_monitor_app(directory, allowed_hosts=allow_host or ())).run([listener])
