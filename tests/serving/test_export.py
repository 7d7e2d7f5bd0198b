"""Exported policies: graphs that agree with NumPy, equal bytes, and served like their run."""

import itertools
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from slicing_rllib.cli.main import run as run_command
from slicing_rllib.env import ActorForm, SlicingEnv
from slicing_rllib.policies import CellPolicy, PolicyError, make_encoders
from slicing_rllib.radio import make_scenario
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.serving import export as exports
from slicing_rllib.serving.policy_source import index_by_cell, open_source
from slicing_rllib.serving.release import Release, ServiceArguments
from slicing_rllib.serving.served_release import load_first

FORMS = [
    ("paper", "mean_load", "mlp", "none"),
    ("paper", "all_cells", "mlp", "none"),
    ("paper", "none", "mlp", "none"),
    ("widened", "per_neighbour", "mlp", "persistence"),
    ("per_slice", "none", "equivariant", "persistence"),
    ("per_slice", "none", "mlp", "none"),
]


def make_policies(observation: str, message: str, kind, base_policy) -> list[CellPolicy]:
    scenario, rng = make_scenario("paper"), np.random.default_rng(0)
    env = SlicingEnv(scenario, message=message, observation=observation, default_seed=1)
    form = ActorForm(scenario.n_slices, kind, base_policy)
    widths = list(itertools.pairwise(form.compute_widths(env.obs_size, (8, 6))))
    return [
        CellPolicy(
            encoder=encoder,
            form=form,
            weights={
                f"actor.{2 * n}.{part}": rng.normal(
                    size=(b, a) if part == "weight" else (b,)
                ).astype(np.float32)
                for n, (a, b) in enumerate(widths)
                for part in ("weight", "bias")
            },
            name=cell,
        )
        for cell, encoder in make_encoders(scenario, observation, message).items()
    ]


@pytest.mark.parametrize("form", FORMS, ids="-".join)
def test_the_graph_agrees_with_numpy(form):
    policy = make_policies(*form)[0]
    graph = exports.make_graph(policy)
    found = exports.check_parity(policy, graph, None, np.random.default_rng(1))

    assert found["random_rows"] == exports.RANDOM_ROWS
    assert found["random_difference"] < 1e-7
    onnx.checker.check_model(onnx.load_from_string(graph), full_check=True)


@pytest.mark.parametrize("form", [FORMS[0], FORMS[3], FORMS[4]], ids="-".join)
def test_the_graph_answers_kpis_that_are_not_finite_with_equal_shares(form):
    """A row with such a value in any input; the other row stays as it is."""
    policy = make_policies(*form)[0]
    session = onnxruntime.InferenceSession(exports.make_graph(policy))
    samples = exports.draw_samples(policy, np.random.default_rng(2), 2)
    inputs = exports.make_inputs(policy, samples)
    for name, values in inputs.items():
        for value in (np.nan, np.inf, -np.inf):
            broken = values.copy()
            broken[0].flat[1] = value
            (shares,) = session.run(None, inputs | {name: broken})
            assert (shares[0] == 0.25).all(), (name, value)
            assert shares[1] == pytest.approx(policy.decide(*samples)[1], abs=1e-7)


def test_equal_policies_give_equal_graphs():
    first, again = (make_policies(*FORMS[3])[0] for _ in range(2))
    assert exports.make_graph(first) == exports.make_graph(again)


def test_a_graph_that_differs_is_refused():
    """The graph of another cell in the place of the right one."""
    policy, other = make_policies(*FORMS[0])[:2]
    graph = exports.make_graph(other)
    with pytest.raises(PolicyError, match=r"cell_1@0: ONNX and NumPy differ by .* on random KPIs"):
        exports.check_parity(policy, graph, None, np.random.default_rng(0))


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
