"""Stages of a cell between joining a run and running under its own policy.

A stage is a frozen dataclass. `StageRecords` stores the stages of all cells as plain values in the
algorithm's checkpointed `callback_state`, so that a run can stop and resume between any two
iterations.

    Collecting  -> Probing, Guarded or Settled
    Probing     -> Probing, Guarded or Settled
    Guarded     -> CoolingDown or Settled
    CoolingDown -> Guarded or Settled
    Settled     -> Collecting, on drift or on request

The time of a running algorithm in network steps, and the deployments that its cells follow.
"""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from slicing_rllib.env import Deployment
from slicing_rllib.learning.td3 import TD3
from slicing_rllib.transfer.guard import INITIAL_LOG_WEALTH

STATE_KEY = "transfer"
"""Key of the records in `callback_state`."""


class Stage(StrEnum):
    """Name of a stage in a checkpoint."""

    COLLECTING = "collecting"
    PROBING = "probing"
    GUARDED = "guarded"
    COOLING_DOWN = "cooling"
    SETTLED = "settled"


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

    until: int
    """First network step that the cell's own policy is to decide."""


@dataclass(frozen=True, kw_only=True)
class Probing:
    """Each source's policy governs the cell for one iteration (measure `zero_shot`)."""

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
    """The transferred policy governs the cell and is compared with the default action."""

    source: str | None
    plan: WarmStartPlan
    """What is tried if this policy does harm."""
    log_wealth: tuple[float, ...] = INITIAL_LOG_WEALTH
    """State of the `HarmTest`."""
    guarded_steps: int = 0
    """Network steps that were compared so far."""
    lost_reward: float = 0.0
    """Sum over those steps of the default action's reward minus the policy's."""

    @property
    def mean_loss(self) -> float:
        """Reward per step that the policy has lost to the default action; negative for a gain."""
        return self.lost_reward / max(self.guarded_steps, 1)


@dataclass(frozen=True, kw_only=True)
class CoolingDown:
    """The default action governs the cell after a harmful transfer."""

    until: int
    """Network step at which the next source of the plan is tried."""
    plan: WarmStartPlan


@dataclass(frozen=True, kw_only=True)
class Settled:
    """The cell's own policy governs the cell without a guard."""

    source: str | None
    """Source of the last warm start; None for learning from scratch."""


CellStage = Collecting | Probing | Guarded | CoolingDown | Settled


class StageRecords:
    """The stages of all cells that a warm start has dealt with.

    Args:
        callback_state: the algorithm's `callback_state`; records are written to its entry
            "transfer", which is created if it is missing.
    """

    def __init__(self, callback_state: MutableMapping[str, Any]) -> None:
        self._records: dict[str, dict[str, Any]] = callback_state.setdefault(STATE_KEY, {})

    def __contains__(self, cell: object) -> bool:
        return cell in self._records

    def read(self, cell: str) -> CellStage:
        """The cell's stage. Raises: KeyError for a cell without a record."""
        return from_plain(self._records[cell])

    def write(self, cell: str, stage: CellStage) -> None:
        """Replace the cell's stage."""
        self._records[cell] = to_plain(stage)

    def list_unsettled(self) -> list[str]:
        """Cells whose warm start is not finished, in the order in which they were recorded."""
        return [cell for cell, record in self._records.items() if record["stage"] != Stage.SETTLED]

    def is_settled(self, cell: str) -> bool:
        """True for a cell whose warm start is finished, or that never had one."""
        return cell not in self or self._records[cell]["stage"] == Stage.SETTLED


def to_plain(stage: CellStage) -> dict[str, Any]:
    """The stage as a dict of plain values, for a checkpoint."""
    match stage:
        case Collecting():
            return {"stage": Stage.COLLECTING.value, "until": stage.until}
        case Probing():
            return {
                "stage": Stage.PROBING.value,
                "until": stage.until,
                "trying": stage.trying,
                "queue": list(stage.queue),
                "returns": dict(stage.returns),
            }
        case Guarded():
            return {
                "stage": Stage.GUARDED.value,
                "source": stage.source,
                "log_wealth": list(stage.log_wealth),
                "watched": stage.guarded_steps,
                "lost": stage.lost_reward,
                **_plan_to_plain(stage.plan),
            }
        case CoolingDown():
            return {
                "stage": Stage.COOLING_DOWN.value,
                "until": stage.until,
                **_plan_to_plain(stage.plan),
            }
        case Settled():
            return {"stage": Stage.SETTLED.value, "source": stage.source}


def from_plain(record: Mapping[str, Any]) -> CellStage:
    """The stage that `to_plain` turned into this record.

    Raises: ValueError for an unknown stage; KeyError for a missing field.
    """
    match Stage(record["stage"]):
        case Stage.COLLECTING:
            return Collecting(until=record["until"])
        case Stage.PROBING:
            return Probing(
                until=record["until"],
                trying=record["trying"],
                queue=tuple(record["queue"]),
                returns=dict(record["returns"]),
            )
        case Stage.GUARDED:
            return Guarded(
                source=record["source"],
                plan=_plan_from_plain(record),
                log_wealth=tuple(record["log_wealth"]),
                guarded_steps=record["watched"],
                lost_reward=record["lost"],
            )
        case Stage.COOLING_DOWN:
            return CoolingDown(until=record["until"], plan=_plan_from_plain(record))
        case Stage.SETTLED:
            return Settled(source=record["source"])


def _plan_to_plain(plan: WarmStartPlan) -> dict[str, Any]:
    return {
        "ranking": list(plan.ranking),
        "distances": dict(plan.distances),
        "attempt": plan.attempts,
    }


def _plan_from_plain(record: Mapping[str, Any]) -> WarmStartPlan:
    return WarmStartPlan(
        ranking=tuple(record["ranking"]),
        # The record has no distances where no source was compared.
        distances=dict(record.get("distances", {})),
        attempts=record["attempt"],
    )


def list_deployments(algorithm: TD3) -> tuple[Deployment, ...]:
    """Deployments of the environment; empty for an environment that has none."""
    return getattr(algorithm.env, "deployments", ())


def count_network_steps(algorithm: TD3) -> int:
    """Steps that each network has made. Env runners share an iteration's steps between them."""
    return algorithm.env_steps // _count_networks(algorithm)


def count_next_steps(algorithm: TD3) -> int:
    """Steps that each network makes in the next iteration."""
    return -(-algorithm.settings.steps_per_iteration // _count_networks(algorithm))


def is_handover_scheduled(algorithm: TD3, cell: str) -> bool:
    """True if a deployment will still hand the cell over to its own policy."""
    now = count_network_steps(algorithm)
    return any(
        deployment.cell == cell and deployment.default_action_until > now
        for deployment in list_deployments(algorithm)
    )


def _count_networks(algorithm: TD3) -> int:
    return max(algorithm.config.num_env_runners or 0, 1)
