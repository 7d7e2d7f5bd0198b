"""How long the parts of a transfer take: VAE, distances between cells, and the whole decision."""

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch

from slicing_rllib.benchmarks.rows import Row, make_row, measure_medians, time_call
from slicing_rllib.env import Deployment, SlicingEnv
from slicing_rllib.learning import TD3, TD3Config
from slicing_rllib.radio import make_scenario
from slicing_rllib.registry import get_part
from slicing_rllib.transfer import TransferSettings, WarmStartCallback, decision
from slicing_rllib.transfer.distances import Population, kl_paper
from slicing_rllib.transfer.stages import Collecting, StageRecords
from slicing_rllib.transfer.transfer_settings import VaeSettings
from slicing_rllib.transfer.vae import train_vae

N_CELLS, N_SAMPLES, N_FEATURES, N_LATENT = 12, 500, 17, 4
"""Size of the VAE's training set, and of its latent space, in the paper's network."""
PAIR_SAMPLES = 1_000
"""Samples per cell where distances are measured."""
MANY_CELLS = 1_000
MANY_CELLS_MEASURES = ("kl_paper", "lemma1", "mean_shift")
EXPLORATION_STEPS, ITERATION_STEPS = 50, 100


def run(*, decisions: int, turns: int, on_message: Callable[[str], None]) -> Iterator[Row]:
    """Yields the times of VAE training, of eq. (7), of all pairs of 1,000 cells, and of decisions.

    The median of `decisions` in a live run counts, and that of `turns` for everything else.
    """
    torch.set_num_threads(1)
    on_message("training a VAE")
    yield make_row("transfer.vae_s", measure_medians({"vae": _train_vae_s}, turns)["vae"], "s")
    on_message("comparing eq. (7) in linear time with the double loop")
    yield _compare_kl_pairs(turns)
    on_message(f"computing the distances of all pairs of {MANY_CELLS} cells")
    yield from _measure_all_pairs(turns)
    on_message(f"measuring {decisions} decisions in a live run")
    yield _measure_decisions(decisions)


def compute_kl_by_double_loop(source: Population, target: Population) -> float:
    """Eq. (7) as it is written: the mean KL divergence over all pairs of samples."""
    total = 0.0
    for m, v in zip(source.mean, source.variance, strict=True):
        for n, w in zip(target.mean, target.variance, strict=True):
            total += 0.5 * float(np.sum(np.log(w / v) - 1 + ((m - n) ** 2 + v) / w))
    return total / (len(source.mean) * len(target.mean))


def _train_vae_s() -> float:
    samples = np.random.default_rng(0).standard_normal((N_CELLS * N_SAMPLES, N_FEATURES))
    return time_call(train_vae, samples, VaeSettings(), 0)


def _compare_kl_pairs(turns: int) -> Row:
    rng = np.random.default_rng(0)
    source, target = _draw_population(rng, PAIR_SAMPLES), _draw_population(rng, PAIR_SAMPLES)
    seconds = measure_medians(
        {
            "double_loop": lambda: time_call(compute_kl_by_double_loop, source, target),
            "linear": lambda: time_call(kl_paper, [source, target]),
        },
        turns,
    )
    return make_row(
        "transfer.kl_pairs",
        1000 * seconds["linear"],
        "ms",
        reference="double_loop",
        ratio=seconds["double_loop"] / seconds["linear"],
        reference_value=1000 * seconds["double_loop"],
    )


def _measure_all_pairs(turns: int) -> Iterator[Row]:
    cells = [_draw_population(np.random.default_rng(i), PAIR_SAMPLES) for i in range(MANY_CELLS)]
    for measure in MANY_CELLS_MEASURES:
        measurement = partial(time_call, get_part("measure", measure), cells)
        seconds = measure_medians({measure: measurement}, turns)[measure]
        yield make_row("transfer.all_pairs_s", seconds, "s", measure=measure)


def _measure_decisions(decisions: int) -> Row:
    """Times from the end of an iteration to the new policy's first action, without VAE training."""
    algorithm = _train_sources()
    spent_ms = [_measure_decision_ms(algorithm) for _ in range(decisions)]
    algorithm.stop()
    median_ms = statistics.median(spent_ms)
    return make_row("transfer.decision_ms", median_ms, "ms", decisions=decisions)


def _train_sources() -> TD3:
    """Trains the paper's network briefly; all cells have samples under the default action."""
    scenario = make_scenario("paper")
    deployments = [
        Deployment(cell=cell, off_until=0, default_action_until=N_SAMPLES)
        for cell in scenario.cells
    ]
    config = (
        TD3Config()
        .environment(SlicingEnv, env_config={"scenario": scenario, "deployments": deployments})
        .training(exploration_steps=EXPLORATION_STEPS, steps_per_iteration=ITERATION_STEPS)
    )
    algorithm = config.build_algo()
    assert isinstance(algorithm, TD3)
    while algorithm.env_steps < N_SAMPLES + ITERATION_STEPS:
        algorithm.train()
    return algorithm


def _measure_decision_ms(algorithm: TD3) -> float:
    """Time of one decision for the last cell, and of the network step that follows it."""
    cell, callback = algorithm.cells[-1], WarmStartCallback(TransferSettings())
    # The callback chooses a source for the cell after the next iteration.
    algorithm.callback_state.pop("transfer", None)
    StageRecords(algorithm.callback_state).write(cell, Collecting(until=0))
    vae_seconds: list[float] = []

    def train_vae_timed(samples: np.ndarray, settings: VaeSettings, seed: int):
        started = time.perf_counter()
        vae = train_vae(samples, settings, seed)
        vae_seconds.append(time.perf_counter() - started)
        return vae

    # VAE training has a row of its own, so its time is measured here in order to be subtracted.
    decision.train_vae = train_vae_timed
    try:
        started = time.perf_counter()
        callback.on_train_result(algorithm=algorithm)
        algorithm.env_runner.step(algorithm.cell_states.sampling_settings())  # type: ignore[union-attr]
        return 1000 * (time.perf_counter() - started - sum(vae_seconds))
    finally:
        decision.train_vae = train_vae


def _draw_population(rng: np.random.Generator, n_samples: int) -> Population:
    mean = rng.standard_normal((n_samples, N_LATENT))
    return Population(mean, mean, np.exp(rng.uniform(-6, 0, mean.shape)), np.ones(1))
