"""An experiment's report: page, tables and pictures, and what a README carries of it."""

# pandas' own annotations are wider than what it returns.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportReturnType=false

import json
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml
from rich.table import Table

from slicing_rllib.service.errors import RunError
from slicing_rllib.service.experiments.config import ExperimentConfig
from slicing_rllib.service.experiments.figures import draw_experiment
from slicing_rllib.service.experiments.results import Results, read_results
from slicing_rllib.service.experiments.source_ranking import (
    compares_measures,
    pair_gains,
    rotations,
)
from slicing_rllib.service.experiments.summary import policies_of, summarised
from slicing_rllib.service.experiments.tables import (
    GAINS,
    auc_lines,
    difference_lines,
    final_lines,
    gain_lines,
    measure_lines,
    terminal_table,
)
from slicing_rllib.service.runs.run_directory import write_atomically

HEADLINE_STEPS = ("0", "200")


class ExperimentReport(NamedTuple):
    summary: dict[str, Any]
    table: Table
    files: list[Path]


def write_experiment_report(folder: Path, out: Path | None = None) -> ExperimentReport:
    """`report.md`, tidy CSVs, `summary.json`, figures. Raises: RunError where no seed is done."""
    results = read_results(folder)
    where = out or folder
    where.mkdir(parents=True, exist_ok=True)
    summary = summarised(results, folder)
    files = _write_tables(results, where)
    drawn = draw_experiment(results, folder, where / "figures")
    text = markdown(summary, results, [path for path in drawn if path.suffix == ".png"], where)
    write_atomically(where / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())
    write_atomically(where / "report.md", text.encode())
    if where != folder:
        write_atomically(where / "experiment.yaml", (folder / "experiment.yaml").read_bytes())
    files = [where / "report.md", where / "summary.json", *files, *drawn]
    return ExperimentReport(summary, terminal_table(summary), files)


def headline(report: Path) -> str:
    """What a README carries, from the folder of a report alone.

    The table of final evaluations, anew from `results.csv`; gains, where an experiment shows these;
    how well measures rank_correlation them, where it tried all pairs.
    """
    experiment = ExperimentConfig.model_validate(
        yaml.safe_load((report / "experiment.yaml").read_text(encoding="utf-8"))
    )
    final = pd.read_csv(report / "results.csv")
    summary = json.loads((report / "summary.json").read_text(encoding="utf-8"))
    seeds = int(final["seed"].nunique())
    told = (
        f"`slicing-rllib experiment {experiment.name} --seeds {seeds}`: {seeds} seeds, brackets "
        "are 95 % intervals by bootstrap over whole seeds."
    )
    if "measures" in summary:
        shown = {step: summary["measures"][step] for step in HEADLINE_STEPS}
        return "\n".join([*measure_lines(shown), told])
    if experiment.shows == "gains":
        lines = gain_lines(summary, experiment.reference or "", experiment.titles, GAINS[:1])
        return "\n".join([*lines, told])
    empty = pd.DataFrame()
    policies = policies_of(Results(experiment, final, empty, empty, empty))
    lines = final_lines({"policies": policies}, experiment)
    lines += [told, "", *difference_lines(policies, experiment)]
    if "auc" in summary and compares_measures(experiment):
        lines += ["", *auc_lines(summary["auc"])]
    return "\n".join(lines)


def write_into(page: Path, name: str, text: str) -> None:
    """Replaces what stands between `<!-- begin NAME -->` and `<!-- end NAME -->`.

    Raises: RunError for a page without these marks.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    before, mark, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closing, after = rest.partition(end)
    if not mark or not closing:
        raise RunError(f"{page}: expected the marks {begin} and {end}")
    whole = f"{before}{begin}\n{text.strip()}\n{end}{after}"
    write_atomically(page, whole.encode())


def markdown(summary: dict[str, Any], results: Results, drawn: list[Path], where: Path) -> str:
    """The page."""
    experiment, seeds = results.experiment, summary["seeds"]
    lines = [
        f"# {experiment.name}",
        "",
        f"`slicing-rllib experiment {experiment.name} --seeds {seeds}`, {seeds} seeds; brackets "
        "are 95 % intervals by bootstrap over whole seeds. Experiment "
        f"`{summary['experiment_sha256'][:12]}`.",
        "",
        *final_lines(summary, experiment),
    ]
    if "gains" in summary:
        lines += gain_lines(summary, experiment.reference or "", experiment.titles)
    if "auc" in summary:
        lines += [*auc_lines(summary["auc"]), ""]
    if "measures" in summary:
        lines += measure_lines(summary["measures"])
    lines += [f"![{path.stem}]({path.relative_to(where)})" for path in drawn]
    return "\n".join(lines) + "\n"


def _write_tables(results: Results, where: Path) -> list[Path]:
    tables = {
        "results.csv": results.final,
        "curves.csv": results.curves.groupby(["seed", "arm", "steps"], as_index=False)[
            "evaluated"
        ].mean(),
        "transfers.csv": results.transfers,
    }
    if len(rotations(results)) > 1:
        frames = [
            pair_gains(results, step).assign(steps=step)
            for step in (0, *results.experiment.evaluation_steps)
        ]
        tables["pairs.csv"] = pd.concat(frames)
    for name, table in tables.items():
        write_atomically(where / name, table.to_csv(index=False, float_format="%.5f").encode())
    return [where / name for name in tables]
