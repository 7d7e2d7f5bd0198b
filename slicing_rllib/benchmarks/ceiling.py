"""The learnable ceiling: what a policy that knows only past measurements can earn.

The oracle knows the step that is decided. A policy knows the steps before it. What lies between can
not be learned. The ceiling is estimated by a large network that reads eight steps of history and is
trained offline on the closed-form reward of every split, on the maps on which it is evaluated.
"""

from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float32

from slicing_rllib.benchmarks.rows import Row, make_row
from slicing_rllib.env import ActorForm, BatchedStep, Policy, SlicingEnv
from slicing_rllib.evaluation import rollout
from slicing_rllib.evaluation.statistics import METRICS, mean_interval, seed_metrics, summarise_gap
from slicing_rllib.policies import TrainedPolicy
from slicing_rllib.policies.baselines import Baseline
from slicing_rllib.radio import Scenario, make_scenario
from slicing_rllib.runs.pretraining import PretrainingSettings, pretrain

HISTORY_STEPS = 8
EVALUATION_SEED = 80_000
REWARD, FAIL_RATE = METRICS.index("reward_mean"), METRICS.index("fail_rate_95")


class HistoryEnv(SlicingEnv):
    """A network whose per-slice observations hold the last eight steps, the newest one last."""

    def __init__(self, scenario: Scenario, map_seed: int) -> None:
        """`map_seed` draws the radio map."""
        super().__init__(scenario, observation="per_slice", map_seed=map_seed)
        self.obs_size *= HISTORY_STEPS
        self._history: deque[np.ndarray] = deque(maxlen=HISTORY_STEPS)

    def reset_batched(self, seed: int | None = None) -> BatchedStep:
        """First observations; the history is filled with copies of the first step."""
        batched = super().reset_batched(seed)
        if seed is not None or not self._history:
            self._history.extend([batched.obs] * HISTORY_STEPS)
        return batched._replace(obs=self._join_history())

    def step_batched(self, action: Float32[np.ndarray, "cell action"]) -> BatchedStep:
        """One step, with the history beside it."""
        batched = super().step_batched(action)
        self._history.append(batched.obs)
        return batched._replace(obs=self._join_history())

    def _join_history(self) -> Float32[np.ndarray, "cell obs"]:
        return np.concatenate(list(self._history), axis=1)


def run(
    *,
    maps: int,
    steps_per_map: int = 2400,
    updates: int = 6000,
    steps: int = 250,
    seeds: int = 4,
    on_message: Callable[[str], None],
) -> Iterator[Row]:
    """Yields reward and share below 0.95 of the ceiling beside traffic-aware, with intervals.

    Args:
        maps: Radio maps 0, 1, ... of `paper` on which one network is trained and evaluated.
        steps_per_map: Training steps on each map.
        steps: Evaluation steps per seed.
        seeds: Evaluation seeds per map, of traffic that training does not see.
    """
    scenario = make_scenario("paper")
    networks = [HistoryEnv(scenario, map_seed) for map_seed in range(maps)]
    rounds = max(steps_per_map // 50, 1)
    settings = PretrainingSettings(
        hiddens=(256, 128),
        rounds=rounds,
        steps_per_round=50,
        updates_per_round=max(updates // rounds, 1),
        batch_size=512,
        seed=1,
    )
    weights = pretrain(networks, settings, on_message)
    form = ActorForm(scenario.n_slices, "equivariant", "persistence")
    by_policy: dict[str, list[np.ndarray]] = {"ceiling": [], "traffic_aware": [], "oracle": []}
    for env in networks:
        policies: dict[str, Policy] = {
            "ceiling": TrainedPolicy(env.cells, dict.fromkeys(env.cells, weights), form),
            **{name: Baseline(name, scenario) for name in ("traffic_aware", "oracle")},
        }
        for name, policy in policies.items():
            found = [
                seed_metrics(rollout(env, policy, steps, EVALUATION_SEED + seed))
                for seed in range(seeds)
            ]
            by_policy[name].append(np.mean(found, axis=0))
        on_message(f"map {env.simulator.map_seed}: evaluated")
    yield from make_rows({name: np.array(values) for name, values in by_policy.items()})


def make_rows(per_map: dict[str, np.ndarray]) -> Iterator[Row]:
    """Rows of the ceiling against traffic-aware, and its share of the way to the oracle."""
    ceiling, baseline, oracle = (per_map[n] for n in ("ceiling", "traffic_aware", "oracle"))
    for name, metric, unit in (("reward", REWARD, "reward"), ("fail_rate_95", FAIL_RATE, "share")):
        ours, theirs = ceiling[:, metric], baseline[:, metric]
        yield make_row(
            f"ceiling.{name}", float(ours.mean()), unit, reference="traffic_aware",
            ratio=float(ours.mean() / theirs.mean()), reference_value=float(theirs.mean()),
            difference=_describe(ours - theirs), maps=len(ours),
        )  # fmt: skip
    _, closed = summarise_gap(ceiling[:, REWARD], baseline[:, REWARD], oracle[:, REWARD])
    levels = {name: float(values[:, REWARD].mean()) for name, values in per_map.items()}
    gap = levels["oracle"] - levels["traffic_aware"]
    yield make_row(
        "ceiling.share_of_oracle_gap", (levels["ceiling"] - levels["traffic_aware"]) / gap, "share",
        reference="oracle", reference_value=levels["oracle"],
        difference="" if closed is None else f"[{closed[0]:.3f}, {closed[1]:.3f}]",
        maps=len(ceiling),
    )  # fmt: skip


def _describe(differences: np.ndarray) -> str:
    interval = mean_interval(differences)
    brackets = "" if interval is None else f" [{interval[0]:+.4f}, {interval[1]:+.4f}]"
    return f"{differences.mean():+.4f}{brackets}"
