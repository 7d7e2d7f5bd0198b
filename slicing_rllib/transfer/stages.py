"""Stages of a cell between joining a run and running under its own policy, and how each ends.

    Collecting  -> Probing, Guarded or Settled
    Probing     -> Probing, Guarded or Settled
    Guarded     -> CoolingDown or Settled
    CoolingDown -> Guarded or Settled
    Settled     -> Collecting, on drift or on request

`StageRecords` keeps the stages of all cells as plain values in the algorithm's checkpointed
`callback_state`, so that a run can stop and resume between any two iterations. `CellWarmStart`
advances one cell: it finds the candidates (`sources.py`), chooses one (`decision.py`), makes of it
what the target takes over (`methods.py`), and guards the result (`guard.py`).
"""

import time
from collections.abc import Collection, Mapping, MutableMapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any, Literal, assert_never

import numpy as np
from pydantic import Field, TypeAdapter

from slicing_rllib.env import Deployment
from slicing_rllib.learning.td3 import TD3, Event
from slicing_rllib.policies.events import EventKind
from slicing_rllib.radio import Phase
from slicing_rllib.random_streams import Stream, cell_key, derive_seed
from slicing_rllib.registry import get_part
from slicing_rllib.transfer.decision import (
    SelectionProblem,
    TransferDecision,
    decide_by_returns,
    select_source,
)
from slicing_rllib.transfer.guard import GuardWindow, restore_initial_policy
from slicing_rllib.transfer.methods import Method, Source, Target, Transfer, apply_warm_start
from slicing_rllib.transfer.sources import (
    Candidates,
    find_candidates,
    read_samples,
    read_sla,
    resolve_source,
)
from slicing_rllib.transfer.transfer_settings import TransferSettings

ATTEMPTS = 2
"""Warm starts from a source: the chosen one, then the runner-up. The next start is from scratch."""
STATE_KEY = "transfer"
"""Entry of `callback_state` that holds the records."""


@dataclass(frozen=True, kw_only=True)
class WarmStartPlan:
    """Sources that can still be tried."""

    ranking: tuple[str, ...] = ()
    """Names of the sources, the next one first; empty: learn from scratch."""
    distances: Mapping[str, float] = field(default_factory=dict)
    """Distance of each source that was compared."""
    attempts: int = 0
    """Warm starts that were made so far."""


@dataclass(frozen=True, kw_only=True)
class Collecting:
    """The default action governs the cell; samples for the comparison are collected."""

    stage: Literal["collecting"] = "collecting"
    until: int
    """First network step that the cell's own policy is to decide."""


@dataclass(frozen=True, kw_only=True)
class Probing:
    """Each source's policy governs the cell for one iteration (measure `zero_shot`)."""

    stage: Literal["probing"] = "probing"
    until: int
    """As in `Collecting`."""
    trying: str
    """Source whose policy governs the cell in this iteration."""
    queue: tuple[str, ...]
    """Sources that are tried after it, in order."""
    returns: Mapping[str, float]
    """Mean reward per step of each source that was tried."""


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """The transferred policy governs the cell and is compared with the fallback."""

    stage: Literal["guarded"] = "guarded"
    source: str | None
    plan: WarmStartPlan
    """What is tried if this policy does harm."""
    window: GuardWindow = field(default_factory=GuardWindow)
    """What the comparison has shown so far."""


@dataclass(frozen=True, kw_only=True)
class CoolingDown:
    """The fallback governs the cell after a harmful transfer."""

    stage: Literal["cooling_down"] = "cooling_down"
    until: int
    """Network step at which the next source of the plan is tried."""
    plan: WarmStartPlan


@dataclass(frozen=True, kw_only=True)
class Settled:
    """The cell's own policy governs the cell without a guard."""

    stage: Literal["settled"] = "settled"
    source: str | None
    """Source of the last warm start; None for learning from scratch."""


CellStage = Collecting | Probing | Guarded | CoolingDown | Settled
PLAIN: TypeAdapter[CellStage] = TypeAdapter(Annotated[CellStage, Field(discriminator="stage")])
"""Turns stages into plain values and back."""


class StageRecords:
    """The stages of all cells that a warm start has dealt with, in a `callback_state`."""

    def __init__(self, callback_state: MutableMapping[str, Any]) -> None:
        self._records: dict[str, dict[str, Any]] = callback_state.setdefault(STATE_KEY, {})

    def __contains__(self, cell: object) -> bool:
        return cell in self._records

    def read(self, cell: str) -> CellStage:
        """The cell's stage. Raises: KeyError for a cell without a record."""
        return PLAIN.validate_python(self._records[cell])

    def write(self, cell: str, stage: CellStage) -> None:
        """Replace the cell's stage."""
        self._records[cell] = PLAIN.dump_python(stage, mode="json")

    def list_unsettled(self) -> list[str]:
        """Cells whose warm start is not finished, in the order in which they were recorded."""
        return [cell for cell in self._records if not self.is_settled(cell)]

    def is_settled(self, cell: str) -> bool:
        """True for a cell whose warm start is finished, or that never had one."""
        return cell not in self or self._records[cell]["stage"] == "settled"


@dataclass
class CellWarmStart:
    """Advances one cell of a running algorithm through its stages, by one iteration.

    The state of other cells does not change.
    """

    algorithm: TD3
    cell: str
    settings: TransferSettings
    unsettled: Collection[str]
    """Cells that are being warm-started, which are not used as sources."""
    _started_s: float = field(default_factory=time.perf_counter, init=False)

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

    @cached_property
    def _found(self) -> Candidates:
        return find_candidates(self.algorithm, self.cell, self.settings, self.unsettled)

    def _choose_before_handover(self, stage: Collecting) -> CellStage:
        """Decide in the last iteration that ends before the cell's policy would act."""
        algorithm, cell, settings = self.algorithm, self.cell, self.settings
        next_steps = -(-algorithm.settings.steps_per_iteration // _count_networks(algorithm))
        if count_network_steps(algorithm) + next_steps <= stage.until:
            return stage
        if cell not in algorithm.module_ids:
            algorithm.add_module(cell)
        usable = self._found.usable
        if settings.method == "none":
            return self._start(WarmStartPlan(), stage.until)
        if settings.measure == "zero_shot" and usable and settings.source is None:
            return self._probe(tuple(sorted(usable)), {}, stage.until)
        problem = SelectionProblem(
            target=cell,
            samples=read_samples(algorithm, cell, settings.samples),
            candidates={name: candidate.samples for name, candidate in usable.items()},
            refused=self._found.refused,
            prescribed_source=resolve_source(settings.source, cell, algorithm.cells, usable),
            settings=settings,
            seed=self._make_seed(),
        )
        return self._start_by(select_source(problem), stage.until)

    def _probe(self, queue: tuple[str, ...], returns: Mapping[str, float], until: int) -> Probing:
        """Let the first source of the queue govern the cell for the next iteration."""
        trying, *later = queue
        self.algorithm.set_policy_weights(self.cell, self._found.usable[trying].weights)
        self.algorithm.explore(self.cell, 0)
        self.algorithm.pause_updates(self.cell)
        self.algorithm.set_phase(self.cell, Phase.CONTROLLED)
        return Probing(until=until, trying=trying, queue=tuple(later), returns=returns)

    def _note_return(self, stage: Probing) -> CellStage:
        """Note the reward under the tried source; try the next one, or decide."""
        own_row = self.algorithm.last_iteration["cells"].get(self.cell, {})
        returns = {**stage.returns, stage.trying: own_row.get("reward", 0.0)}
        usable = self._found.usable
        if queue := tuple(name for name in stage.queue if name in usable):
            return self._probe(queue, returns, stage.until)
        compared = {name: value for name, value in returns.items() if name in usable}
        decision = decide_by_returns(self.cell, compared, self._found.refused)
        steps = len(returns) * self.algorithm.settings.steps_per_iteration
        return self._start_by(decision, stage.until, target_steps_spent=steps)

    def _test_for_harm(self, stage: Guarded) -> CellStage:
        """Fall back on evidence of harm; end the guard after a window without."""
        guard = self.settings.guard
        window, is_harmful = stage.window.extend(self.algorithm, self.cell, guard)
        if is_harmful:
            return self._fall_back(stage, window)
        if window.steps < guard.window_steps:
            return replace(stage, window=window)
        self.algorithm.cell_states.set_guarded(self.cell, False)
        gain = -window.mean_loss
        message = f"{gain:+.3f} of reward over {self._fallback_name} in {window.steps} steps"
        self._report(EventKind.GUARD_PASSED, message, {"mean_gain": gain})
        return Settled(source=stage.source)

    def _fall_back(self, stage: Guarded, window: GuardWindow) -> CoolingDown:
        """Return the cell to the default action or, with a base policy, to its initial policy."""
        algorithm, guard, fallback = self.algorithm, self.settings.guard, self._fallback_name
        evidence = {"source": stage.source, **window.describe(guard)}
        message = f"{stage.source}'s policy loses {window.mean_loss:.3f} of reward to {fallback}"
        self._report(EventKind.NEGATIVE_TRANSFER, message, evidence)
        algorithm.cell_states.set_guarded(self.cell, False)
        algorithm.pause_updates(self.cell)
        if algorithm.has_initial_policy:
            restore_initial_policy(algorithm, self.cell)
        else:
            algorithm.set_phase(self.cell, Phase.DEFAULT)
        until = count_network_steps(algorithm) + guard.cool_down_steps
        self._report(EventKind.GUARD_FELL_BACK, f"{fallback} until step {until}", evidence)
        return CoolingDown(until=until, plan=stage.plan)

    @property
    def _fallback_name(self) -> str:
        has_start = self.algorithm.has_initial_policy
        return "its initial policy" if has_start else "the default action"

    def _retry_after_cool_down(self, stage: CoolingDown) -> CellStage:
        """Start from the next source of the plan, or from scratch after `ATTEMPTS`."""
        if count_network_steps(self.algorithm) < stage.until:
            return stage
        plan = stage.plan
        left = tuple(name for name in plan.ranking if name in self._found.usable)
        plan = replace(plan, ranking=left if plan.attempts < ATTEMPTS else ())
        return self._start(plan, stage.until)

    def _start_by(
        self, decision: TransferDecision, until: int, **evidence: Any
    ) -> Guarded | Settled:
        """Report the decision and start from its source; the next nearest stand by."""
        source, plan = decision.source, WarmStartPlan()
        kind = EventKind.NO_SOURCE if source is None else EventKind.SOURCE_CHOSEN
        self._report(kind, decision.why, asdict(decision) | evidence)
        if source is not None:
            others = (name for name in decision.ranking if name != source)
            plan = WarmStartPlan(ranking=(source, *others), distances=decision.distances)
        return self._start(plan, until)

    def _start(self, plan: WarmStartPlan, until: int) -> Guarded | Settled:
        """Start from the plan's first source, which is usable, or from scratch without one.

        The cell's own policy may act from the network step `until` on.
        """
        algorithm, cell, settings = self.algorithm, self.cell, self.settings
        source = plan.ranking[0] if plan.ranking else None
        method = "none" if source is None else settings.method
        make_warm_start: Method = get_part("method", method)
        start = make_warm_start(self._make_transfer(plan))
        is_in_run = source is not None and self._found.usable[source].is_in_run
        apply_warm_start(algorithm, cell, start, settings, source if is_in_run else None)
        is_guarded = start.is_trained and settings.guard.window_steps > 0
        algorithm.cell_states.set_guarded(cell, is_guarded)
        now = count_network_steps(algorithm)
        hands_over_later = any(
            deployment.cell == cell and deployment.default_action_until > now
            for deployment in list_deployments(algorithm)
        )
        if now >= until or not hands_over_later:
            algorithm.set_phase(cell, Phase.CONTROLLED)
        tried = replace(plan, ranking=plan.ranking[1:], attempts=plan.attempts + 1)
        n_transitions = 0 if start.experience is None else len(start.experience.reward)
        evidence = {
            "source": source,
            "method": method,
            "instances": n_transitions,
            "attempt": tried.attempts,
            "decision_ms": round(1000 * (time.perf_counter() - self._started_s), 1),
        }
        from_source = f"{method} from {source}, {n_transitions} transitions"
        self._report(EventKind.WARM_STARTED, from_source if source else "from scratch", evidence)
        return Guarded(source=source, plan=tried) if is_guarded else Settled(source=source)

    def _make_transfer(self, plan: WarmStartPlan) -> Transfer:
        algorithm, cell, usable = self.algorithm, self.cell, self._found.usable
        # Only eq. (2) is known for another SLA.
        has_paper_reward = getattr(algorithm.env, "reward", "paper") == "paper"
        target = Target(
            cell,
            algorithm.fresh_weights(cell, plan.attempts),
            read_sla(algorithm, cell) if has_paper_reward else None,
            algorithm.network_sizes(cell),
            algorithm.settings,
            algorithm.env.counterfactual,
        )
        sources = [
            Source(n, usable[n].weights, usable[n].experience, plan.distances.get(n, 0.0))
            for n in plan.ranking
        ]
        return Transfer(target, sources, self.settings, np.random.default_rng(self._make_seed()))

    def _make_seed(self) -> int:
        """Seed of a decision: a function of the run's seed, the cell and the step."""
        seed, env_steps = self.algorithm.config.seed or 0, self.algorithm.env_steps
        return derive_seed(seed, Stream.DECISION, cell_key(self.cell), env_steps)

    def _report(self, kind: EventKind, message: str, evidence: dict[str, Any]) -> None:
        self.algorithm.report(Event(kind, message, self.cell, evidence))


def list_deployments(algorithm: TD3) -> tuple[Deployment, ...]:
    """Deployments of the environment; empty for an environment that has none."""
    return getattr(algorithm.env, "deployments", ())


def _count_networks(algorithm: TD3) -> int:
    """Networks that share an iteration's steps: one per env runner."""
    return max(algorithm.config.num_env_runners or 0, 1)


def count_network_steps(algorithm: TD3) -> int:
    """Steps that each network has made."""
    return algorithm.env_steps // _count_networks(algorithm)
