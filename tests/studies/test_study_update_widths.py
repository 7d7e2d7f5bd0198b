"""How fast updates of wider networks compute, beside a matrix product: is there a cliff?

The README of `benchmarks` has the results of
`SLICING_RLLIB_FULL_STUDIES=1 pytest -n 0 tests/studies/test_study_update_widths.py`.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from slicing_rllib.benchmarks.rows import Row, make_row, measure_medians
from slicing_rllib.env import ActorForm, SlicingEnv
from slicing_rllib.learning.learner import count_update_flops
from slicing_rllib.learning.stacked_networks import NetworkSizes, ParameterBank
from slicing_rllib.learning.stacked_td3 import Batch, StackedTD3
from slicing_rllib.policies.td3_settings import TD3Settings
from slicing_rllib.radio import make_scenario

WIDTHS = (
    ((48, 24), (64, 24), 32),
    ((64, 64), (128, 128), 64),
    ((128, 128), (256, 256), 128),
)
"""Hidden widths of actor and critics, and the batch size; the first row is the paper's."""
MATRIX_SIZE = 512
"""Rows and columns of the matrix product that shows what the processor can do."""


def measure_widths(turns: int, updates_per_turn: int) -> Iterator[Row]:
    """Yields GFLOP/s of an update of 12 cells, by widths, over those of a matrix product.

    Everything runs in one thread. Operations are counted in the matrix products alone.

    Args:
        turns: Interleaved turns of which the median counts.
        updates_per_turn: Updates of which the median counts.
    """
    torch.set_num_threads(1)
    env = SlicingEnv(make_scenario("paper"))
    updates = {index: _make_update(env, *widths) for index, widths in enumerate(WIDTHS)}
    measured = {
        str(index): partial(_measure_seconds, update, updates_per_turn)
        for index, (update, _) in updates.items()
    }
    product, product_flops = _make_product()
    seconds = measure_medians(
        {**measured, "product": partial(_measure_seconds, product, updates_per_turn)}, turns
    )
    product_rate = product_flops / seconds["product"] / 1e9
    for index, (actor, critic, batch_size) in enumerate(WIDTHS):
        _, flops = updates[index]
        rate = flops / seconds[str(index)] / 1e9
        yield make_row(
            "learning.update_gflop_per_s",
            rate,
            "GFLOP/s",
            reference="matrix_product",
            ratio=rate / product_rate,
            reference_value=product_rate,
            actor="x".join(map(str, actor)),
            critics="x".join(map(str, critic)),
            batch_size=batch_size,
            gflop=flops / 1e9,
            update_ms=seconds[str(index)] * 1e3,
        )


def _make_update(
    env: SlicingEnv, actor: tuple[int, ...], critic: tuple[int, ...], batch_size: int
) -> tuple[Callable[[], object], float]:
    """An update of all cells with random weights and transitions, and its operations."""
    obs, action, n_cells = env.obs_size, env.action_size, len(env.cells)
    form = ActorForm(action)
    sizes = NetworkSizes((obs, *actor, action), (obs + action, *critic, 1), form)
    bank = ParameterBank(n_cells, sizes)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameters in bank.flat.values():
            parameters.uniform_(-0.1, 0.1, generator=generator)
    hyper = TD3Settings()
    stacked = StackedTD3(bank, hyper)

    def draw(*columns: int) -> Tensor:
        return torch.rand((n_cells, batch_size, *columns), generator=generator)

    batch = Batch(
        obs=draw(obs),
        action=draw(action).softmax(-1),
        reward=draw(),
        next_obs=draw(obs),
        terminated=torch.zeros(n_cells, batch_size),
        measured=draw(0),
        noise=draw(action),
    )
    flops = n_cells * count_update_flops(sizes, batch_size)
    return partial(stacked.update, batch, 0), flops


def _make_product() -> tuple[Callable[[], Tensor], float]:
    left, right = (torch.rand(MATRIX_SIZE, MATRIX_SIZE) for _ in range(2))
    return partial(torch.matmul, left, right), 2.0 * MATRIX_SIZE**3


def _measure_seconds(function: Callable[[], object], calls: int) -> float:
    """Median seconds of a call."""
    found: list[float] = []
    for _ in range(calls):
        started = time.perf_counter()
        function()
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def test_each_width_is_compared_with_the_same_matrix_product(is_full_study, show_rows):
    turns, updates_per_turn = (15, 20) if is_full_study else (1, 1)
    rows = list(measure_widths(turns, updates_per_turn))
    show_rows(rows)

    assert [row["batch_size"] for row in rows] == [batch_size for *_, batch_size in WIDTHS]
    assert len({row["reference_value"] for row in rows}) == 1
    for row in rows:
        assert abs(row["value"] * row["update_ms"] / 1e3 - row["gflop"]) < 1e-9
        assert row["ratio"] == row["value"] / row["reference_value"]
