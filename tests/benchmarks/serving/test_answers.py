"""Which answers of the service count as wrong."""

import json
import re

import pytest

from slicing_rllib.benchmarks.rows import SIZES
from slicing_rllib.benchmarks.serving.answers import AnswerCheck
from slicing_rllib.benchmarks.serving.network import (
    WITH_MESSAGES,
    configure,
    draw_weights,
    measure_network,
)
from slicing_rllib.runs.policy_evaluation import make_cell_policies


@pytest.fixture(scope="module")
def scene():
    """The check of two versions, and the right answer of each to request 1."""
    config = configure(SIZES[0], WITH_MESSAGES)
    recorded, cells = measure_network(config, 3), config.scenario.cells
    policies = {
        version: make_cell_policies(config, draw_weights(config, version), recorded)
        for version in (1, 2)
    }
    check = AnswerCheck(policies, recorded, cells, cells)
    slices = [spec.name for spec in config.scenario.slices]

    def answer(version: int) -> dict:
        return {
            cell: {
                "shares": dict(zip(slices, check.expected[version][cell].shares[1], strict=True)),
                "policy": f"quick-{cell}@{version}",
                "policy_sha256": policy.digest,
                "fallback": None,
            }
            for cell, policy in policies[version].items()
        }

    return check, answer


def judge(check: AnswerCheck, decisions: dict) -> str | None:
    return check(1, json.dumps({"decisions": decisions}, default=float).encode())


def test_answers_of_either_version_are_right(scene):
    check, answer = scene
    assert [judge(check, answer(version)) for version in (1, 2)] == [None, None]


def test_an_answer_to_another_request_is_wrong(scene):
    check, answer = scene
    decisions = {"decisions": answer(1)}
    assert "shares differ" in check(2, json.dumps(decisions, default=float).encode())


@pytest.mark.parametrize(
    ("change", "mistake"),
    [
        (lambda cells: cells.pop("cell_3"), "11 cells are answered, expected 12"),
        (lambda cells: cells["cell_3"].update(policy="quick-cell_3@2"), r"versions \['1', '2'\]"),
        (lambda cells: cells["cell_3"].update(policy=None), "versions"),
        (lambda cells: cells["cell_3"].update(policy_sha256="0"), "digest is that of another"),
        (lambda cells: cells["cell_3"].update(fallback={"reason": "stale_kpis"}), "fallback stale"),
        (lambda cells: cells["cell_3"]["shares"].update(slice_1=float("nan")), "shares .*nan"),
        (lambda cells: cells["cell_3"]["shares"].update(slice_1=0.9), r"shares \[0.9"),
    ],
)
def test_an_answer_with_a_mistake_is_wrong(scene, change, mistake: str):
    check, answer = scene
    decisions = answer(1)
    change(decisions)
    assert re.search(mistake, judge(check, decisions))


def test_a_version_that_may_not_answer_is_wrong(scene):
    check, answer = scene
    check.allowed = {2}
    assert judge(check, answer(1)) == "versions ['1'], expected one of [2]"
