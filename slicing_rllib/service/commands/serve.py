"""`slicing-rllib serve`"""

import time
from pathlib import Path
from typing import Annotated

import typer

from slicing_rllib.service.commands.options import Json


def serve(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN_OR_LIBRARY",
            help="A run directory, or a policy library: a folder or a URI.",
        ),
    ],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    json: Json = False,
) -> None:
    """Serves trained policies over HTTP with Ray Serve until Ctrl-C.

    Prints the URL of the service. Its resources are GET /v1/health, GET /v1/cells and POST
    /v1/prb-ratio; /openapi.json describes them. The service does not ask callers for a token.

    Example: slicing-rllib serve runs/quick-20260101-120000 --port 8000
    """
    from slicing_rllib.service.console import out, print_json_line
    from slicing_rllib.service.errors import RunError
    from slicing_rllib.service.ray_session import ray_session
    from slicing_rllib.service.runs.interruption import catch_signals

    try:
        from slicing_rllib.service.serving.application import load_policies, serve_policies
    except ModuleNotFoundError as error:
        raise RunError(
            f'serve: the package {error.name} is missing; pip install "slicing-rllib[serve]"'
        ) from error

    location = str(Path(source).resolve()) if Path(source).exists() else source
    load_policies(location)
    with (
        ray_session(2),
        catch_signals() as interruption,
        serve_policies(location, host, port),
    ):
        url = f"http://{host}:{port}/v1/"
        print_json_line({"url": url}) if json else out.print(f"{url}  (Ctrl-C ends the server)")
        while not interruption.is_requested:
            time.sleep(0.1)
