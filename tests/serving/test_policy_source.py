"""Policies of runs, libraries and exports: what cannot be served is refused."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.serving.release import ServiceArguments
from slicing_rllib.serving.served_release import load_first
from slicing_rllib.storage.errors import RunError
from slicing_rllib.transfer import LibraryError, PolicyLibrary


def test_weights_that_are_not_finite_are_never_served(library: Path, tmp_path: Path):
    """Neither from a library nor from a run."""
    bundle = PolicyLibrary(str(library)).load("quick-cell_1", 1)
    broken = {name: array.copy() for name, array in bundle.weights.items()}
    broken["actor.0.bias"][0] = np.inf
    version = PolicyLibrary(str(library)).add("quick-cell_1", bundle)
    folder = library / "quick-cell_1" / f"{version:04d}"
    # The library refuses to write it, so a stranger did.
    (folder / "weights.safetensors").write_bytes(data := save(broken))
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["sha256"]["weights.safetensors"] = hashlib.sha256(data).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(LibraryError, match=r"actor.0.bias.: expected finite numbers"):
        load_first(ServiceArguments(run=str(library)))
    assert load_first(ServiceArguments(run=str(library), version=1)).chosen["quick-cell_1"] == 1


def test_a_bundle_without_encoder_can_be_transferred_but_not_served(library: Path):
    bundle = PolicyLibrary(str(library)).load("quick-cell_1", 1)
    PolicyLibrary(str(library)).add("quick-cell_1", replace(bundle, policy=None))
    with pytest.raises(RunError, match="quick-cell_1@3: a bundle without encoder"):
        load_first(ServiceArguments(run=str(library)))


def test_a_service_needs_neither_torch_nor_onnx(served_run: RunDirectory):
    """In a new process, with policies loaded and the application imported."""
    code = f"""
import sys
import slicing_rllib.serving.application
from slicing_rllib.serving.served_release import load_first
from slicing_rllib.serving.release import ServiceArguments
load_first(ServiceArguments(run={str(served_run.path)!r}))
print(sorted({{"torch", "onnx", "onnxruntime"}} & sys.modules.keys()))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
