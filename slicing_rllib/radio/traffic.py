"""Traffic masks: the share of each slice's UEs that is active in each step."""

from typing import Annotated, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field
from pydantic.dataclasses import dataclass

from slicing_rllib.radio.settings import SETTINGS, Positive, Share
from slicing_rllib.radio.specs import SliceSpec
from slicing_rllib.random_streams import Stream, make_generator

PerSlice = Float[np.ndarray, "cell slice"]

Factor = Annotated[float, Field(ge=0, le=1e6)]
Turn = Annotated[float, Field(ge=-1e6, le=1e6)]
BLOCK_STEPS = 64
"""Number of steps whose masks are computed in one call, which is faster than step by step."""


@runtime_checkable
class Mask(Protocol):
    """The mask of one network."""

    def at_step(self, step: int) -> PerSlice:
        """Share of UEs that are active in a step, in [0, 1]."""
        ...

    def hour_at_step(self, step: int) -> int | None:
        """Local hour of the day, 0 to 23; None where the mask has no clock."""
        ...


class MaskTarget(NamedTuple):
    """The network that a mask is for."""

    cells: tuple[str, ...]
    """Names of the cells."""
    cell_ids: tuple[str, ...]
    """The operator's names of the same cells."""
    slices: tuple[SliceSpec, ...]
    step_s: float
    """Length of a step."""


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
        if self.low > self.high:
            raise ValueError(f"mask: expected low <= high, got {self.low} and {self.high}")

    def bind(self, target: MaskTarget, seed: int) -> Mask:
        """The mask of that network; `seed` determines the phases."""
        n_cells = len(target.cells)
        generators = [make_generator(seed, Stream.MASK, k) for k in range(n_cells)]
        draws = np.stack([rng.random((4, len(target.slices))) for rng in generators])
        ripples = draws if self.cells_ripple_apart else np.broadcast_to(draws[0], draws.shape)
        wave_turns = draws[0, 3, 0] + self.cell_spread * draws[:, 2, :1]
        wave_turns += np.resize(self.cell_turns, (n_cells, 1))
        levels = np.resize(self.cell_levels, (n_cells, 1))
        return _SyntheticNetworkMask(self, wave_turns, ripples[:, :2], levels)


class _SyntheticNetworkMask:
    """The mask of one network; turns are phases in periods."""

    def __init__(
        self,
        spec: SyntheticMask,
        wave_turns: Float[np.ndarray, "cell 1"],
        ripple_turns: Float[np.ndarray, "cell 2 slice"],
        level: Float[np.ndarray, "cell 1"],
    ) -> None:
        self._spec = spec
        self._level = level
        self._wave_rad = 2 * np.pi * wave_turns
        self._ripple_rad = 2 * np.pi * ripple_turns[:, 0]
        # Ripple periods differ between slices, so that no combination of them repeats every period.
        self._ripple_rad_per_step = (
            2 * np.pi * (0.75 + 0.5 * ripple_turns[:, 1]) / spec.ripple_period_steps
        )
        self._block: tuple[int, Float[np.ndarray, "step cell slice"]] = (-1, np.zeros((0, 0, 0)))

    def at_step(self, step: int) -> PerSlice:
        number, row = divmod(step, BLOCK_STEPS)
        if self._block[0] != number:
            steps = np.arange(number * BLOCK_STEPS, (number + 1) * BLOCK_STEPS)
            self._block = number, self._compute_shares(steps[:, None, None])
        return self._block[1][row]

    def hour_at_step(self, step: int) -> int | None:
        return None

    def _compute_shares(
        self, step: Int[np.ndarray, "step 1 1"]
    ) -> Float[np.ndarray, "step cell slice"]:
        spec = self._spec
        wave = 0.5 + 0.5 * np.sin(2 * np.pi * step / spec.period_steps + self._wave_rad)
        ripple = spec.ripple * np.sin(self._ripple_rad_per_step * step + self._ripple_rad)
        common = spec.low + (spec.high - spec.low) * wave
        return np.clip(self._level * (common + ripple), 0.0, 1.0)
