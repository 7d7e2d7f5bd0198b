"""A release replaces the live one only with the same interface, and if it is not worse."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slicing_rllib.cli.main import run
from slicing_rllib.policies import CellPolicy
from slicing_rllib.runs import experience
from slicing_rllib.runs.policy_evaluation import make_cell_policies, record_kpis
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.serving import served_release
from slicing_rllib.serving.decisions import PolicySet
from slicing_rllib.serving.release import RELEASE_FILE, Release
from slicing_rllib.serving.release_gate import compare_interfaces, compare_on_traffic
from slicing_rllib.serving.served_release import change_release
from slicing_rllib.storage.errors import RunError

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture(scope="module")
def policies(served_run: RunDirectory) -> dict[str, CellPolicy]:
    config, weights = served_run.config(), served_run.policies()
    return make_cell_policies(config, weights, record_kpis(config, weights, 5))


def test_other_slices_kpis_and_slas_are_named(policies: dict[str, CellPolicy]):
    live = PolicySet(policies)
    assert compare_interfaces(live, live) == []
    cell = policies["cell_1"]
    other_sla = replace(cell, encoder=replace(cell.encoder, sla_delay_ms=(9.0, 9.0, 9.0, 9.0)))
    found = compare_interfaces(live, PolicySet(policies | {"cell_1": other_sla}))
    assert len(found) == 1
    assert found[0].startswith("cell_1: SLAs ")
    fewer = {name: policy for name, policy in policies.items() if name != "cell_2"}
    assert compare_interfaces(live, PolicySet(fewer)) == ["cell_2: has no policy any more"]


def test_what_is_worse_on_the_same_traffic_is_named(
    served_run: RunDirectory, policies: dict[str, CellPolicy], monkeypatch: pytest.MonkeyPatch
):
    """Random policies: rules are better, and so are policies that prefer the first slice.

    Without recorded ranges, no fallback answers for those."""
    config = served_run.config(["evaluation.seeds=4", "evaluation.steps=20"])
    monkeypatch.setattr(RunDirectory, "config", lambda self, settings=(): config)
    last = {"actor.4.bias": np.float32([9.0, 0.0, 0.0, 0.0])}
    better = {
        name: replace(policy, weights={**policy.weights, **last}, recorded={})
        for name, policy in policies.items()
    }
    wanted = PolicySet(policies)
    found = compare_on_traffic(wanted, wanted, served_run)
    assert [line for line in found if "traffic_aware" in line]
    assert not [line for line in found if "live" in line]
    found = compare_on_traffic(PolicySet(better), wanted, served_run)
    assert found[0].startswith("satisfaction − that of the live version: -0.")


def test_a_release_without_an_evaluation_needs_force(library: Path, capsys):
    assert run(["release", str(library), "--version", "1"]) == 1
    assert "no evaluation compares it with the live version" in capsys.readouterr().err
    assert not (library / RELEASE_FILE).exists()
    assert run(["release", str(library), "--version", "1", "--force", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["policies"].values()) == {1}
    assert run(["release", str(library), "--shadow", "2"]) == 0


def test_a_shadow_that_cannot_answer_is_refused(library: Path, monkeypatch: pytest.MonkeyPatch):
    answers = iter([[], ["cell_1: KPIs differ"]])
    monkeypatch.setattr(served_release, "compare_interfaces", lambda *sets: next(answers))
    with pytest.raises(RunError, match="the shadow cannot answer for cell_1"):
        change_release(str(library), Release(shadow=1), None, 0.0)


def test_back_after_the_first_release_leads_to_what_was_served_before(
    library: Path,
    served_run: RunDirectory,
    add_random_version,
    monkeypatch: pytest.MonkeyPatch,
):
    """The version that the run has added is not the one before."""
    monkeypatch.setattr(experience, "add_run", lambda *given: add_random_version(library, 2))
    added = change_release(
        str(library), Release(), None, 0.0, run=served_run, adds_run=True, is_forced=True
    )
    assert set(added.chosen.values()) == {3}
    assert set(change_release(str(library), None, None, 0.0).chosen.values()) == {2}


def test_a_service_that_cannot_serve_it_gets_the_release_before(
    library: Path, monkeypatch: pytest.MonkeyPatch
):
    """Also if the one that failed went back."""

    def fail(*arguments: object) -> None:
        raise RunError("no")

    for version in (1, 2):
        change_release(str(library), Release(version=version), None, 0.0, is_forced=True)
    monkeypatch.setattr(served_release, "wait_for_revision", fail)
    with pytest.raises(RunError, match="the release before is back"):
        change_release(str(library), None, "http://127.0.0.1:1", 0.0)
    now = json.loads((library / RELEASE_FILE).read_text())
    assert now["release"]["version"] == 2
