"""Traffic masks: the share of each slice's UEs that is active in each step.

A mask is synthetic, or plays a file of measured traffic.
"""

from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, runtime_checkable
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from jaxtyping import Float, Int
from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from slicing_rllib.inputs.traces import Trace, TracedNetwork, Unit
from slicing_rllib.radio.settings import SETTINGS, Positive, Share, require_order
from slicing_rllib.random_streams import Stream, make_generator
from slicing_rllib.registry import PartOf, get_part

PerSlice = Float[np.ndarray, "cell slice"]

Factor = Annotated[float, Field(ge=0, le=1e6)]
Turn = Annotated[float, Field(ge=-1e6, le=1e6)]
BLOCK_STEPS = 64
"""Number of steps whose masks are computed in one call, which is faster than step by step."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class SyntheticMask:
    """A diurnal wave that all slices share, and a faster wave (ripple) of each slice's own.

    The mask of a slice in a cell is level * (low + (high - low) * wave + ripple), clipped to
    [0, 1]. The phases of the waves are random.
    """

    kind: Literal["synthetic"] = "synthetic"
    """Distinguishes the two kinds of mask in YAML."""
    low: Share = 0.15
    """Lowest share of active UEs, without ripple."""
    high: Share = 0.74
    """Highest share of active UEs, without ripple."""
    period_steps: Positive = 200.0
    """Period of the diurnal wave."""
    ripple: Factor = 0.0
    """Amplitude of each slice's own wave, as a share of UEs."""
    ripple_period_steps: Positive = 40.0
    """Typical period of the slices' own waves: each is 0.8 to 1.33 times this."""
    cell_spread: Factor = 0.0
    """Largest random phase difference between the diurnal waves of cells, in periods.

    0 gives all cells the same wave.
    """
    cells_ripple_apart: bool = False
    """Whether a slice's ripple differs from cell to cell."""
    cell_levels: Annotated[tuple[Factor, ...], Field(min_length=1)] = (1.0,)
    """Factors on the mask, assigned to the cells in turn."""
    cell_turns: Annotated[tuple[Turn, ...], Field(min_length=1)] = (0.0,)
    """Phase lead of a cell's diurnal wave in periods, assigned to the cells in turn."""

    def __post_init__(self) -> None:
        """Raises: ValueError if the lowest share exceeds the highest."""
        require_order("mask", self, "low", "high")

    def bind(self, network: TracedNetwork, seed: int) -> "BoundSyntheticMask":
        """The mask of that network; `seed` determines the phases."""
        return BoundSyntheticMask(self, network, seed)


class BoundSyntheticMask:
    """The synthetic mask of one network; turns are phases in periods."""

    def __init__(self, spec: SyntheticMask, network: TracedNetwork, seed: int) -> None:
        self._spec, n_cells = spec, len(network.cells)
        generators = [make_generator(seed, Stream.MASK, k) for k in range(n_cells)]
        draws = np.stack([rng.random((4, len(network.slices))) for rng in generators])
        wave_turns = draws[0, 3, 0] + spec.cell_spread * draws[:, 2, :1]
        wave_turns += np.resize(spec.cell_turns, (n_cells, 1))
        ripples = draws if spec.cells_ripple_apart else np.broadcast_to(draws[0], draws.shape)
        self._level = np.resize(spec.cell_levels, (n_cells, 1))
        self._wave_rad = 2 * np.pi * wave_turns
        self._ripple_rad = 2 * np.pi * ripples[:, 0]
        # Ripple periods differ between slices, so that no combination of them repeats every period.
        self._ripple_rad_per_step = (
            2 * np.pi * (0.75 + 0.5 * ripples[:, 1]) / spec.ripple_period_steps
        )
        self._block: tuple[int, Float[np.ndarray, "step cell slice"]] = (-1, np.zeros((0, 0, 0)))

    def at_step(self, step: int) -> PerSlice:
        """Share of UEs that are active in a step, in [0, 1]."""
        number, row = divmod(step, BLOCK_STEPS)
        if self._block[0] != number:
            steps = np.arange(number * BLOCK_STEPS, (number + 1) * BLOCK_STEPS)
            self._block = number, self._compute_shares(steps[:, None, None])
        return self._block[1][row]

    def hour_at_step(self, step: int) -> None:
        """None: the mask has no clock."""

    def _compute_shares(
        self, step: Int[np.ndarray, "step 1 1"]
    ) -> Float[np.ndarray, "step cell slice"]:
        spec = self._spec
        wave = 0.5 + 0.5 * np.sin(2 * np.pi * step / spec.period_steps + self._wave_rad)
        ripple = spec.ripple * np.sin(self._ripple_rad_per_step * step + self._ripple_rad)
        common = spec.low + (spec.high - spec.low) * wave
        return np.clip(self._level * (common + ripple), 0.0, 1.0)


def require_zone(name: str) -> str:
    """The name itself. Raises: ValueError for an unknown time zone."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        expected = "expected a name such as Europe/Berlin or UTC"
        raise ValueError(f"mask: timezone: {expected}, got {name!r}") from error
    return name


ZoneName = Annotated[str, AfterValidator(require_zone)]


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class TraceMask:
    """A mask from a file of measured traffic: CSV with a header, or Parquet.

    The file has a column per slice (`voice`: the same for all cells), a column per cell and slice
    (`cell_1.voice`), a row per time and cell with a column per slice, or a row per value (columns
    `time`, `cell`, `slice` and `value`). Without a column of times, a row is a step. The first row
    follows the last.
    """

    kind: Literal["csv"] = "csv"
    """Distinguishes the two kinds of mask in YAML."""
    path: str
    """Path of the file. A relative path starts at the folder of the config that names it."""
    columns: Mapping[str, str] = Field(default_factory=dict[str, str])
    """What the file calls our slices, cells and the columns time, cell, slice and value, such as
    `{slice_1: voice, time: ts}`. Where it names slices or cells, the file's others are left out."""
    unit: Unit = "share"
    """What values count: the share of a slice's UEs that is active (0 to 1), its percentage, the
    number of active UEs (`users`), the slice's traffic in kbit/s, Mbit/s or Gbit/s (`kbps`,
    `mbps`, `gbps`), its volume between two rows (`megabytes`, `gigabytes`), or anything that grows
    with traffic (`relative`: divided by the largest value in the file)."""
    scale: Positive = 1.0
    """Factor on all values."""
    timezone: ZoneName = "UTC"
    """Time zone of times without an offset, and of hours of the day, such as Europe/Berlin."""
    time_format: str | None = None
    """How times are written, as for `strptime`. Default: recognised."""
    separator: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """Character between two values of a line. Default: recognised."""
    decimal: Literal[".", ","] | None = None
    """Sign before the decimals of a number. Default: recognised."""
    thousands: Literal[".", ",", "'", " "] | None = None
    """Sign between groups of three digits. Default: none. Where each number with a sign has three
    digits after it, `decimal` or `thousands` has to say what the sign means."""
    gaps: Literal["refuse", "hold", "linear", "zero"] = "refuse"
    """Missing rows and values: an error; the last value before them; a straight line between their
    neighbours; or no traffic."""
    duplicates: Literal["refuse", "sum"] = "refuse"
    """Several rows of one time, cell and slice in a file with a row per value."""
    resample: Literal["hold", "linear"] = "hold"
    """What steps between two rows get: the earlier row, or a straight line between both."""
    speed: Positive = 1.0
    """How many times faster than in reality the file is played: 600 turns 10 minutes into 1 s."""
    row_s: Positive | None = None
    """Seconds between two rows of a file without times. Default: a step of the scenario."""

    def __hash__(self) -> int:
        return hash(repr(self))

    def bind(self, network: TracedNetwork, seed: int) -> "PlayedTrace":
        """The mask of that network; `seed` has no effect.

        Raises: ValueError with file, line and column of an invalid value.
        """
        try:
            status = Path(self.path).stat()
            signature = (status.st_mtime_ns, status.st_size)
        except OSError:
            signature = (0, 0)
        trace = _read_cached(self, network, signature)
        return PlayedTrace(trace, network.step_s, self.speed, self.resample)


class PlayedTrace:
    """A trace at the steps of a scenario."""

    def __init__(self, trace: Trace, step_s: float, speed: float, resample: str) -> None:
        """Plays `trace` in steps of `step_s` seconds, `speed` times faster than in reality.

        `resample` is `hold` or `linear`.
        """
        self.trace = trace
        self._is_linear = resample == "linear"
        # Exact, so that the step at which a row begins does not depend on rounding.
        played_s = Fraction(str(step_s)) * Fraction(str(speed))
        self.rows_per_step = played_s / Fraction(str(trace.row_s or step_s))

    def at_step(self, step: int) -> PerSlice:
        """Share of UEs that are active in a step, in [0, 1]."""
        rows = self.trace.shares
        row, rest = divmod(step * self.rows_per_step, 1)
        before = rows[row % len(rows)]
        if not self._is_linear or rest == 0:
            return before
        return before + float(rest) * (rows[(row + 1) % len(rows)] - before)

    def hour_at_step(self, step: int) -> int | None:
        """Local hour of the day, 0 to 23; None for a file without times."""
        return self.trace.find_hour(float(step * self.rows_per_step))


@runtime_checkable
class Mask(Protocol):
    """The share of each slice's UEs that is active, over time, in one network."""

    def at_step(self, step: int) -> PerSlice:
        """Share of UEs that are active in a step, in [0, 1]."""
        ...

    def hour_at_step(self, step: int) -> int | None:
        """Local hour of the day, 0 to 23; None without a clock."""
        ...


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class OwnMask:
    """A mask of the user's own."""

    kind: Annotated[str, PartOf("mask")]
    """`MODULE:NAME` of a class or function f(network, seed, **settings) that makes the mask."""
    settings: Mapping[str, Any] = Field(default_factory=dict[str, Any])
    """Further arguments."""

    def __hash__(self) -> int:
        return hash(repr(self))

    def bind(self, network: TracedNetwork, seed: int) -> Mask:
        """The mask of that network."""
        return get_part("mask", self.kind)(network, seed, **self.settings)


@lru_cache(maxsize=4)
def _read_cached(mask: TraceMask, network: TracedNetwork, signature: tuple[int, int]) -> Trace:
    """Evaluations bind the same mask once per policy and seed: they read the file once.

    `signature` changes when the file does.
    """
    # pandas takes a quarter of a second to import, which only networks with a traffic file pay.
    from slicing_rllib.inputs.traffic_files import read_trace

    return read_trace(
        Path(mask.path),
        network,
        columns=mask.columns,
        unit=mask.unit,
        scale=mask.scale,
        zone=ZoneInfo(mask.timezone),
        time_format=mask.time_format,
        separator=mask.separator,
        decimal=mask.decimal,
        thousands=mask.thousands,
        gaps=mask.gaps,
        duplicates=mask.duplicates,
        row_s=mask.row_s,
    )
