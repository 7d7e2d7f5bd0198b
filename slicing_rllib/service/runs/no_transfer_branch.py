"""The same run without its transfers: forked before the first decision, to compare with."""

from typing import Any

from slicing_rllib.service.config import RunConfig
from slicing_rllib.service.runs.checkpoints import newest_valid, save_checkpoint
from slicing_rllib.service.runs.run_directory import RunDirectory

FOLDER = "scratch"


def forks(config: RunConfig) -> bool:
    """Whether a run is compared with itself without its transfers."""
    return config.transfers and not config.transfer.targets and "drl" in config.evaluated_policies


def fork_step(config: RunConfig) -> int:
    """First env step whose iteration may end with a decision."""
    joining = [d.default_action_until for d in config.env.deployments if d.off_until > 0]
    per_iteration = config.learning.steps_per_iteration
    workers = max(config.num_env_runners, 1)
    return max(min(joining) * workers - 2 * per_iteration, 0)


def scratch_run(run: RunDirectory) -> RunDirectory:
    return RunDirectory(run.path / FOLDER)


def scratch_config(config: RunConfig) -> RunConfig:
    """Every cell that comes up learns from nobody."""
    changes: dict[str, Any] = {"name": f"{config.name[:56]}-{FOLDER}", "tracking": ()}
    plain = config.model_dump() | changes
    plain["transfer"]["method"] = "none"
    plain["evaluation"]["policies"] = ("drl",)
    return RunConfig.model_validate(plain)


def fork(run: RunDirectory, config: RunConfig, algorithm: Any) -> None:
    """Writes down where both ways part; once."""
    branch = scratch_run(run)
    if not (branch.path / "config.yaml").exists():
        RunDirectory.create(branch.path, scratch_config(config))
    if newest_valid(branch.checkpoints)[0] is None:
        folder = branch.checkpoints.resolve()
        save_checkpoint(folder, algorithm.env_steps, algorithm.save_to_path, keep=1)
