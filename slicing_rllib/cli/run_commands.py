"""Commands about runs: train, evaluate, report, export-kpis, checkpoint, config."""

from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from slicing_rllib.cli.console import (
    Config,
    Json,
    ProgressBar,
    Run,
    Settings,
    make_checkpoints_table,
    name_folder,
    open_run,
    print_result,
    print_summary,
)
from slicing_rllib.storage.errors import CheckpointError, ConfigError, RunError


class ReportForm(StrEnum):
    """What `report` writes beside Markdown and CSV."""

    WEB = "web"
    PDF = "pdf"
    LATEX = "latex"
    RLIABLE = "rliable"
    MARL_EVAL = "marl-eval"


def train(
    config: Annotated[
        str | None,
        Argument(
            help="A YAML file, or a built-in name: first_run, recommended, paper or quick.",
            show_default="first_run",
        ),
    ] = None,
    settings: Settings = None,
    out: Annotated[
        Path | None, Option(help="Run directory to write. Default: runs/NAME-DATE-TIME.")
    ] = None,
    resume: Annotated[
        bool,
        Option(
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
    from slicing_rllib.runs.algorithm import check_memory
    from slicing_rllib.runs.config_loading import DEFAULT_CONFIG, load_config
    from slicing_rllib.runs.ray_session import end_leftovers, import_in_background, ray_session
    from slicing_rllib.runs.run_directory import RunDirectory

    loaded = load_config(config or DEFAULT_CONFIG, settings or [])
    check_memory(loaded, config or DEFAULT_CONFIG)
    path = out or name_folder("runs", loaded.name)
    if resume and out is None:
        configs = sorted(Path("runs").glob(f"{loaded.name}-*/config.yaml"))
        if not configs:
            raise RunError(
                f"runs: expected a run named {loaded.name}-* to resume, or its folder in --out"
            )
        path = configs[-1].parent
    resumes = resume and (path / "config.yaml").exists()
    if resumes:
        run = open_run(path)
        loaded = run.load_same_config(config, settings or [])
    else:
        run = RunDirectory.create(path, loaded)
    with ProgressBar() as bar, nullcontext() if resumes else run.discard_unless_begun():
        bar.on_message(f"run: {path}")
        with run.lock("slicing-rllib train"):
            if left := end_leftovers(path):
                bar.on_message(f"ended {left} processes of Ray that a killed training has left")
            with (
                import_in_background("slicing_rllib.runs.training"),
                ray_session(loaded.cpus, path),
            ):
                from slicing_rllib.runs.training import train as run_training

                summary = run_training(loaded, run, bar, resume=resumes)
    print_summary(summary, json, f"figures, table and checkpoints: {path}")


def evaluate(
    run: Run,
    policies: Annotated[
        str | None,
        Option(help="Names of policies, separated by commas. Default: as in the run's config."),
    ] = None,
    steps: Annotated[
        int | None,
        Option(min=1, help="Environment steps per seed. Default: as in the run's config."),
    ] = None,
    seeds: Annotated[
        int | None,
        Option(
            min=1, help="Number of seeds of traffic and movement. Default: as in the run's config."
        ),
    ] = None,
    traffic: Annotated[
        Path | None,
        Option(
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

      slicing-rllib evaluate runs/seed7 --policies td3,traffic_aware,oracle --seeds 10

      slicing-rllib evaluate runs/seed7 --traffic monday.csv --json
    """
    from slicing_rllib.runs.policy_evaluation import evaluate_run
    from slicing_rllib.runs.run_directory import explain_foreign_run

    with ProgressBar() as bar, explain_foreign_run(str(run)):
        result = evaluate_run(
            open_run(run),
            policies=_split(policies),
            steps=steps,
            seeds=seeds,
            traffic=traffic,
            on_rollout=bar.on_rollout,
        )
    print_summary(result, json)


def report(
    runs: Annotated[
        list[Path],
        Argument(metavar="RUN...", help="Run directories, or the folder of one experiment."),
    ],
    out: Annotated[
        Path | None,
        Option(help="Folder to write to. Default: the folder of the run or experiment."),
    ] = None,
    readme: Annotated[
        Path | None,
        Option(
            help="Markdown file in which the block between the experiment's marks is replaced by "
            "its main results."
        ),
    ] = None,
    form: Annotated[
        ReportForm,
        Option("--format", help="Beside the usual files; rliable and marl-eval of an experiment."),
    ] = ReportForm.WEB,
    width: Annotated[
        str | None, Option(help="Width of figures: 3.5in, 89mm or 252pt. Default: each its own.")
    ] = None,
    style: Annotated[Path | None, Option(help="Style file of matplotlib for figures.")] = None,
    json: Json = False,
) -> None:
    """Writes tables (Markdown, CSV) and figures (PNG, SVG) of runs or of an experiment.

    Prints the result table and the names of the files. With --format pdf figures are PDF files,
    with latex also `report.tex` has the tables. Each of several runs counts as one seed. An
    experiment is reported on the seeds that are complete.

    Examples:

      slicing-rllib report runs/seed7

      slicing-rllib report runs/seed1 runs/seed2 runs/seed3 --out report

      slicing-rllib report experiments/paper --readme tune_configs/README.md

      slicing-rllib report experiments/paper --format latex --width 3.5in --out figures
    """
    from slicing_rllib.evaluation.looks import Look, make_look, use_look
    from slicing_rllib.evaluation.tables import format_latex
    from slicing_rllib.runs.run_directory import explain_foreign_run
    from slicing_rllib.runs.run_report import write_report
    from slicing_rllib.storage import read_text, write_durably

    is_print = form in (ReportForm.PDF, ReportForm.LATEX)
    look = make_look((".pdf",) if is_print else Look().suffixes, width, style)
    is_experiment = len(runs) == 1 and (runs[0] / "experiment.yaml").is_file()
    if not is_experiment and form in (ReportForm.RLIABLE, ReportForm.MARL_EVAL):
        raise ConfigError(f"--format {form}: expected the folder of an experiment")
    with use_look(look), explain_foreign_run(" ".join(map(str, runs))):
        if is_experiment:
            from slicing_rllib.studies.experiment_report import write_experiment_report
            from slicing_rllib.studies.marked_text import write_marked_texts
            from slicing_rllib.studies.results import read_results
            from slicing_rllib.studies.score_files import SCORES, write_scores

            shown, written = write_experiment_report(runs[0], out)
            folder = out or runs[0]
            if readme is not None:
                write_marked_texts(readme, folder, shown["experiment"])
            if form in SCORES:
                written.append(write_scores(read_results(runs[0]), form, folder))
        else:
            policies, written = write_report([open_run(path) for path in runs], out)
            folder, shown = written[0].parent, {"policies": policies}
        if form == ReportForm.LATEX:
            written.append(folder / "report.tex")
            write_durably(written[-1], format_latex(read_text(folder / "report.md")).encode())
    files = [str(path) for path in written]
    print_summary(shown if is_experiment else {**shown, "files": files}, json, *files)


checkpoint_app = typer.Typer(
    no_args_is_help=True,
    help="Lists, verifies and deletes the checkpoints of a run. None of their content is executed.",
)


@checkpoint_app.command("list")
def list_checkpoints(run: Run, json: Json = False) -> None:
    """Prints a table of the run's checkpoints: step, size, format, and what is wrong with them.

    Example: slicing-rllib checkpoint list runs/seed7
    """
    from slicing_rllib.runs.checkpoints import report_checkpoints

    reports = list(report_checkpoints(open_run(run).checkpoints))
    found = {"checkpoints": [r._asdict() | {"path": str(r.path)} for r in reports]}
    print_result(found, json, make_checkpoints_table(reports))


@checkpoint_app.command()
def verify(run: Run, json: Json = False) -> None:
    """Says for each checkpoint whether its files are those that were written.

    The exit code is 1 if the newest checkpoint cannot be used, and 0 otherwise; a resumed run takes
    the newest that verifies.

    Example: slicing-rllib checkpoint verify runs/seed7
    """
    from slicing_rllib.runs.checkpoints import report_checkpoints

    reports = list(report_checkpoints(open_run(run).checkpoints))
    if not reports:
        raise CheckpointError(f"{run}: has no checkpoint")
    usable = [report for report in reports if not report.problem]
    resumes_at = usable[-1].env_steps if usable else None
    checks = [{"name": r.path.name, "valid": not r.problem, "why": r.problem} for r in reports]
    lines = [r.problem or f"{r.path}: valid, step {r.env_steps}" for r in reports]
    print_result({"checkpoints": checks, "resumes_at": resumes_at}, json, *lines)
    if reports[-1].problem:
        found = f"step {resumes_at}" if usable else "step 0: none verifies"
        raise CheckpointError(
            f"{run}: the newest checkpoint cannot be used; a resume is at {found}"
        )


@checkpoint_app.command()
def prune(
    run: Run,
    keep: Annotated[
        int, Option(min=1, help="Number of newest checkpoints that verify and are kept.")
    ] = 1,
    json: Json = False,
) -> None:
    """Deletes damaged checkpoints and all but the newest ones that verify; prints which.

    Checkpoints that another version wrote are kept, and damaged ones if none verifies. The run must
    not be in use.

    Example: slicing-rllib checkpoint prune runs/seed7 --keep 1
    """
    from slicing_rllib.runs.checkpoints import prune_checkpoints

    opened = open_run(run)
    with opened.lock("slicing-rllib checkpoint prune"):
        removed = [path.name for path in prune_checkpoints(opened.checkpoints, keep=keep)]
    print_result({"removed": removed}, json, f"{run}: removed {', '.join(removed) or 'nothing'}")


config_app = typer.Typer(
    no_args_is_help=True, help="Shows or checks a config, or prints the JSON Schema of configs."
)


@config_app.command()
def show(config: Config = "first_run", settings: Settings = None, json: Json = False) -> None:
    """Prints the whole config as YAML, including all defaults.

    The exit code is 2 if the config is not valid.

    Example: slicing-rllib config show paper --set learning.gamma=0.2 > mine.yaml
    """
    from slicing_rllib.runs.config_loading import dump_resolved_yaml, load_config

    loaded = load_config(config, settings or [])
    print_result(loaded.model_dump(mode="json"), json, dump_resolved_yaml(loaded).rstrip("\n"))


@config_app.command()
def check(config: Config, settings: Settings = None, json: Json = False) -> None:
    """Checks the config of a run, an experiment or a sweep, and prints how large it is.

    Steps a run's network twice to see that it can be simulated. If the config is not valid, prints
    one line that says where and why; the exit code is then 2.

    Examples:

      slicing-rllib config check mine.yaml

      slicing-rllib config check ablation-transfer
    """
    from slicing_rllib.runs.algorithm import check_memory, check_network
    from slicing_rllib.runs.config_loading import BUILT_IN, load_config
    from slicing_rllib.runs.run_size import describe_reports
    from slicing_rllib.studies.study_configs import load_study

    study = None if config in BUILT_IN or settings else load_study(config)
    if study is not None:
        found = {"config": config, "valid": True, study.KIND: study.name}
        print_result(found, json, f"{config}: valid {study.KIND}")
        return
    loaded = load_config(config, settings or [])
    check_memory(loaded, config)
    check_network(loaded, config)
    cells, steps = len(loaded.scenario.cells), loaded.total_steps
    found = {"config": config, "valid": True, "cells": cells, "steps": steps}
    lines = [f"{config}: valid, {cells} cells, {steps} steps"]
    if reports := describe_reports(loaded):
        found["reports"] = reports
        lines.append(reports)
    print_result(found, json, *lines)


@config_app.command()
def schema(json: Json = False) -> None:
    """Prints the JSON Schema of configs, with which editors complete and check YAML files.

    Example: slicing-rllib config schema > slicing-rllib.schema.json
    """
    from slicing_rllib.runs.run_config import RunConfig

    described = RunConfig.model_json_schema()
    base = "Config that this one starts from: a built-in name, or a file beside this one."
    described["properties"]["base"] = {"type": "string", "description": base}
    print_result(described, True)


def export_kpis(
    run: Run,
    out: Annotated[Path, Option(help="File to write: its name ends in .parquet, .csv or .csv.gz.")],
    policy: Annotated[
        str | None,
        Option(
            help="Policy whose final evaluation is played again and exported step by step, such as "
            "td3 or traffic_aware. Default: KPIs while the run learned, a mean per iteration."
        ),
    ] = None,
    window: Annotated[
        str | None,
        Option(metavar="FIRST:LAST", help="Steps to export, both included. Default: all."),
    ] = None,
    seed: Annotated[
        int, Option(min=0, help="Evaluation seed, counted from 0; used with --policy.")
    ] = 0,
    kpis: Annotated[
        str | None, Option(help="Names of KPIs, separated by commas. Default: all.")
    ] = None,
    cells: Annotated[
        str | None, Option(help="Cells, separated by commas, by our or the operator's name.")
    ] = None,
    json: Json = False,
) -> None:
    """Writes KPIs of a run as a tidy table: step, cell, cell_id, slice, kpi, value, unit.

    Examples:

      slicing-rllib export-kpis runs/seed7 --out kpis.parquet

      slicing-rllib export-kpis runs/seed7 --policy td3 --window 100:400 --out steps.csv

      slicing-rllib export-kpis runs/seed7 --kpis delay_ms --cells cell_3,MUC001_1 --out c.csv
    """
    from slicing_rllib.runs import kpi_export as export
    from slicing_rllib.runs.run_directory import explain_foreign_run

    export.check_suffix(out)
    opened, steps = open_run(run), export.parse_window(window)
    if policy is None:
        with explain_foreign_run(str(run)):
            table = export.export_training(opened, steps)
    else:
        table = export.export_replay(opened, policy, seed, steps)
    table = export.select(table, _split(kpis), _split(cells))
    export.write_table(table, out)
    found = {
        "file": str(out),
        "rows": len(table),
        "steps": len(set(table["step"])),
        "cells": len(set(table["cell"])),
        "kpis": sorted(set(table["kpi"])),
    }
    line = f"{out}: {len(table):,} rows, {found['steps']:,} steps, {found['cells']} cells"
    print_result(found, json, line)


def _split(names: str | None) -> list[str] | None:
    return None if names is None else [name.strip() for name in names.split(",")]
