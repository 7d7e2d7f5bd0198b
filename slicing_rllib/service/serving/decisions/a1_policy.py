"""SLAs in the style of an A1 policy of the O-RAN Alliance: `scope` and `sliceSlaObjectives`.

Names and units follow the slice SLA target of O-RAN's A1 type definitions: throughput in kbit/s,
delay in ms. We read `guaDlThptPerSlice` as the throughput that the slice must deliver while it has
data, which is what policies are trained for. No conformance is claimed.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

KBIT_PER_MBIT = 1e3
MAX_KBPS = 1e8


class A1Model(BaseModel):
    """A part of an A1-style policy."""

    model_config = ConfigDict(
        extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class PlmnId(A1Model):
    """A mobile network."""

    mcc: Annotated[str, Field(pattern=r"^[0-9]{3}$")]
    """Mobile country code."""
    mnc: Annotated[str, Field(pattern=r"^[0-9]{2,3}$")]
    """Mobile network code."""


class SliceId(A1Model):
    """The S-NSSAI of a slice in a network."""

    sst: int = Field(ge=0, le=255)
    """Slice or service type."""
    sd: Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{6}$")] | None = None
    """Slice differentiator."""
    plmnId: PlmnId
    """Network of the slice."""


class Scope(A1Model):
    """What the policy is about."""

    sliceId: SliceId
    """The slice."""


class SliceSlaObjectives(A1Model):
    """What the slice is promised."""

    guaDlThptPerSlice: float | None = Field(default=None, gt=0, le=MAX_KBPS)
    """Guaranteed downlink throughput, kbit/s."""
    maxDlPacketDelayPerUe: float | None = Field(default=None, gt=0, le=1e5)
    """Largest downlink packet delay, ms."""


class A1Policy(A1Model):
    """A slice's SLA."""

    scope: Scope
    """The slice."""
    sliceSlaObjectives: SliceSlaObjectives
    """Its SLA."""

    def override_sla(self, throughput_mbps: float, delay_ms: float) -> tuple[float, float]:
        """Required throughput and permitted delay; what the policy leaves open stays as it is."""
        objectives = self.sliceSlaObjectives
        return (
            throughput_mbps
            if objectives.guaDlThptPerSlice is None
            else objectives.guaDlThptPerSlice / KBIT_PER_MBIT,
            delay_ms
            if objectives.maxDlPacketDelayPerUe is None
            else objectives.maxDlPacketDelayPerUe,
        )
