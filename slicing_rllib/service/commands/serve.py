"""`slicing-rllib serve`"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from slicing_rllib.service.commands.options import Json


def serve(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A run directory, a policy library (a folder or a URI), or an export.",
        ),
    ],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Beyond loopback, a token is required.")
    ] = "127.0.0.1",
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the bearer token that callers must present. Default: the environment "
            "variable SLICING_RLLIB_SERVE_TOKEN."
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Serves the bundles whose names begin with this.")] = "",
    version: Annotated[
        int | None,
        typer.Option(
            "--version",
            min=1,
            help="Version of every bundle. Default: the release that rollout has made, or else the "
            "newest version of each bundle.",
        ),
    ] = None,
    pin: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME@VERSION", help="Version of one bundle. May be repeated."),
    ] = None,
    canary: Annotated[
        int | None, typer.Option(min=1, help="Version for a share of the cells.")
    ] = None,
    share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the cells for --canary.")
    ] = 0.1,
    shadow: Annotated[
        int | None,
        typer.Option(min=1, help="Version that answers beside the live one, for comparison."),
    ] = None,
    shadow_log: Annotated[
        Path | None, typer.Option(help="File for the shares of both versions, as JSON lines.")
    ] = None,
    replicas: Annotated[int, typer.Option(min=1, help="Processes that answer.")] = 1,
    max_replicas: Annotated[
        int | None, typer.Option(min=1, help="Processes under full load. Default: --replicas.")
    ] = None,
    direct: Annotated[
        bool,
        typer.Option(
            "--direct",
            help="Answers in this process instead of in replicas of Ray Serve: the shortest "
            "latency, but one process, which nobody restarts.",
        ),
    ] = False,
    max_age_s: Annotated[
        float, typer.Option(min=0.001, help="Age above which KPIs are stale.")
    ] = 10.0,
    json: Json = False,
) -> None:
    """Serves trained policies over HTTP until Ctrl-C, with Ray Serve unless --direct.

    Prints the URL of the service. POST /v1/decisions answers the KPIs of cells with shares of
    their carriers; /openapi.json describes all resources.

    Examples:

      slicing-rllib serve runs/quick-20260101-120000 --port 8000

      slicing-rllib serve policies --direct

      slicing-rllib serve policies --host 0.0.0.0 --token-file token --replicas 2
    """
    from slicing_rllib.service.console import out, print_json_line
    from slicing_rllib.service.errors import ConfigError
    from slicing_rllib.service.ray_session import ray_session
    from slicing_rllib.service.runs.interruption import catch_signals

    with _explain_missing_packages():
        from slicing_rllib.service.serving.policy_holder import load_first
        from slicing_rllib.service.serving.settings import (
            ServiceArguments,
            require_token_beyond_loopback,
        )
        from slicing_rllib.service.serving.versions.release import make_canary

    most = max_replicas or replicas
    if most < replicas:
        raise ConfigError(f"--max-replicas {most}: expected at least --replicas {replicas}")
    if direct and most > 1:
        raise ConfigError(f"--direct: expected one replica, got {most}")
    arguments = ServiceArguments(
        run=_make_absolute(source),
        name=name,
        version=version,
        pins=tuple(pin or ()),
        canary=make_canary(canary, share),
        shadow=shadow,
        shadow_log=shadow_log and str(shadow_log.resolve()),
        token_file=token_file and str(token_file.resolve()),
        min_replicas=replicas,
        max_replicas=most,
        max_age_s=max_age_s,
    )
    arguments = require_token_beyond_loopback(arguments, host)
    load_first(arguments)
    with _explain_missing_packages():
        # After the checks, because Ray Serve takes seconds to import.
        from slicing_rllib.service.serving.direct_server import serve_directly
        from slicing_rllib.service.serving.server import serve_policies

    with (
        ray_session(most + 1),
        catch_signals() as interruption,
        (serve_directly if direct else serve_policies)(arguments, host, port),
    ):
        url = f"http://{host}:{port}/v1/"
        print_json_line({"url": url}) if json else out.print(f"{url}  (Ctrl-C ends the server)")
        while not interruption.is_requested:
            time.sleep(0.1)


@contextmanager
def _explain_missing_packages() -> Iterator[None]:
    from slicing_rllib.service.errors import RunError

    try:
        yield
    except ModuleNotFoundError as error:
        raise RunError(
            f'serve: the package {error.name} is missing; pip install "slicing-rllib[serve]"'
        ) from error


def _make_absolute(source: str) -> str:
    return str(Path(source).resolve()) if Path(source).exists() else source
