"""How large a run is: how much memory it takes, estimated from its config, and what is too much."""

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

from slicing_rllib.env.observation import LearnedMessage
from slicing_rllib.registry import get_part
from slicing_rllib.storage.foreign_files import GIB, format_size
from slicing_rllib.storage.yaml_validation import Problem

if TYPE_CHECKING:
    from slicing_rllib.runs.run_config import RunConfig


MAX_CELLS = 20_000
MAX_SLICES = 64
MAX_UES = 4_000_000
MAX_BYTES = 256 * GIB
"""Of the replay buffers, networks or evaluation of a run. What fits this machine is another
question."""


def describe_excess(limit: float, needed: float) -> str:
    """The message for a setting that takes more bytes of memory than there may be."""
    return f"expected at most {format_size(limit)} of memory, got {format_size(needed)}"


def estimate_bytes(config: "RunConfig") -> dict[str, float]:
    """Bytes of the large parts of a run, by the setting that determines most of them."""
    learning, scenario, transfer = config.learning, config.scenario, config.transfer
    n_slices, n_cells = scenario.n_slices, len(scenario.cells)
    # Values per slice that an observation has of the cell itself, at most, beside its message.
    kept = scenario.neighbours_kept
    neighbours = {"all": n_cells, "none": 0}.get(kept, 0) if isinstance(kept, str) else kept
    heard = {"none": 0, "mean_load": 1, "per_neighbour": min(neighbours, n_cells)}
    if has_learned_message(config):
        heard[config.env.message] = heard["per_neighbour"]
    own = 15 if config.env.observation == "response" else 8
    obs = n_slices * (own + heard.get(config.env.message, n_cells))
    transition_bytes = 4.0 * n_cells * (2 * obs + 6 * n_slices + 2)
    actor = _count_parameters(obs, learning.actor_hiddens, n_slices)
    critic = _count_parameters(obs + n_slices, learning.critic_hiddens, 1)
    encoder = _count_parameters(obs, transfer.vae.hiddens, transfer.vae.latent)
    # The square of a tiny resolution would be 0.
    resolution_m = scenario.radio.map_resolution_m
    map_points = scenario.area.size_m2 / resolution_m / resolution_m
    transferred = transfer.samples + transfer.transferred_transitions
    evaluated = config.evaluation.seeds * config.evaluation.steps * len(config.evaluated_policies)
    return {
        # 32 bytes per position and cell, with what the computation of the map takes.
        "scenario.radio.map_resolution_m": 32.0
        * map_points * min(scenario.radio.cells_kept, n_cells),
        "learning.replay_capacity": 2 * learning.replay_capacity * transition_bytes,
        "learning.batch_size": learning.batch_size * transition_bytes,
        # Weights, target networks and Adam's two moments.
        "learning.critic_hiddens": 4.0 * n_cells * 4 * (actor + 2 * critic),
        "transfer.samples": transferred * transition_bytes,
        "transfer.vae": 4.0 * transfer.vae.members * 3 * 2 * encoder,
        # 8 values of 8 bytes per seed, step and cell are kept of each policy.
        "evaluation.steps": 64.0 * n_cells * evaluated,
    }  # fmt: skip


def _count_parameters(inputs: int, hiddens: tuple[int, ...], outputs: int) -> int:
    widths = (inputs, *hiddens, outputs)
    return sum((before + 1) * after for before, after in itertools.pairwise(widths))


def has_learned_message(config: "RunConfig") -> bool:
    """Whether networks make their message themselves, of reports that the replay keeps."""
    return isinstance(get_part("message", config.env.message), LearnedMessage)


def describe_reports(config: "RunConfig") -> str:
    """What a learned message adds to the replay buffers; empty for other messages."""
    if not has_learned_message(config):
        return ""
    whole = estimate_bytes(config)["learning.replay_capacity"]
    silent = config.env.model_copy(update={"message": "none"})
    without = config.model_copy(update={"env": silent})
    added = whole - estimate_bytes(without)["learning.replay_capacity"]
    return (
        f"message {config.env.message}: the replay keeps each neighbour's reports, "
        f"{format_size(added)} of at most {format_size(whole)}"
    )


def find_huge_parts(config: "RunConfig") -> Iterator[Problem]:
    """Settings of a valid config that make a run larger than any machine."""
    scenario = config.scenario
    ues = len(scenario.cells) * sum(spec.users for spec in scenario.slices)
    for path, value, limit, unit in (
        (("scenario", "layout"), len(scenario.cells), MAX_CELLS, "cells"),
        (("scenario", "slices"), len(scenario.slices), MAX_SLICES, "slices"),
        (("scenario", "slices"), ues, MAX_UES, "UEs of all cells together"),
    ):
        if value > limit:
            yield path, f"expected at most {limit} {unit}, got {value}"
    for path, size in estimate_bytes(config).items():
        if size > MAX_BYTES:
            yield tuple(path.split(".")), describe_excess(MAX_BYTES, size)
