"""`slicing-rllib checkpoint list|verify|prune`"""

from typing import Annotated

import typer

from slicing_rllib.service.commands.options import Json, Run

app = typer.Typer(
    no_args_is_help=True,
    help="Lists, verifies and deletes the checkpoints of a run. None of their content is executed.",
)


@app.command("list")
def list_checkpoints(run: Run, json: Json = False) -> None:
    """Prints a table of the run's checkpoints: step, size, format, and what is wrong with them.

    Example: slicing-rllib checkpoint list runs/seed7
    """
    from slicing_rllib.service.console import make_checkpoints_table, print_json
    from slicing_rllib.service.console import out as stdout
    from slicing_rllib.service.runs.checkpoint_report import report_checkpoints
    from slicing_rllib.service.runs.run_directory import RunDirectory

    reports = list(report_checkpoints(RunDirectory.open(run).checkpoints))
    if json:
        print_json({"checkpoints": [r._asdict() | {"path": str(r.path)} for r in reports]})
    else:
        stdout.print(make_checkpoints_table(reports))


@app.command()
def verify(run: Run, json: Json = False) -> None:
    """Says for each checkpoint whether its files are those that were written.

    The exit code is 1 if the newest checkpoint cannot be used, and 0 otherwise; a resumed run takes
    the newest that verifies.

    Example: slicing-rllib checkpoint verify runs/seed7
    """
    from slicing_rllib.service.console import print_json
    from slicing_rllib.service.errors import CheckpointError
    from slicing_rllib.service.runs.checkpoint_report import report_checkpoints
    from slicing_rllib.service.runs.run_directory import RunDirectory

    reports = list(report_checkpoints(RunDirectory.open(run).checkpoints))
    if not reports:
        raise CheckpointError(f"{run}: has no checkpoint")
    usable = [report for report in reports if not report.problem]
    resumes_at = usable[-1].env_steps if usable else None
    if json:
        checks = [{"name": r.path.name, "valid": not r.problem, "why": r.problem} for r in reports]
        print_json({"checkpoints": checks, "resumes_at": resumes_at})
    else:
        for report in reports:
            typer.echo(report.problem or f"{report.path}: valid, step {report.env_steps}")
    if reports[-1].problem:
        found = f"step {resumes_at}" if usable else "step 0: none verifies"
        raise CheckpointError(
            f"{run}: the newest checkpoint cannot be used; a resume is at {found}"
        )


@app.command()
def prune(
    run: Run,
    keep: Annotated[
        int, typer.Option(min=1, help="Number of newest checkpoints that verify and are kept.")
    ] = 1,
    json: Json = False,
) -> None:
    """Deletes damaged checkpoints and all but the newest ones that verify; prints which.

    Checkpoints that another version wrote are kept, and damaged ones if none verifies. The run must
    not be in use.

    Example: slicing-rllib checkpoint prune runs/seed7 --keep 1
    """
    from slicing_rllib.service.console import print_json
    from slicing_rllib.service.runs.checkpoint_report import prune_checkpoints
    from slicing_rllib.service.runs.run_directory import RunDirectory

    opened = RunDirectory.open(run)
    with opened.lock("slicing-rllib checkpoint prune"):
        removed = prune_checkpoints(opened.checkpoints, keep=keep)
    if json:
        print_json({"removed": [path.name for path in removed]})
    else:
        typer.echo(f"{run}: removed {', '.join(path.name for path in removed) or 'nothing'}")
