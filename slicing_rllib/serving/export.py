"""Writes policies as files that other programs can run: safetensors, ONNX and a manifest."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from slicing_rllib.policies import CellPolicy
from slicing_rllib.policies.cell_policy import (
    GRAPH_FILE,
    MANIFEST_FILE,
    WEIGHTS_FILE,
    make_manifest,
)
from slicing_rllib.policies.encoder import stack_columns
from slicing_rllib.radio import StepKpis
from slicing_rllib.runs.policy_evaluation import record_kpis
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.serving.onnx_graph import Samples, check_parity, make_graph
from slicing_rllib.serving.policy_source import index_by_cell, open_source
from slicing_rllib.serving.release import Release
from slicing_rllib.storage import write_durably
from slicing_rllib.storage.errors import RunError

PARITY_SEED = 0


class Export(NamedTuple):
    """One exported policy."""

    cell: str
    policy: str
    """name@version"""
    folder: str
    policy_sha256: str
    parity: dict[str, float | int]
    """Rows that were compared and the largest difference of a share."""


def export_policies(
    location: str, out: Path, cells: Sequence[str] | None, version: int | None = None
) -> list[Export]:
    """Writes the policies of a run or library below `out`, a folder per cell.

    Equal policies give equal bytes.

    Args:
        location: a run directory or a policy library.
        out: folder to write to.
        cells: which cells; None means all.
        version: version of a library's bundles; None means the newest of each.

    Raises: RunError, LibraryError or PolicyError, also where ONNX and NumPy differ.
    """
    source = open_source(location)
    policies = index_by_cell(source.load(Release(version=version).select(source.list_versions())))
    for cell in cells or ():
        if cell not in policies:
            raise RunError(f"{location}: no {cell}, there is {', '.join(list(policies)[:3])} ...")
    recorded = _record(location)
    return [
        _export(policy, out / cell, _select_samples(policy, recorded, list(policies)))
        for cell, policy in policies.items()
        if cells is None or cell in cells
    ]


def _export(policy: CellPolicy, folder: Path, recorded: Samples | None) -> Export:
    graph = make_graph([policy])
    parity = check_parity(policy, recorded, np.random.default_rng(PARITY_SEED), graph)
    files = {WEIGHTS_FILE: policy.serialise_weights(), GRAPH_FILE: graph}
    manifest = make_manifest(policy, files, parity)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            write_durably(folder / name, data)
        # The manifest last: a folder without it is not an export.
        text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
        write_durably(folder / MANIFEST_FILE, text.encode())
    except OSError as error:
        raise RunError(f"{folder}: cannot write here ({error.strerror})") from error
    return Export(policy.encoder.cell, policy.label, str(folder), policy.digest, parity)


def _record(location: str) -> list[StepKpis]:
    """KPIs of a run's network; none for a library, which has no network."""
    if not (Path(location) / "config.yaml").is_file():
        return []
    run = RunDirectory.open(Path(location))
    return record_kpis(run.config(), run.policies())


def _select_samples(
    policy: CellPolicy, recorded: Sequence[StepKpis], cells: Sequence[str]
) -> Samples | None:
    if not recorded:
        return None
    columns: Mapping[str, Any] = stack_columns(
        recorded, cells.index(policy.encoder.cell), policy.encoder.required_kpis
    )
    rows = [cells.index(name) for name in policy.encoder.neighbours]
    return columns, np.stack([step.load[rows] for step in recorded])
