"""Settings of a transfer: from whom a cell learns, what it takes over, and how it is guarded.

The setting `transfer.source`: a source by its name, or by its distance in the order of cells.
"""

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass, field

from slicing_rllib.transfer.distances import MEASURES

METHODS = (
    "none",
    "model",
    "feature",
    "instance",
    "integrated",
    "generalist",
    "multi_source",
)
"""Values of `transfer.method`."""
CHOICES = (*MEASURES, "zero_shot", "random", "worst")
"""Values of `transfer.measure`: distances, a trial of each source in the target, two controls."""


@dataclass(frozen=True, kw_only=True)
class VaeSettings:
    """The variational autoencoder that measures compare cells with.

    The paper gives `hiddens` and `latent`; it does not state the others.

    Raises: ValueError for a number outside its range.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    hiddens: tuple[int, ...] = (64, 24)
    """Widths of the encoder's hidden layers; the decoder has the same in reverse order."""
    latent: int = 4
    """Dimension of the latent space; at least 1."""
    kl_weight: float = 0.1
    """alpha of eq. (6), at least 0. A small weight gives the narrow posteriors of the paper, with
    which eq. (7) depends on a few samples; a large one makes the latent space forget its input."""
    members: int = 3
    """Models of the ensemble, at least 1. They differ in their seed alone, so the agreement of
    their decisions measures how reliable a decision is."""
    updates: int = 600
    """Gradient steps of the training; at least 1."""
    batch: int = 128
    """Samples per gradient step and model; at least 1."""
    lr: float = 3e-3
    """Adam's initial learning rate, more than 0. It decays to 0 along a cosine."""

    def __post_init__(self) -> None:
        if min(self.hiddens, default=1) < 1:
            raise ValueError(f"vae.hiddens: expected widths of at least 1, got {self.hiddens}")
        for name in ("latent", "members", "updates", "batch", "lr"):
            if getattr(self, name) <= 0:
                raise ValueError(f"vae.{name}: expected more than 0, got {getattr(self, name)}")
        if self.kl_weight < 0:
            raise ValueError(f"vae.kl_weight: expected at least 0, got {self.kl_weight}")


@dataclass(frozen=True, kw_only=True)
class GuardSettings:
    """The test that ends a harmful transfer.

    Raises: ValueError for a number outside its range.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    window_steps: int = 400
    """Network steps after the warm start in which the cell's policy is compared with the default
    action or, with a base policy, with the cell's initial policy; at least 0. 0 disables it."""
    margin: float = 0.0
    """Tolerated loss of reward per step against the default action; at least 0."""
    alpha: float = 0.01
    """Probability of a false alarm over the whole window, whatever its length; between 0 and 1."""
    cool_down_steps: int = 50
    """Network steps under the default action before the next source is tried; at least 0. With a
    base policy the cell's initial policy takes the place of the default action."""
    every_cell: bool = False
    """Whether cells without a transfer are tested as well, in one window after another, against the
    policy that they started from. On evidence of harm they get it back. Needs a base policy."""

    def __post_init__(self) -> None:
        if self.window_steps < 0 or self.cool_down_steps < 0 or self.margin < 0:
            raise ValueError("guard: expected window_steps, cool_down_steps, margin of at least 0")
        if not 0 < self.alpha < 1:
            raise ValueError(f"guard.alpha: expected more than 0, less than 1, got {self.alpha}")


@dataclass(frozen=True, kw_only=True)
class DriftSettings:
    """The test that finds a change in the environment of a cell with a settled policy.

    Raises: ValueError for a number outside its range.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    window_steps: int = 0
    """Environment steps in each of the two windows that are compared, the newest and the one
    before it; at least 0. It should cover whole periods of the traffic. Below 150, two windows
    have too few blocks for a p-value under 0.01. 0 disables the test."""
    alpha: float = 0.01
    """Significance level of the permutation test on [s, r], between 0 and 1. Two significant
    tests in a row are a detection."""
    default_action_steps: int = 200
    """Network steps under the default action after a detection, in which samples for the choice
    of a source are collected; at least 1."""

    def __post_init__(self) -> None:
        if self.window_steps < 0 or self.default_action_steps < 1:
            raise ValueError("drift: expected window_steps >= 0 and default_action_steps >= 1")
        if not 0 < self.alpha < 1:
            raise ValueError(f"drift.alpha: expected more than 0, less than 1, got {self.alpha}")


@dataclass(frozen=True, kw_only=True)
class TransferSettings:
    """From whom a cell learns, what it takes over, and how it continues.

    Raises: ValueError for an unknown name or a number outside its range.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    method: str = "integrated"
    """What the target takes over; one of `METHODS`. `strategies.py` defines them."""
    measure: str = "sla_first"
    """How a source is chosen; one of `CHOICES`. The default chose best of all measures on every
    (source, target) pair of the scenario `mixed` over five seeds."""
    targets: tuple[str, ...] = ()
    """Cells that are warm-started although they were on the air from the first step. Each needs
    a deployment with a period under the default action."""
    source: str | None = None
    """Prescribes the source, whatever the distances are. `cell_3` names a cell of the run,
    `library:NAME` a bundle, `next:3` the third cell after the target (`source_setting.py`).
    None: the measure decides."""
    library: str | None = None
    """Folder or URI of a policy library whose bundles are candidates too, or `builtin`: the
    pretrained actor of the package, taken where no trained cell can be compared. None: neither."""
    samples: int = 500
    """N_k of the paper: newest samples under the default action that represent a cell in a
    comparison; at least 1."""
    max_distance_ratio: float | None = None
    """No source is chosen if the nearest one's distance exceeds this multiple of the median
    distance among sources. None: the nearest source is always chosen."""
    transferred_transitions: int = 2000
    """Newest transitions of the source that the target learns from; at least 0."""
    relabel: bool = True
    """True: rewards of transferred transitions are recomputed for the target's SLA, eq. (2)."""
    source_share: float | None = None
    """Fraction of each batch that is drawn from transferred transitions, 0 to 1. None: they are
    put into the target's own replay buffer, as in the paper."""
    source_share_half_life_updates: int | None = None
    """Updates after which `source_share` has halved; at least 1. None: it stays constant."""
    n_sources: int = 3
    """Sources that the method `multi_source` takes transitions from; at least 1."""
    frozen_layers: int = 1
    """Lower layers that the method `feature` copies and freezes; at least 1."""
    reset_optimiser: bool = True
    """True: Adam's moments start from zero. False: they are copied with the weights where the
    source is a cell of the run."""
    actor_delay_updates: int = 0
    """Updates of the critics alone before the actor's first update; at least 0."""
    exploration_steps: int = 0
    """Random steps after the warm start, before the target acts by the policy that it took over; at
    least 0. Updates start after them. The methods `feature` and `instance`, which take over no
    whole policy, explore as long as a cell that learns from scratch."""
    exploration_noise: float | None = None
    """Standard deviation of the noise on the actor's logits after the warm start,
    dimensionless. None: it is not changed."""
    generalist_updates: int = 2000
    """Offline updates of the method `generalist`; at least 1."""
    vae: VaeSettings = field(default_factory=VaeSettings)
    guard: GuardSettings = field(default_factory=GuardSettings)
    drift: DriftSettings = field(default_factory=DriftSettings)

    def __post_init__(self) -> None:
        _require_known("method", self.method, METHODS)
        _require_known("measure", self.measure, CHOICES)
        self._require_at_least(1, "samples", "n_sources", "frozen_layers", "generalist_updates")
        self._require_at_least(
            0, "transferred_transitions", "exploration_steps", "actor_delay_updates"
        )
        share, half_life = self.source_share, self.source_share_half_life_updates
        if share is not None and not 0 <= share <= 1:
            raise ValueError(f"transfer.source_share: expected from 0 to 1, got {share}")
        if half_life is not None and half_life < 1:
            raise ValueError("transfer.source_share_half_life_updates: expected at least 1")

    def _require_at_least(self, least: int, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if value < least:
                raise ValueError(f"transfer.{name}: expected at least {least}, got {value}")


def _require_known(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"transfer.{key}: expected one of {', '.join(known)}, got {value!r}")


ROTATION = re.compile(r"next:(\d+)")


@dataclass(frozen=True)
class SourceName:
    """One source for every target: a cell of the run, or `library:NAME` for a bundle."""

    name: str

    def resolve(self, target: str, cells: Sequence[str], candidates: Container[str]) -> str:
        """The source's name."""
        return self.name


@dataclass(frozen=True)
class SourceRotation:
    """For each target the cell that follows it by `offset` places, written `next:OFFSET`.

    The order of cells is cyclic; an offset of 0 is the target itself.
    """

    offset: int

    def resolve(self, target: str, cells: Sequence[str], candidates: Container[str]) -> str:
        """The source's name: that cell of the run, or the bundle of the same name.

        Args:
            target: the cell that is to be warm-started, one of `cells`.
            cells: all cells of the run in their order.
            candidates: names of the sources that can be used. A cell that is not among them is
                looked for in the library.
        """
        cell = cells[(list(cells).index(target) + self.offset) % len(cells)]
        return cell if cell in candidates else label_bundle(cell)


def parse_source(text: str | None) -> SourceName | SourceRotation | None:
    """The meaning of a value of `transfer.source`; None where the measure is to decide."""
    if text is None:
        return None
    rotation = ROTATION.fullmatch(text)
    return SourceRotation(int(rotation[1])) if rotation else SourceName(text)


def label_bundle(name: str) -> str:
    """The name of a library's bundle among the candidates, apart from the run's own cells."""
    return f"library:{name}"
