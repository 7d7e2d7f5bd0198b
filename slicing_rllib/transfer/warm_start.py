"""RLlib callback that warm-starts cells in a running training.

After every iteration `WarmStartCallback` advances each cell that joins or has changed by one step
of its `CellWarmStart`: collect samples under the default action, find the candidates
(`sources.py`), choose one (`decision.py`), make of it what the target takes over (`methods.py`),
put that into the algorithm (`apply_warm_start`), and guard the result (`guard.py`).
"""

import functools
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from pkgutil import resolve_name
from typing import Any, assert_never

import numpy as np
from ray.rllib.callbacks.callbacks import RLlibCallback

from slicing_rllib.env import Deployment
from slicing_rllib.learning.events import EventKind
from slicing_rllib.learning.td3 import TD3, Event
from slicing_rllib.radio import Phase
from slicing_rllib.random_streams import Stream, cell_key, derive_seed
from slicing_rllib.transfer.decision import (
    SelectionProblem,
    TransferDecision,
    decide_by_returns,
    select_source,
)
from slicing_rllib.transfer.guard import (
    detect_drift,
    guard_settled_cells,
    restore_initial_policy,
)
from slicing_rllib.transfer.methods import Method, Source, Target, WarmStart
from slicing_rllib.transfer.sources import (
    Candidate,
    Candidates,
    find_candidates,
    read_samples,
    read_sla,
    resolve_source,
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
)
from slicing_rllib.transfer.transfer_settings import METHODS, TransferSettings

ATTEMPTS = 2
"""Warm starts from a source: the chosen one, then the runner-up. The next start is from scratch."""
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
        settled = (cell for cell in algorithm.module_ids if records.is_settled(cell))
        guard_settled_cells(algorithm, settled, self.settings.guard)

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
        until = _count_network_steps(algorithm) + steps
        StageRecords(algorithm.callback_state).write(cell, Collecting(until=until))
        message = f"{reason}; default action for {steps} steps"
        algorithm.report(Event(EventKind.CELL_CHANGED, message, cell))

    def _begin_deployed_cells(self, algorithm: TD3, records: StageRecords) -> None:
        """Begin the warm start of cells that have come on the air, and of configured targets."""
        now = _count_network_steps(algorithm)
        for deployment in _list_deployments(algorithm):
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
                change = detect_drift(algorithm, cell, self.settings.drift)
                if change:
                    self.begin(algorithm, cell, change)


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
        next_steps = -(-algorithm.settings.steps_per_iteration // _count_networks(algorithm))
        if _count_network_steps(algorithm) + next_steps <= stage.until:
            return stage
        started = time.perf_counter()
        if self._cell not in algorithm.module_ids:
            algorithm.add_module(self._cell)
        found = self._find_candidates()
        if settings.method == "none":
            return self._start(WarmStartPlan(), found, stage.until, started)
        if settings.measure == "zero_shot" and found.usable and settings.source is None:
            return self._probe(tuple(sorted(found.usable)), {}, found, stage.until)
        problem = SelectionProblem(
            target=self._cell,
            samples=read_samples(algorithm, self._cell, settings.samples),
            candidates={name: usable.samples for name, usable in found.usable.items()},
            refused=found.refused,
            prescribed_source=resolve_source(
                settings.source, self._cell, algorithm.cells, found.usable
            ),
            settings=settings,
            seed=self._make_seed(),
        )
        return self._start_by(select_source(problem), found, stage.until, started)

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
        decision = decide_by_returns(self._cell, usable, found.refused)
        steps = len(returns) * self._algorithm.settings.steps_per_iteration
        return self._start_by(decision, found, stage.until, started, target_steps_spent=steps)

    def _test_for_harm(self, stage: Guarded) -> CellStage:
        """Fall back on evidence of harm; end the guard after a window without."""
        guard = self._settings.guard
        window, is_harmful = stage.window.extend(self._algorithm, self._cell, guard)
        tested = replace(stage, window=window)
        if is_harmful:
            return self._fall_back(tested)
        if window.steps < guard.window_steps:
            return tested
        self._algorithm.cell_states.set_guarded(self._cell, False)
        gain = -window.mean_loss
        message = f"{gain:+.3f} of reward over {self._fallback_name} in {window.steps} steps"
        self._report(EventKind.GUARD_PASSED, message, {"mean_gain": gain})
        return Settled(source=stage.source)

    def _fall_back(self, stage: Guarded) -> CoolingDown:
        """Return the cell to the default action or, with a base policy, to its initial policy."""
        evidence = {
            "source": stage.source,
            "mean_loss": stage.window.mean_loss,
            "steps": stage.window.steps,
            "alpha": self._settings.guard.alpha,
        }
        message = (
            f"{stage.source}'s policy loses {stage.window.mean_loss:.3f} of reward to "
            f"{self._fallback_name}"
        )
        self._report(EventKind.NEGATIVE_TRANSFER, message, evidence)
        self._algorithm.cell_states.set_guarded(self._cell, False)
        self._algorithm.pause_updates(self._cell)
        if self._algorithm.has_initial_policy:
            restore_initial_policy(self._algorithm, self._cell)
        else:
            self._algorithm.set_phase(self._cell, Phase.DEFAULT)
        until = _count_network_steps(self._algorithm) + self._settings.guard.cool_down_steps
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
        if _count_network_steps(self._algorithm) < stage.until:
            return stage
        started = time.perf_counter()
        found, plan = self._find_candidates(), stage.plan
        left = tuple(name for name in plan.ranking if name in found.usable)
        plan = replace(plan, ranking=left if plan.attempts < ATTEMPTS else ())
        return self._start(plan, found, stage.until, started)

    def _start_by(
        self,
        decision: TransferDecision,
        found: Candidates,
        until: int,
        started: float,
        **evidence: Any,
    ) -> Guarded | Settled:
        """Report the decision and start from its source; the next nearest stand by."""
        is_chosen = decision.source is not None
        kind = EventKind.SOURCE_CHOSEN if is_chosen else EventKind.NO_SOURCE
        self._report(kind, decision.why, asdict(decision) | evidence)
        plan = WarmStartPlan()
        if decision.source is not None:
            others = (name for name in decision.ranking if name != decision.source)
            plan = WarmStartPlan(ranking=(decision.source, *others), distances=decision.distances)
        return self._start(plan, found, until, started)

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
        now = _count_network_steps(algorithm)
        hands_over_later = any(
            deployment.cell == cell and deployment.default_action_until > now
            for deployment in _list_deployments(algorithm)
        )
        if now >= until or not hands_over_later:
            algorithm.set_phase(cell, Phase.CONTROLLED)
        tried = replace(plan, ranking=plan.ranking[1:], attempts=plan.attempts + 1)
        self._report_start(start, source, tried.attempts, started)
        return Guarded(source=source, plan=tried) if is_guarded else Settled(source=source)

    def _make_start(self, plan: WarmStartPlan, usable: Mapping[str, Candidate]) -> WarmStart:
        """What the configured method makes of the plan's sources; from scratch without one."""
        algorithm, cell = self._algorithm, self._cell
        sources = [
            Source(
                name, usable[name].weights, usable[name].experience, plan.distances.get(name, 0.0)
            )
            for name in plan.ranking
        ]
        target = Target(
            cell,
            algorithm.fresh_weights(cell, plan.attempts),
            read_sla(algorithm, cell),
            algorithm.network_sizes(cell),
            algorithm.settings,
            algorithm.env.counterfactual,
        )
        method: Method = resolve_name(METHODS[self._settings.method if sources else "none"])
        return method(target, sources, self._settings, np.random.default_rng(self._make_seed()))

    def _find_candidates(self) -> Candidates:
        return find_candidates(self._algorithm, self._cell, self._settings, self._unsettled)

    def _make_seed(self) -> int:
        """Seed of a decision: a function of the run's seed, the cell and the step."""
        return derive_seed(
            self._algorithm.config.seed or 0,
            Stream.DECISION,
            cell_key(self._cell),
            self._algorithm.env_steps,
        )

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


def apply_warm_start(
    algorithm: TD3,
    cell: str,
    start: WarmStart,
    settings: TransferSettings,
    optimiser_source: str | None,
) -> None:
    """Set the cell's weights, optimiser, exploration and experience.

    Args:
        algorithm: the running algorithm; only the state of `cell` changes.
        cell: the target.
        start: what the target takes over.
        settings: how the target learns from here on.
        optimiser_source: cell of the run whose weights `start` contains; its Adam moments can be
            copied with them. None: the moments start from zero.
    """
    states, row = algorithm.cell_states, algorithm.cell_states.row(cell)
    algorithm.set_policy_weights(cell, start.weights)
    if optimiser_source is None or settings.reset_optimiser or not start.is_trained:
        algorithm.reset_optimizer(cell)
    else:
        algorithm.copy_optimizer(optimiser_source, cell)
    algorithm.freeze(cell, start.frozen)
    from_scratch = algorithm.settings.exploration_steps
    algorithm.explore(cell, from_scratch if start.explores else settings.exploration_steps)
    algorithm.resume_updates(cell)
    states.actor_delay_updates[row] = settings.actor_delay_updates
    if settings.exploration_noise is not None:
        states.noise_sigma[row] = settings.exploration_noise
    _fill_replay(algorithm, cell, start, settings)


def _fill_replay(algorithm: TD3, cell: str, start: WarmStart, settings: TransferSettings) -> None:
    """Add the transferred transitions to the cell's own replay, or keep them apart from it."""
    states, row = algorithm.cell_states, algorithm.cell_states.row(cell)
    algorithm.source_replay.clear(cell)
    states.source_share[row] = 0.0
    if start.experience is None:
        return
    if settings.source_share is None:
        algorithm.replay.seed(cell, start.experience)
        return
    algorithm.source_replay.seed(cell, start.experience)
    states.source_share[row] = settings.source_share
    half_life = settings.source_share_half_life_updates
    states.source_share_decay[row] = 1.0 if half_life is None else float(np.exp2(-1.0 / half_life))


def _list_deployments(algorithm: TD3) -> tuple[Deployment, ...]:
    """Deployments of the environment; empty for an environment that has none."""
    return getattr(algorithm.env, "deployments", ())


def _count_networks(algorithm: TD3) -> int:
    """Networks that share an iteration's steps: one per env runner."""
    return max(algorithm.config.num_env_runners or 0, 1)


def _count_network_steps(algorithm: TD3) -> int:
    """Steps that each network has made."""
    return algorithm.env_steps // _count_networks(algorithm)
