"""What a cell measures of its last step, with or without measurement errors."""

from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32
from pydantic import Field
from pydantic.dataclasses import dataclass

from slicing_rllib.env.protocols import Network
from slicing_rllib.env.rewards import needed_share, offered_share
from slicing_rllib.radio import Phase, StepKpis
from slicing_rllib.radio.settings import SETTINGS
from slicing_rllib.random_streams import Stream, make_generator

PerSlice = Float[np.ndarray, "cell slice"]

NOISY_KPIS = ("throughput_mbps", "delay_ms", "load", "demand_mbps", "mean_inverse_rate")
Sigma = Annotated[float, Field(ge=0, le=100)]


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class MeasurementError:
    """Errors of what cells measure; rewards stay those of the network."""

    needed_share: Sigma = 0.0
    """Fixed relative error of each cell's and slice's needed share: log-normal, this sigma."""
    kpi_noise: Sigma = 0.0
    """Relative error of throughput, delay, load, offered traffic and inverse rate, drawn anew in
    every step: log-normal, this sigma."""
    seed: Annotated[int, Field(ge=0, le=2**53)] = 0
    """What errors are drawn from."""


class Measured(NamedTuple):
    """KPIs of a step as the cells measured them, and what follows from them."""

    kpis: StepKpis
    offered: PerSlice
    """S: share of the carrier that the offered traffic takes."""
    needed: PerSlice
    """m: served share at which a slice just meets both requirements."""

    @property
    def counterfactual_inputs(self) -> Float32[np.ndarray, "cell input"]:
        """[S of all slices, m of all slices], for `SplitReward`."""
        return np.concatenate([self.offered, self.needed], axis=1, dtype=np.float32)

    @property
    def live(self) -> Bool[np.ndarray, " cell"]:
        """Whether the cell was on the air, so that it could measure."""
        return self.kpis.phase != int(Phase.OFF)


MEMORY = 4
"""Reports that policies remember, the last one included."""


def stack_reports(
    reports: Sequence[Measured], read: Callable[[Measured], PerSlice]
) -> Float[np.ndarray, "report cell slice"]:
    """A quantity in the last `MEMORY` reports, the newest first.

    `reports` are given from the oldest to the newest. Where a cell was off, or nobody reported yet,
    the next newer report stands for the missing one.
    """
    newest_first = list(reports)[::-1][:MEMORY]
    values, measured = [read(newest_first[0])], np.ones(len(newest_first[0].live), bool)
    for report in newest_first[1:]:
        measured &= report.live
        values.append(np.where(measured[:, None], read(report), values[-1]))
    return np.stack(values + [values[-1]] * (MEMORY - len(values)))


class Measurement:
    """Derives offered and needed shares from a step's KPIs."""

    def __init__(self, network: Network, error: MeasurementError | None = None) -> None:
        """`error` is for studies of robustness; without it KPIs are exact."""
        self._network = network
        self._error = error or MeasurementError()
        shape = len(network.cells), network.n_slices
        normal = make_generator(self._error.seed, Stream.FIXED_ERROR).standard_normal(shape)
        self._needed_factor = np.exp(self._error.needed_share * normal)

    def __call__(self, kpis: StepKpis, step: int) -> Measured:
        """What the cells measure of network step `step`."""
        if self._error.kpi_noise:
            kpis = self._add_noise(kpis, step)
        offered = offered_share(kpis.demand_mbps, kpis.mean_inverse_rate)
        needed = needed_share(
            kpis.prb_ratio,
            offered,
            kpis.throughput_mbps,
            kpis.delay_ms,
            self._network.sla_throughput_mbps,
            self._network.sla_delay_ms,
        )
        return Measured(kpis, offered, needed * self._needed_factor)

    def _add_noise(self, kpis: StepKpis, step: int) -> StepKpis:
        # A function of the step alone, so that a restored environment draws the same errors.
        rng = make_generator(self._error.seed, Stream.STEP_ERROR, step)
        noisy = {
            name: getattr(kpis, name)
            * np.exp(self._error.kpi_noise * rng.standard_normal(kpis.load.shape))
            for name in NOISY_KPIS
        }
        return kpis._replace(**noisy)
