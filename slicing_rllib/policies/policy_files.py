"""A cell's policy as files: `policy.safetensors`, `manifest.json`, and perhaps `policy.onnx`."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from slicing_rllib.env import ActorForm
from slicing_rllib.policies.cell_encoder import CellEncoder
from slicing_rllib.policies.cell_policy import CellPolicy, KpiRange, PolicyError
from slicing_rllib.policies.kpi_schema import KPI_SPECS

WEIGHTS_FILE, GRAPH_FILE, MANIFEST_FILE = "policy.safetensors", "policy.onnx", "manifest.json"
FORMAT = 1
"""Version of the manifest's layout."""

Recorded = Mapping[str, tuple[KpiRange, ...]]

_ENCODER: TypeAdapter[CellEncoder] = TypeAdapter(CellEncoder)
_FORM: TypeAdapter[ActorForm] = TypeAdapter(ActorForm)
_RECORDED: TypeAdapter[dict[str, tuple[KpiRange, ...]]] = TypeAdapter(
    dict[str, tuple[KpiRange, ...]]
)


def describe_policy(policy: CellPolicy) -> dict[str, Any]:
    """Encoder, form and recorded ranges as plain values, which `make_policy` reads."""
    return policy.describe() | {
        "recorded": {
            name: [asdict(kpi) for kpi in ranges] for name, ranges in policy.recorded.items()
        }
    }


def make_policy(
    description: Mapping[str, Any],
    weights: Mapping[str, np.ndarray],
    *,
    name: str,
    version: int,
    provenance: Mapping[str, Any],
) -> CellPolicy:
    """The policy with a description of `describe_policy`. Raises: PolicyError."""
    try:
        return CellPolicy(
            encoder=_ENCODER.validate_python(description["encoder"]),
            form=_FORM.validate_python(description["form"]),
            recorded=_RECORDED.validate_python(description["recorded"]),
            weights=weights,
            name=name,
            version=version,
            provenance=provenance,
        )
    except (KeyError, ValidationError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        why = f"{first['loc']}: {first['msg']}" if first else f"no {error}"
        raise PolicyError(f"policy {name}@{version}: expected its description ({why})") from error


def make_manifest(
    policy: CellPolicy, files: Mapping[str, bytes], parity: Mapping[str, Any]
) -> dict[str, Any]:
    """What `manifest.json` says about a policy and the files beside it.

    Args:
        policy: the policy.
        files: content by file name.
        parity: how far the ONNX graph is from NumPy.
    """
    return {
        "format": FORMAT,
        "name": policy.name,
        "version": policy.version,
        "policy_sha256": policy.digest,
        "kpis": {
            name: {"unit": KPI_SPECS[name].unit, "meaning": KPI_SPECS[name].meaning}
            for name in policy.encoder.required_kpis
        },
        **describe_policy(policy),
        "parity": dict(parity),
        "provenance": dict(policy.provenance),
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }


def load_policy(folder: Path) -> CellPolicy:
    """The policy of a folder that `export` has written.

    Raises: PolicyError where there is none, or a file has changed since it was written.
    """
    path = folder / MANIFEST_FILE
    try:
        manifest: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8")))
        if manifest.get("format") != FORMAT:
            raise PolicyError(f"{path}: expected a manifest of format {FORMAT}")
        for name, digest in manifest["sha256"].items():
            data = (folder / Path(name).name).read_bytes()
            if hashlib.sha256(data).hexdigest() != digest:
                raise PolicyError(f"{folder / name}: has changed since it was written")
        weights = load_tensors((folder / WEIGHTS_FILE).read_bytes())
        policy = make_policy(
            manifest,
            weights,
            name=str(manifest["name"]),
            version=int(manifest["version"]),
            provenance=manifest["provenance"],
        )
    except PolicyError:
        raise
    except (OSError, KeyError, TypeError, ValueError, AttributeError, SafetensorError) as error:
        raise PolicyError(f"{folder}: expected an exported policy ({error})") from error
    if policy.digest != manifest["policy_sha256"]:
        raise PolicyError(f"{path}: has changed since it was written")
    return policy
