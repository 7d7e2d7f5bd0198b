"""RLlib callback that warm-starts cells in a running training.

Advances one cell from collecting samples to its settled policy.

Keeps every cell from falling below the policy that it started from.
"""

import functools
import time
from collections.abc import Collection
from dataclasses import asdict, replace
from typing import Any, assert_never

import numpy as np
from ray.rllib.callbacks.callbacks import RLlibCallback

from slicing_rllib.learning.events import EventKind
from slicing_rllib.learning.td3 import TD3, Event
from slicing_rllib.radio import Phase
from slicing_rllib.random_streams import Stream, cell_key, derive_seed
from slicing_rllib.transfer.decision import TransferDecision
from slicing_rllib.transfer.guard import INITIAL_LOG_WEALTH, DriftDetector, HarmTest
from slicing_rllib.transfer.methods import (
    STRATEGIES,
    Source,
    Target,
    WarmStart,
    apply_warm_start,
    restore_initial_policy,
)
from slicing_rllib.transfer.sources import (
    Candidate,
    Candidates,
    SelectionProblem,
    find_candidates,
    read_samples,
    read_sla,
    select_by_return,
    select_source,
)
from slicing_rllib.transfer.stages import (
    CellStage,
    Collecting,
    CoolingDown,
    Guarded,
    Probing,
    Settled,
    StageRecords,
    WarmStartPlan,
    count_network_steps,
    count_next_steps,
    is_handover_scheduled,
    list_deployments,
)
from slicing_rllib.transfer.transfer_settings import GuardSettings, TransferSettings, parse_source

ATTEMPTS = 2
"""Warm starts from a source: the chosen one, then the runner-up. The next start is from scratch."""


class CellWarmStart:
    """Advances one cell of a running algorithm through its stages.

    Args:
        algorithm: the running algorithm; `advance` changes the state of `cell` only.
        cell: the target.
        settings: from whom it learns, what it takes over, and how it is guarded.
        unsettled: cells that are being warm-started, which are not used as sources.
    """

    def __init__(
        self,
        algorithm: TD3,
        cell: str,
        settings: TransferSettings,
        unsettled: Collection[str],
    ) -> None:
        self._algorithm = algorithm
        self._cell = cell
        self._settings = settings
        self._unsettled = unsettled

    def advance(self, stage: CellStage) -> CellStage:
        """Act on the iteration that has ended and return the stage of the next one."""
        match stage:
            case Collecting():
                return self._choose_before_handover(stage)
            case Probing():
                return self._note_return(stage)
            case Guarded():
                return self._test_for_harm(stage)
            case CoolingDown():
                return self._retry_after_cool_down(stage)
            case Settled():
                return stage
            case _:
                assert_never(stage)

    def _choose_before_handover(self, stage: Collecting) -> CellStage:
        """Decide in the last iteration that ends before the cell's policy would act."""
        algorithm, settings = self._algorithm, self._settings
        if count_network_steps(algorithm) + count_next_steps(algorithm) <= stage.until:
            return stage
        started = time.perf_counter()
        if self._cell not in algorithm.module_ids:
            algorithm.add_module(self._cell)
        found = self._find_candidates()
        if settings.method == "none":
            return self._start(WarmStartPlan(), found, stage.until, started)
        if settings.measure == "zero_shot" and found.usable and settings.source is None:
            return self._probe(tuple(sorted(found.usable)), {}, found, stage.until)
        decision = select_source(self._pose_problem(found))
        self._report_decision(decision)
        return self._start(_make_plan(decision), found, stage.until, started)

    def _probe(
        self,
        queue: tuple[str, ...],
        returns: dict[str, float],
        found: Candidates,
        until: int,
    ) -> Probing:
        """Let the first source of the queue govern the cell for the next iteration."""
        trying = queue[0]
        self._algorithm.set_policy_weights(self._cell, found.usable[trying].weights)
        self._algorithm.explore(self._cell, 0)
        self._algorithm.pause_updates(self._cell)
        self._algorithm.set_phase(self._cell, Phase.CONTROLLED)
        return Probing(until=until, trying=trying, queue=queue[1:], returns=returns)

    def _note_return(self, stage: Probing) -> CellStage:
        """Note the reward under the tried source; try the next one, or decide."""
        cells = self._algorithm.last_iteration["cells"]
        returns = {**stage.returns, stage.trying: cells.get(self._cell, {}).get("reward", 0.0)}
        found = self._find_candidates()
        queue = tuple(name for name in stage.queue if name in found.usable)
        if queue:
            return self._probe(queue, returns, found, stage.until)
        started = time.perf_counter()
        usable = {name: value for name, value in returns.items() if name in found.usable}
        decision = select_by_return(self._cell, usable, found.refused)
        steps = len(returns) * self._algorithm.settings.steps_per_iteration
        self._report_decision(decision, target_steps_spent=steps)
        return self._start(_make_plan(decision), found, stage.until, started)

    def _test_for_harm(self, stage: Guarded) -> CellStage:
        """Fall back on evidence of harm; end the guard after a window without."""
        guard = self._settings.guard
        gains = self._algorithm.last_advantages.get(self._cell, [])
        losses = [-gain for gain in gains if not np.isnan(gain)]
        test = HarmTest(guard.margin, guard.alpha, stage.log_wealth)
        is_harmful = test.observe(losses)
        tested = replace(
            stage,
            log_wealth=test.log_wealth,
            guarded_steps=stage.guarded_steps + len(losses),
            lost_reward=stage.lost_reward + float(np.sum(losses)),
        )
        if is_harmful:
            return self._fall_back(tested)
        if tested.guarded_steps < guard.window_steps:
            return tested
        self._algorithm.cell_states.set_guarded(self._cell, False)
        gain = -tested.mean_loss
        message = (
            f"{gain:+.3f} of reward over {self._fallback_name} in {tested.guarded_steps} steps"
        )
        self._report(EventKind.GUARD_PASSED, message, {"mean_gain": gain})
        return Settled(source=tested.source)

    def _fall_back(self, stage: Guarded) -> CoolingDown:
        """Return the cell to the default action or, with a base policy, to its initial policy."""
        evidence = {
            "source": stage.source,
            "mean_loss": stage.mean_loss,
            "steps": stage.guarded_steps,
            "alpha": self._settings.guard.alpha,
        }
        message = (
            f"{stage.source}'s policy loses {stage.mean_loss:.3f} of reward to "
            f"{self._fallback_name}"
        )
        self._report(EventKind.NEGATIVE_TRANSFER, message, evidence)
        self._algorithm.cell_states.set_guarded(self._cell, False)
        self._algorithm.pause_updates(self._cell)
        if self._algorithm.has_initial_policy:
            restore_initial_policy(self._algorithm, self._cell)
        else:
            self._algorithm.set_phase(self._cell, Phase.DEFAULT)
        until = count_network_steps(self._algorithm) + self._settings.guard.cool_down_steps
        self._report(
            EventKind.GUARD_FELL_BACK, f"{self._fallback_name} until step {until}", evidence
        )
        return CoolingDown(until=until, plan=stage.plan)

    @property
    def _fallback_name(self) -> str:
        has_start = self._algorithm.has_initial_policy
        return "its initial policy" if has_start else "the default action"

    def _retry_after_cool_down(self, stage: CoolingDown) -> CellStage:
        """Start from the next source of the plan, or from scratch after `ATTEMPTS`."""
        if count_network_steps(self._algorithm) < stage.until:
            return stage
        started = time.perf_counter()
        found, plan = self._find_candidates(), stage.plan
        left = tuple(name for name in plan.ranking if name in found.usable)
        plan = replace(plan, ranking=left if plan.attempts < ATTEMPTS else ())
        return self._start(plan, found, stage.until, started)

    def _start(
        self, plan: WarmStartPlan, found: Candidates, until: int, started: float
    ) -> Guarded | Settled:
        """Start from the first source of the plan, or from scratch where there is none.

        Args:
            plan: sources to start from, all of them usable.
            found: the candidates that the plan's names refer to.
            until: network step from which the cell's own policy may act.
            started: time at which the decision began, in seconds of `time.perf_counter`.
        """
        algorithm, cell = self._algorithm, self._cell
        start = self._make_start(plan, found.usable)
        source = plan.ranking[0] if plan.ranking else None
        is_in_run = source is not None and found.usable[source].is_in_run
        apply_warm_start(algorithm, cell, start, self._settings, source if is_in_run else None)
        is_guarded = start.is_trained and self._settings.guard.window_steps > 0
        algorithm.cell_states.set_guarded(cell, is_guarded)
        if count_network_steps(algorithm) >= until or not is_handover_scheduled(algorithm, cell):
            algorithm.set_phase(cell, Phase.CONTROLLED)
        tried = replace(plan, ranking=plan.ranking[1:], attempts=plan.attempts + 1)
        self._report_start(start, source, tried.attempts, started)
        return Guarded(source=source, plan=tried) if is_guarded else Settled(source=source)

    def _make_start(self, plan: WarmStartPlan, usable: dict[str, Candidate]) -> WarmStart:
        algorithm, cell, settings = self._algorithm, self._cell, self._settings
        sources = [
            Source(
                name, usable[name].weights, usable[name].experience, plan.distances.get(name, 0.0)
            )
            for name in plan.ranking
        ]
        fresh = algorithm.fresh_weights(cell, plan.attempts)
        target = Target(
            cell,
            fresh,
            read_sla(algorithm, cell),
            algorithm.network_sizes(cell),
            algorithm.settings,
            algorithm.env.counterfactual,
        )
        strategy = STRATEGIES[settings.method if sources else "none"]
        return strategy(target, sources, settings, np.random.default_rng(self._make_seed()))

    def _find_candidates(self) -> Candidates:
        return find_candidates(self._algorithm, self._cell, self._settings, self._unsettled)

    def _pose_problem(self, found: Candidates) -> SelectionProblem:
        source = parse_source(self._settings.source)
        name = source.resolve(self._cell, self._algorithm.cells, found.usable) if source else None
        return SelectionProblem(
            target=self._cell,
            samples=read_samples(self._algorithm, self._cell, self._settings.samples),
            candidates=found.usable,
            refused=found.refused,
            prescribed_source=name,
            settings=self._settings,
            seed=self._make_seed(),
        )

    def _make_seed(self) -> int:
        """Seed of a decision: a function of the run's seed, the cell and the step."""
        return derive_seed(
            self._algorithm.config.seed or 0,
            Stream.DECISION,
            cell_key(self._cell),
            self._algorithm.env_steps,
        )

    def _report_decision(self, decision: TransferDecision, **more: Any) -> None:
        kind = EventKind.NO_SOURCE if decision.source is None else EventKind.SOURCE_CHOSEN
        self._report(kind, decision.why, asdict(decision) | more)

    def _report_start(
        self, start: WarmStart, source: str | None, attempt: int, started: float
    ) -> None:
        method = self._settings.method
        n_transitions = 0 if start.experience is None else len(start.experience.reward)
        evidence = {
            "source": source,
            "method": method if source else "none",
            "instances": n_transitions,
            "attempt": attempt,
            "decision_ms": round(1000 * (time.perf_counter() - started), 1),
        }
        from_source = f"{method} from {source}, {n_transitions} transitions"
        message = from_source if source else "from scratch"
        self._report(EventKind.WARM_STARTED, message, evidence)

    def _report(self, kind: EventKind, message: str, evidence: dict[str, Any]) -> None:
        self._algorithm.report(Event(kind, message, self._cell, evidence))


def _make_plan(decision: TransferDecision) -> WarmStartPlan:
    """The chosen source, then the others by their distance."""
    if decision.source is None:
        return WarmStartPlan()
    others = (name for name in decision.ranking if name != decision.source)
    return WarmStartPlan(ranking=(decision.source, *others), distances=decision.distances)


START_GUARD_KEY = "start_guard"
"""Entry of `callback_state`: by cell, the state of its test."""


class StartGuard:
    """Tests cells without a warm start under way against their initial policies, again and again.

    Each test lasts `window_steps`; on evidence of harm the cell gets its initial policy back and
    goes on learning from there. It needs a base policy and does nothing without one.
    """

    def __init__(self, settings: GuardSettings) -> None:
        """`settings.every_cell` switches it on."""
        self._settings = settings

    def test_cells(self, algorithm: TD3, records: StageRecords) -> None:
        """Test the iteration that has ended."""
        if not self._settings.every_cell or not algorithm.has_initial_policy:
            return
        states: dict[str, Any] = algorithm.callback_state.setdefault(START_GUARD_KEY, {})
        for cell in algorithm.module_ids:
            if records.is_settled(cell):
                states[cell] = self._test_cell(algorithm, cell, states.get(cell))
                algorithm.cell_states.set_guarded(cell)

    def _test_cell(self, algorithm: TD3, cell: str, state: dict[str, Any] | None) -> dict[str, Any]:
        fresh = {"log_wealth": list(INITIAL_LOG_WEALTH), "steps": 0, "lost": 0.0}
        state = state or fresh
        gains = algorithm.last_advantages.get(cell, [])
        losses = [-gain for gain in gains if not np.isnan(gain)]
        test = HarmTest(self._settings.margin, self._settings.alpha, tuple(state["log_wealth"]))
        steps, lost = state["steps"] + len(losses), state["lost"] + float(np.sum(losses))
        if test.observe(losses):
            restore_initial_policy(algorithm, cell)
            mean_loss = lost / steps
            message = f"loses {mean_loss:.3f} of reward to its initial policy, which is restored"
            evidence = {"mean_loss": mean_loss, "steps": steps, "alpha": self._settings.alpha}
            algorithm.report(Event(EventKind.POLICY_RESTORED, message, cell, evidence))
            return fresh
        if steps >= self._settings.window_steps:
            return fresh
        return {"log_wealth": list(test.log_wealth), "steps": steps, "lost": lost}


REQUESTS_KEY = "transfer_requests"
"""Key in `callback_state` of the cells whose warm start was requested."""


class WarmStartCallback(RLlibCallback):
    """Warm-starts every cell that a `Deployment` of the environment puts on the air.

    It runs on the driver after each iteration, so a decision is made in the last iteration that
    ends before the cell's own policy takes over. Its state is in the algorithm's checkpointed
    `callback_state`. Events are reported by `TD3.report`; `events.py` lists their kinds.

    Usage: `config.callbacks(WarmStartCallback.bind(settings))`.

    Args:
        settings: settings of the transfer; None: the defaults.
    """

    def __init__(self, settings: TransferSettings | None = None) -> None:
        super().__init__()
        self.settings = settings or TransferSettings()
        self._drift = DriftDetector(self.settings.drift)
        self._start_guard = StartGuard(self.settings.guard)

    @classmethod
    def bind(cls, settings: TransferSettings) -> Any:
        """A factory of callbacks with these settings, for `AlgorithmConfig.callbacks`."""
        return functools.partial(cls, settings)

    @staticmethod
    def request(algorithm: TD3, cell: str) -> None:
        """Request a new warm start of a cell; it begins at the end of the next iteration."""
        algorithm.callback_state.setdefault(REQUESTS_KEY, []).append(cell)

    def on_train_result(self, *, algorithm: Any, **_: Any) -> None:
        """Advance every cell that is being warm-started, and begin new warm starts."""
        records = StageRecords(algorithm.callback_state)
        for cell in algorithm.callback_state.pop(REQUESTS_KEY, []):
            self.begin(algorithm, cell, "requested")
        self._begin_deployed_cells(algorithm, records)
        # Listed once: a cell that is warm-started now has learned nothing to teach the next one.
        unsettled = records.list_unsettled()
        for cell in unsettled:
            warm_start = CellWarmStart(algorithm, cell, self.settings, unsettled)
            records.write(cell, warm_start.advance(records.read(cell)))
        self._begin_changed_cells(algorithm, records)
        self._start_guard.test_cells(algorithm, records)

    def begin(self, algorithm: TD3, cell: str, reason: str) -> None:
        """Begin the warm start of a cell that is already on the air.

        The default action governs the cell while new samples are collected; then a source is
        chosen for it.

        Args:
            algorithm: the running algorithm.
            cell: the target.
            reason: why a warm start is needed, for the event.
        """
        steps = self.settings.drift.default_action_steps
        algorithm.default_action_replay.clear(cell)
        algorithm.set_phase(cell, Phase.DEFAULT)
        algorithm.cell_states.set_guarded(cell, False)
        until = count_network_steps(algorithm) + steps
        StageRecords(algorithm.callback_state).write(cell, Collecting(until=until))
        message = f"{reason}; default action for {steps} steps"
        algorithm.report(Event(EventKind.CELL_CHANGED, message, cell))

    def _begin_deployed_cells(self, algorithm: TD3, records: StageRecords) -> None:
        """Begin the warm start of cells that have come on the air, and of configured targets."""
        now = count_network_steps(algorithm)
        for deployment in list_deployments(algorithm):
            cell = deployment.cell
            is_target = deployment.off_until > 0 or cell in self.settings.targets
            if is_target and cell not in records and now >= deployment.off_until:
                records.write(cell, Collecting(until=deployment.default_action_until))
                message = f"on the air since step {deployment.off_until}"
                algorithm.report(Event(EventKind.CELL_JOINED, message, cell))

    def _begin_changed_cells(self, algorithm: TD3, records: StageRecords) -> None:
        """Begin a new warm start of settled cells whose environment has changed."""
        for cell in algorithm.cells:
            if records.is_settled(cell):
                change = self._drift.detect(algorithm, cell)
                if change:
                    self.begin(algorithm, cell, change)
