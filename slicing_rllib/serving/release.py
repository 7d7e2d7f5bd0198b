"""Which version of each policy answers: pins, canary and shadow. A library keeps it as a file."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from slicing_rllib.storage.errors import RunError

RELEASE_FILE = "release.json"
KEPT = 20
"""Earlier releases that the file keeps, for roll-backs."""


class ReleaseModel(BaseModel):
    """A part of a release. An unknown name is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Canary(ReleaseModel):
    """Another version for some of the policies."""

    version: int = Field(ge=1)
    """Version that they answer with."""
    share: float = Field(gt=0, le=1)
    """Share of the policies; the same ones every time."""


class Release(ReleaseModel):
    """Which version of each policy answers."""

    version: int | None = Field(default=None, ge=1)
    """Version of every policy; None: those of `versions`, or else the newest of each."""
    versions: Mapping[str, int] = {}
    """Version by policy, where `version` is None."""
    pins: Mapping[str, int] = {}
    """Version by policy, for policies that differ."""
    canary: Canary | None = None
    """A version that some policies answer with; pins go first."""
    shadow: int | None = Field(default=None, ge=1)
    """A version that answers beside the live one; differences are logged, nothing is applied."""

    def select(self, versions: Mapping[str, Sequence[int]]) -> dict[str, int]:
        """The version of each policy that answers.

        Args:
            versions: existing versions by name, oldest first.

        Raises: RunError for a version or a pinned policy that does not exist.
        """
        for name in self.pins:
            if name not in versions:
                raise RunError(f"pin {name}@{self.pins[name]}: no policy of that name")
        canaries = self._choose_canaries(list(versions))
        chosen = {
            name: self.pins.get(
                name,
                self.canary.version
                if self.canary and name in canaries
                else self.version or self.versions.get(name, existing[-1]),
            )
            for name, existing in versions.items()
        }
        _require_existing(chosen, versions)
        return chosen

    def freeze(self, versions: Mapping[str, Sequence[int]]) -> "Release":
        """The same release, whatever versions are added later."""
        if self.version is not None:
            return self
        newest = {name: existing[-1] for name, existing in versions.items()}
        return self.model_copy(update={"versions": newest | dict(self.versions)})

    def select_shadow(self, versions: Mapping[str, Sequence[int]]) -> dict[str, int]:
        """The version of each policy that only answers for comparison; empty without a shadow."""
        if self.shadow is None:
            return {}
        chosen = dict.fromkeys(versions, self.shadow)
        _require_existing(chosen, versions)
        return chosen

    def _choose_canaries(self, names: list[str]) -> set[str]:
        if self.canary is None:
            return set()
        ordered = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
        return set(ordered[: math.ceil(self.canary.share * len(ordered))])


class ReleaseHistory(ReleaseModel):
    """The release that a library's services follow, and earlier ones."""

    revision: int = Field(default=1, ge=1)
    """Number of this release: services say which one they serve."""
    release: Release = Release()
    """The release."""
    earlier: tuple[Release, ...] = ()
    """Earlier releases, newest first."""

    def append(self, release: Release) -> "ReleaseHistory":
        """The history with a further release."""
        earlier = (self.release, *self.earlier)[:KEPT]
        return ReleaseHistory(revision=self.revision + 1, release=release, earlier=earlier)

    def roll_back(self) -> "ReleaseHistory":
        """The history with the release before this one. Raises: RunError if there is none."""
        if not self.earlier:
            raise RunError("roll-back: there is no earlier release")
        return ReleaseHistory(
            revision=self.revision + 1, release=self.earlier[0], earlier=self.earlier[1:]
        )


def make_change(
    *,
    version: int | None,
    pins: Sequence[str],
    canary: int | None,
    share: float,
    shadow: int | None,
    back: bool,
) -> Callable[[ReleaseHistory], ReleaseHistory]:
    """From the present release to the one that somebody asked for.

    A canary or a shadow is added to the present release; anything else replaces it.

    Args:
        version: version of every policy; None means the newest of each.
        pins: versions of single policies, as `NAME@VERSION`.
        canary: version for a share of the policies.
        share: that share.
        shadow: version that only answers for comparison.
        back: whether to go back to the release before.

    Raises: RunError for a pin that cannot be read, or a share of zero.
    """
    parsed, part = parse_pins(pins), make_canary(canary, share)

    def change(history: ReleaseHistory) -> ReleaseHistory:
        if back:
            return history.roll_back()
        if (part or shadow) and not version and not parsed:
            live = history.release
            update = {"canary": part or live.canary, "shadow": shadow or live.shadow}
            return history.append(history.release.model_copy(update=update))
        return history.append(Release(version=version, pins=parsed, canary=part, shadow=shadow))

    return change


def make_canary(version: int | None, share: float) -> Canary | None:
    """A version for a share of the policies; None without a version. Raises: RunError."""
    if version is None:
        return None
    if not share:
        raise RunError("canary: expected a share above 0")
    return Canary(version=version, share=share)


def parse_history(path: str, data: bytes) -> ReleaseHistory:
    """The content of a release file. Raises: RunError."""
    try:
        return ReleaseHistory.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "release"
        raise RunError(f"{path}: {where}: {first['msg']}") from error


def parse_pins(texts: Sequence[str]) -> dict[str, int]:
    """Versions by policy, from `NAME@VERSION`. Raises: RunError."""
    pins: dict[str, int] = {}
    for text in texts:
        name, _, version = text.rpartition("@")
        if not name or not version.isascii() or not version.isdigit() or int(version) < 1:
            raise RunError(f"pin {text!r}: expected NAME@VERSION, such as city-cell_3@2")
        pins[name] = int(version)
    return pins


def _require_existing(chosen: Mapping[str, int], versions: Mapping[str, Sequence[int]]) -> None:
    for name, version in chosen.items():
        if version not in versions[name]:
            known = ", ".join(map(str, versions[name]))
            raise RunError(f"{name} has no version {version}, there is {known}")
