"""`slicing-rllib serve`"""

import time
from pathlib import Path
from typing import Annotated

import typer

from slicing_rllib.service.commands.options import Json


def serve(
    source: Annotated[
        str, typer.Argument(metavar="RUN_OR_LIBRARY", help="A run directory or a policy library.")
    ],
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    json: Json = False,
) -> None:
    """Trained policies behind HTTP on Ray Serve, until Ctrl-C. It asks callers for no token.

    GET /v1/health, GET /v1/cells, POST /v1/prb-ratio; /openapi.json describes them.

    Example: slicing-rllib serve runs/quick-20260101-120000 --port 8000
    """
    from slicing_rllib.service.console import out, print_json_line
    from slicing_rllib.service.errors import RunError
    from slicing_rllib.service.ray_session import ray_session
    from slicing_rllib.service.runs.interruption import interruptible

    try:
        from slicing_rllib.service.serving.application import policies_in, served
    except ModuleNotFoundError as error:
        raise RunError(
            f'serve: expected {error.name} (pip install "slicing-rllib[serve]")'
        ) from error

    where = str(Path(source).resolve()) if Path(source).exists() else source
    policies_in(where)
    with ray_session(2), interruptible() as interruption, served(where, host, port):
        url = f"http://{host}:{port}/v1/"
        print_json_line({"url": url}) if json else out.print(f"{url}  (Ctrl-C ends it)")
        while not interruption.wanted:
            time.sleep(0.1)
