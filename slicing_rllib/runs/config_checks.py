"""Settings that are each valid by themselves and contradict each other.

How large a run would be, estimated from its settings before anything is built.
"""

import itertools
from collections.abc import Iterator

from slicing_rllib.runs.run_config import PolicyName, RunConfig
from slicing_rllib.storage.regular_file import GIB, format_size

LIBRARY = "library:"

Problem = tuple[tuple[str, ...], str]


def find_contradictions(config: RunConfig) -> Iterator[Problem]:
    """What training would trip over, or would silently do in another way than was meant."""
    yield from _check_learning(config)
    yield from _check_duplicates(config)
    yield from _check_source(config)
    yield from _check_branch(config)


def has_branch(config: RunConfig) -> bool:
    """Whether a run is compared with itself without its transfers."""
    return (
        config.has_transfer
        and not config.transfer.targets
        and PolicyName.DRL in config.evaluated_policies
    )


def _check_learning(config: RunConfig) -> Iterator[Problem]:
    if config.total_steps < 1:
        yield ("learning", "training_steps"), "expected at least 1 network step in all, got 0"


def _check_duplicates(config: RunConfig) -> Iterator[Problem]:
    named = {
        ("env", "deployments"): [deployment.cell for deployment in config.env.deployments],
        ("transfer", "targets"): config.transfer.targets,
        ("evaluation", "policies"): config.evaluation.policies or (),
        ("tracking",): config.tracking,
    }
    for path, names in named.items():
        for name in dict.fromkeys(names):
            if list(names).count(name) > 1:
                yield path, f"expected each name once, got {name!r} twice"
    if config.evaluation.policies == ():
        yield ("evaluation", "policies"), "expected at least one policy"


def _check_source(config: RunConfig) -> Iterator[Problem]:
    source, cells = config.transfer.source, config.scenario.cells
    if source is None:
        return
    path = ("transfer", "source")
    has_library = config.transfer.library is not None
    offset = source.removeprefix("next:")
    if source.startswith("next:") and offset.isdecimal():
        if int(offset) % len(cells) == 0 and _list_targets(config) and not has_library:
            yield path, f"expected another cell than the target, got {source!r}"
    elif source.startswith(LIBRARY) and not has_library:
        yield path, f"expected transfer.library, in which {source!r} is"
    elif not has_library and source not in cells:
        yield (
            path,
            f"expected {cells[0]} to {cells[-1]}, next:OFFSET or library:NAME, got {source!r}",
        )
    elif not has_library and source in _list_targets(config):
        yield path, f"expected another cell than the target, got {source!r}"


def _list_targets(config: RunConfig) -> list[str]:
    joining = [deployment.cell for deployment in config.env.deployments if deployment.off_until]
    return [*config.transfer.targets, *joining]


def _check_branch(config: RunConfig) -> Iterator[Problem]:
    """Without a step after the transfer, `drl` and `tl` would be the same numbers."""
    if not has_branch(config):
        return
    joining = [d for d in config.env.deployments if d.off_until]
    first = min(joining, key=lambda deployment: deployment.default_action_until)
    step = first.default_action_until * max(config.num_env_runners, 1)
    if step >= config.total_steps:
        yield (
            ("env", "deployments"),
            f"{first.cell} learns from another cell at network step {step}, but the run ends at "
            f"step {config.total_steps}: drl and tl would be the same; expected more "
            "learning.training_steps, an earlier default_action_until or transfer.method none",
        )


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
