"""`slicing-rllib evaluate`"""

from pathlib import Path
from typing import Annotated

import typer

from slicing_rllib.service.commands.options import Json, Run


def evaluate(
    run: Run,
    policies: Annotated[
        str | None, typer.Option(help="Names, separated by commas. Default: the run's.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Network steps per seed.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds of traffic and movement.")] = None,
    traffic: Annotated[
        Path | None,
        typer.Option(help="CSV trace of the share of active UEs, a column per slice."),
    ] = None,
    json: Json = False,
) -> None:
    """Evaluates a run's policies and baselines on the same unseen traffic, seeds paired.

    Examples:

      slicing-rllib evaluate runs/seed7 --policies drl,traffic_aware,oracle --seeds 10

      slicing-rllib evaluate runs/seed7 --traffic monday.csv --json
    """
    from slicing_rllib.service.console import ProgressBar, policies_table, print_json
    from slicing_rllib.service.console import out as stdout
    from slicing_rllib.service.runs.evaluation import evaluate_run
    from slicing_rllib.service.runs.run_directory import RunDirectory

    names = None if policies is None else [name.strip() for name in policies.split(",")]
    with ProgressBar() as bar:
        table = evaluate_run(
            RunDirectory.open(run),
            policies=names,
            steps=steps,
            seeds=seeds,
            traffic=traffic,
            on_rollout=bar.on_rollout,
        )
    if json:
        print_json({"policies": table})
    else:
        stdout.print(policies_table(table))
