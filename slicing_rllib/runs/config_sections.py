"""Sections of a run's config. The docstring under a field is its description in the schema."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from slicing_rllib.env import Deployment, MeasurementError
from slicing_rllib.learning.td3_settings import Count, CountOrZero, TD3Settings

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""Up to 64 letters, digits, dots, dashes and underscores: it becomes part of file names."""
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""A seed of 32 bits: more than that, some of the libraries refuse."""


class Section(BaseModel):
    """Settings that cannot change once they are checked. An unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class EnvSection(Section):
    """The network as the agents see it."""

    message: Literal["none", "mean_load", "per_neighbour", "all_cells"] = "mean_load"
    """What an observation contains about other cells: nothing; the mean load of the neighbours per
    slice, eq. (5) of the paper; the load of each neighbour; or the load of every cell."""
    observation: Literal["paper", "widened", "per_slice"] = "paper"
    """What a cell sees: the paper's observation; that and, per slice, the logarithms of offered
    share, needed share and base split; or per-slice features without a message."""
    measurement_error: MeasurementError = Field(default_factory=MeasurementError)
    """Errors of what cells measure, for studies of robustness. Rewards stay exact."""
    episode_steps: Count = 500
    """Environment steps of an episode. Episodes end by truncation; the network itself goes on."""
    map_seed: Seed = 0
    """Seed of the radio map. It is apart from `seed`, so that seeds differ in traffic, movement and
    weights but share one map."""
    deployments: tuple[Deployment, ...] = ()
    """Cells that join the network while the other cells learn."""
    default_action_steps: CountOrZero = 200
    """Environment steps under the default action (equal shares) with which every cell begins in a
    run with deployments or transfer targets. Cells are compared by what they experience then."""


class LearningSection(TD3Settings):
    """TD3, what its actors start from, and how long it learns."""

    initial_actor: str = "random"
    """What the actor of every cell starts from: random weights (with a base policy: its split), the
    pretrained actor of the package (`builtin`), or the folder of one that `pretrain` has written.
    A pretrained actor needs `actor` equivariant and `base_policy` persistence, and brings the
    widths of its hidden layers."""
    training_steps: CountOrZero = 5500
    """Environment steps after exploration. The paper evaluates for 250 more, see `evaluation`."""


class EvaluationSection(Section):
    """Evaluation without exploration noise, on traffic that training does not see.

    All policies meet the same traffic and movement, seed by seed, on the radio map of training.
    """

    policies: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Policies that the final evaluation compares. Default: all baselines, `drl`, and `tl` where
    the run has a transfer."""
    steps: Count = 250
    """Environment steps per evaluation seed."""
    seeds: Count = 5
    """Number of evaluation seeds."""
    every_steps: Count = 500
    """Environment steps between two points of the learning curve."""
    evaluation_steps: tuple[CountOrZero, ...] = ()
    """Environment steps at which the learning curve gets further points."""
    curve_seeds: Count = 1
    """Evaluation seeds that a point of the learning curve averages over."""
    seed: Seed | None = None
    """Seed that the evaluation traffic is drawn from. Default: the run's `seed`."""


class CheckpointSection(Section):
    """When checkpoints are written and how many are kept."""

    every_steps: Count = 1000
    """Environment steps between two checkpoints. One more is written at the end."""
    keep: Count = 2
    """Number of newest checkpoints that are kept."""


class PolicyName(StrEnum):
    """The two kinds of trained policies. All other policies are baselines."""

    DRL = "drl"
    """Trained from scratch."""
    TL = "tl"
    """Warm-started from another cell (transfer learning)."""


TRAINED_POLICIES = tuple(PolicyName)
PACKAGE_POLICIES = ("base_policy", "pretrained")
"""Policies that need no training: the base policy of the run's actors, and the pretrained actor."""
