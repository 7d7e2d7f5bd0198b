"""How far the ONNX graph of a policy is from NumPy, on recorded and on random KPIs."""

from collections.abc import Mapping

import numpy as np
import onnxruntime

from slicing_rllib.policies import CellPolicy, PolicyError
from slicing_rllib.service.serving.graph.onnx_graph import SHARES, make_graph, make_inputs

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
