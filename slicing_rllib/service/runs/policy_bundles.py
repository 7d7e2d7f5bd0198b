"""A run's policies as bundles of a policy library."""

from slicing_rllib.policies import describe_policy
from slicing_rllib.service.config import RunConfig
from slicing_rllib.service.errors import RunError
from slicing_rllib.service.runs.cell_policies import make_cell_policies, record_kpis
from slicing_rllib.service.runs.evaluation import evaluate_curve_point, make_trained_policy
from slicing_rllib.service.runs.experience import read_experience
from slicing_rllib.service.runs.run_directory import RunDirectory
from slicing_rllib.transfer import Bundle, PolicyLibrary


def add_run(
    library: PolicyLibrary, run: RunDirectory, cells: list[str] | None, name: str | None
) -> list[tuple[str, int]]:
    """Adds the policies of a finished run; the name and version of each bundle.

    `cells` limits which (None: all). Bundles are called `NAME-CELL`, by default with the run's
    name. Raises: RunError for a cell that the run does not have, or a run that is not finished.
    """
    config = run.config()
    for cell in cells or ():
        if cell not in config.scenario.cells:
            known = config.scenario.cells
            raise RunError(f"{run.path}: no {cell}, expected one of {known[0]} to {known[-1]}")
    bundles = make_bundles(run, config, cells)
    return [
        (f"{name or config.name}-{cell}", library.add(f"{name or config.name}-{cell}", bundle))
        for cell, bundle in bundles.items()
    ]


def make_bundles(
    run: RunDirectory, config: RunConfig, cells: list[str] | None = None
) -> dict[str, Bundle]:
    """A bundle per cell, with the mean reward of its policy on the run's evaluation traffic."""
    scenario = config.scenario
    weights, experience = run.policies(), read_experience(run)
    rewards = evaluate_curve_point(config, make_trained_policy(config, weights)).rewards.tolist()
    policies = make_cell_policies(config, weights, record_kpis(config, weights))
    return {
        cell: Bundle(
            weights=weights[cell],
            experience=experience[cell].learned_from,
            default_action_experience=experience[cell].default,
            slices=tuple(spec.name for spec in scenario.slices),
            sla_throughput_mbps=tuple(scenario.sla_throughput_mbps[row].tolist()),
            sla_delay_ms=tuple(scenario.sla_delay_ms[row].tolist()),
            message=config.env.message,
            returns={"evaluation_reward_mean": rewards[row]},
            provenance=policies[cell].provenance,
            policy=describe_policy(policies[cell]),
        )
        for row, cell in enumerate(scenario.cells)
        if cells is None or cell in cells
    }
