"""A cell of a trained network learns from another: a run of its own."""

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from slicing_rllib.learning import TD3
from slicing_rllib.service.config import RunConfig, json_schema
from slicing_rllib.service.config_errors import describe_first_problem
from slicing_rllib.service.errors import ConfigError
from slicing_rllib.service.runs.experience import read_experience
from slicing_rllib.service.runs.run_directory import RunDirectory

_SPAWN_TARGET = 1_000_006


def transfer_config(
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
    """The run's network on traffic that it never saw; all cells but the target keep their policy.

    Raises: ConfigError for a cell, method or measure that is not there.
    """
    config = run.config()
    for cell in (target, *([source] if source and library is None else [])):
        if cell not in config.scenario.cells:
            cells = config.scenario.cells
            raise ConfigError(f"{run.path}: expected one of {cells[0]} to {cells[-1]}, got {cell}")
    plain: dict[str, Any] = config.model_dump()
    window = max(config.env.default_action_steps, 1)
    own = {"targets": (target,), "source": source, "method": method, "library": library}
    own |= {} if measure is None else {"measure": measure}
    plain |= {
        "name": f"{config.name[:48]}-to-{target}",
        "seed": _unseen_seed(config.seed) if seed is None else seed,
        "pretrained_run": str(run.path.resolve()),
        "transfer": plain["transfer"] | own,
        "env": plain["env"] | {"deployments": (), "default_action_steps": window},
        "learning": plain["learning"] | _lasting(config, window + steps),
        "evaluation": plain["evaluation"] | {"policies": None},
    }
    try:
        return RunConfig.model_validate(plain)
    except ValidationError as error:
        raise ConfigError(
            describe_first_problem(error, "transfer", "", schema=json_schema())
        ) from error


def take_over(config: RunConfig, algorithm: TD3) -> None:
    """Cells that are no targets act with what another run taught them, and stay as they are.

    Raises: RunError where that run has left nothing; ValueError for policies of another shape.
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


def _lasting(config: RunConfig, steps: int) -> dict[str, int]:
    """So many steps in all; a cell that learns from scratch explores as it would have."""
    exploration = min(config.learning.exploration_steps, steps)
    return {"exploration_steps": exploration, "training_steps": steps - exploration}


def _unseen_seed(seed: int) -> int:
    sequence = np.random.SeedSequence(seed, spawn_key=(_SPAWN_TARGET,))
    return int(sequence.generate_state(1)[0] % 2**31)
