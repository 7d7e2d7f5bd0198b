"""Trains response curves on many random networks, for cells of networks that nobody trained in.

Each network is stepped under smoothed persistence with noise on the shares. The levels of the
applied splits are all that is learned from. Half of the networks are four sites with drawn slices,
SLAs, users and traffic (`radio.draw_scenario`); in the other half everything is drawn: size,
spectrum, speed and length of a step as well. None has a map, an SLA or the traffic of a built-in
scenario.
"""

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import NamedTuple

import numpy as np
import torch

from slicing_rllib.env import ActorForm, DecisionView, SlicingEnv
from slicing_rllib.env.response_curves import FEATURES, service_levels
from slicing_rllib.learning.response_critic import build_stacked
from slicing_rllib.learning.rl_module import build_mlp
from slicing_rllib.learning.stacked_networks import NetworkSizes, ParameterBank
from slicing_rllib.learning.stacked_td3 import Batch
from slicing_rllib.policies import PretrainedActor
from slicing_rllib.policies.baselines import Baseline
from slicing_rllib.policies.td3_settings import TD3Settings
from slicing_rllib.radio import Scenario, Simulator, SyntheticMask, draw_scenario
from slicing_rllib.radio.scenario import SlaGroup, SliceSla
from slicing_rllib.radio.sites import HexagonalCluster, HexagonalGrid
from slicing_rllib.radio.specs import MobilitySpec, RadioSpec, SliceSpec, TrafficSpec
from slicing_rllib.runs.progress import OnMessage

HIDDENS = (64, 64)
SHARE_NOISE = 0.3
"""Standard deviation of the noise on the logarithms of shares, from which slopes are learned."""
WARM_UP_STEPS = 5
"""First steps of a network, from which nothing is learned: the memory is still filling."""
RATES = (2e-3, 1e-3, 5e-4, 2e-4, 1e-4)
"""Adam's learning rates, each for an equal part of the updates."""
FIRST_MAP = 2000


@dataclass(frozen=True, kw_only=True)
class CurveSettings:
    """How curves are trained. Raises: ValueError for a number below 1."""

    networks: int = 60
    """Random networks."""
    steps: int = 150
    """Steps of each network."""
    updates: int = 10_000
    """Updates, each from one network."""
    batch_size: int = 128
    """Steps of cells per update; each gives a label per slice."""
    seed: int = 0
    """What networks, traffic, initial weights and batches are drawn from."""

    def __post_init__(self) -> None:
        for name in ("networks", "steps", "updates", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")


class Labels(NamedTuple):
    """What the cells of one network met, a row per cell and step."""

    obs: np.ndarray
    action: np.ndarray
    level: np.ndarray


def train_curves(settings: CurveSettings, on_message: OnMessage) -> PretrainedActor:
    """Twin critics per slice that serve any cell of any network."""
    rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(2,)))
    collected: list[Labels] = []
    for number in range(settings.networks):
        # Every second one is of the size of a usual network, for which there are most users.
        draw = draw_any_scenario if number % 2 else draw_scenario
        scenario = draw(rng, f"any_{number}")
        collected.append(_collect(scenario, FIRST_MAP + number, settings.steps, rng))
        if (number + 1) % max(settings.networks // 5, 1) == 0:
            on_message(f"{number + 1} of {settings.networks} networks stepped")
    weights = _fit(collected, settings, rng, on_message)
    provenance = {
        "command": f"slicing-rllib pretrain --critic per_slice --random {settings.networks} "
        f"--rounds {settings.updates // 100} --seed {settings.seed}",
        "settings": asdict(settings),
        "version": version("slicing-rllib"),
        "labels": sum(labels.level.size for labels in collected),
    }
    return PretrainedActor(weights, provenance)


def _collect(scenario: Scenario, map_seed: int, steps: int, rng: np.random.Generator) -> Labels:
    """The labels of one network; every second one has no message."""
    message = "mean_load" if map_seed % 2 else "none"
    env = SlicingEnv(scenario, observation="response", message=message, map_seed=map_seed)
    policy, rows = Baseline("smoothed_persistence", scenario), list[Labels]()
    before = env.reset_batched(int(rng.integers(2**31)))
    for step in range(steps):
        view = DecisionView(before.obs, env.kpis, env.simulator, env.reports)
        split = policy.prb_ratio(view)
        noisy = split * np.exp(SHARE_NOISE * rng.standard_normal(split.shape)) + 0.003
        after = env.step_batched(noisy.astype(np.float32))
        if step >= WARM_UP_STEPS or steps <= WARM_UP_STEPS:
            level = service_levels(before.obs, after.reward_inputs)
            rows.append(Labels(before.obs, after.action, level))
        before = after
    return Labels(*map(np.concatenate, zip(*rows, strict=True)))


def _fit(
    collected: Sequence[Labels],
    settings: CurveSettings,
    rng: np.random.Generator,
    on_message: OnMessage,
) -> dict[str, np.ndarray]:
    widths = (len(FEATURES) + 1, *HIDDENS, 1)
    bank = ParameterBank(1, NetworkSizes((), widths, ActorForm(1, "max_min"), ("critics",)))
    generator = torch.Generator().manual_seed(settings.seed)
    twins = {name: build_mlp(widths, generator) for name in ("critic_1", "critic_2")}
    for name, view in bank.iterate_row(0):
        network, parameter = name.split(".", 1)
        view.copy_(twins[network].get_parameter(parameter).data)
    state, losses = None, list[float]()
    for rate, numbers in zip(RATES, np.array_split(np.arange(settings.updates), len(RATES)),
                             strict=True):  # fmt: skip
        stacked = build_stacked(bank, TD3Settings(critic="per_slice", critic_lr=rate))
        if state is not None:
            stacked.restore(state)
        for number in numbers.tolist():
            labels = collected[int(rng.integers(len(collected)))]
            rows = rng.integers(len(labels.obs), size=settings.batch_size)
            obs, action, level = (torch.from_numpy(part[rows])[None] for part in labels)
            none = torch.zeros(1, settings.batch_size)
            loss = stacked.update(Batch(obs, action, none, obs, none, level, none), number)
            losses.append(float(loss.critic[0]) / 2)
        state = stacked.state()
        if len(numbers):
            on_message(f"learning rate {rate:g}: loss {np.mean(losses[-len(numbers) :]):.4f}")
    return {name: view.numpy().copy() for name, view in bank.iterate_row(0)}


def draw_any_scenario(rng: np.random.Generator, name: str) -> Scenario:
    """A network of which everything is drawn.

    Drawn are: 1 to 7 sites 200-1,700 m apart, 5-100 MHz at 0.7-3.5 GHz, placement of PRBs, link
    and queue, steps of 0.1-2 s, UEs of 1-120 km/h, 2-8 slices of 2-300 UEs each, packets of
    0.2-10 kbit, and slow or jumping traffic whose busy hours take 0.3-1.2 of the carrier. SLAs need
    0.1-0.5 of a carrier beyond its load, so that some are loose and some out of reach.
    """
    n_slices = int(rng.integers(2, 9))
    users = np.maximum(_draw_log(rng, 2.0, 300.0, n_slices).astype(int), 2)
    weights = rng.dirichlet([1.5] * n_slices)
    packets_kbit = _draw_log(rng, 0.2, 10.0, n_slices)
    wide = bool(rng.random() < 0.3)
    spacing_m = float(_draw_log(rng, 200.0, 1700.0, 1)[0])
    low = float(rng.uniform(0.1, 0.6))
    drawn = Scenario(
        name=name,
        layout=(
            HexagonalCluster(rings=int(rng.integers(0, 2)), site_distance_m=spacing_m,
                             sla_groups=("A", "B"))
            if rng.random() < 0.4
            else HexagonalGrid(rows=2, columns=int(rng.integers(1, 4)), site_distance_m=spacing_m,
                               sla_groups=("A", "B"))
        ),
        slices=_make_slices(users, weights, packets_kbit),
        sla_groups=(_make_group("A", np.ones(n_slices), np.ones(n_slices)),
                    _make_group("B", np.ones(n_slices), np.ones(n_slices))),
        radio=RadioSpec(
            carrier_hz=float(rng.choice([0.7e9, 1.8e9, 2.6e9, 3.5e9])),
            n_prbs=273 if wide else int(rng.choice([25, 50, 100])),
            prb_hz=360e3 if wide else 180e3,
            link="cqi" if rng.random() < 0.3 else "shannon",
            placement="random" if rng.random() < 0.4 else "contiguous",
            min_distance_m=min(35.0, spacing_m / 10.0),
        ),
        mobility=_draw_mobility(rng),
        mask=SyntheticMask(
            low=low,
            high=float(rng.uniform(low, 0.95)),
            ripple=float(rng.uniform(0.0, 0.3)),
            period_steps=float(rng.uniform(60.0, 400.0)),
            ripple_period_steps=float(_draw_log(rng, 3.0, 80.0, 1)[0]),
            cells_ripple_apart=bool(rng.random() < 0.5),
            cell_spread=float(rng.random() * (rng.random() < 0.5)),
        ),
        step_s=float(_draw_log(rng, 0.1, 2.0, 1)[0]),
        queue="fifo" if rng.random() < 0.4 else "processor_sharing",
    )  # fmt: skip
    return _scale_to_carrier(rng, drawn, users, weights, packets_kbit)


def _scale_to_carrier(
    rng: np.random.Generator,
    drawn: Scenario,
    users: np.ndarray,
    weights: np.ndarray,
    packets_kbit: np.ndarray,
) -> Scenario:
    """Traffic and SLAs that fit what the network's carriers can serve."""
    n_slices, offered = len(users), float(rng.uniform(0.3, 1.2))
    active_share = max(drawn.mask.high, 0.05)  # pyright: ignore[reportAttributeAccessIssue]
    inverse, rate_mbps = 0.05, 20.0
    # Interference grows with the traffic, so rates are measured again under it.
    for _ in range(3):
        traffic_kbps = 1e3 * offered / inverse * weights / active_share
        slices = _make_slices(users, traffic_kbps, packets_kbit)
        simulator = Simulator(replace(drawn, slices=slices), 0, map_seed=0)
        kpis = simulator.step(np.tile(weights, (len(drawn.cells), 1)))
        active = kpis.users > 0
        if active.any():
            inverse = float(np.average(kpis.mean_inverse_rate[active], weights=kpis.users[active]))
            rate_mbps = float(np.average(kpis.mean_rate_mbps[active], weights=kpis.users[active]))
    groups = []
    for name in ("A", "B"):
        # Served share at which each slice just meets its SLA; a tightness above 1 is that of the
        # delay, below 1 that of the throughput, over the other one.
        needed = float(rng.uniform(0.1, 0.5)) * rng.dirichlet([2.5] * n_slices)
        tightness = _draw_log(rng, 0.3, 3.0, n_slices)
        throughput_mbps = needed * rate_mbps * np.minimum(tightness, 1.0)
        delay_ms = packets_kbit * inverse / (needed * np.minimum(1.0 / tightness, 1.0))
        groups.append(_make_group(name, throughput_mbps, np.clip(delay_ms, 0.1, 90.0)))
    return replace(drawn, slices=slices, sla_groups=tuple(groups))


def _make_slices(
    users: np.ndarray, traffic_kbps: np.ndarray, packets_kbit: np.ndarray
) -> tuple[SliceSpec, ...]:
    columns = zip(itertools.count(1), users.tolist(), traffic_kbps.tolist(), packets_kbit.tolist())
    return tuple(
        SliceSpec(
            name=f"slice_{number}",
            users=n,
            traffic=TrafficSpec(rate_kbps=max(kbps / n, 1e-3), packet_kbit=kbit),
        )
        for number, n, kbps, kbit in columns
    )


def _make_group(name: str, throughput_mbps: np.ndarray, delay_ms: np.ndarray) -> SlaGroup:
    slas = zip(throughput_mbps.tolist(), delay_ms.tolist(), strict=True)
    return SlaGroup(
        name=name, slices=tuple(SliceSla(throughput_mbps=t, delay_ms=d) for t, d in slas)
    )


def _draw_mobility(rng: np.random.Generator) -> MobilitySpec:
    slowest, fastest = np.sort(_draw_log(rng, 1.0, 120.0, 2)).tolist()
    return MobilitySpec(min_speed_kmh=slowest, max_speed_kmh=fastest)


def _draw_log(rng: np.random.Generator, low: float, high: float, n: int) -> np.ndarray:
    return np.exp(rng.uniform(np.log(low), np.log(high), n))
