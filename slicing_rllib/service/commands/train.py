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
        typer.Argument(
            help="A YAML file, or a built-in name: paper or quick.", show_default="quick"
        ),
    ] = None,
    settings: Settings = None,
    out: Annotated[
        Path | None, typer.Option(help="Run directory to write. Default: runs/NAME-DATE-TIME.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continues from the run's newest valid checkpoint, or starts the run if there is "
            "none. Without --out, continues the newest run of this name.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Trains one policy per cell and evaluates them against the baselines and the oracle.

    Prints the result table and writes the run directory with its figures. The exit code is 130 if
    the run was interrupted; its checkpoint has then been written.

    Examples:

      slicing-rllib train

      slicing-rllib train paper --set seed=7 --out runs/seed7

      slicing-rllib train --resume --out runs/seed7
    """
    from slicing_rllib.service.commands.progress_bar import ProgressBar
    from slicing_rllib.service.config import load_config
    from slicing_rllib.service.console import make_hours_table, make_policies_table, print_json
    from slicing_rllib.service.console import out as stdout
    from slicing_rllib.service.ray_leftovers import end_leftovers
    from slicing_rllib.service.ray_session import import_in_background, ray_session
    from slicing_rllib.service.runs.run_directory import RunDirectory
    from slicing_rllib.service.runs.trial_step import check_memory

    loaded = load_config(config or "quick", settings or [])
    check_memory(loaded, config or "quick")
    path = out or (_find_newest_run(loaded.name) if resume else _name_new_run(loaded.name))
    resumes = resume and (path / "config.yaml").exists()
    if resumes:
        run = RunDirectory.open(path)
        loaded = run.load_same_config(config, settings or [])
    else:
        run = RunDirectory.create(path, loaded)
    with ProgressBar() as bar:
        bar.on_message(f"run: {path}")
        with run.lock("slicing-rllib train"):
            if left := end_leftovers(path):
                bar.on_message(f"ended {left} processes of Ray that a killed training has left")
        with (
            run.lock("slicing-rllib train"),
            import_in_background("slicing_rllib.service.runs.training"),
            ray_session(loaded.cpus, path),
        ):
            from slicing_rllib.service.runs.training import train as run_training

            summary = run_training(loaded, run, bar, resume=resumes)
    if json:
        print_json(summary)
    else:
        stdout.print(make_policies_table(summary["policies"]))
    if "hours" in summary:
        stdout.print(make_hours_table(summary["hours"]))
        stdout.print(f"figures, table and checkpoints: {path}", soft_wrap=True)


def _name_new_run(name: str) -> Path:
    return RUNS / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def _find_newest_run(name: str) -> Path:
    """The newest run directory of this name. Raises: RunError if there is none."""
    from slicing_rllib.service.errors import RunError

    configs = sorted(RUNS.glob(f"{name}-*/config.yaml"))
    if not configs:
        raise RunError(f"{RUNS}: expected a run named {name}-* to resume, or its folder in --out")
    return configs[-1].parent
