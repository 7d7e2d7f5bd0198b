"""Pretrained policies: one equivariant actor for cells of networks that nobody trained in."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from slicing_rllib.env import ActorForm, DecisionView, Measurement
from slicing_rllib.env.widened_observation import PerSliceObserver
from slicing_rllib.policies.layers import list_layers
from slicing_rllib.policies.trained_policy import TrainedPolicy
from slicing_rllib.radio import Phase, Scenario
from slicing_rllib.storage import read_bounded
from slicing_rllib.storage.regular_file import GIB, MIB

BUILTIN = Path(__file__).parent / "builtin"
"""The actor that comes with the package; `slicing-rllib pretrain` makes it again."""
WEIGHTS_FILE, MANIFEST_FILE = "actor.safetensors", "manifest.json"
FORMAT = 1
MAX_MANIFEST_BYTES, MAX_WEIGHTS_BYTES = 4 * MIB, GIB


class PretrainedError(ValueError):
    """A pretrained actor cannot be read or written. The message is one line."""


@dataclass(frozen=True)
class PretrainedActor:
    """Weights of an equivariant actor over a persistence base policy, and where they come from."""

    weights: Mapping[str, np.ndarray]
    """By parameter name, `actor.0.weight` and so on."""
    provenance: Mapping[str, Any]
    """Plain values: command, settings, training networks, results."""

    @property
    def hiddens(self) -> tuple[int, ...]:
        """Widths of the hidden layers."""
        return tuple(len(layer.bias) for layer in list_layers(self.weights)[:-1])


class PretrainedPolicy:
    """The pretrained actor in every cell of a network, whatever its slices and SLAs.

    It computes its features from the KPIs of the last step, so it works beside policies with any
    observation.
    """

    def __init__(self, scenario: Scenario, actor: PretrainedActor | None = None) -> None:
        """`actor` None: the one that comes with the package."""
        weights = (actor or load_pretrained()).weights
        form = ActorForm(scenario.n_slices, "equivariant", "persistence")
        self._policy = TrainedPolicy(scenario.cells, dict.fromkeys(scenario.cells, weights), form)
        self._measurement = Measurement(scenario)
        self._observer = PerSliceObserver(scenario)

    def prb_ratio(self, view: DecisionView) -> Float[np.ndarray, "cell slice"]:
        """Shares of each cell's carrier."""
        measured = self._measurement(view.kpis, 0)
        return self._policy.compute_actions(
            self._observer(measured, view.kpis.phase != int(Phase.OFF))
        )


def load_pretrained(folder: Path = BUILTIN) -> PretrainedActor:
    """The actor of a folder; its weights are those that were written.

    Raises: PretrainedError for a folder without an actor, or with files that have changed.
    """
    try:
        manifest = json.loads(read_bounded(folder / MANIFEST_FILE, MAX_MANIFEST_BYTES))
        data = read_bounded(folder / WEIGHTS_FILE, MAX_WEIGHTS_BYTES)
        expected, provenance = str(manifest["sha256"]), dict(manifest["provenance"])
        weights = load_tensors(data)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise PretrainedError(f"{folder}: expected a pretrained actor ({error})") from error
    if manifest.get("format") != FORMAT or hashlib.sha256(data).hexdigest() != expected:
        raise PretrainedError(f"{folder}: expected the weights that its manifest describes")
    if not all(np.isfinite(array).all() for array in weights.values()):
        raise PretrainedError(f"{folder}: expected finite weights")
    return PretrainedActor(weights, provenance)


def save_pretrained(folder: Path, actor: PretrainedActor) -> None:
    """Write an actor; equal actors give equal bytes. Raises: OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    data = save_tensors({name: np.ascontiguousarray(w) for name, w in actor.weights.items()})
    manifest = {
        "format": FORMAT,
        "sha256": hashlib.sha256(data).hexdigest(),
        "provenance": dict(actor.provenance),
    }
    (folder / WEIGHTS_FILE).write_bytes(data)
    text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")
