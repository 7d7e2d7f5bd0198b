"""`slicing-rllib sweep`"""

import time
from pathlib import Path
from typing import Annotated

import typer

from slicing_rllib.service.commands.options import Json


def sweep(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="YAML", help="A sweep file, or the name of one in tune_configs/sweeps/."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the sweep. Default: sweeps/NAME-DATE-TIME."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continues the sweep in the folder --out.")
    ] = False,
    json: Json = False,
) -> None:
    """Runs many trainings that differ in a few settings, with Ray Tune.

    Prints a table of the trials, best first, and the names of the files; the exit code is 1 if a
    trial failed in the end. Runs on the cluster that
    RAY_ADDRESS names, else on this machine.

    Examples:

      slicing-rllib sweep learning_rates

      slicing-rllib sweep mine.yaml --out sweeps/mine

      slicing-rllib sweep --resume --out sweeps/mine
    """
    from slicing_rllib.service.console import err, make_sweep_table, print_json
    from slicing_rllib.service.console import out as stdout
    from slicing_rllib.service.errors import ConfigError, RunError
    from slicing_rllib.service.ray_session import ray_session
    from slicing_rllib.service.sweeps.config import load_sweep
    from slicing_rllib.service.sweeps.runner import resume_sweep, run_sweep

    if resume and out is None:
        raise ConfigError("sweep --resume: expected --out with the folder of a sweep")
    if source is None and not resume:
        raise ConfigError("sweep: expected a YAML file or the name of a sweep")
    with ray_session(2):
        if resume and out is not None and (source is None or (out / "sweep.yaml").exists()):
            result = resume_sweep(out, err.print)
        else:
            loaded = load_sweep(source or "")
            folder = out or Path("sweeps") / f"{loaded.name}-{time.strftime('%Y%m%d-%H%M%S')}"
            result = run_sweep(loaded, folder, err.print)
    if json:
        print_json(result.rows)
    else:
        stdout.print(make_sweep_table(result.rows))
        for path in result.files:
            stdout.print(str(path), soft_wrap=True)
    failed = [row for row in result.rows if row["error"]]
    if failed:
        raise RunError(
            f"{len(failed)} of {len(result.rows)} trials failed, the first one: "
            f"{failed[0]['error']}; --resume --out tries them again"
        )
