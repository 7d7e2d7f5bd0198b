"""The network as a PettingZoo parallel environment: every live cell is an agent."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from gymnasium import spaces
from jaxtyping import Bool, Float, Float32, Int, UInt8
from pettingzoo import ParallelEnv  # pyright: ignore[reportMissingTypeStubs]

from slicing_rllib.env.batched_network import BatchedNetwork, Deployment, require_known_cell
from slicing_rllib.env.measurement import MeasurementError
from slicing_rllib.env.observation import Layout, ObservationLayout
from slicing_rllib.radio import Scenario


def make_observation_space(layout: Layout, n_cells: int) -> spaces.Box:
    """The range of each value of an observation in a network of `n_cells` cells.

    Logarithms of shares and SINR are unbounded.
    """
    high = np.full(layout.size, np.inf, np.float32)
    low = -high
    if isinstance(layout, ObservationLayout):
        bounded = slice(0, layout.message.stop)
        low[bounded], high[bounded] = 0.0, 1.0
        # All UEs of the network may attach to one cell.
        high[layout.users] = n_cells
        high[layout.load] = high[layout.message] = layout.n_slices
    return spaces.Box(low, high)


def stack_actions(
    actions: Mapping[str, np.ndarray],
    cells: Sequence[str],
    required: Bool[np.ndarray, " cell"],
    action_size: int,
) -> Float32[np.ndarray, "cell action"]:
    """Actions as one row per cell; ones for cells without an action.

    Raises: ValueError for an unknown cell, an action of the wrong length, or a cell that is
    `required` to have an action and has none.
    """
    for cell in actions:
        require_known_cell(cell, cells, "action")
    stacked = np.ones((len(cells), action_size), np.float32)
    for row, (cell, is_required) in enumerate(zip(cells, required, strict=True)):
        if cell in actions:
            action = np.asarray(actions[cell], np.float32)
            if action.shape != (action_size,):
                raise ValueError(
                    f"action of {cell}: expected {action_size} weights, got shape {action.shape}"
                )
            stacked[row] = action
        elif is_required:
            raise ValueError(f"action of {cell}: missing")
    return stacked


COLOURS = np.array([[0.45, 0.10, 0.25], [0.90, 0.55, 0.25], [0.98, 0.93, 0.65], [0.10, 0.55, 0.55]])
"""Dark red, orange, pale yellow and teal: distinct under colour blindness and in greyscale."""
LEVELS = np.array([0.0, 0.6, 0.95, 1.0])
"""Satisfaction at which each colour applies; colours between are interpolated."""
OFF = np.array([0.8, 0.8, 0.8])
"""Colour of cells that are off."""
BORDER = 0.75
"""Brightness factor of map positions at the border of a cell."""


def satisfaction_map(
    serving_cell: Int[np.ndarray, "y x"],
    satisfaction: Float[np.ndarray, " cell"],
    live: Bool[np.ndarray, " cell"],
) -> UInt8[np.ndarray, "y x 3"]:
    """An RGB picture, north at the top: positions in the colour of their cell's satisfaction."""
    channels: list[Float[np.ndarray, " cell"]] = [
        np.interp(satisfaction, LEVELS, channel) for channel in COLOURS.T
    ]
    colour = np.stack(channels, axis=1)
    colour[~live] = OFF
    picture = colour[serving_cell]
    right = serving_cell != np.roll(serving_cell, -1, axis=1)
    above = serving_cell != np.roll(serving_cell, -1, axis=0)
    picture[right | above] *= BORDER
    return (255.0 * picture[::-1]).astype(np.uint8)


class SlicingEnv(BatchedNetwork, ParallelEnv[str, np.ndarray, np.ndarray]):
    """Each cell divides its carrier among its slices and is rewarded for its worst-served slice.

    One step is one slicing interval. An action is one weight per slice, scaled to a sum of 1 (the
    paper, eq. (1)). The reward is that of eq. (2). An observation is [throughput, load, users,
    message], as `layout` describes.

    An episode is truncated after `episode_steps`. A reset with a seed starts a new network; a reset
    without one starts a new episode and continues the network's state. A cell that goes off is
    truncated. A cell that comes up joins `agents` after its first step. Until its `Deployment` says
    that its policy decides, its steps use the default action (equal shares).

    `step` and `reset` use PettingZoo's dicts, `step_batched` and `reset_batched` use arrays.

    Args:
        scenario: the network.
        message: what cells learn about the load of other cells, one of `MESSAGES`.
        observation: what else a cell observes, one of `OBSERVATIONS`.
        measurement_error: errors of what cells measure; None for exact measurements.
        episode_steps: length of an episode, at least 1.
        map_seed: seed of shadowing and line of sight.
        default_seed: seed of a first reset without a seed; None draws one from system entropy.
        deployments: cells that come up while the network runs.
        render_mode: "rgb_array" to make `render` return pictures, or None.

    Raises: ValueError for an unknown message or cell, or fewer than 1 episode steps.
    """

    # PettingZoo declares this as an instance variable, so it cannot be a ClassVar.
    metadata: dict[str, Any] = {  # noqa: RUF012
        "name": "slicing_v0",
        "render_modes": ["rgb_array"],
        "is_parallelizable": True,
    }

    def __init__(
        self,
        scenario: Scenario,
        *,
        message: str = "mean_load",
        observation: str = "paper",
        measurement_error: MeasurementError | None = None,
        episode_steps: int = 500,
        map_seed: int = 0,
        default_seed: int | None = None,
        deployments: Sequence[Deployment] = (),
        render_mode: str | None = None,
    ) -> None:
        super().__init__(
            scenario,
            message=message,
            observation=observation,
            measurement_error=measurement_error,
            episode_steps=episode_steps,
            map_seed=map_seed,
            default_seed=default_seed,
            deployments=deployments,
        )
        self.render_mode = render_mode
        self._row = {cell: row for row, cell in enumerate(self.cells)}
        self.possible_agents = list(self.cells)
        self.agents: list[str] = []
        self.observation_space = cache(self._make_observation_space)
        self.action_space = cache(self._make_action_space)

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
        """First observations and infos of a new episode, by cell; `options` has no effect."""
        batched = self.reset_batched(seed)
        self.agents = self._select_names(batched.live)
        return self._split_by_cell(batched.obs, self.agents), self._make_infos(self.agents)

    def step(
        self, actions: Mapping[str, np.ndarray]
    ) -> tuple[
        dict[str, np.ndarray],
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, dict[str, Any]],
    ]:
        """Observations, rewards, terminations, truncations and infos, by cell.

        Raises: ValueError for an unknown cell, a missing action, or an action of the wrong length
        or with invalid values.
        """
        if not self.agents:
            return {}, {}, {}, {}, {}
        is_agent = np.isin(self.cells, self.agents)
        stacked = stack_actions(actions, self.cells, self.controlled & is_agent, self.action_size)
        batched = self.step_batched(stacked)
        names = self._select_names(batched.live)
        truncated = self._split_by_cell(batched.truncated.tolist(), names)
        self.agents = [cell for cell in names if not truncated[cell]]
        return (
            self._split_by_cell(batched.obs, names),
            self._split_by_cell(batched.reward.tolist(), names),
            dict.fromkeys(names, False),
            truncated,
            self._make_infos(names),
        )

    def render(self) -> np.ndarray | None:
        """The map as (height, width, 3) uint8, in the colours of the cells' satisfaction."""
        if self.render_mode is None:
            return None
        return satisfaction_map(
            self.simulator.serving_map(), self._compute_satisfaction(), self._live
        )

    # PettingZoo's optional state() is one array for centralised critics; this one is a checkpoint.
    def state(self) -> dict[str, Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The state that a bit-identical continuation needs."""
        return {**super().state(), "agents": list(self.agents)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continues from the result of `state`, bit for bit."""
        super().restore(state)
        self.agents = list(state["agents"])

    def _select_names(self, selected: Bool[np.ndarray, " cell"]) -> list[str]:
        return [cell for cell, is_in in zip(self.cells, selected, strict=True) if is_in]

    def _split_by_cell(self, rows: Any, names: Sequence[str]) -> dict[str, Any]:
        return {cell: rows[self._row[cell]] for cell in names}

    def _make_infos(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """All KPIs of a cell's last step, per slice, and its satisfaction."""
        per_cell = self.kpis._asdict() | {"satisfaction": self._compute_satisfaction()}
        return {
            cell: {name: rows[self._row[cell]] for name, rows in per_cell.items()} for cell in names
        }

    def _make_observation_space(self, agent: str) -> spaces.Box:
        require_known_cell(agent, self.cells, "observation_space")
        return make_observation_space(self.layout, len(self.cells))

    def _make_action_space(self, agent: str) -> spaces.Box:
        require_known_cell(agent, self.cells, "action_space")
        return spaces.Box(0.0, 1.0, (self.action_size,), np.float32)
