"""The results of an experiment as tidy tables, read and derived from its run directories.

A step is an own step: one under a cell's own policy. Own steps follow `default_steps` steps under
the default action.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from slicing_rllib.evaluation.statistics import METRICS
from slicing_rllib.policies.events import EventKind
from slicing_rllib.policies.td3_settings import TRAINED_POLICIES
from slicing_rllib.registry import list_names
from slicing_rllib.runs.metrics_row import SPANS
from slicing_rllib.runs.run_config import RunConfig
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.runs.run_report import compare_cells, read_cell_samples
from slicing_rllib.storage.errors import RunError
from slicing_rllib.storage.foreign_files import read_json_lines
from slicing_rllib.studies.experiment import get_arm_folder, is_done
from slicing_rllib.studies.study_configs import TUNE_CONFIGS, ExperimentConfig
from slicing_rllib.transfer.decision import CellSamples, compute_distances_by_measure

# pandas' own annotations are wider than what it returns.
# pyright: reportArgumentType=false, reportReturnType=false

CEILING_FILE = TUNE_CONFIGS / "results" / "ceiling-paper.jsonl"
"""Output of `slicing-rllib bench ceiling --json`, on the radio maps of seeds 0 to 9."""

Rows = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Results:
    """Tables of an experiment, in the order of its arms on each seed."""

    folder: Path
    """Where the experiment was run."""
    experiment: ExperimentConfig
    final: pd.DataFrame
    """Columns seed, policy and METRICS: the final evaluation."""
    curves: pd.DataFrame
    """Columns seed, arm, step, default_steps, cpu_s, cell, evaluated, fail_rate_95, baseline,
    baseline_fail_rate_95, base_policy: rewards without exploration noise, failures of all
    cells, both of the traffic-aware baseline, and rewards of the arm's base policy, all on the
    same traffic."""
    learning: pd.DataFrame
    """Columns seed, arm, step, default_steps, reward, fail_rate_95: means over cells during
    training itself. Steps under the default action are there too, with a `step` of 0 or less."""
    transfers: pd.DataFrame
    """Columns seed, arm, target, source, distance, confidence, harmful: the first decisions."""

    @property
    def seeds(self) -> list[int]:
        """Seeds on which all arms are done."""
        return sorted(self.final["seed"].unique().tolist())

    @property
    def source_choices(self) -> list[str]:
        """Arms that differ in their sources: all rotations, or one arm per measure."""
        experiment = self.experiment
        if not experiment.compares_measures:
            return experiment.rotations
        arms, reference = experiment.arms, experiment.reference
        return [name for name, arm in arms.items() if reference and arm.learns_from == reference]

    @cached_property
    def network_curves(self) -> pd.DataFrame:
        """`curves` as means over cells: an index of seed, arm, step, and a column per number."""
        return self.curves.drop(columns="cell").groupby(["seed", "arm", "step"], sort=False).mean()

    @cached_property
    def pair_distances(self) -> pd.DataFrame:
        """Columns seed, target, source, measure, distance, from the samples of the decisions."""
        target_arm, *_ = self.source_choices
        source_arm = str(self.experiment.arms[target_arm].learns_from)
        rows = []
        for seed in self.seeds:
            sources, config = self._read_samples(seed, source_arm)
            targets, _ = self._read_samples(seed, target_arm)
            cells = {f"source/{c}": s for c, s in sources.items()}
            cells |= {f"target/{c}": s for c, s in targets.items()}
            by_measure = compute_distances_by_measure(
                cells, list_names("measure"), config.transfer.vae, seed
            )
            for measure, found in by_measure.items():
                matrix = found.mean[: len(sources), len(sources) :]
                for (i, k), distance in np.ndenumerate(matrix):
                    if i != k:
                        rows.append((seed, list(targets)[k], list(sources)[i], measure, distance))
        return pd.DataFrame(rows, columns=["seed", "target", "source", "measure", "distance"])

    @cached_property
    def group_aucs(self) -> pd.DataFrame:
        """Columns seed, measure, value: the AUC with which cells of the same SLA are nearer.

        From the samples of the first arm. Empty where all cells have the same SLA.
        """
        rows = [
            (seed, measure, compared.auc)
            for seed in self.seeds
            for measure, compared in compare_cells(
                RunDirectory.open(get_arm_folder(self.folder, seed, self.experiment.first)),
                list_names("measure"),
                seed,
            ).items()
            if compared.auc is not None
        ]
        return pd.DataFrame(rows, columns=["seed", "measure", "value"])

    def _read_samples(self, seed: int, arm: str) -> tuple[dict[str, CellSamples], RunConfig]:
        run = RunDirectory.open(get_arm_folder(self.folder, seed, arm))
        config = run.config()
        return read_cell_samples(run, config), config


def read_results(folder: Path) -> Results:
    """The results of all seeds on which every arm is done. Raises: RunError where there is none."""
    if not (folder / "experiment.yaml").is_file():
        raise RunError(f"{folder}: expected an experiment, found no experiment.yaml")
    experiment = ExperimentConfig.load(folder / "experiment.yaml")
    seeds = [
        seed
        for seed in range(experiment.seeds)
        if all(is_done(folder, seed, arm) for arm in experiment.arms)
    ]
    if not seeds:
        raise RunError(f"{folder}: no seed is complete yet")
    final, curves, learning, transfers = Rows(), Rows(), Rows(), Rows()
    for seed in seeds:
        for arm in experiment.arms:
            run = RunDirectory(get_arm_folder(folder, seed, arm))
            for name, row in run.summary()["policies"].items():
                policy = arm if name in TRAINED_POLICIES else name
                final.append({"seed": seed, "policy": policy} | {m: row[m] for m in METRICS})
            transfers += _read_transfers(seed, arm, run)
            begin = max((d.default_action_until for d in run.config().deployments), default=0)
            for row in run.metrics():
                step = {"seed": seed, "arm": arm, "step": row["env_steps"] - begin}
                step["default_steps"], step["cpu_s"] = begin, row.get("cpu_s", math.nan)
                fail_rate = row.get("fail_rate_95", math.nan)
                learning.append(step | {"reward": row["reward_mean"], "fail_rate_95": fail_rate})
                if "evaluation_reward_mean" not in row or row["env_steps"] < begin:
                    continue
                references = row["references"]
                step |= {
                    "fail_rate_95": row.get("evaluation_fail_rate_95", math.nan),
                    "baseline": references.get("traffic_aware", math.nan),
                    "baseline_fail_rate_95": row.get("references_fail_rate_95", {}).get(
                        "traffic_aware", math.nan
                    ),
                    "base_policy": references.get("base_policy", math.nan),
                }
                curves += [
                    step | {"cell": cell, "evaluated": numbers["evaluation_reward"]}
                    for cell, numbers in row["cells"].items()
                ]
    return Results(
        folder=folder,
        experiment=experiment,
        final=pd.DataFrame(final),
        curves=pd.DataFrame(curves),
        learning=pd.DataFrame(learning),
        transfers=pd.DataFrame(transfers),
    )


def _read_transfers(seed: int, arm: str, run: RunDirectory) -> Rows:
    found: dict[str, dict[str, Any]] = {}
    for event in run.events():
        cell, evidence = event["cell"], event["evidence"]
        if event["kind"] == EventKind.SOURCE_CHOSEN and cell not in found:
            found[cell] = {
                "seed": seed,
                "arm": arm,
                "target": cell,
                "source": str(evidence["source"]).removeprefix("library:"),
                "distance": evidence["distance"],
                "confidence": evidence["confidence"],
                "harmful": False,
            }
        if event["kind"] == EventKind.NEGATIVE_TRANSFER and cell in found:
            found[cell]["harmful"] = True
    return list(found.values())


def compute_baseline_gains(results: Results) -> pd.DataFrame:
    """Tidy table seed, arm, step, metric, value: what an arm gains without exploration noise.

    `reward` and `fail_rate_95` are differences from the traffic-aware baseline, `over_base_policy`
    is the reward − that of the arm's base policy.
    """
    means = results.network_curves
    gains = pd.DataFrame(
        {
            "reward": means["evaluated"] - means["baseline"],
            "fail_rate_95": means["fail_rate_95"] - means["baseline_fail_rate_95"],
            "over_base_policy": means["evaluated"] - means["base_policy"],
        }
    )
    return _melt(gains.reset_index())


def compute_cell_gains(results: Results) -> pd.DataFrame:
    """Columns seed, arm, step, cell, gain: reward − that of the reference after equal own steps.

    At step 0, before any update, the reference counts with its first point: it has learned nothing
    until then.
    """
    keys, curves = ["seed", "step", "cell"], results.curves
    is_reference = curves["arm"] == results.experiment.reference
    reference = curves[is_reference]
    first = reference[reference["step"] == reference["step"].min()].assign(step=0)
    reference = pd.concat([first, reference[reference["step"] > 0]])[[*keys, "evaluated"]]
    pairs = curves[~is_reference].merge(reference, on=keys, suffixes=("", "_reference"))
    pairs["gain"] = pairs["evaluated"] - pairs["evaluated_reference"]
    pairs = pairs[pairs["step"].isin(results.experiment.shown_steps)]
    return pairs[["seed", "arm", "step", "cell", "gain"]].dropna()


def compute_pair_gains(results: Results) -> pd.DataFrame:
    """Columns step, seed, target, source, gain over the reference after that own step.

    Each pair counts once, with the mean over the arms that tried it.
    """
    gains = compute_cell_gains(results).rename(columns={"cell": "target"})
    gains = gains[gains["arm"].isin(results.source_choices)]
    gains = gains.sort_values("step", kind="stable")
    sources = results.transfers[["seed", "arm", "target", "source"]]
    pairs = gains.merge(sources, on=["seed", "arm", "target"])
    keys = ["step", "seed", "target", "source"]
    return pairs.groupby(keys, as_index=False, sort=False)["gain"].mean()


def compute_gains(results: Results) -> pd.DataFrame:
    """Tidy table seed, arm, step, metric, value: gains over the reference after equal own steps.

    `evaluated` is without noise, `while_learning` that of the iteration that ends at the step.
    """
    cells = compute_cell_gains(results)
    evaluated = cells.groupby(["seed", "arm", "step"], sort=False, as_index=False)["gain"].mean()
    own = results.learning
    own = own[(own["step"] > 0) & own["step"].isin(results.experiment.shown_steps)]
    rewards = own.pivot(index=["step", "seed"], columns="arm", values="reward").astype(float)
    reference = results.experiment.reference
    learning = rewards.sub(rewards[reference], axis=0).drop(columns=reference)
    learning = learning.stack().dropna().rename("gain").reset_index()
    found = [evaluated.assign(metric="evaluated"), learning.assign(metric="while_learning")]
    return pd.concat(found).rename(columns={"gain": "value"}).sort_values("step", kind="stable")


def compute_learning_service(results: Results) -> pd.DataFrame:
    """Tidy table seed, arm, span, metric, value: service while an arm learns.

    It is that of the first own steps of a span, or of all of them.
    """
    own = results.learning[results.learning["step"] > 0]
    spans = {**{str(span): own[own["step"] <= span] for span in SPANS}, "all": own}
    keys, columns = ["seed", "arm", "span"], ["reward", "fail_rate_95"]
    table = pd.concat([rows.assign(span=span) for span, rows in spans.items()])
    table = table.astype(dict.fromkeys(columns, float))
    return _melt(table.groupby(keys, sort=False)[columns].mean().reset_index())


def compute_costs(results: Results) -> pd.DataFrame:
    """Tidy table seed, arm, metric, value of an arm's last point: what learning cost and earned.

    `cpu_s` are CPU seconds without evaluations, `evaluated` the reward on unseen traffic.
    """
    last = results.network_curves.reset_index().groupby(["seed", "arm"], sort=False).last()
    last["steps_per_cpu_s"] = last["step"] / last["cpu_s"]
    columns = ["step", "cpu_s", "steps_per_cpu_s", "evaluated"]
    return last[columns].reset_index().melt(["seed", "arm"], var_name="metric").dropna()


def _melt(table: pd.DataFrame) -> pd.DataFrame:
    """All columns behind the first three as rows with `metric` and `value`."""
    return table.melt(list(table.columns[:3]), var_name="metric")


def read_ceiling_gain(path: Path = CEILING_FILE) -> float | None:
    """Reward of the ceiling − that of the traffic-aware baseline; None without a file.

    Raises: RunError for a file without this number.
    """
    if not path.is_file():
        return None
    try:
        row = next(row for row in read_json_lines(path) if row["name"] == "ceiling.reward")
        return float(row["value"]) - float(row["reference_value"])
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise RunError(f"{path}: expected the rows of bench ceiling --json") from error
