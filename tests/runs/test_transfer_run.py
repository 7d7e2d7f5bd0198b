"""Transfer to a cell that joins a run, and the commands around transfers."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from slicing_rllib.cli.main import run
from slicing_rllib.runs.config_loading import load_config, make_transfer_config
from slicing_rllib.runs.experience import read_experience
from slicing_rllib.runs.progress import ProgressListener
from slicing_rllib.runs.run_config import RunConfig
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.runs.training import find_from_scratch_step, train
from slicing_rllib.storage.errors import ConfigError

pytestmark = pytest.mark.usefixtures("unchecked")

SETTINGS = (
    "name=joined",
    "env.deployments=[{cell: cell_12, off_until: 50, default_action_until: 75}]",
    "env.default_action_steps=25",
    "learning.exploration_steps=25",
    "learning.training_steps=100",
    "learning.steps_per_iteration=25",
    "evaluation.steps=5",
    "evaluation.seeds=1",
    "evaluation.every_steps=50",
    "evaluation.policies=[counterfactual, counterfactual_transferred, equal]",
    "checkpoint.every_steps=50",
    "transfer.vae={updates: 20, members: 2}",
    "transfer.transferred_transitions=50",
)


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return load_config("quick", SETTINGS)


@pytest.fixture(scope="module")
def joined(
    ray_session: None, config: RunConfig, tmp_path_factory: pytest.TempPathFactory
) -> RunDirectory:
    """A finished run in which cell_12 joined and learned from another cell."""
    run = RunDirectory.create(tmp_path_factory.mktemp("runs") / "joined", config)
    train(config, run, ProgressListener())
    return run


def test_policies_with_and_without_transfer_are_evaluated(joined: RunDirectory):
    summary = joined.summary()

    assert set(summary["policies"]) == {"counterfactual", "counterfactual_transferred", "equal"}
    assert summary["transfers"]["cell_12"]["method"] == "integrated"
    assert summary["transfers"]["cell_12"]["source"] in joined.config().scenario.cells


def test_the_run_from_scratch_equals_the_run_until_the_decision(
    joined: RunDirectory, config: RunConfig
):
    """Its first iteration, which ends before the decision, has the same numbers."""
    other = joined.from_scratch
    ours, theirs = joined.metrics(), other.metrics()
    kinds = [event["kind"] for event in other.events()]

    assert find_from_scratch_step(config) == 25
    assert theirs[0]["env_steps"] == 50
    assert "source_chosen" not in kinds
    first = {row["env_steps"]: row for row in ours}[50]
    assert theirs[0]["cells"] == first["cells"]


def test_every_decision_is_an_event_with_its_evidence(joined: RunDirectory):
    events = {event["kind"]: event for event in joined.events()}

    assert list(events)[1:4] == ["cell_joined", "source_chosen", "warm_started"]
    assert events["source_chosen"]["cell"] == "cell_12"
    assert len(events["source_chosen"]["evidence"]["distances"]) == 11


def test_warm_start_and_decision_are_drawn(joined: RunDirectory):
    drawn = {path.name for path in joined.figures.iterdir()}

    assert {"warm_start-cell_12.png", "decisions.svg"} <= drawn


def test_a_run_leaves_the_experience_of_every_cell(joined: RunDirectory):
    experience = read_experience(joined)

    assert set(experience) == set(joined.config().scenario.cells)
    assert all(len(cell.learned_from.reward) == 50 for cell in experience.values())
    default = experience["cell_3"].default
    assert np.allclose(default.action, 0.25)


@pytest.fixture
def call(tmp_path: Path, monkeypatch, capsys) -> Callable[..., CompletedProcess[str]]:
    """Calls `slicing-rllib ARGUMENTS` in an empty folder, in this process."""
    monkeypatch.chdir(tmp_path)

    def here(*arguments: str) -> CompletedProcess[str]:
        code = run(list(arguments))
        said = capsys.readouterr()
        return CompletedProcess(arguments, code, said.out, said.err)

    return here


@pytest.mark.slow
def test_a_run_killed_before_it_was_trained_from_scratch_continues(
    joined: RunDirectory, config: RunConfig, tmp_path: Path
):
    copy = RunDirectory(tmp_path / "copy")
    shutil.copytree(joined.path, copy.path)
    (copy.path / "summary.json").unlink()
    (copy.from_scratch.path / "policies.safetensors").unlink()
    train(config, copy, ProgressListener(), resume=True)

    assert copy.summary()["policies"] == joined.summary()["policies"]


def test_similarity_prints_a_matrix_and_draws_it(call: Callable, joined: RunDirectory):
    done = call("similarity", str(joined.path), "--measure", "raw", "--out", ".", "--json")
    found = json.loads(done.stdout)

    assert done.returncode == 0
    assert np.array(found["distances"]).shape == (12, 12)
    assert found["nearest"]["cell_1"] != "cell_1"
    assert 0 <= found["auc"] <= 1
    assert all(Path(path).suffix in (".png", ".svg") for path in found["figures"])


def test_an_unknown_measure_is_reported_in_one_line(call: Callable, joined: RunDirectory):
    done = call("similarity", str(joined.path), "--measure", "closeness")

    assert done.returncode == 2
    assert "expected one of kl_paper" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_a_target_learns_from_a_named_source(call: Callable, joined: RunDirectory):
    done = call(
        "transfer", str(joined.path), "--target", "cell_5", "--source", "cell_2",
        "--steps", "50", "--out", "t", "--json",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["transfers"]["cell_5"]["source"] == "cell_2"


def test_only_the_target_of_a_transfer_changes_its_policy(joined: RunDirectory, tmp_path: Path):
    config = make_transfer_config(
        joined.config(), joined.path, "cell_5", source=None, method="integrated", measure=None,
        library=None, steps=25,
    )  # fmt: skip
    other = RunDirectory.create(tmp_path / "t", config)
    train(config, other, ProgressListener(), draw_figures=False)
    before, after = joined.policies(), other.policies()

    for cell in config.scenario.cells:
        same = all(np.array_equal(before[cell][n], w) for n, w in after[cell].items())
        assert same == (cell != "cell_5")


def test_an_unknown_target_is_refused(joined: RunDirectory):
    with pytest.raises(ConfigError, match="expected one of cell_1 to cell_12, got cell_99"):
        make_transfer_config(
            joined.config(), joined.path, "cell_99", source=None, method="model", measure=None,
            library=None, steps=1,
        )  # fmt: skip


def test_an_unknown_method_is_refused(joined: RunDirectory):
    with pytest.raises(ConfigError, match=r"transfer.method: expected one of none, model"):
        make_transfer_config(
            joined.config(), joined.path, "cell_5", source=None, method="magic", measure=None,
            library=None, steps=1,
        )  # fmt: skip


def test_bundles_of_a_library_are_added_listed_shown_and_removed(
    call: Callable, joined: RunDirectory
):
    added = call("library", "add", "lib", str(joined.path), "--cell", "cell_3", "--name", "city")
    listed = call("library", "list", "lib", "--json")
    shown = call("library", "show", "lib", "city-cell_3")
    removed = call("library", "remove", "lib", "city-cell_3")
    gone = call("library", "show", "lib", "city-cell_3")

    assert added.stdout == "city-cell_3 version 1\n"
    assert json.loads(listed.stdout)["bundles"][0]["provenance"]["cell"] == "cell_3"
    assert json.loads(shown.stdout)["sla"]["throughput_mbps"] == [4, 3, 2, 1]
    assert removed.returncode == 0
    assert gone.returncode == 1
    assert "no bundle 'city-cell_3', there is nothing" in gone.stderr
