"""Exported policies: the same bytes every time, and served like the run that they come from."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from slicing_rllib.cli.main import run as run_command
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.serving.policy_service import PolicyHolder, load_first
from slicing_rllib.serving.policy_source import index_by_cell, open_source
from slicing_rllib.serving.release import RELEASE_FILE, Release, ReleaseHistory
from slicing_rllib.serving.service_settings import ServiceArguments
from slicing_rllib.storage.errors import RunError
from slicing_rllib.transfer import LibraryError, PolicyLibrary


@pytest.fixture(scope="module")
def exported(served_run: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export")
    cells = ["--cell", "cell_1", "--cell", "cell_2"]
    assert run_command(["export", str(served_run.path), *cells, "--out", str(out)]) == 0
    return out


def test_equal_policies_give_equal_files(served_run, exported: Path, tmp_path: Path):
    again = ["export", str(served_run.path), "--cell", "cell_1", "--out", str(tmp_path)]
    assert run_command(again) == 0
    names = sorted(file.name for file in (tmp_path / "cell_1").iterdir())
    assert names == ["manifest.json", "policy.onnx", "policy.safetensors"]
    for name in names:
        first, second = (folder / "cell_1" / name for folder in (exported, tmp_path))
        assert first.read_bytes() == second.read_bytes()


def test_the_manifest_says_what_somebody_else_needs(exported: Path):
    """The graph runs with nothing but the manifest's names."""
    manifest = json.loads((exported / "cell_1" / "manifest.json").read_text())
    session = onnxruntime.InferenceSession(exported / "cell_1" / "policy.onnx")
    inputs = {node.name: node for node in session.get_inputs()}
    assert set(manifest["kpis"]) | {"neighbour_load"} == set(inputs)
    neighbours = len(manifest["encoder"]["neighbours"])
    kpis = dict.fromkeys(manifest["kpis"], np.ones((2, 4)))
    (shares,) = session.run(["prb_ratio"], kpis | {"neighbour_load": np.zeros((2, neighbours, 4))})
    assert shares.sum(axis=1) == pytest.approx([1.0, 1.0])
    assert manifest["parity"]["recorded_rows"] == 251
    assert manifest["parity"]["recorded_difference"] <= 1e-6
    assert manifest["provenance"]["cell"] == "cell_1"


def test_an_export_is_served_like_its_run(served_run: RunDirectory, exported: Path):
    served = load_first(ServiceArguments(run=str(exported)))
    assert list(served.chosen) == ["quick-cell_1", "quick-cell_2"]
    source = open_source(str(served_run.path))
    policies = index_by_cell(source.load(Release().select(source.list_versions())))
    assert served.live.policies["cell_1"].digest == policies["cell_1"].digest


def test_either_cells_or_all_are_exported(served_run: RunDirectory, capsys):
    assert run_command(["export", str(served_run.path)]) == 2
    assert run_command(["export", str(served_run.path), "--cell", "cell_99"]) == 1
    assert "no cell_99" in capsys.readouterr().err


def test_weights_that_are_not_finite_are_never_served(library: Path, tmp_path: Path):
    """Neither from a library nor from a run."""
    bundle = PolicyLibrary(str(library)).load("quick-cell_1", 1)
    broken = {name: array.copy() for name, array in bundle.weights.items()}
    broken["actor.0.bias"][0] = np.inf
    PolicyLibrary(str(library)).add(
        "quick-cell_1", type(bundle)(**vars(bundle) | {"weights": broken})
    )
    with pytest.raises(LibraryError, match=r"actor.0.bias.: expected finite numbers"):
        load_first(ServiceArguments(run=str(library)))
    assert load_first(ServiceArguments(run=str(library), version=1)).chosen["quick-cell_1"] == 1


def test_a_bundle_without_encoder_can_be_transferred_but_not_served(library: Path):
    bundle = PolicyLibrary(str(library)).load("quick-cell_1", 1)
    PolicyLibrary(str(library)).add("quick-cell_1", replace(bundle, policy=None))
    with pytest.raises(RunError, match="quick-cell_1@3: a bundle without encoder"):
        load_first(ServiceArguments(run=str(library)))


def test_a_release_that_cannot_be_loaded_leaves_the_one_before(library: Path):
    """A file of a release written by hand, without the checks of `rollout`."""
    holder = PolicyHolder(ServiceArguments(run=str(library)))
    holder.load(holder.arguments)
    before = holder.served
    history = ReleaseHistory(revision=2, release=Release(version=7))
    (library / RELEASE_FILE).write_text(history.model_dump_json())
    holder.look()

    assert holder.served is before
    assert "quick-cell_1 has no version 7" in holder.problem
    (library / RELEASE_FILE).write_text(history.append(Release(version=1)).model_dump_json())
    holder.look()
    assert holder.problem is None
    assert set(holder.served.chosen.values()) == {1}
    assert holder.served.revision == 3


def test_pinned_services_ignore_the_release(library: Path):
    history = ReleaseHistory(revision=2, release=Release(version=1))
    (library / RELEASE_FILE).write_text(history.model_dump_json())
    assert set(load_first(ServiceArguments(run=str(library))).chosen.values()) == {1}
    pinned = ServiceArguments(run=str(library), version=2, pins=("quick-cell_3@1",))
    chosen = load_first(pinned).chosen
    assert chosen.pop("quick-cell_3") == 1
    assert set(chosen.values()) == {2}
