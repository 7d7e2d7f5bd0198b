"""A run in which one cell of a trained network learns from another cell."""

from pathlib import Path
from typing import Any

from slicing_rllib.learning import TD3
from slicing_rllib.service.config import Document, RunConfig, check_config, validate_document
from slicing_rllib.service.errors import ConfigError
from slicing_rllib.service.runs.experience import read_experience
from slicing_rllib.service.runs.random_streams import Stream, derive_run_seed
from slicing_rllib.service.runs.run_directory import RunDirectory


def make_transfer_config(
    run: RunDirectory,
    target: str,
    *,
    source: str | None,
    method: str,
    measure: str | None,
    library: str | None,
    steps: int,
    seed: int | None,
) -> RunConfig:
    """The config of a run on the same network with unseen traffic, where only `target` learns.

    `source` is a cell, or a bundle of `library` (None: chosen by `measure`); `method` and `measure`
    are those of `TransferSettings` (None: the run's measure); `steps` are network steps under the
    target's own policy; `seed` is that of the new run (None: derived from the run's).
    Raises: ConfigError for a cell, method or measure that does not exist.
    """
    config = run.config()
    _check_cells(run, config, [target] if source is None or library else [target, source])
    plain: dict[str, Any] = config.model_dump()
    default_steps = max(config.env.default_action_steps, 1)
    transfer = {"targets": (target,), "source": source, "method": method, "library": library}
    transfer |= {} if measure is None else {"measure": measure}
    plain |= {
        "name": f"{config.name[:48]}-to-{target}",
        "seed": derive_run_seed(config.seed, Stream.TRANSFER_RUN) if seed is None else seed,
        "pretrained_run": str(run.path.resolve()),
        "transfer": plain["transfer"] | transfer,
        "env": plain["env"] | {"deployments": (), "default_action_steps": default_steps},
        "learning": plain["learning"] | _split_steps(config, default_steps + steps),
        "evaluation": plain["evaluation"] | {"policies": None},
    }
    document = Document(plain, "", "transfer")
    transfer_config = validate_document(RunConfig, document)
    check_config(transfer_config, document)
    return transfer_config


def load_pretrained_policies(config: RunConfig, algorithm: TD3) -> None:
    """Gives all cells but the targets the policies of `pretrained_run` and pauses their updates.

    Does nothing without a `pretrained_run`. Raises: RunError where that run has left no policies;
    ValueError for policies of another shape.
    """
    if config.pretrained_run is None:
        return
    trained = RunDirectory.open(Path(config.pretrained_run))
    weights, experience = trained.policies(), read_experience(trained)
    for cell in algorithm.cells:
        if cell not in config.transfer.targets and cell in weights:
            algorithm.set_policy_weights(cell, weights[cell])
            algorithm.replay.seed(cell, experience[cell].learned_from)
            algorithm.default_action_replay.seed(cell, experience[cell].default)
            algorithm.explore(cell, 0)
            algorithm.pause_updates(cell)


def _check_cells(run: RunDirectory, config: RunConfig, cells: list[str]) -> None:
    known = config.scenario.cells
    for cell in cells:
        if cell not in known:
            raise ConfigError(f"{run.path}: expected one of {known[0]} to {known[-1]}, got {cell}")


def _split_steps(config: RunConfig, total: int) -> dict[str, int]:
    """`total` steps, of which a cell that learns from scratch explores as many as in the run."""
    exploration = min(config.learning.exploration_steps, total)
    return {"exploration_steps": exploration, "training_steps": total - exploration}
