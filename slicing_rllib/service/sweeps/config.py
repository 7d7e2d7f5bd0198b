"""What a sweep is told: a YAML file, checked like everything else."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from slicing_rllib.service.config import RunConfig, document_of, load_config
from slicing_rllib.service.config_errors import describe_first_problem
from slicing_rllib.service.errors import ConfigError

SWEEPS = Path(__file__).parents[3] / "tune_configs" / "sweeps"
"""Sweeps that come with a checkout, callable by name."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Uniform(_Section):
    """Any number of an interval; `log`: orders of magnitude alike."""

    dist: Literal["uniform"]
    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> "Uniform":
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(
                f"expected low < high (both positive for log), got {self.low} and {self.high}"
            )
        return self


class Choice(_Section):
    """One of a list, by chance."""

    dist: Literal["choice"]
    values: tuple[Any, ...] = Field(min_length=1)


class Grid(_Section):
    """Each of a list in turn, all combinations."""

    dist: Literal["grid"]
    values: tuple[Any, ...] = Field(min_length=1)


Dimension = Annotated[Uniform | Choice | Grid, Field(discriminator="dist")]


class Stop(_Section):
    env_steps: int | None = Field(default=None, ge=1)
    """Default: the run's own total."""


class Failure(_Section):
    max_failures: int = Field(default=3, ge=0)
    """Per trial; each resumes from its last checkpoint."""


class SweepConfig(_Section):
    """Runs that differ in a few settings, and what decides among them."""

    name: str = Field(default="sweep", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    base: str = "quick"
    """The config that trials start from: a built-in name or a YAML file."""
    set: tuple[str, ...] = ()
    """KEY=VALUE settings for all trials."""
    search_space: dict[str, Dimension] = Field(min_length=1)
    num_samples: int = Field(default=1, ge=1)
    """Draws; with grids, of the whole grid."""
    scheduler: Literal["none", "asha", "pbt"] = "none"
    searcher: Literal["random", "optuna"] = "random"
    metric: Literal["evaluation_reward_mean", "target_reward_mean", "reward_mean"] = (
        "evaluation_reward_mean"
    )
    """Of all cells on unseen traffic; of cells that take policies over; while learning."""
    mode: Literal["max", "min"] = "max"
    stop: Stop = Stop()
    report_every_steps: int = Field(default=500, ge=1)
    """How often a trial evaluates itself, reports, and may be stopped or checkpointed."""
    failure: Failure = Failure()
    cpus_per_trial: int = Field(default=1, ge=1)
    max_concurrent: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)

    def trial_config(self, chosen: Mapping[str, Any]) -> RunConfig:
        """The run config of a trial. Raises: ConfigError naming the setting that cannot be."""
        own = [f"{key}={json.dumps(value)}" for key, value in chosen.items()]
        return load_config(self.base, [*self.set, *own])


def load_sweep(source: str) -> SweepConfig:
    """The sweep of that file, or of that name in tune_configs/sweeps/.

    Raises: ConfigError for a file, key or value that cannot be used.
    """
    known = SWEEPS / f"{source}.yaml"
    document, text, where = document_of(str(known) if known.is_file() else source)
    try:
        sweep = SweepConfig.model_validate(document)
    except ValidationError as error:
        raise ConfigError(
            describe_first_problem(error, where, text, schema=SweepConfig.model_json_schema())
        ) from error
    base = Path(where).parent / sweep.base
    if base.is_file():
        sweep = sweep.model_copy(update={"base": str(base.resolve())})
    if sweep.metric == "target_reward_mean" and not targets_of(sweep.trial_config({})):
        raise ConfigError(
            f"{where}: metric target_reward_mean: expected cells that come up or transfer.targets"
        )
    for corner in _corners(sweep):
        try:
            sweep.trial_config(corner)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error
    return sweep


def targets_of(config: RunConfig) -> list[str]:
    """Cells that come up while others learn, or that take policies over."""
    coming = [deployment.cell for deployment in config.env.deployments if deployment.off_until]
    return sorted({*coming, *config.transfer.targets})


def _corners(sweep: SweepConfig) -> list[dict[str, Any]]:
    """Settings at the ends of every dimension: if these can be run, so can what lies between."""
    ends = {
        key: (dimension.low, dimension.high) if isinstance(dimension, Uniform) else dimension.values
        for key, dimension in sweep.search_space.items()
    }
    return [{key: value} for key, values in ends.items() for value in values]
