"""`slicing-rllib closed-loop`"""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from slicing_rllib.service.commands.options import Json, Run


def closed_loop(
    run: Run,
    url: Annotated[
        str | None,
        typer.Option(help="Service of the run's policies. Default: one is started."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Network steps.")] = 250,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the service's bearer token. Default: the environment variable "
            "SLICING_RLLIB_SERVE_TOKEN."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Controls the simulated network over HTTP, and compares with evaluation in process.

    The simulator is the network: after every step, the KPIs of all cells go to the service, and
    its shares are applied. The same steps run in process with the same policies. The exit code is
    1 if a KPI differs by more than 1e-6, or if a fallback answered.

    Examples:

      slicing-rllib closed-loop runs/quick-20260101-120000

      slicing-rllib closed-loop runs/quick-20260101-120000 --url http://127.0.0.1:8000 --steps 50
    """
    from slicing_rllib.service.commands.progress_bar import ProgressBar
    from slicing_rllib.service.console import out as stdout
    from slicing_rllib.service.console import print_json
    from slicing_rllib.service.errors import RunError
    from slicing_rllib.service.runs.run_directory import RunDirectory

    try:
        from slicing_rllib.service.serving.closed_loop import run_closed_loop
        from slicing_rllib.service.serving.server import serve_for_command
        from slicing_rllib.service.serving.settings import ServiceArguments, read_token
    except ModuleNotFoundError as error:
        raise RunError(
            f'closed-loop: the package {error.name} is missing; pip install "slicing-rllib[serve]"'
        ) from error

    opened = RunDirectory.open(run)
    arguments = ServiceArguments(
        run=str(run.resolve()), token_file=token_file and str(token_file.resolve())
    )
    service = serve_for_command(arguments) if url is None else nullcontext(url)
    with service as address, ProgressBar() as bar:
        result = run_closed_loop(opened, address, steps, read_token(arguments), bar.on_rollout)
    if json:
        print_json({**result._asdict(), "equal": result.is_equal})
    else:
        worst = max(result.largest_difference, key=result.largest_difference.__getitem__)
        stdout.print(
            f"{result.steps} steps over HTTP: reward {result.reward_mean:.4f} "
            f"(in process {result.in_process_reward_mean:.4f}), "
            f"satisfaction {result.satisfaction_mean:.4f}"
        )
        stdout.print(
            f"largest difference of a KPI: {result.largest_difference[worst]:.1e} ({worst})"
        )
        stdout.print(f"fallbacks: {result.fallbacks or 'none'}")
    if not result.is_equal:
        raise typer.Exit(1)
