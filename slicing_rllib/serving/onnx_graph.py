"""The ONNX graph of policies: KPIs in physical units in, shares out.

The graph repeats `CellEncoder`, `max_min_split` and the actor's forward pass operation by
operation: in float64, apart from observations and shares, as NumPy does. `parity` compares both.

Nodes and constants of an ONNX graph while it is written.

How far the ONNX graph of a policy is from NumPy, on recorded and on random KPIs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from slicing_rllib.env.observation import SINR_SCALE_DB, SMALLEST_SPLIT, THROUGHPUT_SCALE_MBPS
from slicing_rllib.env.rewards import EDGE, OVERLOAD
from slicing_rllib.policies import CellPolicy, PolicyError
from slicing_rllib.radio import SATURATION
from slicing_rllib.radio.kpis import TINY


class OnnxNodes:
    """The nodes and constants of a graph; each method adds a node and returns its output's name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: object, dtype: type = np.float64) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(self, operation: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        output = name or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, inputs, [output], **attributes))
        return output

    def scale(self, x: str, factor: float) -> str:
        return self.add("Mul", x, self.constant(factor))

    def sum(self, x: str, axis: int, keepdims: bool) -> str:
        return self.add("ReduceSum", x, self.constant([axis], np.int64), keepdims=int(keepdims))

    def where(self, condition: str, yes: str, no: str) -> str:
        return self.add("Where", condition, yes, no)

    def cast(self, x: str, kind: int, name: str | None = None) -> str:
        return self.add("Cast", x, name=name, to=kind)

    def is_positive(self, x: str) -> str:
        return self.add("Greater", x, self.constant(0.0))

    def expand(self, x: str, axis: int) -> str:
        return self.add("Unsqueeze", x, self.constant([axis], np.int64))


OPSET, IR_VERSION = 17, 8
CELL, NEIGHBOUR_LOAD = "cell", "neighbour_load"
SLA_THROUGHPUT, SLA_DELAY = "sla_throughput_mbps", "sla_delay_ms"
SHARES, OBSERVATION = "prb_ratio", "observation"


class _Graph(OnnxNodes):
    """The graph of policies whose encoders and actors have the same form."""

    def __init__(self, policies: Sequence[CellPolicy]) -> None:
        super().__init__()
        self.policies = policies
        self.encoder, self.form = policies[0].encoder, policies[0].form
        self.n_slices = len(self.encoder.slices)

    def per_cell(self, rows: Sequence[object], dtype: type = np.float64) -> str:
        """A constant with a row per policy: that of each row of the input."""
        name = self.constant(np.stack([np.asarray(row, dtype) for row in rows]), dtype)
        return name if len(self.policies) == 1 else self.add("Gather", name, CELL, axis=0)

    def offered(self) -> str:
        return self.add("Mul", "demand_mbps", "mean_inverse_rate")

    def needed(self, offered: str) -> str:
        """`env.counterfactual.needed_share`"""
        share = "prb_ratio_applied"
        square = self.add("Mul", share, share)
        overloaded = self.add(
            "Div",
            self.scale(square, SATURATION * (1.0 - SATURATION)),
            self.add("Max", offered, self.constant(TINY)),
        )
        stable = self.add("LessOrEqual", offered, self.scale(share, SATURATION))
        served = self.where(stable, self.add("Sub", share, offered), overloaded)
        ratio = self.add(
            "Max",
            self.add("Div", SLA_THROUGHPUT, "throughput_mbps"),
            self.add("Div", "delay_ms", SLA_DELAY),
        )
        needed = self.where(
            self.is_positive(served), self.add("Mul", served, ratio), self.constant(1.0)
        )
        return self.where(self.is_positive(offered), needed, self.constant(0.0))

    def invert_served_share(self, served: str, required: str) -> str:
        """`env.max_min_split.invert_served_share`"""
        root = self.add(
            "Sqrt", self.add("Div", self.add("Mul", served, required), self.constant(OVERLOAD))
        )
        stable = self.add("GreaterOrEqual", served, self.scale(required, EDGE))
        return self.where(stable, self.add("Add", required, served), root)

    def highest_level(self, required: str, needed: str) -> str:
        zero = self.constant(0.0)
        stable_level = self.where(
            self.is_positive(needed),
            self.add("Div", self.scale(required, EDGE), needed),
            zero,
        )
        served = self.add("Mul", self.expand(stable_level, 2), self.expand(needed, 1))
        total = self.sum(self.invert_served_share(served, self.expand(required, 1)), 2, False)
        is_stable = self.add("LessOrEqual", total, self.constant(1.0))
        squared = self.sum(self.where(is_stable, needed, zero), 1, True)
        root_share = self.add(
            "Sqrt", self.add("Div", self.add("Mul", needed, required), self.constant(OVERLOAD))
        )
        linear = self.sum(self.where(is_stable, zero, root_share), 1, True)
        occupied = self.sum(self.where(is_stable, required, zero), 1, True)
        remaining = self.add("Sub", self.constant(1.0), occupied)
        product = self.add("Mul", self.scale(squared, 4.0), remaining)
        discriminant = self.add("Add", self.add("Mul", linear, linear), product)
        root = self.add("Add", linear, self.add("Sqrt", discriminant))
        level = self.add("Div", self.scale(remaining, 2.0), root)
        one = self.constant(1.0)
        bounded = self.add("Min", self.add("Mul", level, level), one)
        return self.where(self.is_positive(root), bounded, one)

    def max_min_split(self, required: str, needed: str) -> str:
        """`env.max_min_split.max_min_split`"""
        tau = self.highest_level(required, needed)
        share = self.invert_served_share(self.add("Mul", tau, needed), required)
        total = self.sum(share, 1, True)
        equal = self.constant(1.0 / self.n_slices)
        return self.where(self.is_positive(total), self.add("Div", share, total), equal)

    def log_share(self, share: str) -> str:
        return self.add("Log", self.add("Add", share, self.constant(SMALLEST_SPLIT)))

    def message(self) -> list[str]:
        """What neighbours tell, times the number of slices; no block without a message."""
        slots = self.encoder.message_slots
        match self.encoder.message:
            case "none":
                return []
            case "mean_load" if slots:
                weight = self.per_cell(
                    [[1.0 / max(len(p.encoder.neighbours), 1)] for p in self.policies]
                )
                mean = self.add("Mul", self.sum(NEIGHBOUR_LOAD, 1, False), weight)
                return [self.scale(mean, self.n_slices)]
            case "mean_load":
                return [self.scale("throughput_mbps", 0.0)]
            case _ if slots:
                shape = self.constant([0, slots * self.n_slices], np.int64)
                flat = self.add("Reshape", NEIGHBOUR_LOAD, shape)
                return [self.scale(flat, self.n_slices)]
            case _:
                return []

    def paper_blocks(self) -> list[str]:
        phi = "throughput_mbps"
        half = self.add("Add", phi, self.constant(THROUGHPUT_SCALE_MBPS))
        scales = self.per_cell([1.0 / np.array(p.encoder.users) for p in self.policies])
        return [
            self.add("Div", phi, half),
            self.scale("load", self.n_slices),
            self.add("Mul", "users", scales),
            *self.message(),
        ]

    def observation_blocks(self) -> list[str]:
        if self.encoder.observation == "paper":
            return self.paper_blocks()
        offered = self.offered()
        needed = self.needed(offered)
        log_offered, log_needed = self.log_share(offered), self.log_share(needed)
        log_base_split = self.log_share(self.max_min_split(offered, needed))
        if self.encoder.observation == "widened":
            return [*self.paper_blocks(), log_offered, log_needed, log_base_split]
        one = self.constant(1.0)
        sinr = [self.add("Div", f"sinr_db_{p}", self.constant(SINR_SCALE_DB))
                for p in ("p10", "p50", "p90")]  # fmt: skip
        return [
            log_offered,
            log_needed,
            self.log_share("prb_ratio_applied"),
            "utilisation",
            self.add("Log", self.add("Add", "users", one)),
            *sinr,
            log_base_split,
        ]

    def layers(self, x: str) -> str:
        """The actor's layers on (row, feature, column), with ReLU between them."""
        stacked = list(zip(*(policy.layers for policy in self.policies), strict=True))
        for number, layers in enumerate(stacked):
            weight = self.per_cell([w[0] for w, _ in layers], np.float32)
            bias = self.per_cell([b[0][:, None] for _, b in layers], np.float32)
            weight, bias = (
                self.cast(weight, TensorProto.DOUBLE),
                self.cast(bias, TensorProto.DOUBLE),
            )
            x = self.add("Add", self.add("MatMul", weight, x), bias)
            if number < len(stacked) - 1:
                x = self.add("Relu", x)
        return x

    def logits(self, obs: str) -> str:
        if self.form.kind == "mlp":
            axis = self.constant([2], np.int64)
            logits = self.add("Squeeze", self.layers(self.expand(obs, 2)), axis)
        else:
            shape = self.constant([0, -1, self.n_slices], np.int64)
            features = self.add("Reshape", obs, shape)
            like = self.add("Shape", features)
            mean = self.add("Expand", self.add("ReduceMean", features, axes=[2]), like)
            peak = self.add("Expand", self.add("ReduceMax", features, axes=[2]), like)
            pooled = self.add("Concat", features, mean, peak, axis=1)
            logits = self.add("Squeeze", self.layers(pooled), self.constant([1], np.int64))
        if self.form.base_policy == "none":
            return logits
        ends = [self.constant([end], np.int64) for end in (-self.n_slices, np.iinfo(np.int64).max)]
        return self.add("Add", logits, self.add("Slice", obs, *ends, self.constant([1], np.int64)))

    def build(self) -> None:
        blocks = self.observation_blocks()
        joined = self.add("Concat", *blocks, axis=1)
        obs = self.cast(joined, TensorProto.FLOAT, OBSERVATION)
        logits = self.logits(self.cast(obs, TensorProto.DOUBLE))
        self.cast(self.add("Softmax", logits, axis=1), TensorProto.FLOAT, SHARES)

    def inputs(self) -> list[onnx.ValueInfoProto]:
        shape = ["row", self.n_slices]
        names = [input_name(kpi) for kpi in self.encoder.required_kpis]
        inputs = [_describe(name, shape) for name in names]
        if self.encoder.message != "none" and self.encoder.message_slots:
            slots = ["row", self.encoder.message_slots, self.n_slices]
            inputs.append(_describe(NEIGHBOUR_LOAD, slots))
        if reads_sla(self.policies[0]):
            inputs += [_describe(SLA_THROUGHPUT, shape), _describe(SLA_DELAY, shape)]
        if len(self.policies) > 1:
            inputs.append(helper.make_tensor_value_info(CELL, TensorProto.INT64, ["row"]))
        return inputs


def input_name(kpi: str) -> str:
    """Name of a KPI's input: the applied share must not have the name of the output."""
    return "prb_ratio_applied" if kpi == "prb_ratio" else kpi


def reads_sla(policy: CellPolicy) -> bool:
    """Whether the observation depends on the SLA."""
    return policy.encoder.observation != "paper"


def find_group(policy: CellPolicy) -> tuple[object, ...]:
    """Policies with equal keys can share one graph."""
    encoder = policy.encoder
    return (
        encoder.observation,
        encoder.message,
        encoder.message_slots,
        encoder.slices,
        policy.form,
        tuple(weight.shape for weight, _ in policy.layers),
    )


def make_graph(policies: Sequence[CellPolicy]) -> bytes:
    """The serialised graph of one policy, or of several with equal `find_group`.

    Inputs are the KPIs by name, float64 of shape (row, slice), `neighbour_load` (row, neighbour,
    slice) if the observation has a message, and the SLA if it depends on that. The graph of several
    policies has the input `cell`: the index of each row's policy. Outputs are the shares and the
    observations. Equal policies give equal bytes.
    """
    graph = _Graph(policies)
    graph.build()
    outputs = [
        helper.make_tensor_value_info(SHARES, TensorProto.FLOAT, ["row", graph.n_slices]),
        helper.make_tensor_value_info(OBSERVATION, TensorProto.FLOAT, ["row", None]),
    ]
    proto = helper.make_graph(graph.nodes, "policy", graph.inputs(), outputs, graph.constants)
    model = helper.make_model(
        proto,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="slicing-rllib",
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def make_inputs(
    policy: CellPolicy, columns: Mapping[str, np.ndarray], neighbour_load: np.ndarray
) -> dict[str, np.ndarray]:
    """Inputs of the graph of one policy, from its KPIs by name and its neighbours' load."""
    encoder, rows = policy.encoder, len(neighbour_load)
    inputs = {input_name(kpi): columns[kpi].astype(float) for kpi in encoder.required_kpis}
    if encoder.message != "none" and encoder.message_slots:
        padded = np.zeros((rows, encoder.message_slots, len(encoder.slices)))
        padded[:, : neighbour_load.shape[1]] = neighbour_load
        inputs[NEIGHBOUR_LOAD] = padded
    if reads_sla(policy):
        inputs[SLA_THROUGHPUT], inputs[SLA_DELAY] = map(np.array, encoder.sla(rows))
    return inputs


def _describe(name: str, shape: Sequence[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.DOUBLE, shape)


LARGEST_DIFFERENCE = 1e-6
"""Shares may differ by this much; they are float32."""
RANDOM_ROWS = 256

Samples = tuple[Mapping[str, np.ndarray], np.ndarray]
"""KPIs by name, (row, slice), and the load of the neighbours, (row, neighbour, slice)."""


def open_session(graph: bytes) -> onnxruntime.InferenceSession:
    """ONNX Runtime on one thread: replicas share the machine's cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def check_parity(
    policy: CellPolicy,
    recorded: Samples | None,
    rng: np.random.Generator,
    graph: bytes | None = None,
) -> dict[str, float | int]:
    """Largest difference between the shares of the ONNX graph and of NumPy.

    Args:
        policy: the policy.
        recorded: KPIs that its cell has measured; None if nobody recorded any.
        rng: draws random KPIs.
        graph: the policy's graph; None makes it.

    Raises: PolicyError if it exceeds `LARGEST_DIFFERENCE`.
    """
    session = open_session(graph or make_graph([policy]))
    samples = {"random": draw_samples(policy, rng), **({"recorded": recorded} if recorded else {})}
    result: dict[str, float | int] = {}
    for kind, (columns, neighbour_load) in samples.items():
        expected = policy.decide(columns, neighbour_load)
        inputs = make_inputs(policy, columns, neighbour_load)
        (shares,) = session.run([SHARES], inputs)
        difference = float(np.abs(np.asarray(shares) - expected).max())
        if not difference <= LARGEST_DIFFERENCE:
            raise PolicyError(
                f"policy {policy.label}: ONNX and NumPy differ by {difference:g} on {kind} KPIs, "
                f"expected at most {LARGEST_DIFFERENCE:g}"
            )
        result |= {f"{kind}_rows": len(expected), f"{kind}_difference": difference}
    return result


def draw_samples(policy: CellPolicy, rng: np.random.Generator, rows: int = RANDOM_ROWS) -> Samples:
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
