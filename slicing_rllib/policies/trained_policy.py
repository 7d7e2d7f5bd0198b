"""Actors in NumPy: those of a run's cells, and the pretrained one that comes with the package.

Weights are named "NETWORK.INDEX.weight" and "NETWORK.INDEX.bias", as PyTorch's `nn.Sequential` in
an attribute `NETWORK` names them. Indices of activations are missing. `compute_actions` is the
forward pass that evaluation, export's check and the service share.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors
from scipy.special import softmax

from slicing_rllib.env import ActorForm, DecisionView, Heard, Measurement
from slicing_rllib.env.observation import CellObserver, mean_load, no_message
from slicing_rllib.env.response_curves import split_by_curves
from slicing_rllib.radio import Scenario
from slicing_rllib.registry import get_part
from slicing_rllib.storage import read_bounded, read_json
from slicing_rllib.storage.foreign_files import GIB, MIB


class Layer(NamedTuple):
    """A fully connected layer: its outputs are weight @ inputs + bias.

    The layers of twin critics have a leading axis for the twins.
    """

    weight: Float[np.ndarray, "*twin output input"]
    bias: Float[np.ndarray, "*twin output"]


def list_layers(weights: Mapping[str, np.ndarray], network: str = "actor") -> list[Layer]:
    """The layers of a network from input to output, in whichever order `weights` has them.

    `weights` may contain other networks, too.
    Raises: ValueError if it has no layer of this network, KeyError if a layer is incomplete.
    """
    prefix = f"{network}."
    indices = sorted(
        {int(n.removeprefix(prefix).split(".")[0]) for n in weights if n.startswith(prefix)}
    )
    if not indices:
        raise ValueError(f"weights: expected a network {network!r}, got none")
    return [
        Layer(weights[f"{network}.{index}.weight"], weights[f"{network}.{index}.bias"])
        for index in indices
    ]


CRITICS = ("critic_1", "critic_2")


Parameters = tuple[np.ndarray, ...]
"""Those of one layer, or of a torch module in the order of their names."""


def list_deciding_layers(form: ActorForm, weights: Mapping[str, np.ndarray]) -> list[Parameters]:
    """What actions are computed from: a learned message's parameters, if there is one, and the
    layers of an actor or of twin critics; of an own actor all parameters as one layer.

    Raises: ValueError or KeyError for weights that lack them.
    """
    if form.kind == "max_min":
        found = [list_layers(weights, network) for network in CRITICS]
        return [
            tuple(map(np.stack, zip(*twins, strict=True))) for twins in zip(*found, strict=True)
        ]
    message, network = [], "actor"
    if form.heard is not None:
        message, network = [_list_parameters(weights, "actor.message.")], "actor.network"
    if form.is_own:
        return [*message, _list_parameters(weights, f"{network}.")]
    return [*message, *list_layers(weights, network)]


def _list_parameters(weights: Mapping[str, np.ndarray], prefix: str) -> Parameters:
    names = sorted(name for name in weights if name.startswith(prefix))
    if not names:
        raise ValueError(f"weights: expected parameters {prefix}*, got none")
    return tuple(weights[name] for name in names)


class TrainedPolicy:
    """Decides the splits of all cells by their actors, without exploration noise.

    Actors of equal shapes are stacked, so that one matrix product per layer serves all of them.

    Args:
        cells: names of the cells, in the order of the rows of observations.
        weights: the weights of each cell's networks, by parameter name.
        form: what is built around the actors' layers; by default nothing.

    Raises: ValueError if a cell has no weights.
    """

    def __init__(
        self,
        cells: Sequence[str],
        weights: Mapping[str, Mapping[str, np.ndarray]],
        form: ActorForm | None = None,
    ) -> None:
        if missing := [cell for cell in cells if cell not in weights]:
            raise ValueError(f"policies: expected one for each cell, none for {missing[0]}")
        self._form = form or ActorForm(len(list_layers(weights[cells[0]])[-1].bias))
        actors = [list_deciding_layers(self._form, weights[cell]) for cell in cells]
        members: dict[Any, list[int]] = {}
        for row, layers in enumerate(actors):
            members.setdefault(find_shapes(layers), []).append(row)
        self._groups = [
            (np.array(rows), stack_layers([actors[row] for row in rows]))
            for rows in members.values()
        ]

    def prb_ratio(self, view: DecisionView) -> Float[np.ndarray, "cell slice"]:
        """Shares of each cell's carrier, from the observations of `view`."""
        return self.compute_actions(view.obs)

    def compute_actions(
        self, obs: Float32[np.ndarray, "cell obs"]
    ) -> Float32[np.ndarray, "cell action"]:
        """Shares of each cell's carrier, with a sum of 1 per cell; -1 to 1 with `tanh`."""
        actions = [compute_actions(self._form, layers, obs[rows]) for rows, layers in self._groups]
        order = np.argsort(np.concatenate([rows for rows, _ in self._groups]))
        return np.concatenate(actions)[order]

    def compute_shared_actions(
        self, obs: Float32[np.ndarray, "row obs"]
    ) -> Float32[np.ndarray, "row action"]:
        """As `compute_actions`, for any number of rows, all by the first cell's weights."""
        return compute_actions(self._form, self._groups[0][1], obs)


class BasePolicySplit:
    """The split that a run's actors correct: what a cell does before it has learned anything.

    It reads the last columns of an observation, so it needs one that is widened or per_slice.
    """

    def __init__(self, n_slices: int) -> None:
        """`n_slices` is the number of slices of every cell."""
        self._n_slices = n_slices

    def prb_ratio(self, view: DecisionView) -> Float[np.ndarray, "cell slice"]:
        """Shares of each cell's carrier."""
        return softmax(view.obs[:, -self._n_slices :], axis=1)


def find_shapes(layers: Sequence[Parameters]) -> tuple[tuple[int, ...], ...]:
    """Shapes of all parameters: where they are equal, layers can be stacked."""
    return tuple(parameter.shape for layer in layers for parameter in layer)


def stack_layers(actors: Sequence[Sequence[Parameters]]) -> list[Parameters]:
    """Each layer of actors with equal shapes, its parameters with a leading axis for cells."""
    return [
        tuple(np.stack(parameters) for parameters in zip(*layers, strict=True))
        for layers in zip(*actors, strict=True)
    ]


def compute_actions(
    form: ActorForm,
    layers: Sequence[Parameters],
    obs: Float32[np.ndarray, "cell obs"],
) -> Float32[np.ndarray, "cell action"]:
    """Softmax of the actors' logits, or their tanh; ReLU between the layers.

    `layers` are weight (cell, out, in) and bias (cell, out), those of twin critics (cell, twin,
    ...); with `max_min` the split follows from the critics' curves. An equivariant actor reads each
    per-slice feature, its mean and its maximum over the slices. Torch modules of own actors and
    learned messages are run as they are, cell by cell.

    Computed in float64, so that float32 shares do not depend on the order in which a library adds
    numbers: evaluation, the service and ONNX Runtime give the same. Near saturation, the last digit
    of a share changes the fifth digit of a delay.
    """
    given = exact = obs.astype(np.float64)
    if form.kind == "max_min":
        pairs: Any = layers
        return split_by_curves(pairs, exact, form.n_actions).astype(np.float32)
    if form.heard is not None:
        message, *layers = layers
        exact = _hear(form.heard, form.n_actions, message, exact)
    if form.is_own:
        module = get_part("actor", form.kind)(exact.shape[1], form.n_actions)
        logits = _run_module(module, layers[0], exact)
    else:
        logits = _compute_logits(form, layers, exact)
    if form.base_policy != "none":
        logits = logits + given[:, -form.n_actions :]
    actions = np.tanh(logits) if form.squash == "tanh" else softmax(logits, axis=1)
    return actions.astype(np.float32)


def _compute_logits(form: ActorForm, layers: Sequence[Any], exact: np.ndarray) -> np.ndarray:
    if form.kind == "mlp":
        inputs = exact[:, None]
    else:
        features = exact.reshape(len(exact), -1, form.n_actions).swapaxes(1, 2)
        pooled = features, features.mean(axis=1, keepdims=True), features.max(axis=1, keepdims=True)
        inputs = np.concatenate([np.broadcast_to(p, features.shape) for p in pooled], axis=2)
    x = np.swapaxes(inputs, 1, 2)
    for number, (weight, bias) in enumerate(layers):
        x = weight @ x + bias[:, :, None]
        if number < len(layers) - 1:
            x = np.maximum(x, 0)
    return x[:, :, 0] if form.kind == "mlp" else x[:, 0]


def _hear(heard: Heard, n_slices: int, parameters: Parameters, obs: np.ndarray) -> np.ndarray:
    """The observations with the message in place of the reports that it is made of."""
    end = heard.start + heard.n_neighbours * n_slices
    reports = obs[:, heard.start : end].reshape(len(obs), heard.n_neighbours, n_slices)
    build = get_part("message", heard.message).build
    message = _run_module(build(heard.n_neighbours, n_slices), parameters, reports)
    return np.concatenate([obs[:, : heard.start], message, obs[:, end:]], axis=1)


def _run_module(module: Any, parameters: Parameters, inputs: np.ndarray) -> np.ndarray:
    """What a torch module answers, in float64, with the parameters of each row.

    It is run through its own methods, so that this package needs no torch.
    """
    module = module.double().eval().requires_grad_(False)
    own = [parameter for _, parameter in sorted(module.named_parameters())]
    rows = len(parameters[0])
    answers: list[np.ndarray] = []
    for row, given in enumerate(inputs[:, None] if rows == len(inputs) else [inputs]):
        for parameter, values in zip(own, parameters, strict=True):
            parameter.data = parameter.new_tensor(values[row])
        answers.append(module(own[0].new_tensor(given)).numpy())
    return np.concatenate(answers)


BUILTIN = Path(__file__).parent / "builtin"
"""The actor that comes with the package; `slicing-rllib pretrain` makes it again."""
BUILTIN_CURVES = BUILTIN / "curves"
"""Critics per slice that come with the package; their manifest says how they were made."""
WEIGHTS_FILE, MANIFEST_FILE = "actor.safetensors", "manifest.json"
FORMAT = 1
MAX_MANIFEST_BYTES, MAX_WEIGHTS_BYTES = 4 * MIB, GIB


class PretrainedError(ValueError):
    """A pretrained actor cannot be read or written. The message is one line."""


@dataclass(frozen=True)
class PretrainedActor:
    """Weights of an equivariant actor over a persistence base policy, or of twin critics per slice,
    and where they come from."""

    weights: Mapping[str, np.ndarray]
    """By parameter name, `actor.0.weight` or `critic_1.0.weight` and so on."""
    provenance: Mapping[str, Any]
    """Plain values: command, settings, training networks, results."""

    @property
    def hiddens(self) -> tuple[int, ...]:
        """Widths of the hidden layers of each network."""
        network = next(iter(self.weights)).split(".")[0]
        return tuple(len(layer.bias) for layer in list_layers(self.weights, network)[:-1])


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
        self._observer = CellObserver("per_slice", scenario, no_message(scenario))

    def prb_ratio(self, view: DecisionView) -> Float[np.ndarray, "cell slice"]:
        """Shares of each cell's carrier."""
        measured = self._measurement(view.kpis, 0)
        return self._policy.compute_actions(self._observer([measured], measured.live))


class PretrainedCurves:
    """The max-min split by pretrained critics per slice, in every cell of a network."""

    def __init__(self, scenario: Scenario, critics: PretrainedActor | None = None) -> None:
        """`critics` None: those that come with the package."""
        weights = (critics or load_pretrained(BUILTIN_CURVES)).weights
        form = ActorForm(scenario.n_slices, "max_min")
        self._policy = TrainedPolicy(scenario.cells[:1], {scenario.cells[0]: weights}, form)
        self._measurement = Measurement(scenario)
        self._observer = CellObserver("response", scenario, mean_load(scenario))

    def prb_ratio(self, view: DecisionView) -> Float[np.ndarray, "cell slice"]:
        """Shares of each cell's carrier."""
        reports = [self._measurement(kpis, 0) for kpis in view.reports or (view.kpis,)]
        obs = self._observer(reports, reports[-1].live)
        return self._policy.compute_shared_actions(obs)


def load_pretrained(folder: Path = BUILTIN) -> PretrainedActor:
    """The actor of a folder; its weights are those that were written.

    Raises: PretrainedError for a folder without an actor, or with files that have changed.
    """
    try:
        manifest = read_json(folder / MANIFEST_FILE, MAX_MANIFEST_BYTES)
        data = read_bounded(folder / WEIGHTS_FILE, MAX_WEIGHTS_BYTES)
        expected, provenance = str(manifest["sha256"]), dict(manifest["provenance"])
        weights = load_tensors(data)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
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
