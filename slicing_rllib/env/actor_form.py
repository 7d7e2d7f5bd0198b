"""How an actor reads an observation: the contract between observations and actors.

Training (torch) and evaluation (NumPy) compute the same actor from the same form.
"""

from dataclasses import dataclass
from typing import Literal

BUILT_IN = ("mlp", "equivariant", "max_min")
"""Actors whose passes are written out; the others are torch modules."""
Squash = Literal["softmax", "tanh"]
"""How logits become an action: shares with a sum of 1, or numbers from -1 to 1."""

POOLED_FEATURES = 3
"""An equivariant actor sees each per-slice feature itself, its mean and its maximum over slices."""


@dataclass(frozen=True)
class Heard:
    """Where an observation has the neighbours' reports that a learned message is made of."""

    message: str
    """Name of the learned message."""
    start: int
    """First column of the reports."""
    n_neighbours: int
    """Neighbours that the columns have room for, each with a number per slice."""


@dataclass(frozen=True)
class ActorForm:
    """What is built around an actor's MLP.

    With a *base policy*, the last columns of an observation are the logarithms of the split that a
    model proposes, and the MLP's output is a correction that is added to them. An *equivariant*
    actor applies one MLP to every slice: relabelling slices relabels its answer, and its weights
    serve any number of slices.
    """

    n_actions: int
    """Components of an action: slices."""
    kind: str = "mlp"
    """Name of the `actor` in the registry. `equivariant` needs observations that are blocks of
    `n_actions` per-slice features. `max_min` has no network: the split follows from critics per
    slice."""
    base_policy: str = "none"
    """Unless it is `none`, the observation's last `n_actions` columns are added to the logits."""
    squash: Squash = "softmax"
    """`tanh` is for bounded actions; whoever applies them scales -1 to 1 to the action's bounds."""
    heard: Heard | None = None
    """With a learned message, where its reports are: the networks read the message instead."""

    def __post_init__(self) -> None:
        """Raises: ValueError where an actor that divides a whole is to give bounded actions."""
        if self.kind == "max_min" and (self.squash, self.base_policy) != ("softmax", "none"):
            raise ValueError("actor max_min: expected shares that sum to 1, and base_policy none")
        is_correction = self.kind == "equivariant" or self.base_policy != "none"
        if self.squash == "tanh" and is_correction:
            raise ValueError(
                "actor equivariant and a base_policy: expected actions on a simplex, got bounded "
                "actions; actor mlp and base_policy none work with both"
            )

    @property
    def is_own(self) -> bool:
        """Whether the actor is an own torch module."""
        return self.kind not in BUILT_IN

    def compute_widths(self, obs_size: int, hiddens: tuple[int, ...]) -> tuple[int, ...]:
        """Widths of the MLP's layers, input and output included.

        Raises: ValueError for an observation that an equivariant actor cannot read.
        """
        if self.kind == "mlp":
            return (obs_size, *hiddens, self.n_actions)
        if self.kind == "max_min":
            return ()
        n_features, rest = divmod(obs_size, self.n_actions)
        if rest:
            raise ValueError(
                f"equivariant actor: expected blocks of {self.n_actions} per-slice features, got "
                f"{obs_size} numbers; env.observation=per_slice has them"
            )
        return (POOLED_FEATURES * n_features, *hiddens, 1)
