"""What an evaluation has shown, as paired differences and in sentences.

Policies meet the same traffic seed by seed, so differences are paired: their intervals are much
narrower than those of the rewards themselves. Where an interval holds zero, the sentence says that
no difference is certain, which does not mean that there is none. One run is one radio map and one
draw of weights, which no sentence hides.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from slicing_rllib.evaluation.rollout import Rollout
from slicing_rllib.evaluation.statistics import SATISFIED, paired_difference
from slicing_rllib.policies.baselines import PAST_ONLY

Difference = dict[str, Any]
"""`ours` and `theirs`, names of policies; `cells`, those that are compared, None for all; `reward`
and `fail_rate_95`, each with `mean` and `ci95` (None for one seed) of ours − theirs; `seeds`."""


class Compared(NamedTuple):
    """The policies that a run is made to compare."""

    cells: Sequence[str]
    """Names of all cells, in the order of a rollout's columns."""
    own: str
    """The run's own policies."""
    from_scratch: str
    """Those without the transfer; the same as `own` in a run without one."""
    targets: Sequence[str]
    """Cells that were transferred to."""
    others: Sequence[str]
    """Further learners."""


def compare_policies(
    compared: Compared, rollouts: Mapping[str, Sequence[Rollout]]
) -> list[Difference]:
    """The paired differences that a run is made to show, of the policies that were evaluated."""
    found = [
        _subtract(rollouts, ours, theirs, cells, compared.cells)
        for ours, theirs, cells in _list_pairs(compared, rollouts)
        if ours in rollouts and theirs in rollouts
    ]
    return [each for each in found if each is not None]


def _list_pairs(
    compared: Compared, rollouts: Mapping[str, Sequence[Rollout]]
) -> Iterator[tuple[str, str, list[str] | None]]:
    if compared.own != compared.from_scratch:
        yield compared.own, compared.from_scratch, list(compared.targets) or None
    best = find_best_rule(rollouts)
    for learner in (compared.own, *compared.others):
        if best is not None:
            yield learner, best, None
    for learner in compared.others:
        yield learner, compared.own, None


def find_best_rule(rollouts: Mapping[str, Sequence[Rollout]]) -> str | None:
    """The simple rule with the highest reward, of those that know only the past."""
    rewards = {
        name: float(np.mean([run.reward[run.live].mean() for run in rollouts[name]]))
        for name in PAST_ONLY
        if name in rollouts
    }
    return max(rewards, key=lambda name: rewards[name]) if rewards else None


def _subtract(
    rollouts: Mapping[str, Sequence[Rollout]],
    ours: str,
    theirs: str,
    cells: list[str] | None,
    known: Sequence[str],
) -> Difference | None:
    columns = [known.index(cell) for cell in (known if cells is None else cells)]
    table: dict[str, np.ndarray] = {}
    for name in (ours, theirs):
        chosen = [(run, run.live[:, columns]) for run in rollouts[name]]
        if not all(live.any() for _, live in chosen):
            return None
        table[name] = np.array(
            [
                (
                    run.reward[:, columns][live].mean(),
                    (run.satisfaction[:, columns][live] < SATISFIED).mean(),
                )
                for run, live in chosen
            ]
        )
    difference: Difference = {"ours": ours, "theirs": theirs, "cells": cells}
    for column, metric in enumerate(("reward", "fail_rate_95")):
        mean, interval = paired_difference(table[ours][:, column], table[theirs][:, column])
        difference[metric] = {"mean": mean, "ci95": interval}
    return difference | {"seeds": len(table[ours])}


def describe_differences(
    differences: Sequence[Difference], transfers: Mapping[str, Any], seed: int
) -> list[str]:
    """What was seen, a sentence for each difference, and what one run cannot show.

    `transfers` are those of the summary, by cell the evidence of its warm start; `seed` is the
    run's.
    """
    sentences = list[str]()
    for each in differences:
        ours = each["ours"]
        where = "" if each["cells"] is None else f" in {', '.join(each['cells'])}"
        sources = [transfers[cell].get("source") for cell in each["cells"] or ()
                   if cell in transfers]  # fmt: skip
        if each["cells"] and any(sources):
            where += f", started from {', '.join(filter(None, sources))},"
        mean, interval = each["reward"]["mean"], each["reward"]["ci95"]
        points = 100.0 * each["fail_rate_95"]["mean"]
        verdict = f"earned {abs(mean):.3f} {'more' if mean > 0 else 'less'} reward than"
        if interval is None or interval[0] <= 0.0 <= interval[1]:
            verdict = f"shows no certain difference of reward ({mean:+.3f}) from"
        shown = "" if interval is None else f" [{interval[0]:+.3f}, {interval[1]:+.3f}]"
        sentences.append(
            f"{ours}{where} {verdict} {each['theirs']}{shown}, with {points:+.1f} points of steps "
            f"below 0.95 ({each['seeds']} seeds of traffic)."
        )
    if sentences:
        sentences.append(
            f"Not seen: another radio map or other weights than those of seed {seed}, which "
            "may turn each of these; `slicing-rllib experiment` repeats runs over seeds."
        )
    return sentences
