"""Settings of a transfer: from whom a cell learns, what it takes over, and how it is guarded."""

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from slicing_rllib.radio.settings import SETTINGS, Count, Positive, Share, Steps
from slicing_rllib.registry import PartOf

WITHOUT_DISTANCE = ("zero_shot", "random", "worst")
"""Values of `transfer.measure` that define no distance: a trial of each source in the target, and
two controls."""
Weight = Annotated[float, Field(ge=0, le=1e12)]
"""A factor or a standard deviation, perhaps zero."""
Level = Annotated[float, Field(gt=0, lt=1)]
"""A probability of error."""
BUILTIN_LIBRARY = "builtin"
"""Value of `transfer.library` for the pretrained actor that comes with the package."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class VaeSettings:
    """The variational autoencoder that measures compare cells with.

    The paper gives `hiddens` and `latent`; it does not state the others.
    """

    hiddens: tuple[Annotated[int, Field(ge=1, le=65_536)], ...] = (64, 24)
    """Widths of the encoder's hidden layers; the decoder has the same in reverse order."""
    latent: int = Field(default=4, ge=1, le=65_536)
    """Dimension of the latent space."""
    kl_weight: Weight = 0.1
    """alpha of eq. (6). A small weight gives the narrow posteriors of the paper, with which eq. (7)
    depends on a few samples; a large one makes the latent space forget its input."""
    members: Count = 3
    """Models of the ensemble. They differ in their seed alone, so the agreement of their decisions
    measures how reliable a decision is."""
    updates: Count = 600
    """Gradient steps of the training."""
    batch: Count = 128
    """Samples per gradient step and model."""
    lr: Positive = 3e-3
    """Adam's initial learning rate. It decays to 0 along a cosine."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class GuardSettings:
    """The test that ends a harmful transfer."""

    window_steps: Steps = 400
    """Network steps after the warm start in which the cell's policy is compared with its fallback:
    the default action or, with a base policy, the cell's initial policy. 0 disables the test."""
    margin: Weight = 0.0
    """Tolerated loss of reward per step against the fallback."""
    alpha: Level = 0.01
    """Probability of a false alarm over the whole window, whatever its length."""
    cool_down_steps: Steps = 50
    """Network steps under the fallback before the next source is tried."""
    every_cell: bool = False
    """Whether cells without a transfer are tested as well, in one window after another, against the
    policy that they started from. On evidence of harm they get it back. Needs a base policy."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class DriftSettings:
    """The test that finds a change in the environment of a cell with a settled policy."""

    window_steps: Steps = 0
    """Environment steps in each of the two windows that are compared, the newest and the one
    before it. It should cover whole periods of the traffic. Below 150, two windows have too few
    blocks for a p-value under 0.01. 0 disables the test."""
    alpha: Level = 0.01
    """Significance level of the permutation test on [s, r]. Two significant tests in a row are a
    detection."""
    default_action_steps: Count = 200
    """Network steps under the default action after a detection, in which samples for the choice
    of a source are collected."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class TransferSettings:
    """From whom a cell learns, what it takes over, and how it continues."""

    method: Annotated[str, PartOf("method")] = "integrated"
    """What the target takes over: `none`, `model`, `feature`, `instance`, `integrated`,
    `generalist` or `multi_source`. `methods.py` defines them."""
    measure: Annotated[str, PartOf("measure", also=WITHOUT_DISTANCE)] = "sla_first"
    """How a source is chosen: by a distance of `distances.py`; by trying each source in the target
    (`zero_shot`); or by a control (`random`, `worst`). The default chose best of all measures on
    every (source, target) pair of the scenario `mixed` over five seeds."""
    targets: tuple[str, ...] = ()
    """Cells that are warm-started although they were on the air from the first step. Each needs
    a deployment with a period under the default action."""
    source: str | None = None
    """Prescribes the source, whatever the distances are. `cell_3` names a cell of the run,
    `library:NAME` a bundle, `next:3` the third cell after the target in the cyclic order of cells.
    None: the measure decides."""
    library: str | None = None
    """Folder or URI of a policy library whose bundles are candidates too, or `builtin`: the
    pretrained actor of the package, taken where no trained cell can be compared. None: neither."""
    samples: Count = 500
    """N_k of the paper: newest samples under the default action that represent a cell in a
    comparison."""
    max_distance_ratio: Weight | None = None
    """No source is chosen if the nearest one's distance exceeds this multiple of the median
    distance among sources. None: the nearest source is always chosen."""
    transferred_transitions: Steps = 2000
    """Newest transitions of the source that the target learns from."""
    relabel: bool = True
    """True: rewards of transferred transitions are recomputed for the target's SLA, eq. (2)."""
    source_share: Share | None = None
    """Fraction of each batch that is drawn from transferred transitions. None: they are put into
    the target's own replay buffer, as in the paper."""
    source_share_half_life_updates: Count | None = None
    """Updates after which `source_share` has halved. None: it stays constant."""
    n_sources: Count = 3
    """Sources that the method `multi_source` takes transitions from."""
    frozen_layers: Count = 1
    """Lower layers that the method `feature` copies and freezes."""
    reset_optimiser: bool = True
    """True: Adam's moments start from zero. False: they are copied with the weights where the
    source is a cell of the run."""
    actor_delay_updates: Steps = 0
    """Updates of the critics alone before the actor's first update."""
    exploration_steps: Steps = 0
    """Random steps after the warm start, before the target acts by the policy that it took over.
    Updates start after them. The methods `feature` and `instance`, which take over no whole policy,
    explore as long as a cell that learns from scratch."""
    exploration_noise: Weight | None = None
    """Standard deviation of the noise on the actor's logits after the warm start,
    dimensionless. None: it is not changed."""
    generalist_updates: Count = 2000
    """Offline updates of the method `generalist`."""
    vae: VaeSettings = VaeSettings()
    """The autoencoder of the measures that compare cells in a latent space."""
    guard: GuardSettings = GuardSettings()
    """When a transfer counts as harmful, and what follows."""
    drift: DriftSettings = DriftSettings()
    """When the environment of a cell counts as changed, and what follows."""
