"""`slicing-rllib experiment`

`slicing-rllib sweep`
"""

import time
from pathlib import Path
from typing import Annotated

import typer

from slicing_rllib.cli.console import Json


def experiment(
    name: Annotated[
        str, typer.Argument(help="Name of an experiment in tune_configs/, or a YAML file.")
    ],
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="Number of seeds. Default: as in the experiment's file."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the experiment. Default: experiments/NAME. If it exists, the "
            "experiment is continued there."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Trains and evaluates every arm of an experiment on every seed, and writes its report.

    Prints the table of results and the names of the files. Runs that are complete are kept: after
    an interruption (exit code 130), or with more seeds, the same command does what is missing.

    Examples:

      slicing-rllib experiment paper --seeds 10

      slicing-rllib experiment paper-quick --out experiments/try
    """
    from slicing_rllib.cli.console import err, print_json
    from slicing_rllib.cli.console import out as stdout
    from slicing_rllib.studies.experiment import run_experiment
    from slicing_rllib.studies.experiment_report import write_experiment_report
    from slicing_rllib.studies.study_configs import ExperimentConfig

    loaded = ExperimentConfig.load(name, seeds=seeds)
    folder = out or Path("experiments") / loaded.name
    run_experiment(loaded, folder, lambda text: err.print(text, highlight=False, soft_wrap=True))
    report = write_experiment_report(folder)
    if json:
        print_json(report.summary)
        return
    stdout.print(report.table)
    for path in report.files:
        stdout.print(str(path), soft_wrap=True)


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
    from slicing_rllib.cli.console import err, make_sweep_table, print_json
    from slicing_rllib.cli.console import out as stdout
    from slicing_rllib.runs.ray_session import ray_session
    from slicing_rllib.storage.errors import ConfigError, RunError
    from slicing_rllib.studies.study_configs import SweepConfig
    from slicing_rllib.studies.sweep import resume_sweep, run_sweep

    if resume and out is None:
        raise ConfigError("sweep --resume: expected --out with the folder of a sweep")
    if source is None and not resume:
        raise ConfigError("sweep: expected a YAML file or the name of a sweep")
    with ray_session(2):
        if resume and out is not None and (source is None or (out / "sweep.yaml").exists()):
            result = resume_sweep(out, err.print)
        else:
            loaded = SweepConfig.load(source or "")
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
