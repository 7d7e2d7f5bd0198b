"""The config of a sweep: which settings vary, and how Ray Tune searches them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from slicing_rllib.runs.config_loading import RunFamily, load_family
from slicing_rllib.runs.config_sections import Name, Section
from slicing_rllib.runs.run_config import RunConfig
from slicing_rllib.storage.errors import ConfigError

SWEEPS = Path(__file__).parents[2] / "tune_configs" / "sweeps"
"""Sweeps that come with a checkout, callable by name."""


class Uniform(Section):
    """A number drawn uniformly from an interval, or log-uniformly."""

    dist: Literal["uniform"]
    """Selects this distribution."""
    low: float
    """Lower end, included."""
    high: float
    """Upper end."""
    log: bool = False
    """Whether the logarithm is uniform; both ends must be positive then."""

    @model_validator(mode="after")
    def _check_ends(self) -> "Uniform":
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(
                f"expected low < high (both positive for log), got {self.low} and {self.high}"
            )
        return self


class Choice(Section):
    """One value of a list, drawn at random."""

    dist: Literal["choice"]
    """Selects this distribution."""
    values: tuple[Any, ...] = Field(min_length=1)
    """Values to draw from."""


class Grid(Section):
    """Every value of a list; several grids are tried in all combinations."""

    dist: Literal["grid"]
    """Selects this distribution."""
    values: tuple[Any, ...] = Field(min_length=1)
    """Values to try."""


Dimension = Annotated[Uniform | Choice | Grid, Field(discriminator="dist")]


class Stop(Section):
    """When a trial ends."""

    env_steps: int | None = Field(default=None, ge=1)
    """Network steps of a trial. Default: all steps of its run."""


class Failure(Section):
    """What happens to trials whose process fails."""

    max_failures: int = Field(default=3, ge=0)
    """How often a trial is restarted from its last checkpoint."""


class SweepConfig(RunFamily):
    """Runs that differ in a few settings, and how they are chosen and compared."""

    KIND: ClassVar[str] = "sweep"
    FOLDER: ClassVar[Path] = SWEEPS

    name: Name = "sweep"
    """Name of the default output folder."""
    base: str = "quick"
    """The config that trials start from: a built-in name or a YAML file."""
    search_space: dict[str, Dimension] = Field(min_length=1)
    """By `key.path` of a setting, the values that it may take."""
    num_samples: int = Field(default=1, ge=1)
    """Draws from the search space. With grids: how often the whole grid is tried."""
    scheduler: Literal["none", "asha", "pbt"] = "none"
    """`asha` stops bad trials early (asynchronous successive halving); `pbt` lets bad trials copy
    good ones and varies their settings (population-based training)."""
    searcher: Literal["random", "optuna"] = "random"
    """How settings are drawn. `optuna`: Bayesian search; needs the extra `search`."""
    metric: Literal["evaluation_reward_mean", "target_reward_mean", "reward_mean"] = (
        "evaluation_reward_mean"
    )
    """What trials are compared by: mean reward of all cells, or of the cells that are brought up by
    transfer, on unseen traffic without exploration noise; or of all cells while they learn."""
    mode: Literal["max", "min"] = "max"
    """Whether a larger or a smaller metric is better."""
    stop: Stop = Stop()
    """When a trial ends."""
    report_every_steps: int = Field(default=500, ge=1)
    """Network steps between two reports of a trial. It is evaluated, checkpointed and possibly
    stopped at each of them."""
    failure: Failure = Failure()
    """What happens to trials whose process fails."""
    cpus_per_trial: int = Field(default=1, ge=1)
    """Cores of a trial's driver. Its env runners and learners take one more each."""
    max_concurrent: int | None = Field(default=None, ge=1)
    """Trials at a time. Default: as many as there are cores for."""
    seed: int = Field(default=0, ge=0)
    """Seed of the search. Runs have the seed of their own config."""

    def make_trial_config(self, chosen: Mapping[str, Any]) -> RunConfig:
        """The run config of a trial. Raises: ConfigError naming the setting that cannot be used."""
        return self.make_run_config([f"{key}={json.dumps(value)}" for key, value in chosen.items()])


def load_sweep(source: str) -> SweepConfig:
    """The sweep of a YAML file, or of a name in tune_configs/sweeps/.

    Raises: ConfigError for a file, key or value that cannot be used.
    """
    sweep, where = load_family(SweepConfig, source)
    if sweep.metric == "target_reward_mean" and not find_targets(sweep.make_trial_config({})):
        raise ConfigError(
            f"{where}: metric target_reward_mean: expected cells that come up or transfer.targets"
        )
    for settings in _list_extreme_settings(sweep):
        try:
            sweep.make_trial_config(settings)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error
    return sweep


def find_targets(config: RunConfig) -> list[str]:
    """Cells that are brought up by transfer: those that join the network, and transfer targets."""
    joining = [deployment.cell for deployment in config.env.deployments if deployment.off_until]
    return sorted({*joining, *config.transfer.targets})


def _list_extreme_settings(sweep: SweepConfig) -> list[dict[str, Any]]:
    """Each end of an interval and each listed value, by itself.

    If these can be used, so can the values between them.
    """
    ends = {
        key: (dimension.low, dimension.high) if isinstance(dimension, Uniform) else dimension.values
        for key, dimension in sweep.search_space.items()
    }
    return [{key: value} for key, values in ends.items() for value in values]
