"""What can be chosen about a transfer."""

from dataclasses import dataclass, field

from slicing_rllib.transfer.similarity import MEASURES

METHODS = (
    "none",
    "model",
    "feature",
    "instance",
    "integrated",
    "generalist",
    "multi_source",
)
CHOICES = (*MEASURES, "zero_shot", "random", "worst")
"""Measures of distance, a trial of each source in the target, and two controls."""


@dataclass(frozen=True, kw_only=True)
class VaeSettings:
    """Widths are the paper's; the rest it leaves open.

    Raises: ValueError for a number that makes no sense.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    hiddens: tuple[int, ...] = (64, 24)
    latent: int = 4
    kl_weight: float = 1e-3
    """alpha of eq. (6). Small, so that posteriors become narrow, as the paper saw them."""
    members: int = 3
    """Models that differ in their seed alone: how far they agree is how far they can be trusted."""
    updates: int = 600
    batch: int = 128
    lr: float = 3e-3

    def __post_init__(self) -> None:
        for name in ("latent", "members", "updates", "batch", "lr"):
            if getattr(self, name) <= 0:
                raise ValueError(f"vae.{name}: expected more than 0, got {getattr(self, name)}")
        if self.kl_weight < 0:
            raise ValueError(f"vae.kl_weight: expected at least 0, got {self.kl_weight}")


@dataclass(frozen=True, kw_only=True)
class GuardSettings:
    """When a policy that came from elsewhere is taken to do harm.

    Raises: ValueError for a number that makes no sense.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    window_steps: int = 400
    """Steps under its own policy for which a cell is watched; 0: not at all."""
    margin: float = 0.0
    """Mean reward below the default action's that is put up with."""
    alpha: float = 0.01
    """Chance of a false alarm over the whole window, whatever its length."""
    cool_down_steps: int = 50
    """Under the default action before the next source is tried."""

    def __post_init__(self) -> None:
        if self.window_steps < 0 or self.cool_down_steps < 0 or self.margin < 0:
            raise ValueError("guard: expected window_steps, cool_down_steps, margin of at least 0")
        if not 0 < self.alpha < 1:
            raise ValueError(f"guard.alpha: expected more than 0, less than 1, got {self.alpha}")


@dataclass(frozen=True, kw_only=True)
class DriftSettings:
    """When a cell that has its policy is taken to have changed.

    Raises: ValueError for a number that makes no sense.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    window_steps: int = 0
    """Newest steps compared with as many before them; whole periods of traffic. 0: never."""
    alpha: float = 0.01
    """Significance of the permutation test on [s, r], twice in a row."""
    default_action_steps: int = 200
    """Under the default action, once a change is found, to choose a source by."""

    def __post_init__(self) -> None:
        if self.window_steps < 0 or self.default_action_steps < 1:
            raise ValueError("drift: expected window_steps >= 0 and default_action_steps >= 1")
        if not 0 < self.alpha < 1:
            raise ValueError(f"drift.alpha: expected more than 0, less than 1, got {self.alpha}")


@dataclass(frozen=True, kw_only=True)
class TransferSettings:
    """From whom, what, and how.

    Raises: ValueError for a name or number that makes no sense.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    method: str = "integrated"
    measure: str = "sla_first"
    """By measurement: of all measures it chose best, on every pair of `mixed` over five seeds."""
    targets: tuple[str, ...] = ()
    """Cells to be brought up although they were on the air from the start."""
    source: str | None = None
    """A source by name, whatever the distances say; `next:3`: the third cell after
    the target."""
    library: str | None = None
    """A policy library whose bundles are candidates as well."""
    samples: int = 500
    """N_k: newest samples under the default action that a cell is compared by."""
    max_distance_ratio: float | None = None
    """Nearest source's distance, over the median distance among sources, beyond which none is
    good enough. Nothing: the nearest is always taken."""
    transferred_transitions: int = 2000
    """Newest transitions of the source that the target learns from."""
    relabel: bool = True
    """Rewards of foreign experience are made again for the target's own SLA."""
    source_share: float | None = None
    """Share of each batch that is foreign. Nothing: both kinds in one buffer, as in the paper."""
    source_share_half_life_updates: int | None = None
    """Updates in which that share halves. Nothing: it stays."""
    n_sources: int = 3
    """How many `multi_source` takes."""
    frozen_layers: int = 1
    """Lower layers that `feature` takes and freezes; the others start afresh."""
    reset_optimiser: bool = True
    actor_delay_updates: int = 0
    """Updates of the critics before the actor's first."""
    exploration_noise: float | None = None
    """Of the logits after the transfer. Nothing: that of learning."""
    generalist_updates: int = 2000
    vae: VaeSettings = field(default_factory=VaeSettings)
    guard: GuardSettings = field(default_factory=GuardSettings)
    drift: DriftSettings = field(default_factory=DriftSettings)

    def __post_init__(self) -> None:
        _one_of("method", self.method, METHODS)
        _one_of("measure", self.measure, CHOICES)
        for name in ("samples", "n_sources", "frozen_layers", "generalist_updates"):
            if getattr(self, name) < 1:
                raise ValueError(f"transfer.{name}: expected at least 1, got {getattr(self, name)}")
        for name in ("transferred_transitions", "actor_delay_updates"):
            if getattr(self, name) < 0:
                raise ValueError(f"transfer.{name}: expected at least 0, got {getattr(self, name)}")
        if self.source_share is not None and not 0 <= self.source_share <= 1:
            raise ValueError(
                f"transfer.source_share: expected from 0 to 1, got {self.source_share}"
            )
        if (
            self.source_share_half_life_updates is not None
            and self.source_share_half_life_updates < 1
        ):
            raise ValueError("transfer.source_share_half_life_updates: expected at least 1")


def _one_of(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"transfer.{key}: expected one of {', '.join(known)}, got {value!r}")
