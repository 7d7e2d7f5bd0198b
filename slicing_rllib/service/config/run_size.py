"""How large a run would be, estimated from its settings before anything is built."""

import itertools
from collections.abc import Iterator

from slicing_rllib.service.config.run_config import RunConfig
from slicing_rllib.storage.regular_file import GIB, format_size

MAX_CELLS = 20_000
MAX_SLICES = 64
MAX_UES = 4_000_000
MAX_BYTES = 256 * GIB
"""Of the replay buffers, networks or evaluation of a run. What fits this machine is another
question."""
FLOAT_BYTES = 4
COPIES_OF_WEIGHTS = 4
"""Weights, target networks and Adam's two moments."""
OWN_COLUMNS_PER_SLICE = 8
"""At most so many values per slice does a cell observe of itself."""
MAP_BYTES = 32
"""Per position and cell of the gain map, with what its computation takes."""
SAVED_COLUMNS = 8
"""Values per seed, step and cell that an evaluation keeps of each policy."""

Problem = tuple[tuple[str, ...], str]


def find_huge_parts(config: RunConfig) -> Iterator[Problem]:
    """Settings of a valid config that make a run larger than any machine."""
    scenario = config.scenario
    n_cells = len(scenario.cells)
    ues = n_cells * sum(spec.users for spec in scenario.slices)
    for path, value, limit, unit in (
        (("scenario", "layout"), n_cells, MAX_CELLS, "cells"),
        (("scenario", "slices"), len(scenario.slices), MAX_SLICES, "slices"),
        (("scenario", "slices"), ues, MAX_UES, "UEs of all cells together"),
    ):
        if value > limit:
            yield path, f"expected at most {limit} {unit}, got {value}"
    for path, size in estimate_bytes(config).items():
        if size > MAX_BYTES:
            limit = format_size(MAX_BYTES)
            yield (
                tuple(path.split(".")),
                f"expected at most {limit} of memory, got {format_size(size)}",
            )


def describe_excess(limit: float, needed: float) -> str:
    """The message for a setting that takes more bytes of memory than there may be."""
    return f"expected at most {format_size(limit)} of memory, got {format_size(needed)}"


def estimate_bytes(config: RunConfig) -> dict[str, float]:
    """Bytes of the large parts of a run, by the setting that determines most of them."""
    learning, scenario = config.learning, config.scenario
    n_slices, n_cells = scenario.n_slices, len(scenario.cells)
    obs = _count_observed(config)
    transition = 2 * obs + 6 * n_slices + 2
    layers = [
        *_count_parameters(obs, learning.actor_hiddens, n_slices),
        *2 * _count_parameters(obs + n_slices, learning.critic_hiddens, 1),
    ]
    transferred = config.transfer.samples + config.transfer.transferred_transitions
    vae = [*_count_parameters(obs, config.transfer.vae.hiddens, config.transfer.vae.latent)] * 2
    radio = scenario.radio
    points = scenario.area.size_m2 / radio.map_resolution_m / radio.map_resolution_m
    return {
        "scenario.radio.map_resolution_m": float(MAP_BYTES)
        * points * min(radio.cells_kept, n_cells),
        "learning.replay_capacity": float(FLOAT_BYTES)
        * 2 * n_cells * learning.replay_capacity * transition,
        "learning.batch_size": float(FLOAT_BYTES) * n_cells * learning.batch_size * transition,
        "learning.critic_hiddens": float(FLOAT_BYTES) * n_cells * COPIES_OF_WEIGHTS * sum(layers),
        "transfer.samples": float(FLOAT_BYTES) * n_cells * transferred * transition,
        "transfer.vae": float(FLOAT_BYTES) * config.transfer.vae.members * 3 * sum(vae),
        "evaluation.steps": 8.0 * config.evaluation.seeds * config.evaluation.steps * n_cells
        * SAVED_COLUMNS * len(config.evaluated_policies),
    }  # fmt: skip


def _count_observed(config: RunConfig) -> int:
    """At least the size of a cell's observation."""
    n_slices, n_cells = config.scenario.n_slices, len(config.scenario.cells)
    kept = config.scenario.neighbours_kept
    neighbours = {"all": n_cells, "none": 0}.get(kept, 0) if isinstance(kept, str) else kept
    heard = {"none": 0, "mean_load": 1, "per_neighbour": min(neighbours, n_cells)}
    return n_slices * (OWN_COLUMNS_PER_SLICE + heard.get(config.env.message, n_cells))


def _count_parameters(inputs: int, hiddens: tuple[int, ...], outputs: int) -> list[int]:
    widths = (inputs, *hiddens, outputs)
    return [(before + 1) * after for before, after in itertools.pairwise(widths)]
