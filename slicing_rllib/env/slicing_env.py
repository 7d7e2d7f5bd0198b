"""The network as a PettingZoo parallel environment: every live cell is an agent."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from jaxtyping import Bool, Float, Float32
from pettingzoo import ParallelEnv

from slicing_rllib.env.columns import StepColumns
from slicing_rllib.env.counterfactual import SplitReward
from slicing_rllib.env.deployment import Deployment
from slicing_rllib.env.measurement import Measured, Measurement, MeasurementError
from slicing_rllib.env.observation import make_message
from slicing_rllib.env.reward import satisfaction, slice_reward
from slicing_rllib.env.widened_observation import find_bounds, make_observer
from slicing_rllib.radio import Phase, Scenario, Simulator, StepKpis


class SlicingEnv(ParallelEnv[str, np.ndarray, np.ndarray]):
    """Cells divide their carrier among slices; each is rewarded for its worst-served slice.

    One step is one slicing interval. Actions are weights per slice, scaled onto eq. (1); rewards
    are eq. (2); observations are [throughput, load, users, neighbour message], as `layout` says.
    An episode is truncated after `episode_steps`. A reset without a seed goes on with the network
    as it stands: a truncation is a cut in the record, not in the network. A cell that goes off is
    truncated; one that comes up joins `agents` after its first step, which runs under the default
    action (equal shares), as do all its steps until its `Deployment` hands over to its policy.

    `step` and `reset` speak PettingZoo's dicts, `step_columns` and `reset_columns` arrays.

    Raises: ValueError for a message, cell or step count that makes no sense.
    """

    metadata: ClassVar[dict[str, Any]] = {
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
        _check(scenario, episode_steps, deployments)
        self.scenario = scenario
        self.render_mode = render_mode
        self.cells = scenario.cells
        self.possible_agents = list(scenario.cells)
        self.agents: list[str] = []
        self.simulator = Simulator(scenario, _fresh_seed(default_seed), map_seed=map_seed)
        self._default_seed = default_seed
        self._episode_steps = episode_steps
        self.deployments = tuple(deployments)
        self.message = message
        self.map_seed = map_seed
        self.observation = observation
        self._observer = make_observer(observation, scenario, make_message(message, scenario))
        self._measurement = Measurement(scenario, measurement_error)
        self.counterfactual = SplitReward()
        self.layout = self._observer.layout
        self.obs_size = self.layout.size
        self.action_size = scenario.n_slices
        self.feedback_size = self.outcome_size = 2 * scenario.n_slices
        self.observation_space = cache(self._observation_space)
        self.action_space = cache(self._action_space)
        self.network_step = 0
        """Steps since the last seeded reset."""
        self._episode_step = 0
        self._kpis: StepKpis | None = None
        self._live = np.zeros(len(self.cells), bool)

    @property
    def kpis(self) -> StepKpis:
        """KPIs of the last step. Raises: RuntimeError before the first reset."""
        if self._kpis is None:
            raise RuntimeError("SlicingEnv: reset() comes before the first step")
        return self._kpis

    def reset_columns(self, seed: int | None = None) -> StepColumns:
        """A new episode: of a new network with a seed, of the running one without."""
        if seed is not None or self._kpis is None:
            self._start(self._default_seed if seed is None else seed)
        self._episode_step = 0
        nothing = np.zeros(len(self.cells), bool)
        return self._columns(np.zeros(len(self.cells), np.float32), nothing)

    def step_columns(self, action: Float32[np.ndarray, "cell action"]) -> StepColumns:
        """One slicing interval. Rows of cells whose policy does not decide are not read.

        Raises: ValueError naming the cell whose weights are not finite, negative, or all zero.
        """
        _ = self.kpis
        self._advance(self._in_force(action))
        self._episode_step += 1
        reward = self._reward(self.kpis, self._live).astype(np.float32)
        over = self._episode_step >= self._episode_steps
        leaving = self._live & (self.simulator.phase == Phase.OFF)
        return self._columns(reward, self._live if over else leaving)

    def rewards_if(
        self, action: Float32[np.ndarray, "cell action"]
    ) -> Float32[np.ndarray, " cell"]:
        """Rewards that the next `step_columns(action)` would give; nothing moves on."""
        kpis = self.simulator.evaluate(self._in_force(action))
        return self._reward(kpis, self.simulator.phase != Phase.OFF).astype(np.float32)

    @property
    def controlled(self) -> Bool[np.ndarray, " cell"]:
        """Whose own policy decides the next step: live already, and not under default."""
        return self._live & (self.simulator.phase == Phase.CONTROLLED)

    def set_phase(self, cell: str, phase: Phase) -> None:
        """Switches a cell off, to the default action, or to its policy, from the next step on.

        Raises: ValueError for an unknown cell.
        """
        _known(cell, self.cells, "set_phase")
        self.simulator.set_phase(cell, phase)

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
        """First observations and infos of a new episode, by cell."""
        columns = self.reset_columns(seed)
        self.agents = self._names(columns.live)
        return self._by_cell(columns.obs, self.agents), self._infos(self.agents)

    def step(
        self, actions: Mapping[str, np.ndarray]
    ) -> tuple[
        dict[str, np.ndarray],
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, dict[str, Any]],
    ]:
        """PettingZoo's five dicts, by cell.

        Raises: ValueError for an unknown cell, a cell without action, a wrong length or value.
        """
        if not self.agents:
            return {}, {}, {}, {}, {}
        columns = self.step_columns(self._stack(actions))
        names = self._names(columns.live)
        truncated = self._by_cell(columns.truncated.tolist(), names)
        self.agents = [cell for cell in names if not truncated[cell]]
        return (
            self._by_cell(columns.obs, names),
            self._by_cell(columns.reward.tolist(), names),
            dict.fromkeys(names, False),
            truncated,
            self._infos(names),
        )

    def render(self) -> np.ndarray | None:
        """The map as (height, width, 3) uint8, each place in the colour of its cell's service."""
        if self.render_mode is None:
            return None
        from slicing_rllib.env.rendering import satisfaction_map

        return satisfaction_map(self.simulator.serving_map(), self._satisfaction(), self._live)

    def state(self) -> dict[str, Any]:
        """All that a bit-exact continuation needs."""
        return {
            "simulator": self.simulator.state(),
            "network_step": self.network_step,
            "episode_step": self._episode_step,
            "kpis": self.kpis._asdict(),
            "live": self._live.copy(),
            "agents": list(self.agents),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continues where `state` was taken, bit for bit."""
        self.simulator.restore(state["simulator"])
        self.network_step = int(state["network_step"])
        self._episode_step = int(state["episode_step"])
        self._kpis = StepKpis(**state["kpis"])
        self._live = np.array(state["live"], bool)
        self.agents = list(state["agents"])

    def _start(self, seed: int | None) -> None:
        """A new network, seen for one step under equal shares so that cells have an obs."""
        self.simulator.reset(_fresh_seed(seed))
        self.network_step = 0
        for cell in self.cells:
            self.simulator.set_phase(cell, Phase.CONTROLLED)
        self._follow_deployments()
        self._observe(np.full((len(self.cells), self.action_size), 1.0 / self.action_size))

    def _advance(self, prb_ratio: Float[np.ndarray, "cell slice"]) -> None:
        self._observe(prb_ratio)
        self.network_step += 1
        self._follow_deployments()

    def _observe(self, prb_ratio: Float[np.ndarray, "cell slice"]) -> None:
        self._live = self.simulator.phase != Phase.OFF
        self._kpis = self.simulator.step(prb_ratio)

    def _follow_deployments(self) -> None:
        """Only where a deployment changes phase, so that `set_phase` by hand holds."""
        step = self.network_step
        for deployment in self.deployments:
            phase = deployment.phase_at(step)
            if step == 0 or phase != deployment.phase_at(step - 1):
                self.simulator.set_phase(deployment.cell, phase)

    def _in_force(
        self, action: Float32[np.ndarray, "cell action"]
    ) -> Float[np.ndarray, "cell slice"]:
        """Only where a policy decides is its action read."""
        return np.where(self.controlled[:, None], action, np.float32(1.0))

    def _reward(
        self, kpis: StepKpis, live: Bool[np.ndarray, " cell"]
    ) -> Float[np.ndarray, " cell"]:
        reward = slice_reward(
            kpis.throughput_mbps,
            kpis.delay_ms,
            self.scenario.sla_throughput_mbps,
            self.scenario.sla_delay_ms,
        )
        return np.where(live, reward, 0.0)

    @property
    def measured(self) -> Measured:
        """What the cells measured of the last step."""
        return self._measurement(self.kpis, self.network_step)

    def _satisfaction(self) -> Float[np.ndarray, " cell"]:
        return satisfaction(self.kpis.throughput_mbps, self.scenario.sla_throughput_mbps)

    def _columns(
        self, reward: Float32[np.ndarray, " cell"], truncated: Bool[np.ndarray, " cell"]
    ) -> StepColumns:
        measured = self._measurement(self.kpis, self.network_step)
        return StepColumns(
            obs=self._observer(measured, self._live),
            reward=reward,
            action=self.kpis.prb_ratio.astype(np.float32),
            terminated=np.zeros(len(self.cells), bool),
            truncated=truncated.copy(),
            live=self._live.copy(),
            controlled=self.controlled,
            feedback=measured.feedback,
            outcome=np.concatenate(
                [self.kpis.throughput_mbps, self.kpis.delay_ms], axis=1, dtype=np.float32
            ),
        )

    def _stack(self, actions: Mapping[str, np.ndarray]) -> Float32[np.ndarray, "cell action"]:
        for cell in actions:
            _known(cell, self.cells, "action")
        stacked = np.ones((len(self.cells), self.action_size), np.float32)
        for row, (cell, decides) in enumerate(zip(self.cells, self.controlled, strict=True)):
            if cell in actions:
                stacked[row] = _row(cell, actions[cell], self.action_size)
            elif decides and cell in self.agents:
                raise ValueError(f"action of {cell}: missing")
        return stacked

    def _names(self, chosen: Bool[np.ndarray, " cell"]) -> list[str]:
        return [cell for cell, is_chosen in zip(self.cells, chosen, strict=True) if is_chosen]

    def _by_cell(self, rows: Any, names: Sequence[str]) -> dict[str, Any]:
        index = {cell: row for row, cell in enumerate(self.cells)}
        return {cell: rows[index[cell]] for cell in names}

    def _infos(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Every raw KPI of a cell's last step, per slice, and what they add up to."""
        per_cell = self.kpis._asdict() | {"satisfaction": self._satisfaction()}
        index = {cell: row for row, cell in enumerate(self.cells)}
        return {
            cell: {name: rows[index[cell]] for name, rows in per_cell.items()} for cell in names
        }

    def _observation_space(self, agent: str) -> spaces.Box:
        _known(agent, self.cells, "observation_space")
        return spaces.Box(*find_bounds(self.layout, len(self.cells)))

    def _action_space(self, agent: str) -> spaces.Box:
        _known(agent, self.cells, "action_space")
        return spaces.Box(0.0, 1.0, (self.action_size,), np.float32)


def _check(scenario: Scenario, episode_steps: int, deployments: Sequence[Deployment]) -> None:
    if episode_steps < 1:
        raise ValueError(f"episode_steps: expected at least 1, got {episode_steps}")
    for deployment in deployments:
        _known(deployment.cell, scenario.cells, "deployments")


def _known(cell: str, cells: Sequence[str], where: str) -> None:
    if cell not in cells:
        raise ValueError(f"{where}: expected one of {cells[0]} to {cells[-1]}, got {cell!r}")


def _row(cell: str, action: np.ndarray, size: int) -> Float32[np.ndarray, " action"]:
    row = np.asarray(action, np.float32)
    if row.shape != (size,):
        raise ValueError(f"action of {cell}: expected {size} weights, got shape {row.shape}")
    return row


def _fresh_seed(seed: int | None) -> int:
    """The seed itself, or one from the operating system's entropy."""
    return int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
