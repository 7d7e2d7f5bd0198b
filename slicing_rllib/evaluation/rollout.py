"""Runs a policy on a network and records the rewards and KPIs of every cell and step."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from slicing_rllib.env import DecisionView, Policy, SlicingEnv, satisfaction

PerStep = Float[np.ndarray, "step cell"]
PerStepSlice = Float[np.ndarray, "step cell slice"]


class Rollout(NamedTuple):
    """One policy on one seed of traffic and movement."""

    reward: PerStep
    """Eq. (2)."""
    satisfaction: PerStep
    """Smallest over slices of min(throughput / SLA throughput, 1)."""
    delay_max_ms: PerStep
    """The largest of the cell's average delays per slice."""
    delay_to_sla_max: PerStep
    """The largest ratio over slices of average delay and delay that the SLA allows."""
    live: Bool[np.ndarray, "step cell"]
    """False where the cell was off; the other columns are zero there."""
    throughput_mbps: PerStepSlice
    delay_ms: PerStepSlice
    prb_ratio: PerStepSlice
    active_ues: Float[np.ndarray, " step"]
    """Number of UEs with traffic in the whole network."""
    hour: Int[np.ndarray, " step"]
    """Local hour of the day, 0 to 23; -1 for traffic without a clock."""


def rollout(env: SlicingEnv, policy: Policy, steps: int, seed: int) -> Rollout:
    """`steps` network steps from a reset with `seed`.

    Equal seeds give equal traffic and movement, whatever the policy does.
    """
    batched = env.reset_batched(seed)
    rows: list[tuple[Any, ...]] = []
    for _ in range(steps):
        hour, scenario = env.simulator.hour, env.scenario
        view = DecisionView(batched.obs, env.kpis, env.simulator, env.reports)
        batched = env.step_batched(policy.prb_ratio(view).astype(np.float32))
        kpis = (env.kpis.throughput_mbps, env.kpis.delay_ms, env.kpis.prb_ratio)
        n_active = float(env.kpis.users.sum())
        met = satisfaction(kpis[0], scenario.sla_throughput_mbps), kpis[1] / scenario.sla_delay_ms
        hour = -1 if hour is None else hour
        rows.append((batched.reward, batched.live, *kpis, *met, n_active, hour))
        if batched.truncated.all():
            batched = env.reset_batched()
    columns = (np.stack(column) for column in zip(*rows, strict=True))
    reward, live, throughput_mbps, delay_ms, prb_ratio, satisfied, delay_to_sla, *others = columns
    active_ues, hours = others
    return Rollout(
        reward=reward.astype(np.float64),
        satisfaction=np.where(live, satisfied, 0.0),
        delay_max_ms=np.where(live, delay_ms.max(axis=2), 0.0),
        delay_to_sla_max=np.where(live, delay_to_sla.max(axis=2), 0.0),
        live=live,
        throughput_mbps=throughput_mbps,
        delay_ms=delay_ms,
        prb_ratio=prb_ratio,
        active_ues=active_ues,
        hour=hours,
    )
