"""One cell's policy from measured KPIs to shares, with all that it needs to be moved elsewhere."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float32
from safetensors.numpy import save as save_tensors

from slicing_rllib.env import ActorForm
from slicing_rllib.policies.cell_encoder import CellEncoder, NeighbourLoad
from slicing_rllib.policies.kpi_schema import PerSlice
from slicing_rllib.policies.layers import list_layers
from slicing_rllib.policies.trained_policy import compute_actions

ACTOR = "actor."
"""Beginning of the names of an actor's parameters."""


class PolicyError(ValueError):
    """A policy cannot be used. The message is one line."""


@dataclass(frozen=True)
class KpiRange:
    """What a KPI of one slice was in the recorded intervals."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    minimum: float
    """Smallest value in any cell of the network."""
    maximum: float
    """Largest value in any cell of the network."""
    mean: float
    """Mean value in this cell."""
    std: float
    """Standard deviation in this cell."""


def _no_ranges() -> dict[str, tuple[KpiRange, ...]]:
    return {}


@dataclass(frozen=True, kw_only=True, eq=False)
class CellPolicy:
    """The encoder, base policy and actor of one cell.

    Raises: PolicyError for weights that are not finite or do not fit the encoder.
    """

    encoder: CellEncoder
    """From KPIs to observations."""
    form: ActorForm
    """What is built around the actor's layers, the base policy included."""
    weights: Mapping[str, np.ndarray]
    """The actor's parameters by name."""
    name: str
    """Name of the policy, without its version."""
    version: int = 0
    """Version in its library; 0 for the policies of a run directory."""
    recorded: Mapping[str, tuple[KpiRange, ...]] = field(default_factory=_no_ranges)
    """By KPI and slice: its range where the policy was trained; empty if nobody recorded it."""
    provenance: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Run, cell, network, seed, digest of the config, package version."""

    def __post_init__(self) -> None:
        where = f"policy {self.label}"
        for name, array in self.weights.items():
            if not np.isfinite(array).all():
                raise PolicyError(f"{where}: {name} has values that are not finite")
        if self.form.squash != "softmax":
            raise PolicyError(f"{where}: expected shares, its actions are {self.form.squash}")
        n_slices, n_neighbours = len(self.encoder.slices), len(self.encoder.neighbours)
        ones = dict.fromkeys(self.encoder.required_kpis, np.ones((1, n_slices)))
        try:
            shares = self.decide(ones, np.zeros((1, n_neighbours, n_slices)))
        except (ValueError, KeyError, IndexError) as error:
            raise PolicyError(f"{where}: its actor does not fit its encoder ({error})") from error
        if shares.shape != (1, n_slices):
            raise PolicyError(f"{where}: expected {n_slices} shares, got {shares.shape[1]}")

    @property
    def label(self) -> str:
        """Name and version, as answers carry them."""
        return f"{self.name}@{self.version}"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that an answer depends on: encoder, form and weights."""
        settings = json.dumps(self.describe(), sort_keys=True).encode()
        return hashlib.sha256(settings + self.serialise_weights()).hexdigest()

    def describe(self) -> dict[str, Any]:
        """Encoder and form as plain values."""
        return {"encoder": asdict(self.encoder), "form": asdict(self.form)}

    def serialise_weights(self) -> bytes:
        """The actor's parameters in the format of safetensors; equal weights give equal bytes."""
        return save_tensors({n: np.ascontiguousarray(w) for n, w in sorted(self.weights.items())})

    def decide(
        self, columns: Mapping[str, PerSlice], neighbour_load: NeighbourLoad
    ) -> Float32[np.ndarray, "row slice"]:
        """Shares of the carrier, one row per interval, without ONNX Runtime."""
        obs = self.encoder.encode(columns, neighbour_load)
        return compute_actions(self.form, self.layers, obs)

    @cached_property
    def layers(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Weight and bias of each layer, with an axis of length 1 for rows that share them."""
        return [(layer.weight[None], layer.bias[None]) for layer in list_layers(self.weights)]


def select_actor(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The parameters of the actor alone, without critics and targets. Raises: PolicyError."""
    try:
        list_layers(weights)
    except (ValueError, KeyError) as error:
        raise PolicyError(f"expected the weights of an actor ({error})") from error
    return {name: array for name, array in weights.items() if name.startswith(ACTOR)}
