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
            help="CSV or Parquet file of measured traffic, read like the run's own traffic file if "
            "it has one; or a YAML file with the settings that `traffic check` prints. Default: "
            "the traffic of the run's scenario."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Evaluates the policies of a run and the baselines on traffic that no policy was trained on.

    All policies meet the same traffic, seed by seed. Prints the result table; intervals are
    Student t intervals over seeds. Where the traffic has a clock, a second table has each hour of
    the day, with the busy hour marked. A file is played from its first row on, so that --steps
    decides which hours are evaluated.

    Examples:

      slicing-rllib evaluate runs/seed7 --policies drl,traffic_aware,oracle --seeds 10

      slicing-rllib evaluate runs/seed7 --traffic monday.csv --json
    """
    from slicing_rllib.service.commands.progress_bar import ProgressBar
    from slicing_rllib.service.console import make_hours_table, make_policies_table, print_json
    from slicing_rllib.service.console import out as stdout
    from slicing_rllib.service.runs.evaluation import evaluate_run
    from slicing_rllib.service.runs.run_directory import RunDirectory

    names = None if policies is None else [name.strip() for name in policies.split(",")]
    with ProgressBar() as bar:
        result = evaluate_run(
            RunDirectory.open(run),
            policies=names,
            steps=steps,
            seeds=seeds,
            traffic=traffic,
            on_rollout=bar.on_rollout,
        )
    if json:
        print_json(result)
        return
    stdout.print(make_policies_table(result["policies"]))
    if "hours" in result:
        stdout.print(make_hours_table(result["hours"]))
