"""Writes policies as files that other programs can run: safetensors, ONNX and a manifest.

The ONNX graph takes KPIs in physical units and gives shares of the carrier. A torch module repeats
`encode_rows`, `max_min_split` and `compute_actions`, in float64 apart from observations and shares,
and `torch.onnx.export` writes it. Nothing is written where the graph differs from NumPy. Only this
module needs PyTorch and ONNX; the service computes with NumPy.
"""

import io
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from slicing_rllib.env.observation import SINR_SCALE_DB, SMALLEST_SPLIT, THROUGHPUT_SCALE_MBPS
from slicing_rllib.env.rewards import EDGE, OVERLOAD
from slicing_rllib.learning.stacked_networks import ModuleSpec
from slicing_rllib.policies import CellPolicy, PolicyError, list_layers
from slicing_rllib.policies.cell_policy import (
    GRAPH_FILE,
    MANIFEST_FILE,
    WEIGHTS_FILE,
    make_manifest,
)
from slicing_rllib.policies.encoder import CellEncoder, stack_kpis
from slicing_rllib.radio import SATURATION
from slicing_rllib.radio.kpis import TINY
from slicing_rllib.registry import get_part, is_own
from slicing_rllib.serving.policy_source import index_by_cell, open_source
from slicing_rllib.serving.release import Release
from slicing_rllib.storage import write_durably
from slicing_rllib.storage.errors import RunError

OPSET = 17
NEIGHBOUR_LOAD = "neighbour_load"
SLA_THROUGHPUT, SLA_DELAY = "sla_throughput_mbps", "sla_delay_ms"
APPLIED_SHARE, SHARES = "prb_ratio_applied", "prb_ratio"
"""The KPI `prb_ratio` must not have the name of the output."""
LARGEST_DIFFERENCE = 1e-6
"""Between the shares of the graph and of NumPy; they are float32."""
PARITY_SEED = 0
RANDOM_ROWS = 256

Samples = tuple[Mapping[str, np.ndarray], np.ndarray]
"""KPIs by name, (row, slice), and the load of the neighbours, (row, neighbour, slice)."""


class Export(NamedTuple):
    """One exported policy."""

    cell: str
    policy: str
    """name@version"""
    folder: str
    policy_sha256: str
    parity: dict[str, float | int]
    """Rows that were compared and the largest difference of a share; empty without a graph."""
    no_graph: str
    """Why there is no graph; empty where there is one."""


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
    recorded, exported = source.record_kpis(), list[Export]()
    for row, (cell, policy) in enumerate(policies.items()):
        if cells is not None and cell not in cells:
            continue
        samples: Samples | None = None
        if recorded:
            neighbours = [list(policies).index(name) for name in policy.encoder.neighbours]
            load = np.stack([step.load[neighbours] for step in recorded])
            samples = stack_kpis(recorded, row, policy.encoder.required_kpis), load
        files, parity = {WEIGHTS_FILE: policy.serialise_weights()}, {}
        if not (no_graph := explain_no_graph(policy)):
            files[GRAPH_FILE] = graph = make_graph(policy)
            parity = check_parity(policy, graph, samples, np.random.default_rng(PARITY_SEED))
        manifest = json.dumps(make_manifest(policy, files, parity), indent=1, sort_keys=True)
        folder = out / cell
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # The manifest last: a folder without it is not an export.
            for name, data in {**files, MANIFEST_FILE: f"{manifest}\n".encode()}.items():
                write_durably(folder / name, data)
        except OSError as error:
            raise RunError(f"{folder}: cannot write here ({error.strerror})") from error
        exported.append(Export(cell, policy.label, str(folder), policy.digest, parity, no_graph))
    return exported


class PolicyModule(nn.Module):
    """Encoder, base policy and actor of one cell, as NumPy computes them.

    A row whose KPIs or observation are not finite gets equal shares.
    """

    def __init__(self, policy: CellPolicy) -> None:
        super().__init__()
        self.encoder, self.form = policy.encoder, policy.form
        self.n_slices = len(policy.encoder.slices)
        self.users = torch.tensor(policy.encoder.users, dtype=torch.float64)
        self.actor = _load_actor(policy)

    def forward(self, *values: Tensor) -> Tensor:
        """Shares, (row, slice), from the inputs in the order of `make_inputs`."""
        inputs = dict(zip(_list_inputs(self.encoder), values, strict=True))
        obs = torch.cat(self._observe(inputs), dim=1).float()
        shares = torch.softmax(self._compute_logits(obs.double()), dim=1)
        read = torch.cat([obs.double(), *(value.flatten(1) for value in values)], dim=1)
        is_finite = torch.isfinite(read).all(dim=1, keepdim=True)
        equal = torch.full_like(shares, 1.0 / self.n_slices)
        return torch.where(is_finite, shares, equal).float()

    def _observe(self, kpis: Mapping[str, Tensor]) -> list[Tensor]:
        """The blocks of `env.observation`."""
        if is_own("observation", self.encoder.observation):
            return list(_find_torch(self.encoder, "observation")(kpis, self._hear(kpis)))
        if self.encoder.observation == "paper":
            return self._observe_as_paper(kpis)
        offered = kpis["demand_mbps"] * kpis["mean_inverse_rate"]
        needed = _compute_needed_share(kpis, offered)
        shares = (offered, needed, _split_max_min(offered, needed))
        log_offered, log_needed, log_base_split = (torch.log(s + SMALLEST_SPLIT) for s in shares)
        if self.encoder.observation == "widened":
            return [*self._observe_as_paper(kpis), log_offered, log_needed, log_base_split]
        return [
            log_offered,
            log_needed,
            torch.log(kpis[APPLIED_SHARE] + SMALLEST_SPLIT),
            kpis["utilisation"],
            torch.log(kpis["users"] + 1.0),
            *(kpis[f"sinr_db_{p}"] / SINR_SCALE_DB for p in ("p10", "p50", "p90")),
            log_base_split,
        ]

    def _observe_as_paper(self, kpis: Mapping[str, Tensor]) -> list[Tensor]:
        throughput = kpis["throughput_mbps"]
        blocks = [
            throughput / (throughput + THROUGHPUT_SCALE_MBPS),
            self.n_slices * kpis["load"],
            kpis["users"] * (1.0 / self.users),
        ]
        return [*blocks, self.n_slices * self._hear(kpis)]

    def _hear(self, kpis: Mapping[str, Tensor]) -> Tensor:
        """The message, (row, number)."""
        load = kpis.get(NEIGHBOUR_LOAD)
        if self.encoder.message == "mean_load":
            n_neighbours = max(len(self.encoder.neighbours), 1)
            load = torch.zeros_like(kpis["load"])[:, None] if load is None else load
            return load.sum(dim=1) * (1.0 / n_neighbours)
        if load is None:
            return kpis["load"][:, :0]
        # A learned message is made of the loads themselves, by the actor.
        if is_own("message", self.encoder.message) and self.form.heard is None:
            return _find_torch(self.encoder, "message")(load)
        return load.flatten(1)

    def _compute_logits(self, obs: Tensor) -> Tensor:
        """`trained_policy.compute_actions` before softmax."""
        logits = self.actor(obs)
        return logits if self.form.base_policy == "none" else logits + obs[:, -self.n_slices :]


def _load_actor(policy: CellPolicy) -> nn.Module:
    """The policy's actor as a torch module, in float64."""
    form, own = policy.form, policy.weights
    n_inputs = policy.observation_size
    hiddens = ()
    if not form.is_own:
        layers = list_layers(own, "actor.network" if form.heard else "actor")
        hiddens = tuple(len(layer.bias) for layer in layers[:-1])
    actor = ModuleSpec("actor", form.kind, n_inputs, form.n_actions, hiddens, form.heard).build()
    state = {name.removeprefix("actor."): torch.tensor(array) for name, array in own.items()}
    actor.load_state_dict(state)
    return actor.double().eval()


def _find_torch(encoder: CellEncoder, kind: str) -> Any:
    """What an own observation or message offers for graphs; None if it offers nothing."""
    offer = getattr(get_part(kind, getattr(encoder, kind)), "as_torch", None)
    return None if offer is None else offer()


def _compute_needed_share(kpis: Mapping[str, Tensor], offered: Tensor) -> Tensor:
    """`env.rewards.needed_share`"""
    share = kpis[APPLIED_SHARE]
    overloaded = SATURATION * (1.0 - SATURATION) * share**2 / offered.clamp(min=TINY)
    served = torch.where(offered <= SATURATION * share, share - offered, overloaded)
    ratio = torch.maximum(
        kpis[SLA_THROUGHPUT] / kpis["throughput_mbps"], kpis["delay_ms"] / kpis[SLA_DELAY]
    )
    needed = torch.where(served > 0.0, served * ratio, torch.ones_like(served))
    return torch.where(offered > 0.0, needed, torch.zeros_like(needed))


def _split_max_min(required: Tensor, needed: Tensor) -> Tensor:
    """`env.rewards.max_min_split`"""
    zero = torch.zeros_like(required)
    stable_level = torch.where(needed > 0.0, EDGE * required / needed, zero)
    served = stable_level[:, :, None] * needed[:, None, :]
    total = _invert_served_share(served, required[:, None, :]).sum(dim=2)
    is_stable = total <= 1.0
    squared = torch.where(is_stable, needed, zero).sum(dim=1, keepdim=True)
    root_share = torch.sqrt(needed * required / OVERLOAD)
    linear = torch.where(is_stable, zero, root_share).sum(dim=1, keepdim=True)
    remaining = 1.0 - torch.where(is_stable, required, zero).sum(dim=1, keepdim=True)
    root = linear + torch.sqrt(linear**2 + 4.0 * squared * remaining)
    level = ((2.0 * remaining / root) ** 2).clamp(max=1.0)
    level = torch.where(root > 0.0, level, torch.ones_like(level))
    share = _invert_served_share(level * needed, required)
    total = share.sum(dim=1, keepdim=True)
    equal = torch.full_like(share, 1.0 / share.shape[1])
    return torch.where(total > 0.0, share / total, equal)


def _invert_served_share(served: Tensor, required: Tensor) -> Tensor:
    """`env.rewards.invert_served_share`"""
    root = torch.sqrt(served * required / OVERLOAD)
    return torch.where(served >= EDGE * required, required + served, root)


def _list_inputs(encoder: CellEncoder) -> list[str]:
    """Names of the graph's inputs."""
    names = [APPLIED_SHARE if kpi == SHARES else kpi for kpi in encoder.required_kpis]
    if encoder.message != "none" and encoder.message_slots:
        names.append(NEIGHBOUR_LOAD)
    if encoder.observation != "paper":
        names += [SLA_THROUGHPUT, SLA_DELAY]
    return names


def make_inputs(policy: CellPolicy, samples: Samples) -> dict[str, np.ndarray]:
    """The graph's inputs by name, float64: (row, slice), load of neighbours (row, slot, slice)."""
    encoder, (columns, neighbour_load) = policy.encoder, samples
    n_rows, n_slices = len(neighbour_load), len(encoder.slices)
    padded = np.zeros((n_rows, encoder.message_slots, n_slices))
    padded[:, : neighbour_load.shape[1]] = neighbour_load
    values = {
        **columns,
        APPLIED_SHARE: columns.get(SHARES, np.zeros((n_rows, n_slices))),
        NEIGHBOUR_LOAD: padded,
        SLA_THROUGHPUT: np.tile(np.array(encoder.sla_throughput_mbps), (n_rows, 1)),
        SLA_DELAY: np.tile(np.array(encoder.sla_delay_ms), (n_rows, 1)),
    }
    return {name: values[name].astype(np.float64) for name in _list_inputs(encoder)}


def explain_no_graph(policy: CellPolicy) -> str:
    """Why a policy cannot be a graph: its observation follows from earlier reports too, or an own
    part is only known to NumPy. Empty where it can be one."""
    encoder = policy.encoder
    if encoder.remembers:
        return "the policy remembers earlier reports"
    for kind, name in policy.own_parts:
        is_module = kind == "actor" or (kind == "message" and policy.form.heard is not None)
        if kind == "base_policy" or not (is_module or _find_torch(encoder, kind)):
            return f"{kind} {name} does not offer as_torch()"
    return "" if encoder.base_policy == "persistence" else f"base policy {encoder.base_policy}"


def make_graph(policy: CellPolicy) -> bytes:
    """The serialised graph of a policy; equal policies give equal bytes."""
    samples = draw_samples(policy, np.random.default_rng(PARITY_SEED), 2)
    inputs = make_inputs(policy, samples)
    written = io.BytesIO()
    with warnings.catch_warnings():
        # The newer exporter takes seconds per policy and writes paths of this machine into the
        # graph, so that equal policies would not give equal bytes.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            PolicyModule(policy).eval(),
            tuple(map(torch.from_numpy, inputs.values())),
            written,  # pyright: ignore[reportArgumentType] (a file may be in memory)
            input_names=list(inputs),
            output_names=[SHARES],
            dynamic_axes={name: {0: "row"} for name in (*inputs, SHARES)},
            opset_version=OPSET,
            dynamo=False,
        )
    return written.getvalue()


def check_parity(
    policy: CellPolicy, graph: bytes, recorded: Samples | None, rng: np.random.Generator
) -> dict[str, float | int]:
    """Largest difference between the shares of a policy's graph and of NumPy.

    Args:
        policy: the policy.
        graph: its graph.
        recorded: KPIs that its cell has measured; None if nobody recorded any.
        rng: draws random KPIs.

    Raises: PolicyError if it exceeds `LARGEST_DIFFERENCE`.
    """
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    samples = {"random": draw_samples(policy, rng, RANDOM_ROWS)}
    if recorded is not None:
        samples["recorded"] = recorded
    result: dict[str, float | int] = {}
    for kind, sample in samples.items():
        expected = policy.decide(*sample)
        (shares,) = session.run([SHARES], make_inputs(policy, sample))
        difference = float(np.abs(np.asarray(shares) - expected).max())
        if not difference <= LARGEST_DIFFERENCE:
            raise PolicyError(
                f"policy {policy.label}: ONNX and NumPy differ by {difference:g} on {kind} KPIs, "
                f"expected at most {LARGEST_DIFFERENCE:g}"
            )
        result |= {f"{kind}_rows": len(expected), f"{kind}_difference": difference}
    return result


def draw_samples(policy: CellPolicy, rng: np.random.Generator, rows: int) -> Samples:
    """Random KPIs, some of slices without UEs and of overloaded slices."""
    n = len(policy.encoder.slices)
    shape = rows, n
    share = rng.dirichlet(np.ones(n), rows)
    used = rng.random(shape)
    active = rng.random(shape) < 0.9
    columns = {
        "throughput_mbps": np.exp(rng.normal(1.0, 2.0, shape)),
        "delay_ms": np.where(active, np.exp(rng.normal(0.0, 2.0, shape)), 0.0),
        "load": share * used,
        "utilisation": used,
        "users": np.where(active, rng.integers(1, 60, shape), 0).astype(float),
        "prb_ratio": share,
        "demand_mbps": np.where(active, np.exp(rng.normal(1.0, 1.5, shape)), 0.0),
        "mean_inverse_rate": np.where(active, np.exp(rng.normal(-3.0, 1.0, shape)), 0.0),
        "sinr_db_p10": rng.normal(0.0, 10.0, shape),
        "sinr_db_p50": rng.normal(10.0, 10.0, shape),
        "sinr_db_p90": rng.normal(20.0, 10.0, shape),
    }
    return columns, rng.random((rows, len(policy.encoder.neighbours), n)) / n
