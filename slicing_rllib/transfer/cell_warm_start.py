"""Advances one cell from collecting samples to its settled policy."""

import time
from collections.abc import Collection
from dataclasses import asdict, replace
from typing import Any, assert_never
from zlib import crc32

import numpy as np

from slicing_rllib.learning.td3 import TD3, Event
from slicing_rllib.radio import Phase
from slicing_rllib.transfer.apply_warm_start import apply_warm_start, restore_initial_policy
from slicing_rllib.transfer.candidates import (
    Candidate,
    Candidates,
    find_candidates,
    read_samples,
    read_sla,
)
from slicing_rllib.transfer.decision import TransferDecision
from slicing_rllib.transfer.events import EventKind
from slicing_rllib.transfer.guard import HarmTest
from slicing_rllib.transfer.schedule import (
    count_network_steps,
    count_next_steps,
    is_handover_scheduled,
)
from slicing_rllib.transfer.selection import SelectionProblem, select_by_return, select_source
from slicing_rllib.transfer.settings import TransferSettings
from slicing_rllib.transfer.source_setting import parse_source
from slicing_rllib.transfer.spawn_keys import SpawnKey, make_seed_sequence
from slicing_rllib.transfer.stages import (
    CellStage,
    Collecting,
    CoolingDown,
    Guarded,
    Probing,
    Settled,
    WarmStartPlan,
)
from slicing_rllib.transfer.strategies import STRATEGIES, Source, Target, WarmStart

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
        steps = len(returns) * self._algorithm.config.steps_per_iteration
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
            algorithm.hyperparameters,
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
        sequence = make_seed_sequence(
            self._algorithm.config.seed or 0,
            SpawnKey.DECISION,
            crc32(self._cell.encode()),
            self._algorithm.env_steps,
        )
        return int(sequence.generate_state(1)[0])

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
