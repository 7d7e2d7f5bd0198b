"""Brings cells up inside a live training: collect, compare, choose, warm-start, watch.

A cell's progress is a record in the algorithm's notes, so that a run may stop and resume between
any two steps. Stages: `collecting` samples under the default action, `probing` sources one after
the other (measure `zero_shot` only), `guarded` under its new policy, `cooling` under the default
action after the guard fell back, `settled`.
"""

import functools
import time
from dataclasses import replace
from typing import Any
from zlib import crc32

import numpy as np
from ray.rllib.callbacks.callbacks import RLlibCallback

from slicing_rllib.env import Deployment
from slicing_rllib.learning.td3 import TD3, Event
from slicing_rllib.radio import Phase
from slicing_rllib.transfer.apply_warm_start import apply
from slicing_rllib.transfer.candidates import Candidate, candidates, samples_of, sla_of
from slicing_rllib.transfer.decision import TransferDecision
from slicing_rllib.transfer.drift import Drift
from slicing_rllib.transfer.guard import HarmTest
from slicing_rllib.transfer.selection import select
from slicing_rllib.transfer.settings import TransferSettings
from slicing_rllib.transfer.strategies import STRATEGIES, Source, Target

ATTEMPTS = 2
"""The chosen source, then the runner-up; after that a cell learns from scratch."""
_SPAWN_TRANSFER = 77

Record = dict[str, Any]


class WarmStartCallback(RLlibCallback):
    """Warm-starts every cell that a `Deployment` of the environment brings up.

    Works on the driver, after each iteration: a decision falls in the last iteration that ends
    before the cell's policy takes over. `config.callbacks(WarmStartCallback.configured(settings))`.
    """

    def __init__(self, settings: TransferSettings | None = None) -> None:
        super().__init__()
        self.settings = settings or TransferSettings()
        self._drift = Drift(self.settings.drift)

    @classmethod
    def configured(cls, settings: TransferSettings) -> Any:
        """For `AlgorithmConfig.callbacks`, which calls it like a class."""
        return functools.partial(cls, settings)

    def on_train_result(self, *, algorithm: Any, **_: Any) -> None:
        records: dict[str, Record] = algorithm.callback_state.setdefault("transfer", {})
        self._take_requests(algorithm, records)
        self._notice_deployments(algorithm, records)
        for cell, record in records.items():
            getattr(self, f"_{record['stage']}")(algorithm, cell, record)
        self._notice_drift(algorithm, records)

    def bring_up(self, algorithm: TD3, cell: str, why: str) -> None:
        """A cell that has changed: back to the default action, then a source is chosen for it."""
        steps = self.settings.drift.default_action_steps
        algorithm.default_action_replay.clear(cell)
        algorithm.set_phase(cell, Phase.DEFAULT)
        algorithm.cell_states.set_guarded(cell, False)
        records = algorithm.callback_state.setdefault("transfer", {})
        records[cell] = {"stage": "collecting", "until": network_step(algorithm) + steps}
        _tell(algorithm, "cell_changed", f"{why}; default action for {steps} steps", cell)

    @staticmethod
    def request(algorithm: TD3, cell: str) -> None:
        """By hand: from the next iteration on the cell is brought up anew."""
        algorithm.callback_state.setdefault("transfer_requests", []).append(cell)

    def _take_requests(self, algorithm: TD3, records: dict[str, Record]) -> None:
        for cell in algorithm.callback_state.pop("transfer_requests", []):
            self.bring_up(algorithm, cell, "asked for")

    def _notice_deployments(self, algorithm: TD3, records: dict[str, Record]) -> None:
        now = network_step(algorithm)
        for deployment in deployments(algorithm):
            joins = deployment.off_until > 0 or deployment.cell in self.settings.targets
            if joins and deployment.cell not in records and now >= deployment.off_until:
                until = deployment.default_action_until
                records[deployment.cell] = {"stage": "collecting", "until": until}
                message = f"on the air since step {deployment.off_until}"
                _tell(algorithm, "cell_joined", message, deployment.cell)

    def _notice_drift(self, algorithm: TD3, records: dict[str, Record]) -> None:
        for cell in algorithm.cells:
            if records.get(cell, {"stage": "settled"})["stage"] == "settled":
                why = self._drift.found(algorithm, cell)
                if why:
                    self.bring_up(algorithm, cell, why)

    def _collecting(self, algorithm: TD3, cell: str, record: Record) -> None:
        """Decides at the last moment before the cell's policy would act."""
        if network_step(algorithm) + _steps_ahead(algorithm) <= record["until"]:
            return
        started = time.perf_counter()
        if cell not in algorithm.module_ids:
            algorithm.add_module(cell)
        found, refused = self._candidates(algorithm, cell)
        if self.settings.method == "none":
            self._begin(algorithm, cell, record, None, found, started)
        elif self.settings.measure == "zero_shot" and found and self.settings.source is None:
            record |= {"stage": "probing", "queue": sorted(found), "returns": {}}
            self._probe_next(algorithm, cell, record, found)
        else:
            target = samples_of(algorithm, cell, self.settings.samples)
            settings = _with_source(algorithm, cell, self.settings, found)
            decision = select(cell, target, found, settings, _seed(algorithm, cell), refused)
            self._begin(algorithm, cell, record, decision, found, started)

    def _probing(self, algorithm: TD3, cell: str, record: Record) -> None:
        """The last iteration ran under a source's policy: what did it get?"""
        reward = algorithm.last_iteration["cells"].get(cell, {}).get("reward", 0.0)
        record["returns"][record.pop("trying")] = reward
        found, refused = self._candidates(algorithm, cell)
        if record["queue"]:
            self._probe_next(algorithm, cell, record, found)
            return
        started = time.perf_counter()
        kept = {name: found[name] for name in record["returns"] if name in found}
        target = samples_of(algorithm, cell, self.settings.samples)
        decision = select(
            cell, target, kept, self.settings, _seed(algorithm, cell), refused, record["returns"]
        )
        self._begin(algorithm, cell, record, decision, found, started)

    def _probe_next(
        self, algorithm: TD3, cell: str, record: Record, found: dict[str, Candidate]
    ) -> None:
        record["trying"] = record["queue"].pop(0)
        algorithm.set_policy_weights(cell, found[record["trying"]].weights)
        algorithm.explore(cell, 0)
        algorithm.pause_updates(cell)
        algorithm.set_phase(cell, Phase.CONTROLLED)

    def _guarded(self, algorithm: TD3, cell: str, record: Record) -> None:
        """Harm rolls back; a window without harm ends the watch."""
        guard = self.settings.guard
        losses = [-gain for gain in algorithm.last_advantages.get(cell, []) if gain == gain]
        test = HarmTest(guard.margin, guard.alpha, tuple(record["log_wealth"]))
        harmed = test.observe(losses)
        record["log_wealth"] = list(test.log_wealth)
        record["watched"] += len(losses)
        record["lost"] += float(np.sum(losses))
        if harmed:
            self._fall_back(algorithm, cell, record)
        elif record["watched"] >= guard.window_steps:
            algorithm.cell_states.set_guarded(cell, False)
            record["stage"] = "settled"
            gain = -record["lost"] / record["watched"]
            message = f"{gain:+.3f} of reward over the default action in {record['watched']} steps"
            _tell(algorithm, "guard_passed", message, cell, {"mean_gain": gain})

    def _fall_back(self, algorithm: TD3, cell: str, record: Record) -> None:
        lost = record["lost"] / max(record["watched"], 1)
        evidence = {
            "source": record["source"],
            "mean_loss": lost,
            "steps": record["watched"],
            "alpha": self.settings.guard.alpha,
        }
        message = f"{record['source']}'s policy loses {lost:.3f} of reward to the default action"
        _tell(algorithm, "negative_transfer", message, cell, evidence)
        algorithm.cell_states.set_guarded(cell, False)
        algorithm.pause_updates(cell)
        algorithm.set_phase(cell, Phase.DEFAULT)
        until = network_step(algorithm) + self.settings.guard.cool_down_steps
        record |= {"stage": "cooling", "until": until}
        _tell(algorithm, "guard_fell_back", f"default action until step {until}", cell, evidence)

    def _cooling(self, algorithm: TD3, cell: str, record: Record) -> None:
        """Then the runner-up has its turn, or nobody."""
        if network_step(algorithm) < record["until"]:
            return
        started = time.perf_counter()
        found, _ = self._candidates(algorithm, cell)
        left = [name for name in record["ranking"] if name in found]
        again = left if record["attempt"] < ATTEMPTS else []
        self._start(algorithm, cell, record, again, found, started)

    def _settled(self, algorithm: TD3, cell: str, record: Record) -> None:
        """Nothing to do."""

    def _candidates(self, algorithm: TD3, cell: str) -> tuple[dict[str, Candidate], dict[str, str]]:
        records = algorithm.callback_state["transfer"]
        untrained = [name for name, record in records.items() if record["stage"] != "settled"]
        return candidates(algorithm, cell, self.settings, untrained)

    def _begin(
        self,
        algorithm: TD3,
        cell: str,
        record: Record,
        decision: TransferDecision | None,
        found: dict[str, Candidate],
        started: float,
    ) -> None:
        """Tells the decision and acts on it."""
        ranking: list[str] = []
        if decision is not None:
            kind = "no_source" if decision.source is None else "source_chosen"
            evidence = decision.evidence()
            if "returns" in record:
                steps = len(record["returns"]) * algorithm.config.steps_per_iteration
                evidence["target_steps_spent"] = steps
            _tell(algorithm, kind, decision.why, cell, evidence)
            if decision.source is not None:
                others = [name for name in decision.ranking if name != decision.source]
                ranking = [decision.source, *others]
                record["distances"] = decision.distances
        record |= {"attempt": 0, "ranking": ranking}
        self._start(algorithm, cell, record, ranking, found, started)

    def _start(
        self,
        algorithm: TD3,
        cell: str,
        record: Record,
        ranking: list[str],
        found: dict[str, Candidate],
        started: float,
    ) -> None:
        """From the first of the ranking, or from scratch where there is none."""
        settings, distances = self.settings, record.get("distances", {})
        strategy = STRATEGIES[settings.method if ranking else "none"]
        sources = [
            Source(name, found[name].weights, found[name].experience, distances.get(name, 0.0))
            for name in ranking
        ]
        fresh = algorithm.fresh_weights(cell, record["attempt"])
        target = Target(cell, fresh, sla_of(algorithm, cell), algorithm.hyperparameters)
        rng = np.random.default_rng(_seed(algorithm, cell))
        start = strategy(target, sources, settings, rng)
        source = ranking[0] if ranking else None
        inside = source is not None and found[source].in_this_run
        apply(algorithm, cell, start, settings, source if inside else None)
        guarded = start.trained and settings.guard.window_steps > 0
        record |= {
            "stage": "guarded" if guarded else "settled",
            "source": source,
            "attempt": record["attempt"] + 1,
            "ranking": ranking[1:],
            "log_wealth": list(HarmTest(0.0, 0.5).log_wealth),
            "watched": 0,
            "lost": 0.0,
        }
        algorithm.cell_states.set_guarded(cell, guarded)
        if network_step(algorithm) >= record["until"] or not _scheduled(algorithm, cell):
            algorithm.set_phase(cell, Phase.CONTROLLED)
        seeded = 0 if start.experience is None else len(start.experience.reward)
        evidence = {
            "source": source,
            "method": settings.method if source else "none",
            "instances": seeded,
            "attempt": record["attempt"],
            "decision_ms": round(1000 * (time.perf_counter() - started), 1),
        }
        how = f"{settings.method} from {source}, {seeded} transitions" if source else "from scratch"
        _tell(algorithm, "warm_started", how, cell, evidence)


def deployments(algorithm: TD3) -> tuple[Deployment, ...]:
    """Those of the environment; none where it knows no deployments."""
    return getattr(algorithm.env, "deployments", ())


def network_step(algorithm: TD3) -> int:
    """Steps of each network: workers share an iteration among them."""
    return algorithm.env_steps // max(algorithm.config.num_env_runners or 0, 1)


def _steps_ahead(algorithm: TD3) -> int:
    """Of each network in the next iteration."""
    return -(-algorithm.config.steps_per_iteration // max(algorithm.config.num_env_runners or 0, 1))


def _with_source(
    algorithm: TD3, cell: str, settings: TransferSettings, found: dict[str, Candidate]
) -> TransferSettings:
    """`next:3` as the name of the third cell after the target, in this run or the library."""
    kind, _, places = (settings.source or "").partition(":")
    if kind != "next" or not places.isdigit():
        return settings
    cells = algorithm.cells
    name = cells[(cells.index(cell) + int(places)) % len(cells)]
    return replace(settings, source=name if name in found else f"library:{name}")


def _scheduled(algorithm: TD3, cell: str) -> bool:
    """A deployment will still hand over to the cell's policy by itself."""
    now = network_step(algorithm)
    return any(d.cell == cell and d.default_action_until > now for d in deployments(algorithm))


def _seed(algorithm: TD3, cell: str) -> int:
    """Of a decision: the same after a restart."""
    key = (_SPAWN_TRANSFER, crc32(cell.encode()), algorithm.env_steps)
    sequence = np.random.SeedSequence(algorithm.config.seed or 0, spawn_key=key)
    return int(sequence.generate_state(1)[0])


def _tell(
    algorithm: TD3, kind: str, message: str, cell: str, evidence: dict[str, Any] | None = None
) -> None:
    algorithm.report(Event(kind, message, cell, evidence or {}))
