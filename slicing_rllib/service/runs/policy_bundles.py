"""A run's policies as bundles of a library."""

import hashlib
from importlib.metadata import version

from slicing_rllib.service.config import RunConfig, resolved_yaml
from slicing_rllib.service.errors import RunError
from slicing_rllib.service.runs.evaluation import cell_rewards
from slicing_rllib.service.runs.experience import read_experience
from slicing_rllib.service.runs.run_directory import RunDirectory
from slicing_rllib.transfer import Bundle, PolicyLibrary


def add_run(
    library: PolicyLibrary, run: RunDirectory, cells: list[str] | None, name: str | None
) -> list[tuple[str, int]]:
    """Name and version of each bundle that was added: `NAME-cell_3`, by default the run's name.

    Raises: RunError for a cell that the run has not, or a run that is not finished.
    """
    config = run.config()
    for cell in cells or ():
        if cell not in config.scenario.cells:
            known = config.scenario.cells
            raise RunError(f"{run.path}: no {cell}, expected one of {known[0]} to {known[-1]}")
    bundles = bundles_of(run, config, cells)
    return [
        (f"{name or config.name}-{cell}", library.add(f"{name or config.name}-{cell}", bundle))
        for cell, bundle in bundles.items()
    ]


def bundles_of(
    run: RunDirectory, config: RunConfig, cells: list[str] | None = None
) -> dict[str, Bundle]:
    """By cell, with what its policy is worth on the run's evaluation traffic."""
    weights, experience = run.policies(), read_experience(run)
    rewards = _rewards(run, config)
    digest = hashlib.sha256(resolved_yaml(config).encode()).hexdigest()
    bundles = {}
    for row, cell in enumerate(config.scenario.cells):
        if cells is not None and cell not in cells:
            continue
        bundles[cell] = Bundle(
            weights=weights[cell],
            experience=experience[cell].learned_from,
            default_action_experience=experience[cell].default,
            slices=tuple(spec.name for spec in config.scenario.slices),
            sla_throughput_mbps=tuple(config.scenario.sla_throughput_mbps[row].tolist()),
            sla_delay_ms=tuple(config.scenario.sla_delay_ms[row].tolist()),
            message=config.env.message,
            returns={"evaluation_reward_mean": rewards[row]},
            provenance={
                "run": config.name,
                "cell": cell,
                "network": f"{config.scenario.name}/{config.env.map_seed}/{cell}",
                "seed": config.seed,
                "config_sha256": digest,
                "slicing_rllib": version("slicing-rllib"),
            },
        )
    return bundles


def _rewards(run: RunDirectory, config: RunConfig) -> list[float]:
    from slicing_rllib.policies.trained_policy import TrainedPolicy

    policy = TrainedPolicy(config.scenario.cells, run.policies())
    return cell_rewards(config, policy).tolist()
