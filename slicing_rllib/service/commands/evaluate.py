"""`slicing-rllib evaluate`"""

from pathlib import Path
from typing import Annotated

import typer

from slicing_rllib.service.commands.options import Json, Run


def evaluate(
    run: Run,
    policies: Annotated[
        str | None,
        typer.Option(
            help="Names of policies, separated by commas. Default: as in the run's config."
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Network steps per seed. Default: as in the run's config."),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of seeds of traffic and movement. Default: as in the run's config.",
        ),
    ] = None,
    traffic: Annotated[
        Path | None,
        typer.Option(
            help="CSV file with the share of active UEs over time, one column per slice. Default: "
            "the traffic of the run's scenario."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Evaluates the policies of a run and the baselines on traffic that no policy was trained on.

    All policies meet the same traffic, seed by seed. Prints the result table; intervals are
    Student t intervals over seeds.

    Examples:

      slicing-rllib evaluate runs/seed7 --policies drl,traffic_aware,oracle --seeds 10

      slicing-rllib evaluate runs/seed7 --traffic monday.csv --json
    """
    from slicing_rllib.service.console import ProgressBar, make_policies_table, print_json
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
        stdout.print(make_policies_table(table))
