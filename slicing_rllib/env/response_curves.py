"""Response curves: the service level of a slice as a function of its share of the carrier.

The level of a slice is log min(phi / phi*, d* / d), so that 0 just meets the SLA and the reward is
exp of the smallest level, at most 1. A critic per slice predicts it from what counters gave for the
slice in the last reports, and from the logarithm of a share. The split with the highest common
level follows from these curves by bisection; no model of queues is involved.

A `response` observation is one block per feature, a number per slice in each. It begins with the
two blocks of the SLA, so that the levels of a transition follow from it and from the transition's
throughput and delay, also after the SLA in it has been replaced by that of another cell.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from slicing_rllib.env.measurement import Measured, stack_reports

PerSlice = Float[np.ndarray, "cell slice"]

LOWEST_LEVEL, HIGHEST_LEVEL = -2.0, 0.4
"""Levels are clipped to this range: 0.14 to 1.5 times the SLA."""
ENOUGH = 0.05
"""Level above which a slice gains nothing: what is left of the carrier is divided in proportion."""
EQUAL_PART = 0.05
"""Part of the carrier that is divided equally, against errors of the curves."""
SMALLEST_SHARE = 0.01
"""Added to shares before their logarithm is taken."""
SMALLEST_DELAY_MS = 0.05
"""Delays below this count as this: without active UEs a delay is 0."""
SMALLEST_RATE = 0.005
"""Added to mean inverse rates, s/Mbit, before their logarithm is taken."""
GRID = np.concatenate([[0.005, 0.01], np.linspace(0.02, 0.4, 20), np.linspace(0.44, 0.96, 14)])
"""Shares at which curves are computed; between them they are straight lines."""
BISECTIONS = 20
"""Halvings of the interval of levels: the common level is exact to 2e-6."""
CELLS_AT_ONCE = 64
"""Cells whose curves are computed together, so that activations stay in the caches."""


class Scaling(NamedTuple):
    """How a feature becomes a number of the order of 1."""

    centre: float
    width: float


FEATURES: Mapping[str, Scaling] = {
    "sla_throughput": Scaling(0.8, 0.8),
    "sla_delay": Scaling(0.8, 0.8),
    "offered": Scaling(-2.2, 1.0),
    "offered_mean": Scaling(-2.2, 1.0),
    "offered_oldest": Scaling(-2.2, 1.0),
    "applied": Scaling(-1.5, 0.7),
    "throughput": Scaling(1.0, 1.0),
    "delay": Scaling(0.5, 1.2),
    "throughput_of_share": Scaling(2.5, 1.0),
    "delay_of_share": Scaling(-1.0, 1.2),
    "utilisation": Scaling(0.6, 0.3),
    "users": Scaling(2.0, 1.2),
    "inverse_rate": Scaling(-3.3, 0.8),
    "inverse_rate_mean": Scaling(-3.3, 0.8),
    "load": Scaling(0.7, 0.3),
    "message": Scaling(0.15, 0.15),
}
"""The blocks of a `response` observation in order. Those but SLA and message come from counters."""


def observe_response(
    reports: Sequence[Measured],
    sla_throughput_mbps: PerSlice,
    sla_delay_ms: PerSlice,
    message: Float[np.ndarray, "cell message"],
) -> dict[str, PerSlice]:
    """The blocks of a `response` observation; `message` has none, one or more blocks itself."""

    def stack(read: Callable[[Measured], PerSlice]) -> Float[np.ndarray, "report cell slice"]:
        return stack_reports(reports, read)

    kpis = reports[-1].kpis
    ones = np.ones_like(kpis.load)
    offered = stack(lambda report: report.offered)
    inverse_rate = stack(lambda report: report.kpis.mean_inverse_rate)
    log_share = np.log(stack(lambda report: report.kpis.prb_ratio) + SMALLEST_SHARE)
    log_throughput = np.log(stack(lambda report: report.kpis.throughput_mbps) + SMALLEST_SHARE)
    log_delay = np.log(np.maximum(stack(lambda report: report.kpis.delay_ms), SMALLEST_DELAY_MS))
    values = {
        "sla_throughput": np.log(sla_throughput_mbps) * ones,
        "sla_delay": np.log(sla_delay_ms) * ones,
        "offered": np.log(offered[0] + SMALLEST_SHARE),
        "offered_mean": np.log(offered.mean(axis=0) + SMALLEST_SHARE),
        "offered_oldest": np.log(offered[-1] + SMALLEST_SHARE),
        "applied": log_share[0],
        "throughput": log_throughput[0],
        "delay": log_delay[0],
        "throughput_of_share": (log_throughput - log_share).mean(axis=0),
        "delay_of_share": (log_delay + log_share).mean(axis=0),
        "utilisation": kpis.utilisation,
        "users": np.log1p(kpis.users),
        "inverse_rate": np.log(inverse_rate[0] + SMALLEST_RATE),
        "inverse_rate_mean": np.log(inverse_rate.mean(axis=0) + SMALLEST_RATE),
        "load": kpis.load.sum(axis=1, keepdims=True) * ones,
    }
    # Without a message a block of zeros, so that critics serve networks with and without it.
    centre = FEATURES["message"].centre
    heard = {"message": message} if message.shape[1] else {"message": np.full_like(ones, centre)}
    return {
        name: (value - FEATURES[name].centre) / FEATURES[name].width
        for name, value in (values | heard).items()
    }


def service_levels(
    obs: Float32[np.ndarray, "*rows obs"], reward_inputs: Float[np.ndarray, "*rows input"]
) -> Float[np.ndarray, "*rows slice"]:
    """log min(phi / phi*, d* / d) of each slice, clipped, with the SLA that is in `obs`.

    `reward_inputs` are the throughput in Mbit/s and the delay in ms of all slices.
    """
    n_slices = reward_inputs.shape[-1] // 2
    throughput_mbps, delay_ms = reward_inputs[..., :n_slices], reward_inputs[..., n_slices:]
    first, second = FEATURES["sla_throughput"], FEATURES["sla_delay"]
    log_throughput = obs[..., :n_slices] * first.width + first.centre
    log_delay = obs[..., n_slices : 2 * n_slices] * second.width + second.centre
    tiny = np.float32(1e-6)
    level = np.minimum(
        np.log(np.maximum(throughput_mbps, tiny)) - log_throughput,
        log_delay - np.log(np.maximum(delay_ms, tiny)),
    )
    return np.clip(level, np.float32(LOWEST_LEVEL), np.float32(HIGHEST_LEVEL))


def replace_sla(
    obs: Float32[np.ndarray, "*rows obs"],
    sla_throughput_mbps: Float[np.ndarray, " slice"],
    sla_delay_ms: Float[np.ndarray, " slice"],
) -> Float32[np.ndarray, "*rows obs"]:
    """Observations of a cell with another SLA that measured the same."""
    slas = {"sla_throughput": sla_throughput_mbps, "sla_delay": sla_delay_ms}
    replaced = obs.copy()
    replaced[..., : 2 * len(sla_delay_ms)] = np.concatenate(
        [(np.log(sla) - FEATURES[name].centre) / FEATURES[name].width for name, sla in slas.items()]
    )
    return replaced


def extrapolate_levels(features: Any, log_share: Any) -> Any:
    """Levels if throughput grows and delay falls in proportion to the share: where critics start.

    From the mean of the last reports; critics learn what is to be added to it. The last axis of
    `features` are the features of a slice; arrays of NumPy and tensors of torch alike.
    """
    throughput, delay, throughput_of_share, delay_of_share = (
        features[..., column] * width + centre for column, (centre, width) in _EXTRAPOLATED
    )
    by_throughput = throughput_of_share - throughput + log_share
    by_delay = delay - delay_of_share + log_share
    lowest = 0.5 * (by_throughput + by_delay - abs(by_throughput - by_delay))
    return lowest.clip(LOWEST_LEVEL, HIGHEST_LEVEL)


_EXTRAPOLATED = [
    (list(FEATURES).index(name), FEATURES[name])
    for name in ("sla_throughput", "sla_delay", "throughput_of_share", "delay_of_share")
]


CriticLayers = Sequence[tuple[np.ndarray, np.ndarray]]
"""Weight (cell, twin, out, in) and bias (cell, twin, out) of each layer of the critics."""


def split_by_curves(
    layers: CriticLayers, obs: Float[np.ndarray, "cell obs"], n_slices: int
) -> PerSlice:
    """Every cell's split: the highest common level of its slices, and a part in equal shares.

    Rows of `obs` may share one cell's critics. The result has the precision of `obs`.
    """
    features = obs.reshape(len(obs), -1, n_slices).swapaxes(1, 2)
    shares: list[PerSlice] = []
    for start in range(0, len(obs), CELLS_AT_ONCE):
        rows = slice(start, start + CELLS_AT_ONCE)
        own = layers if len(layers[0][0]) == 1 else [(w[rows], b[rows]) for w, b in layers]
        shares.append(find_max_min_shares(predict_levels(own, features[rows])))
    equal = 1.0 / n_slices
    split: PerSlice = (1.0 - EQUAL_PART) * np.concatenate(shares) + EQUAL_PART * equal
    return split.astype(obs.dtype)


def predict_levels(
    layers: CriticLayers, features: Float[np.ndarray, "cell slice feature"]
) -> Float[np.ndarray, "cell slice grid"]:
    """The level of each slice at the shares of `GRID`: mean of the twins, made non-decreasing."""
    grid = np.log(GRID + SMALLEST_SHARE).astype(features.dtype)
    (weight, bias), *others = layers
    # The share is the last input: the others are multiplied once and not per share.
    x = features[:, None] @ weight[..., :-1].swapaxes(2, 3) + bias[:, :, None]
    x = x[..., None, :] + grid[:, None] * weight[:, :, None, None, :, -1]
    n_cells, n_twins, n_slices, n_shares, _ = x.shape
    x = x.reshape(n_cells, n_twins, n_slices * n_shares, -1)
    for weight, bias in others:
        x = np.maximum(x, 0.0, out=x) @ weight.swapaxes(2, 3) + bias[:, :, None]
    levels = x.mean(axis=1).reshape(n_cells, n_slices, n_shares)
    levels = levels + extrapolate_levels(features[:, :, None], grid)
    return np.maximum.accumulate(levels, axis=2)


def find_max_min_shares(levels: Float[np.ndarray, "cell slice grid"]) -> PerSlice:
    """Shares with a sum of 1 at the highest level, at most `ENOUGH`, that all slices can have."""
    n_cells = len(levels)
    low, high = np.full(n_cells, LOWEST_LEVEL), np.full(n_cells, ENOUGH)
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        fits = _find_shares(levels, middle).sum(axis=1) <= 1.0
        low, high = np.where(fits, middle, low), np.where(fits, high, middle)
    share = _find_shares(levels, low)
    return share / share.sum(axis=1, keepdims=True)


def _find_shares(
    levels: Float[np.ndarray, "cell slice grid"], wanted: Float[np.ndarray, " cell"]
) -> PerSlice:
    """The smallest share of each slice at which its curve reaches the wanted level."""
    above = (levels < wanted[:, None, None]).sum(axis=2)
    # Beyond the last share of the grid a level is out of reach.
    right = np.clip(above, 1, len(GRID) - 1)
    left = right - 1
    y0 = np.take_along_axis(levels, left[..., None], axis=2)[..., 0]
    y1 = np.take_along_axis(levels, right[..., None], axis=2)[..., 0]
    part = np.clip((wanted[:, None] - y0) / np.maximum(y1 - y0, 1e-6), 0.0, 1.0)
    return GRID[left] + part * (GRID[right] - GRID[left])
