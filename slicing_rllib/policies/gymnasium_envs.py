"""The network as environments of Gymnasium: a central controller, and one cell among others.

`import slicing_rllib.env` registers them as `slicing/central-v0` and `slicing/cell-v0`.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from slicing_rllib.env import DecisionView, Policy, SlicingEnv
from slicing_rllib.env.actions import decode_action, require_known_cell
from slicing_rllib.policies.baselines import make_policy
from slicing_rllib.random_streams import Stream, make_generator


class CentralEnv(gymnasium.Env[np.ndarray, Any]):
    """One controller divides the carriers of all cells; it earns the mean of their rewards.

    An observation is `SlicingEnv.state()`. An action has the actions of all cells in a row: the
    weights or logits of the first cell, then those of the second ...; or a number per cell.
    """

    metadata = SlicingEnv.metadata

    def __init__(self, scenario: Any = "paper", **settings: Any) -> None:
        """Arguments are those of `SlicingEnv`."""
        self.network = SlicingEnv(scenario, **settings)
        self.render_mode = self.network.render_mode
        self.observation_space: spaces.Space[Any] = self.network.state_space
        one: Any = self.network.action_space(self.network.cells[0])
        n_cells = len(self.network.cells)
        self.action_space: spaces.Space[Any] = (
            spaces.MultiDiscrete(np.full(n_cells, int(one.n)))
            if isinstance(one, spaces.Discrete)
            else spaces.Box(np.tile(one.low, n_cells), np.tile(one.high, n_cells))
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.network.reset(seed)
        return self.network.state(), self.network.kpis._asdict()

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        rows = np.reshape(action, (len(self.network.cells), -1))
        by_cell = dict(zip(self.network.cells, rows, strict=True))
        _, rewards, _, truncated, _ = self.network.step(by_cell)
        mean = float(np.mean([*rewards.values()])) if rewards else 0.0
        return (
            self.network.state(),
            mean,
            False,
            all(truncated.values()),
            self.network.kpis._asdict(),
        )

    def render(self) -> Any:
        return self.network.render()


class CellEnv(gymnasium.Env[np.ndarray, Any]):
    """One cell learns while a baseline divides the carriers of the others."""

    metadata = SlicingEnv.metadata

    def __init__(
        self,
        scenario: Any = "paper",
        *,
        cell: str = "cell_1",
        others: str = "equal",
        **settings: Any,
    ) -> None:
        """`others` is a baseline; further arguments are those of `SlicingEnv`."""
        self.network = SlicingEnv(scenario, **settings)
        require_known_cell(cell, self.network.cells, "cell")
        self.cell, self._others = cell, others
        self.render_mode = self.network.render_mode
        self.observation_space: spaces.Space[Any] = self.network.observation_space(cell)
        self.action_space: spaces.Space[Any] = self.network.action_space(cell)
        self._policy: Policy | None = None
        self._map_seed = -1

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        network, row = self.network, self.network.cells.index(self.cell)
        self._last = network.reset_batched(seed)
        map_seed = network.simulator.map_seed
        if self._policy is None or map_seed != self._map_seed:
            rng = make_generator(map_seed, Stream.BASELINE_FITTING)
            self._policy = make_policy(self._others, network.scenario, rng, map_seed=map_seed)
            self._map_seed = map_seed
        return self._last.obs[row], network.make_infos([self.cell])[self.cell]

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        network, row = self.network, self.network.cells.index(self.cell)
        assert self._policy is not None, "reset comes before the first step"
        view = DecisionView(self._last.obs, network.kpis, network.simulator, network.reports)
        weights = self._policy.prb_ratio(view).astype(np.float32)
        weights[row] = decode_action(network.action_kind, self.cell, action)
        self._last = network.step_batched(weights)
        return (
            self._last.obs[row],
            float(self._last.reward[row]),
            False,
            bool(self._last.truncated[row]),
            network.make_infos([self.cell])[self.cell],
        )

    def render(self) -> Any:
        return self.network.render()
