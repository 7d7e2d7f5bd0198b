"""The network as a PettingZoo parallel environment: every live cell is an agent.

Steps, rewards, deployments and state are arrays with a row per cell. PettingZoo's dicts by cell are
made from them.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from jaxtyping import Bool, Float, Float32
from pettingzoo import ParallelEnv  # pyright: ignore[reportMissingTypeStubs]

from slicing_rllib.env.actions import make_action, require_known_cell, stack_actions
from slicing_rllib.env.base_policies import Smoothing
from slicing_rllib.env.measurement import MEMORY, Measured, Measurement, MeasurementError
from slicing_rllib.env.observation import CellObserver, find_heard, make_space_of_reports
from slicing_rllib.env.protocols import BatchedStep
from slicing_rllib.env.rewards import SplitReward, satisfaction
from slicing_rllib.env.satisfaction_map import satisfaction_map
from slicing_rllib.env.timed_events import Deployment, find_conditions, list_switches, read_events
from slicing_rllib.radio import Phase, Scenario, Simulator, StepKpis, read_scenario
from slicing_rllib.registry import OwnParts, get_part


class SlicingEnv(ParallelEnv[str, np.ndarray, np.ndarray]):
    """Each cell divides its carrier among its slices and is rewarded for its worst-served slice.

    One step is one slicing interval. An action is one weight per slice, scaled to a sum of 1 (the
    paper, eq. (1)); zeros alone mean equal shares. The reward is that of eq. (2). An observation is
    [throughput, load, users, message], as `layout` describes.

    An episode is truncated after `episode_steps`. A reset with a seed starts a new network, on a
    map of that seed unless `map_seed` names one; a reset without a seed starts a new episode and
    continues the network's state. A cell that goes off is truncated. A cell that comes up joins
    `agents` after its first step. Until its `Deployment` says that its policy decides, its steps
    use the default action (equal shares).

    `step` and `reset` use PettingZoo's dicts, `step_batched` and `reset_batched` use arrays.

    Args:
        scenario: the network: a `Scenario`, a built-in name, or a mapping as in YAML.
        action: what agents send in `step`, one of `ACTIONS`.
        message: what cells learn about the load of other cells, a `message` of the registry.
        observation: what else a cell observes, an `observation` of the registry.
        base_policy: the rule whose split observations end with.
        smoothing: what `smoothed_persistence` does; None for its defaults.
        reward: what a step earns, a `reward` of the registry.
        measurement_error: errors of what cells measure; None for exact measurements.
        episode_steps: length of an episode, at least 1.
        map_seed: seed of shadowing and line of sight; None for that of the last reset with a seed.
        default_seed: seed of a first reset without a seed; None draws one from system entropy.
        deployments: cells that come up while the network runs.
        events: changes of the running network, as `TimedEvent`s or mappings as in YAML.
        render_mode: "rgb_array" to make `render` return pictures, or None.

    Raises: ValueError for an unknown action, message or cell, or fewer than 1 episode steps.
    """

    # PettingZoo declares this as an instance variable, so it cannot be a ClassVar.
    metadata: dict[str, Any] = {  # noqa: RUF012
        "name": "slicing_v0",
        "render_modes": ["rgb_array"],
        "is_parallelizable": True,
    }

    def __init__(
        self,
        scenario: Any,
        *,
        action: str = "weights",
        message: str = "mean_load",
        observation: str = "paper",
        base_policy: str = "persistence",
        smoothing: Smoothing | None = None,
        reward: str = "paper",
        measurement_error: MeasurementError | None = None,
        episode_steps: int = 500,
        map_seed: int | None = None,
        default_seed: int | None = None,
        deployments: Sequence[Deployment] = (),
        events: Sequence[Any] = (),
        render_mode: str | None = None,
    ) -> None:
        if episode_steps < 1:
            raise ValueError(f"episode_steps: expected at least 1, got {episode_steps}")
        scenario = read_scenario(scenario)
        for deployment in deployments:
            require_known_cell(deployment.cell, scenario.cells, "deployments")
        self._first_scenario = scenario
        self.scenario: Scenario = scenario
        """The network with the SLAs of the coming step."""
        self.cells = scenario.cells
        self._simulator: Simulator | None = None
        self._default_seed = default_seed
        self._episode_steps = episode_steps
        self.deployments = tuple(deployments)
        self.events = read_events(events, scenario)
        self.message = message
        self.map_seed = map_seed
        self.observation = observation
        self._base_policy, self._smoothing = base_policy, smoothing
        self.reward = reward
        self._find_parts()
        self.action_kind = make_action(action, scenario.n_slices)
        self._measurement_error = measurement_error
        self._measurement = Measurement(scenario, measurement_error)
        # Nothing is known about what an own reward would have been for another split.
        # Nor for the paper's in a network whose law is not that of the closed form.
        is_known = reward == "paper" and scenario.has_closed_form
        self.counterfactual = SplitReward() if is_known else None
        self.measures_slices = observation == "response" and reward == "paper"
        """Whether critics per slice can learn from the observations and reward inputs."""
        self.layout = self._observer.layout
        self.heard = find_heard(message, self.layout, scenario)
        self.obs_size = self._observer.size
        self.action_size = scenario.n_slices
        self.reward_inputs_size = 2 * scenario.n_slices
        self.counterfactual_inputs_size = self.reward_inputs_size if self.counterfactual else 0
        self.network_step = 0
        """Number of steps since the last reset with a seed."""
        self._episode_step = 0
        self._reports: deque[StepKpis] = deque(maxlen=MEMORY)
        self._measured: deque[Measured] = deque(maxlen=MEMORY)
        self._live = np.zeros(len(self.cells), bool)
        self.render_mode = render_mode
        self._row = {cell: row for row, cell in enumerate(self.cells)}
        self.possible_agents = list(self.cells)
        self.agents: list[str] = []
        self._spaces: dict[str, dict[str, spaces.Space[Any]]] = {"observation": {}, "action": {}}
        low, high = self._bound_observations()
        n_cells = len(self.cells)
        self.state_space = spaces.Box(np.tile(low, n_cells), np.tile(high, n_cells))

    def _find_parts(self) -> None:
        heard = get_part("message", self.message)(self.scenario)
        self._observer = CellObserver(
            self.observation, self.scenario, heard, self._base_policy, self._smoothing
        )
        self._reward = get_part("reward", self.reward)

    def __getstate__(self) -> dict[str, Any]:
        """Without functions, which pickle may refuse: copies find them by name again."""
        kept = vars(self).items()
        state = {name: value for name, value in kept if name not in ("_observer", "_reward")}
        return state | {"_own_parts": OwnParts()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._find_parts()

    @property
    def simulator(self) -> Simulator:
        """The network itself; before the first reset, that of the default seed."""
        if self._simulator is None:
            self._simulator = self._build_network(_choose_seed(self._default_seed), self.map_seed)
        return self._simulator

    def _build_network(self, seed: int, map_seed: int | None) -> Simulator:
        kind = get_part("network", self.scenario.network.kind)
        return kind(self.scenario, seed, map_seed=map_seed)

    @property
    def kpis(self) -> StepKpis:
        """KPIs of the last step. Raises: RuntimeError before the first reset."""
        if not self._reports:
            raise RuntimeError("SlicingEnv: expected a reset before the first step")
        return self._reports[-1]

    @property
    def reports(self) -> tuple[StepKpis, ...]:
        """KPIs of the last steps, at most `MEMORY`, from the oldest to the newest."""
        return tuple(self._reports)

    @property
    def controlled(self) -> Bool[np.ndarray, " cell"]:
        """Whether a cell's own policy decides its next step: it is live and not under default."""
        return self._live & self.simulator.controlled

    @property
    def measured(self) -> Measured:
        """What the cells measured of the last step."""
        return self._measured[-1]

    def reset_batched(self, seed: int | None = None) -> BatchedStep:
        """Starts a new episode: of a new network with a seed, of the running network without."""
        if seed is not None or not self._reports:
            self._start_network(self._default_seed if seed is None else seed)
        self._episode_step = 0
        n_cells = len(self.cells)
        return self._make_batched(np.zeros(n_cells, np.float32), np.zeros(n_cells, bool))

    def step_batched(self, action: Float32[np.ndarray, "cell action"]) -> BatchedStep:
        """One slicing interval. Rows of cells that are not controlled are ignored.

        Raises: ValueError with the cell whose weights are not finite or negative.
        """
        _ = self.kpis  # Raises RuntimeError before the first reset.
        self._step_simulator(self._apply_default_action(action), self.network_step + 1)
        reward = self._compute_reward(self.kpis, self._live).astype(np.float32)
        self.network_step += 1
        self._apply_deployments()
        self._apply_events()
        self._episode_step += 1
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

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """The space of a cell's observations."""

        def make_space() -> spaces.Space[Any]:
            return make_space_of_reports(*self._bound_observations(), self.heard)

        return self._keep_space("observation", agent, make_space)

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """The space of a cell's actions in `step`."""
        return self._keep_space("action", agent, self.action_kind.make_space)

    def state(self) -> Float32[np.ndarray, " observations"]:
        """The observations of all cells in a row, for centralised critics; zeros for cells off."""
        _ = self.kpis  # Raises RuntimeError before the first reset.
        return self._observer(self._measured, self._live).ravel()

    def checkpoint_state(self) -> dict[str, Any]:
        """The state that a bit-identical continuation needs."""
        return {
            "map_seed": self.simulator.map_seed,
            "simulator": self.simulator.state(),
            "network_step": self.network_step,
            "episode_step": self._episode_step,
            "reports": [report._asdict() for report in self._reports],
            "live": self._live.copy(),
            "agents": list(self.agents),
        }

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Continues from the result of `checkpoint_state`, bit for bit."""
        if self._simulator is None or self._simulator.map_seed != state["map_seed"]:
            self._simulator = self._build_network(0, int(state["map_seed"]))
        self._simulator.restore(state["simulator"])
        self.network_step = int(state["network_step"])
        if self.events:
            self._set_conditions()
        self._episode_step = int(state["episode_step"])
        self._reports.clear()
        self._measured.clear()
        first_step = self.network_step + 1 - len(state["reports"])
        for step, report in enumerate(state["reports"], first_step):
            self._remember(StepKpis(**report), step)
        self._live = np.array(state["live"], bool)
        self.agents = list(state["agents"])

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
        """First observations and infos of a new episode, by cell; `options` has no effect."""
        batched = self.reset_batched(seed)
        self.agents = self._select_names(batched.live)
        return self._split_by_cell(batched.obs, self.agents), self.make_infos(self.agents)

    def step(
        self, actions: Mapping[str, Any]
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
        stacked = stack_actions(
            actions, self.cells, self.controlled & is_agent, self.action_kind, self.action_size
        )
        batched = self.step_batched(stacked)
        names = self._select_names(batched.live)
        truncated = self._split_by_cell(batched.truncated.tolist(), names)
        self.agents = [cell for cell in names if not truncated[cell]]
        return (
            self._split_by_cell(batched.obs, names),
            self._split_by_cell(batched.reward.tolist(), names),
            dict.fromkeys(names, False),
            truncated,
            self.make_infos(names),
        )

    def render(self) -> np.ndarray | None:
        """The map as (height, width, 3) uint8, in the colours of the cells' satisfaction."""
        if self.render_mode is None:
            return None
        return satisfaction_map(
            self.simulator.serving_map(), self._compute_satisfaction(), self._live
        )

    def _start_network(self, seed: int | None) -> None:
        """Starts a new network and runs one step with equal shares, which gives observations."""
        seed = _choose_seed(seed)
        known = None if self._simulator is None else self._simulator.map_seed
        if known == (seed if self.map_seed is None else self.map_seed):
            self.simulator.reset(seed)
        else:
            self._simulator = self._build_network(seed, self.map_seed)
        self.network_step = 0
        self._reports.clear()
        self._measured.clear()
        for cell in self.cells:
            self.simulator.set_phase(cell, Phase.CONTROLLED)
        self._apply_deployments()
        self._apply_events()
        equal = np.full((len(self.cells), self.action_size), 1.0 / self.action_size)
        self._step_simulator(equal, 0)

    def _step_simulator(self, prb_ratio: Float[np.ndarray, "cell slice"], step: int) -> None:
        self._live = self.simulator.on
        self._remember(self.simulator.step(prb_ratio), step)

    def _remember(self, kpis: StepKpis, step: int) -> None:
        self._reports.append(kpis)
        self._measured.append(self._measurement(kpis, step))

    def _apply_deployments(self) -> None:
        """Sets phases only at the steps at which they change, so that `set_phase` stays valid."""
        step = self.network_step
        for deployment in self.deployments:
            phase = deployment.phase_at(step)
            if step == 0 or phase != deployment.phase_at(step - 1):
                self.simulator.set_phase(deployment.cell, phase)

    def _apply_events(self) -> None:
        if any(event.step == self.network_step for event in self.events) or (
            self.events and self.network_step == 0
        ):
            for cell, phase in list_switches(self.events, self.network_step).items():
                self.simulator.set_phase(cell, phase)
            self._set_conditions()

    def _set_conditions(self) -> None:
        """SLAs and traffic of the coming step; the last reports are measured by the new SLAs."""
        self.scenario, factor = find_conditions(
            self.events, self.network_step, self._first_scenario
        )
        self.simulator.change_traffic(factor)
        self._find_parts()
        self._measurement = Measurement(self.scenario, self._measurement_error)
        reports = list(self._reports)
        self._reports.clear()
        self._measured.clear()
        for step, report in enumerate(reports, self.network_step + 1 - len(reports)):
            self._remember(report, step)

    def _apply_default_action(
        self, action: Float32[np.ndarray, "cell action"]
    ) -> Float[np.ndarray, "cell slice"]:
        """Equal weights for cells that are not controlled, and in place of zeros alone."""
        is_own = self.controlled & action.any(axis=1)
        return np.where(is_own[:, None], action, np.float32(1.0))

    def _compute_reward(
        self, kpis: StepKpis, live: Bool[np.ndarray, " cell"]
    ) -> Float[np.ndarray, " cell"]:
        return np.where(live, self._reward(kpis, self.scenario), 0.0)

    def _compute_satisfaction(self) -> Float[np.ndarray, " cell"]:
        return satisfaction(self.kpis.throughput_mbps, self.scenario.sla_throughput_mbps)

    def _make_batched(
        self, reward: Float32[np.ndarray, " cell"], truncated: Bool[np.ndarray, " cell"]
    ) -> BatchedStep:
        return BatchedStep(
            obs=self._observer(self._measured, self._live),
            reward=reward,
            action=self.kpis.prb_ratio.astype(np.float32),
            terminated=np.zeros(len(self.cells), bool),
            truncated=truncated.copy(),
            live=self._live.copy(),
            controlled=self.controlled,
            counterfactual_inputs=self.measured.counterfactual_inputs[
                :, : self.counterfactual_inputs_size
            ],
            reward_inputs=np.concatenate(
                [self.kpis.throughput_mbps, self.kpis.delay_ms], axis=1, dtype=np.float32
            ),
        )

    def _select_names(self, selected: Bool[np.ndarray, " cell"]) -> list[str]:
        return [cell for cell, is_in in zip(self.cells, selected, strict=True) if is_in]

    def _split_by_cell(self, rows: Any, names: Sequence[str]) -> dict[str, Any]:
        return {cell: rows[self._row[cell]] for cell in names}

    def make_infos(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """All KPIs of a cell's last step, per slice, and its satisfaction."""
        kpis = {
            name: np.require(rows, requirements="W") for name, rows in self.kpis._asdict().items()
        }
        per_cell = kpis | {"satisfaction": self._compute_satisfaction()}
        return {
            cell: {name: rows[self._row[cell]] for name, rows in per_cell.items()} for cell in names
        }

    def _keep_space(
        self, kind: str, agent: str, make: Callable[[], spaces.Space[Any]]
    ) -> spaces.Space[Any]:
        """The same object at each call, as PettingZoo demands."""
        require_known_cell(agent, self.cells, f"{kind}_space")
        kept = self._spaces[kind]
        if agent not in kept:
            kept[agent] = make()
        return kept[agent]

    def _bound_observations(
        self,
    ) -> tuple[Float32[np.ndarray, " obs"], Float32[np.ndarray, " obs"]]:
        """The range of each value; logarithms of shares and SINR are unbounded."""
        high = np.full(self.obs_size, np.inf, np.float32)
        low, columns = -high, self.layout
        if self.observation in ("paper", "widened"):
            bounded = slice(0, columns["message"].stop)
            low[bounded], high[bounded] = 0.0, 1.0
            # All UEs of the network may attach to one cell.
            high[columns["users"]] = len(self.cells)
            high[columns["load"]] = high[columns["message"]] = self.action_size
        return low, high


def _choose_seed(seed: int | None) -> int:
    """The seed itself, or one from system entropy for None."""
    return int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
