"""The branch of a run without its transfers: it starts from a checkpoint before the first
decision, so that both share their beginning and `drl` can be compared with `tl`."""

from typing import Any

from slicing_rllib.service.config import PolicyName, RunConfig
from slicing_rllib.service.runs.checkpoints import find_newest_valid, save_checkpoint
from slicing_rllib.service.runs.run_directory import RunDirectory

FOLDER = "scratch"
"""The branch's run directory, inside that of the run."""


def find_branch_step(config: RunConfig) -> int:
    """The first network step from which an iteration may reach a transfer decision.

    Counted over all env runners. The branch's checkpoint is written before that iteration.
    """
    joining = [d.default_action_until for d in config.env.deployments if d.off_until > 0]
    per_iteration = config.learning.steps_per_iteration
    workers = max(config.num_env_runners, 1)
    return max(min(joining) * workers - 2 * per_iteration, 0)


def get_branch(run: RunDirectory) -> RunDirectory:
    """The run directory of the branch, whether it is there yet or not."""
    return RunDirectory(run.path / FOLDER)


def make_branch_config(config: RunConfig) -> RunConfig:
    """The run's config with no transfer: every cell that joins learns from scratch."""
    changes: dict[str, Any] = {"name": f"{config.name[:56]}-{FOLDER}", "tracking": ()}
    plain = config.model_dump() | changes
    plain["transfer"]["method"] = "none"
    plain["evaluation"]["policies"] = (PolicyName.DRL,)
    return RunConfig.model_validate(plain)


def save_branch_point(run: RunDirectory, config: RunConfig, algorithm: Any) -> None:
    """Saves the checkpoint from which the branch continues. Later calls do nothing."""
    branch = get_branch(run)
    if not (branch.path / "config.yaml").exists():
        RunDirectory.create(branch.path, make_branch_config(config))
    if find_newest_valid(branch.checkpoints)[0] is None:
        folder = branch.checkpoints.resolve()
        save_checkpoint(folder, algorithm.env_steps, algorithm.save_to_path, keep=1)
