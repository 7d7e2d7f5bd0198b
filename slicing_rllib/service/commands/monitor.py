"""`slicing-rllib monitor`"""

import socket
from pathlib import Path
from typing import Annotated

import typer

from slicing_rllib.service.commands.options import Json


def monitor(
    directory: Annotated[
        Path,
        typer.Argument(metavar="RUN_OR_DIR", help="A run directory, or a folder of them."),
    ],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 means any free port.")
    ] = 8080,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
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
    from slicing_rllib.service.console import out, print_json_line
    from slicing_rllib.service.errors import ConfigError, RunError

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
        print_json_line({"url": url}) if json else out.print(f"{url}  (Ctrl-C ends the server)")
        MonitorServer(make_monitor_app(directory, allowed_hosts=allow_host or ())).run([listener])
