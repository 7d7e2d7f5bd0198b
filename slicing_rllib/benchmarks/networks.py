"""Who decides best in networks that nobody trained in: simple rules, pretrained and learned curves.

Per network and seed, policies meet the same traffic on the same map. Critics per slice start from
those of the package and adapt in the network, on other traffic; after some of their own steps they
are evaluated without noise. In a label check, one cell's split is changed in a step that really
happened, and the change of reward that a model predicts is compared with the real one.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from slicing_rllib.benchmarks.different_networks import make_networks
from slicing_rllib.env import (
    ActorForm,
    DecisionView,
    Policy,
    SlicingEnv,
    SplitReward,
)
from slicing_rllib.env.response_curves import GRID, predict_levels
from slicing_rllib.evaluation import rollout
from slicing_rllib.evaluation.looks import make_panels
from slicing_rllib.evaluation.statistics import METRICS, mean_interval, seed_metrics
from slicing_rllib.evaluation.tables import format_mean, format_table
from slicing_rllib.policies import PretrainedCurves, PretrainedPolicy, load_pretrained
from slicing_rllib.policies.baselines import PAST_ONLY, Baseline, make_policy
from slicing_rllib.policies.trained_policy import BUILTIN_CURVES, list_deciding_layers
from slicing_rllib.radio import Scenario
from slicing_rllib.random_streams import Stream, make_generator
from slicing_rllib.runs.algorithm import build
from slicing_rllib.runs.policy_evaluation import (
    Weights,
    derive_evaluation_seeds,
    make_network,
    make_trained_policy,
)
from slicing_rllib.runs.run_config import RunConfig
from slicing_rllib.storage import append_line, read_json
from slicing_rllib.storage.errors import ConfigError
from slicing_rllib.storage.foreign_files import read_json_lines

# matplotlib's annotations leave out types.
# pyright: reportUnknownMemberType=false

FROM_SCRATCH = {"paper": 200}
"""Networks in which critics per slice start at random as well, and after how many own steps."""
REWARD, FAIL_RATE = METRICS.index("reward_mean"), METRICS.index("fail_rate_95")
SHARE_NOISE = 0.3
"""Standard deviation of the change of logarithms of shares in the label check."""
LEAST_CHANGE = 0.01
"""Smaller changes of reward are not counted there."""
CLOSED_FORM, CURVES = "closed_form", "curves"
GOAL_ALLOWANCE, GOAL_GAIN, GOAL_EXCEPTIONS = -0.005, 0.01, 2
ADAPTED = "per_slice"


@dataclass(frozen=True, kw_only=True)
class NetworksSettings:
    """How much is measured. Raises: ValueError for a number below 1, or own steps out of order."""

    seeds: int = 5
    """Maps and traffic of each network."""
    steps: int = 200
    """Steps of an evaluation."""
    own_steps: tuple[int, ...] = (200, 1000)
    """Own steps after which critics are evaluated, besides 0."""
    label_steps: int = 100
    """Steps of the label check."""

    def __post_init__(self) -> None:
        for name in ("seeds", "steps", "label_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        rising = sorted({*self.own_steps})
        if not rising or rising[0] < 1 or rising != [*self.own_steps]:
            raise ValueError(
                f"own_steps: expected rising numbers of at least 1, got {self.own_steps}"
            )


NetworkRow = dict[str, Any]
"""Of one network and seed: `network`, `kind`, `seed`, `settings`, `policies` with [reward, share
below 0.95] by name, and `labels` with what the label check counted by model."""


def run(
    settings: NetworksSettings,
    *,
    networks: Sequence[str] | None,
    rows: Path | None,
    on_message: Callable[[str], None],
) -> Iterator[NetworkRow]:
    """Yields what is measured in each network and seed; those in the file `rows` are not repeated.

    Every new one is appended to `rows` as soon as it is there. `networks` None means all of them.
    Raises: ConfigError for an unknown network, or rows of other settings.
    """
    known = make_networks()
    for name in networks or ():
        if name not in known:
            expected = ", ".join(map(repr, known))
            raise ConfigError(f"bench networks: expected some of {expected}, got {name!r}")
    names = networks or [*known]
    done = {} if rows is None else read_rows(rows, settings)
    todo = [(name, seed) for seed in range(settings.seeds) for name in names]
    for number, (name, seed) in enumerate(todo, 1):
        if (name, seed) not in done:
            on_message(f"{number} of {len(todo)}: {name}, seed {seed}")
            done[name, seed] = measure(known[name], seed, settings)
            if rows is not None:
                rows.parent.mkdir(parents=True, exist_ok=True)
                append_line(rows, json.dumps(done[name, seed]))
        yield done[name, seed]


def read_rows(path: Path, settings: NetworksSettings) -> dict[tuple[str, int], NetworkRow]:
    """What an earlier call has measured. Raises: ConfigError for rows of other settings."""
    if not path.exists():
        return {}
    found: dict[tuple[str, int], NetworkRow] = {}
    for row in read_json_lines(path):
        if row["settings"] != _identify(settings):
            raise ConfigError(f"{path}: expected rows with {_identify(settings)}; choose another")
        found[row["network"], row["seed"]] = cast("NetworkRow", row)
    return found


def _identify(settings: NetworksSettings) -> dict[str, Any]:
    """What rows must have in common, as JSON gives it back, so that they can be compared."""
    same = {key: value for key, value in asdict(settings).items() if key != "seeds"}
    same["curves"] = read_json(BUILTIN_CURVES / "manifest.json")["sha256"][:12]
    return json.loads(json.dumps(same))


def measure(scenario: Scenario, seed: int, settings: NetworksSettings) -> NetworkRow:
    """All policies, and the label check, in one network on one map."""
    config = make_config(scenario, seed, settings.own_steps[-1])
    env, traffic = make_network(config), derive_evaluation_seeds(config)[0]
    rng = make_generator(seed, Stream.BASELINE_FITTING)
    policies: dict[str, Policy] = {
        name: make_policy(name, scenario, rng, map_seed=config.map_seed) for name in PAST_ONLY
    }
    policies |= {
        "pretrained": PretrainedPolicy(scenario),
        "pretrained_curves": PretrainedCurves(scenario),
    }
    adapted = train(config, settings.own_steps)
    for own_steps, weights in adapted.items():
        policies[f"{ADAPTED}@{own_steps}"] = make_trained_policy(config, weights)
    if scenario.name in FROM_SCRATCH:
        own_steps = min(FROM_SCRATCH[scenario.name], settings.own_steps[-1])
        plain = make_config(scenario, seed, own_steps, initial_critic="random")
        weights = train(plain, (own_steps,))[own_steps]
        policies[f"from_scratch@{own_steps}"] = make_trained_policy(plain, weights)
    found = {
        name: seed_metrics(rollout(env, policy, settings.steps, traffic))
        for name, policy in policies.items()
    }
    return {
        "network": scenario.name,
        "kind": scenario.network.kind,
        "seed": seed,
        "settings": _identify(settings),
        "policies": {
            name: [round(float(values[column]), 6) for column in (REWARD, FAIL_RATE)]
            for name, values in found.items()
        },
        "labels": check_labels(env, settings.label_steps, traffic),
    }


def make_config(
    scenario: Scenario, seed: int, own_steps: int, *, initial_critic: str = "builtin"
) -> RunConfig:
    """Critics per slice as `train` trains them with these settings."""
    learning = {
        "critic": "per_slice", "initial_critic": initial_critic, "training_steps": own_steps,
    }  # fmt: skip
    return RunConfig(scenario=scenario, seed=seed, learning=learning)  # pyright: ignore[reportArgumentType]


def train(config: RunConfig, own_steps: Sequence[int]) -> dict[int, Weights]:
    """The cells' weights after each of these numbers of their own steps."""
    found: dict[int, Weights] = {}
    algorithm = build(config)
    try:
        for wanted in own_steps:
            while algorithm.env_steps < wanted:
                algorithm.train()
            found[wanted] = {
                cell: {k: np.array(w) for k, w in algorithm.policy_weights(cell).items()}
                for cell in algorithm.cells
            }
    finally:
        algorithm.stop()
    return found


def check_labels(env: SlicingEnv, steps: int, seed: int) -> dict[str, dict[str, float]]:
    """How well models predict the change of a cell's reward when its split alone changes.

    Each model is asked twice: knowing the reports up to the step before (`NAME_forecast`), and that
    of the very step as well (`NAME`), which is what learning from measured steps makes of them. By
    model: `cases`, `right` signs, the sums of the absolute `error` and of the absolute `change`.
    """
    closed, curves = SplitReward(), load_pretrained(BUILTIN_CURVES).weights
    policy, rng = Baseline("smoothed_persistence", env.scenario), np.random.default_rng(seed)
    names = [f"{model}{when}" for model in (CLOSED_FORM, CURVES) for when in ("_forecast", "")]
    cases: list[tuple[float, ...]] = []
    before = env.reset_batched(seed)
    for _ in range(steps):
        split = policy.prb_ratio(DecisionView(before.obs, env.kpis, env.simulator, env.reports))
        cell = int(rng.integers(len(env.cells)))
        other = split.copy()
        other[cell] *= np.exp(SHARE_NOISE * rng.standard_normal(env.action_size))
        other[cell] /= other[cell].sum()
        rewards = env.compute_rewards(other.astype(np.float32))
        pair = np.stack([split[cell], other[cell]])
        known = [(env.measured.counterfactual_inputs[cell], before.obs[cell])]
        before = env.step_batched(split.astype(np.float32))
        known.append((env.measured.counterfactual_inputs[cell], before.obs[cell]))
        predicted = [closed.reward(np.stack([inputs] * 2), pair) for inputs, _ in known]
        predicted += [predict_rewards(curves, obs, pair) for _, obs in known]
        real = float(rewards[cell] - before.reward[cell])
        if abs(real) >= LEAST_CHANGE:
            cases.append((real, *(float(changed - kept) for kept, changed in predicted)))
    table = np.array(cases).reshape(len(cases), 1 + len(names))
    real = table[:, 0]
    return {
        name: {
            "cases": len(table),
            "right": int((np.sign(table[:, column]) == np.sign(real)).sum()),
            "error": round(float(np.abs(table[:, column] - real).sum()), 5),
            "change": round(float(np.abs(real).sum()), 5),
        }
        for column, name in enumerate(names, 1)
    }


def predict_rewards(
    weights: Mapping[str, np.ndarray],
    obs: Float[np.ndarray, " obs"],
    splits: Float[np.ndarray, "split slice"],
) -> Float[np.ndarray, " split"]:
    """The reward of each split of a cell by its critics: exp of the lowest level, at most 1."""
    n_slices = splits.shape[1]
    found = list_deciding_layers(ActorForm(n_slices, "max_min"), weights)
    layers = [(weight[None], bias[None]) for weight, bias in found]
    features = obs.astype(np.float64).reshape(1, -1, n_slices).swapaxes(1, 2)
    curves = predict_levels(layers, features)[0]
    levels = [np.interp(splits[:, n], GRID, curve) for n, curve in enumerate(curves)]
    return np.exp(np.minimum(np.min(levels, axis=0), 0.0))


@dataclass(frozen=True)
class Comparison:
    """One network, over its seeds."""

    network: str
    kind: str
    best_simple: str
    """The simple policy with the highest mean reward here, known only afterwards."""
    reward: dict[str, float]
    fail_rate: dict[str, float]
    difference: dict[str, np.ndarray]
    """By policy, its reward minus that of the best simple policy, per seed."""


def compare(rows: Sequence[NetworkRow]) -> list[Comparison]:
    """Every network's policies beside its best simple one."""
    found: list[Comparison] = []
    for network in dict.fromkeys(row["network"] for row in rows):
        own = [row for row in rows if row["network"] == network]
        values = {name: np.array([row["policies"][name] for row in own])
                  for name in own[0]["policies"]}  # fmt: skip
        best = max(PAST_ONLY, key=lambda name: values[name][:, 0].mean())
        found.append(
            Comparison(
                network,
                own[0]["kind"],
                best,
                {name: float(v[:, 0].mean()) for name, v in values.items()},
                {name: float(v[:, 1].mean()) for name, v in values.items()},
                {name: v[:, 0] - values[best][:, 0] for name, v in values.items()},
            )
        )
    return found


def list_learned(compared: Sequence[Comparison]) -> list[str]:
    """The policies that are compared with the simple ones in every network."""
    return [
        n for n in compared[0].reward if n not in PAST_ONLY and all(n in c.reward for c in compared)
    ]


def describe_goals(compared: Sequence[Comparison]) -> list[str]:
    """A sentence per policy about the goal, which ends with the networks that miss it."""
    sentences: list[str] = []
    for name in list_learned(compared):
        means = {each.network: float(each.difference[name].mean()) for each in compared}
        behind = {n: m for n, m in means.items() if m < GOAL_ALLOWANCE}
        gain = float(np.mean([*means.values()]))
        is_met = len(behind) <= GOAL_EXCEPTIONS and gain >= GOAL_GAIN
        missing = ", ".join(
            f"{n} ({m:+.3f})" for n, m in sorted(behind.items(), key=lambda x: x[1])
        )
        interval = mean_interval(np.array([*means.values()]))
        shown = format_mean(gain, interval, signed=True, digits=4)
        sentences.append(
            f"`{name}` is {shown} from the best simple policy on average over {len(means)} "
            f"networks (95 % interval over them) and more than {-GOAL_ALLOWANCE} behind it in "
            f"{len(behind)} "
            f"(the goal: {GOAL_GAIN:+} on average, at most {GOAL_EXCEPTIONS} networks): "
            f"{'met' if is_met else 'missed'}{'; behind in ' + missing if missing else ''}."
        )
    return sentences


def summarise_labels(rows: Sequence[NetworkRow]) -> list[list[str]]:
    """Rows of the label check's table, by kind of network and model."""
    table: list[list[str]] = []
    for kind in dict.fromkeys(row["kind"] for row in rows):
        own = [row["labels"] for row in rows if row["kind"] == kind]
        for model in own[0]:
            cases, right, error, change = (
                sum(labels[model][key] for labels in own)
                for key in ("cases", "right", "error", "change")
            )
            if cases:
                table.append([
                    kind, model, str(cases), f"{right / cases:.1%}",
                    f"{error / cases:.3f}", f"{change / cases:.3f}",
                ])  # fmt: skip
    return table


def format_report(rows: Sequence[NetworkRow]) -> str:
    """Tables and sentences in Markdown."""
    compared = compare(rows)
    learned = list_learned(compared)
    settings = rows[0]["settings"]
    headings = ("network", "best simple policy", "its reward", *learned, f"{learned[-1]} − best")
    lines = format_table(
        headings,
        [
            [
                each.network,
                each.best_simple,
                _format_pair(each, each.best_simple),
                *(_format_pair(each, name) for name in learned),
                format_mean(
                    float(each.difference[learned[-1]].mean()),
                    mean_interval(each.difference[learned[-1]]),
                    signed=True,
                ),
            ]
            for each in compared
        ],
    )
    simple = format_table(
        ("network", *PAST_ONLY),
        [[each.network, *(_format_pair(each, name) for name in PAST_ONLY)] for each in compared],
    )
    labels = format_table(
        ("kind of network", "model", "cases", "right sign", "mean error", "mean change"),
        summarise_labels(rows),
    )
    scratch = [
        f"In `{each.network}` critics that start at random get {_format_pair(each, name)}, "
        f"{each.difference[name].mean():+.4f} from the best simple policy."
        for each in compared
        for name in each.reward
        if name.startswith("from_scratch")
    ]
    counts = [sum(row["network"] == each.network for row in rows) for each in compared]
    seeds = f"{min(counts)} to {max(counts)}" if len({*counts}) > 1 else str(counts[0])
    head = (
        f"{len(compared)} networks; seeds of each: {seeds}; evaluations of {settings['steps']} "
        f"steps, label checks of {settings['label_steps']}; curves {settings['curves']}. "
        "`pretrained_curves` is per-slice learning after 0 own steps, `per_slice@N` after N. "
        "Reward / share of (cell, step) below 0.95; with two seeds or more, the last column has "
        "95 % intervals over them."
    )
    sentences = [f"- {sentence}" for sentence in [*describe_goals(compared), *scratch]]
    parts = [
        *(head, "", *lines, "", *sentences),
        *("", "The simple policies:", "", *simple),
        *("", "The label check:", "", *labels),
    ]
    return "\n".join(parts)


def _format_pair(each: Comparison, name: str) -> str:
    return f"{each.reward[name]:.3f} / {each.fail_rate[name]:.3f}"


def draw(rows: Sequence[NetworkRow]) -> Figure:
    """Differences from the best simple policy, a row per network."""
    compared = compare(rows)[::-1]
    learned = list_learned(compared)
    figure, (axes,) = make_panels(1, (7.5, 1.6 + 0.24 * len(compared)))
    heights = np.arange(len(compared))
    axes.axvspan(GOAL_ALLOWANCE, 0.0, color="#DDDDDD", lw=0)
    axes.axvline(0.0, color="#444444", lw=0.8)
    colours = ("#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00")
    for number, name in enumerate(learned):
        means = [each.difference[name].mean() for each in compared]
        axes.plot(means, heights, "osD^v"[number % 5], ms=4.5, color=colours[number % 5],
                  label=name)  # fmt: skip
    axes.set_yticks(heights, [f"{each.network} ({each.best_simple})" for each in compared],
                    fontsize=7)  # fmt: skip
    axes.set_xscale("symlog", linthresh=0.01)
    ticks = [-0.3, -0.1, -0.03, -0.01, 0.0, 0.01, 0.03, 0.1, 0.3]
    axes.set_xticks(ticks, [f"{tick:+g}" if tick else "0" for tick in ticks], fontsize=8)
    axes.set_xlabel("reward minus that of the best simple policy (in brackets)")
    axes.grid(axis="y", lw=0.3)
    figure.legend(loc="outside upper left", ncols=4, fontsize=8)
    return figure
