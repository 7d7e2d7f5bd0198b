"""How long a transfer takes: the model, the distances, the decision."""

import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch

from slicing_rllib.env import Deployment, SlicingEnv
from slicing_rllib.learning import TD3, TD3Config
from slicing_rllib.radio import built_in
from slicing_rllib.transfer import TransferSettings, WarmStartCallback, decision
from slicing_rllib.transfer.settings import VaeSettings
from slicing_rllib.transfer.similarity import MEASURES, Population
from slicing_rllib.transfer.vae import train_vae

Row = dict[str, float | str | int]
Says = Callable[[str], None]
CELLS, SAMPLES, FEATURES, LATENT = 12, 500, 17, 4
PAIR_SAMPLES = 1_000
MANY_CELLS = 1_000


def rows(*, decisions: int, turns: int, progress: Says) -> Iterator[Row]:
    """VAE, eq. (7) beside the double loop, all pairs of a city, and decisions in a live run."""
    torch.set_num_threads(1)
    progress("training a VAE")
    yield _row("transfer.vae_s", statistics.median(_vae_seconds() for _ in range(turns)), "s")
    progress("eq. (7) in linear time and by the double loop, interleaved")
    yield _pairs_row(turns)
    progress(f"all pairs of {MANY_CELLS} cells")
    cells = [_population(np.random.default_rng(i), PAIR_SAMPLES) for i in range(MANY_CELLS)]
    for measure in ("kl_paper", "lemma1", "mean_shift"):
        seconds = statistics.median(_seconds(MEASURES[measure], cells) for _ in range(turns))
        yield _row("transfer.all_pairs_s", seconds, "s") | {"measure": measure}
    progress(f"{decisions} decisions in a live run")
    yield _decision_row(decisions)


def double_loop(source: Population, target: Population) -> float:
    """Eq. (7) as it is written: a KL divergence for every pair of samples."""
    total = 0.0
    for m, v in zip(source.mean, source.variance, strict=True):
        for n, w in zip(target.mean, target.variance, strict=True):
            total += 0.5 * float(np.sum(np.log(w / v) - 1 + ((m - n) ** 2 + v) / w))
    return total / (len(source.mean) * len(target.mean))


def _vae_seconds() -> float:
    """On as many samples as twelve cells bring."""
    samples = np.random.default_rng(0).standard_normal((CELLS * SAMPLES, FEATURES))
    return _seconds(lambda x: train_vae(x, VaeSettings(), 0), samples)


def _pairs_row(turns: int) -> Row:
    rng = np.random.default_rng(0)
    one, other = _population(rng, PAIR_SAMPLES), _population(rng, PAIR_SAMPLES)
    linear, naive = [], []
    for _ in range(turns):
        naive.append(_seconds(lambda pair: double_loop(*pair), (one, other)))
        linear.append(_seconds(MEASURES["kl_paper"], [one, other]))
    value, reference = statistics.median(linear), statistics.median(naive)
    return {
        "name": "transfer.kl_pairs",
        "value": 1000 * value,
        "unit": "ms",
        "reference": "double_loop",
        "ratio": reference / value,
        "reference_value": 1000 * reference,
    }


def _decision_row(decisions: int) -> Row:
    """From the end of an iteration to the first action of the new policy, without VAE training."""
    algorithm = _trained()
    spent = [_decision_ms(algorithm) for _ in range(decisions)]
    algorithm.stop()
    return _row("transfer.decision_ms", statistics.median(spent), "ms") | {"decisions": decisions}


def _trained() -> TD3:
    """The paper's network, its sources trained for a moment, samples under the default action."""
    scenario = built_in("paper")
    seen = [
        Deployment(cell=cell, off_until=0, default_action_until=SAMPLES) for cell in scenario.cells
    ]
    config = (
        TD3Config()
        .environment(SlicingEnv, env_config={"scenario": scenario, "deployments": seen})
        .training(exploration_steps=50, steps_per_iteration=100)
    )
    algorithm = config.build_algo()
    assert isinstance(algorithm, TD3)
    while algorithm.env_steps < SAMPLES + 100:
        algorithm.train()
    return algorithm


def _decision_ms(algorithm: TD3) -> float:
    """Of the last cell, asked for by hand."""
    cell, callback = algorithm.cells[-1], WarmStartCallback(TransferSettings())
    algorithm.callback_state["transfer"] = {cell: {"stage": "collecting", "until": 0}}
    trained, spent_in_vae = decision.train_vae, []

    def timed(samples: np.ndarray, settings: VaeSettings, seed: int):
        started = time.perf_counter()
        vae = trained(samples, settings, seed)
        spent_in_vae.append(time.perf_counter() - started)
        return vae

    decision.train_vae = timed
    try:
        started = time.perf_counter()
        callback.on_train_result(algorithm=algorithm)
        algorithm.env_runner.step(algorithm.cell_states.sampling_settings())  # type: ignore[union-attr]
        return 1000 * (time.perf_counter() - started - sum(spent_in_vae))
    finally:
        decision.train_vae = trained


def _population(rng: np.random.Generator, samples: int) -> Population:
    mean = rng.standard_normal((samples, LATENT))
    return Population(mean, mean, np.exp(rng.uniform(-6, 0, mean.shape)), np.ones(1))


def _seconds(work: Callable, argument: object) -> float:
    started = time.perf_counter()
    work(argument)
    return time.perf_counter() - started


def _row(name: str, value: float, unit: str) -> Row:
    return {"name": name, "value": value, "unit": unit, "reference": "", "ratio": 1.0}
