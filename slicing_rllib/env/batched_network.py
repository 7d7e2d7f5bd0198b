"""The network as arrays with a row per cell: its steps, rewards, deployments and state."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32
from pydantic.dataclasses import dataclass

from slicing_rllib.env.measurement import Measured, Measurement, MeasurementError
from slicing_rllib.env.messages import make_message
from slicing_rllib.env.observation import make_observer
from slicing_rllib.env.protocols import BatchedStep
from slicing_rllib.env.rewards import SplitReward, satisfaction, slice_reward
from slicing_rllib.radio import Phase, Scenario, Simulator, StepKpis
from slicing_rllib.radio.settings import SETTINGS, Steps


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Deployment:
    """A cell that joins a running network: off, then under the default action, then controlled.

    Steps are network steps since the last reset with a seed.
    """

    cell: str
    """Name of the cell."""
    off_until: Steps
    """First step at which the cell is on the air, under the default action."""
    default_action_until: Steps
    """First step at which the cell's own policy decides."""

    def __post_init__(self) -> None:
        """Raises: ValueError if the cell's policy decides before the cell is on the air."""
        if self.off_until > self.default_action_until:
            raise ValueError(
                f"deployment of {self.cell}: expected off_until <= default_action_until, "
                f"got {self.off_until} and {self.default_action_until}"
            )

    def phase_at(self, step: int) -> Phase:
        """Phase of the cell in a network step."""
        if step < self.off_until:
            return Phase.OFF
        return Phase.DEFAULT if step < self.default_action_until else Phase.CONTROLLED


def require_known_cell(cell: str, cells: Sequence[str], where: str) -> None:
    """Raises ValueError unless `cell` is in `cells`; `where` starts the message."""
    if cell not in cells:
        raise ValueError(f"{where}: expected one of {cells[0]} to {cells[-1]}, got {cell!r}")


class BatchedNetwork:
    """What `SlicingEnv` does, without PettingZoo's dicts; its docstring has rules and arguments.

    Raises: ValueError for an unknown message or cell, or fewer than 1 episode steps.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        message: str,
        observation: str,
        measurement_error: MeasurementError | None,
        episode_steps: int,
        map_seed: int,
        default_seed: int | None,
        deployments: Sequence[Deployment],
    ) -> None:
        if episode_steps < 1:
            raise ValueError(f"episode_steps: expected at least 1, got {episode_steps}")
        for deployment in deployments:
            require_known_cell(deployment.cell, scenario.cells, "deployments")
        self.scenario = scenario
        self.cells = scenario.cells
        self.simulator = Simulator(scenario, _choose_seed(default_seed), map_seed=map_seed)
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
        self.counterfactual_inputs_size = self.reward_inputs_size = 2 * scenario.n_slices
        self.network_step = 0
        """Number of steps since the last reset with a seed."""
        self._episode_step = 0
        self._kpis: StepKpis | None = None
        self._live = np.zeros(len(self.cells), bool)

    @property
    def kpis(self) -> StepKpis:
        """KPIs of the last step. Raises: RuntimeError before the first reset."""
        if self._kpis is None:
            raise RuntimeError("SlicingEnv: expected a reset before the first step")
        return self._kpis

    @property
    def controlled(self) -> Bool[np.ndarray, " cell"]:
        """Whether a cell's own policy decides its next step: it is live and not under default."""
        return self._live & self.simulator.controlled

    @property
    def measured(self) -> Measured:
        """What the cells measured of the last step."""
        return self._measurement(self.kpis, self.network_step)

    def reset_batched(self, seed: int | None = None) -> BatchedStep:
        """Starts a new episode: of a new network with a seed, of the running network without."""
        if seed is not None or self._kpis is None:
            self._start_network(self._default_seed if seed is None else seed)
        self._episode_step = 0
        n_cells = len(self.cells)
        return self._make_batched(np.zeros(n_cells, np.float32), np.zeros(n_cells, bool))

    def step_batched(self, action: Float32[np.ndarray, "cell action"]) -> BatchedStep:
        """One slicing interval. Rows of cells that are not controlled are ignored.

        Raises: ValueError with the cell whose weights are not finite, negative or all zero.
        """
        _ = self.kpis  # Raises RuntimeError before the first reset.
        self._step_simulator(self._apply_default_action(action))
        self.network_step += 1
        self._apply_deployments()
        self._episode_step += 1
        reward = self._compute_reward(self.kpis, self._live).astype(np.float32)
        is_over = self._episode_step >= self._episode_steps
        goes_off = self._live & ~self.simulator.on
        return self._make_batched(reward, self._live if is_over else goes_off)

    def compute_rewards(
        self, action: Float32[np.ndarray, "cell action"]
    ) -> Float32[np.ndarray, " cell"]:
        """Rewards that the next `step_batched(action)` would return; the state does not change."""
        kpis = self.simulator.evaluate(self._apply_default_action(action))
        return self._compute_reward(kpis, self.simulator.on).astype(np.float32)

    def set_phase(self, cell: str, phase: Phase) -> None:
        """Sets the phase of a cell from the next step on.

        Raises: ValueError for an unknown cell.
        """
        require_known_cell(cell, self.cells, "set_phase")
        self.simulator.set_phase(cell, phase)

    def state(self) -> dict[str, Any]:
        """The state that a bit-identical continuation needs."""
        return {
            "simulator": self.simulator.state(),
            "network_step": self.network_step,
            "episode_step": self._episode_step,
            "kpis": self.kpis._asdict(),
            "live": self._live.copy(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continues from the result of `state`, bit for bit."""
        self.simulator.restore(state["simulator"])
        self.network_step = int(state["network_step"])
        self._episode_step = int(state["episode_step"])
        self._kpis = StepKpis(**state["kpis"])
        self._live = np.array(state["live"], bool)

    def _start_network(self, seed: int | None) -> None:
        """Starts a new network and runs one step with equal shares, which gives observations."""
        self.simulator.reset(_choose_seed(seed))
        self.network_step = 0
        for cell in self.cells:
            self.simulator.set_phase(cell, Phase.CONTROLLED)
        self._apply_deployments()
        self._step_simulator(np.full((len(self.cells), self.action_size), 1.0 / self.action_size))

    def _step_simulator(self, prb_ratio: Float[np.ndarray, "cell slice"]) -> None:
        self._live = self.simulator.on
        self._kpis = self.simulator.step(prb_ratio)

    def _apply_deployments(self) -> None:
        """Sets phases only at the steps at which they change, so that `set_phase` stays valid."""
        step = self.network_step
        for deployment in self.deployments:
            phase = deployment.phase_at(step)
            if step == 0 or phase != deployment.phase_at(step - 1):
                self.simulator.set_phase(deployment.cell, phase)

    def _apply_default_action(
        self, action: Float32[np.ndarray, "cell action"]
    ) -> Float[np.ndarray, "cell slice"]:
        """Replaces the actions of cells that are not controlled by equal weights."""
        return np.where(self.controlled[:, None], action, np.float32(1.0))

    def _compute_reward(
        self, kpis: StepKpis, live: Bool[np.ndarray, " cell"]
    ) -> Float[np.ndarray, " cell"]:
        reward = slice_reward(
            kpis.throughput_mbps,
            kpis.delay_ms,
            self.scenario.sla_throughput_mbps,
            self.scenario.sla_delay_ms,
        )
        return np.where(live, reward, 0.0)

    def _compute_satisfaction(self) -> Float[np.ndarray, " cell"]:
        return satisfaction(self.kpis.throughput_mbps, self.scenario.sla_throughput_mbps)

    def _make_batched(
        self, reward: Float32[np.ndarray, " cell"], truncated: Bool[np.ndarray, " cell"]
    ) -> BatchedStep:
        measured = self.measured
        return BatchedStep(
            obs=self._observer(measured, self._live),
            reward=reward,
            action=self.kpis.prb_ratio.astype(np.float32),
            terminated=np.zeros(len(self.cells), bool),
            truncated=truncated.copy(),
            live=self._live.copy(),
            controlled=self.controlled,
            counterfactual_inputs=measured.counterfactual_inputs,
            reward_inputs=np.concatenate(
                [self.kpis.throughput_mbps, self.kpis.delay_ms], axis=1, dtype=np.float32
            ),
        )


def _choose_seed(seed: int | None) -> int:
    """The seed itself, or one from system entropy for None."""
    return int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
