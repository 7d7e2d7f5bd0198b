"""`slicing-rllib train`"""

import time
from pathlib import Path
from typing import Annotated

import typer

from slicing_rllib.service.commands.options import Json, Settings

RUNS = Path("runs")


def train(
    config: Annotated[
        str | None,
        typer.Argument(help="A YAML file, or a built-in name: paper, quick.", show_default="quick"),
    ] = None,
    settings: Settings = None,
    out: Annotated[
        Path | None, typer.Option(help="Run directory. Default: runs/NAME-DATE-TIME.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Goes on from the newest checkpoint; without one, begins."),
    ] = False,
    json: Json = False,
) -> None:
    """Trains a policy per cell, evaluates them beside baselines and oracle, draws the figures.

    Examples:

      slicing-rllib train

      slicing-rllib train paper --set seed=7 --out runs/seed7

      slicing-rllib train --resume --out runs/seed7
    """
    from slicing_rllib.service.config import load_config
    from slicing_rllib.service.console import ProgressBar, policies_table, print_json
    from slicing_rllib.service.console import out as stdout
    from slicing_rllib.service.ray_session import imported_beside, ray_session
    from slicing_rllib.service.runs.run_directory import RunDirectory

    wanted = load_config(config or "quick", settings or [])
    path = out or (_newest(wanted.name) if resume else _fresh(wanted.name))
    resumes = resume and (path / "config.yaml").exists()
    if resumes:
        run = RunDirectory.open(path)
        wanted = run.config_unless_other(config, settings or [])
    else:
        run = RunDirectory.create(path, wanted)
    with ProgressBar() as bar:
        bar.on_message(f"run: {path}")
        with imported_beside("slicing_rllib.service.runs.training"), ray_session(wanted.cpus):
            from slicing_rllib.service.runs.training import train as run_training

            summary = run_training(wanted, run, bar, resume=resumes)
    if json:
        print_json(summary)
    else:
        stdout.print(policies_table(summary["policies"]))
        stdout.print(f"figures, table and checkpoints: {path}", soft_wrap=True)


def _fresh(name: str) -> Path:
    return RUNS / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def _newest(name: str) -> Path:
    """The last run of that name. Raises: RunError where there is none."""
    from slicing_rllib.service.errors import RunError

    found = sorted(RUNS.glob(f"{name}-*/config.yaml"))
    if not found:
        raise RunError(f"{RUNS}: expected a run named {name}-* to resume; --out DIR names another")
    return found[-1].parent
