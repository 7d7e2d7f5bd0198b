"""Which version of each policy answers (pins, canary, shadow), and the arguments of the service.

A library keeps its release as a file, which the services of the library follow.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from slicing_rllib.storage.errors import RunError

RELEASE_FILE = "release.json"
KEPT = 20
"""Earlier releases that the file keeps, to go back to."""


class ReleaseModel(BaseModel):
    """A part of a release. An unknown name is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Canary(ReleaseModel):
    """Another version for some of the policies."""

    version: int = Field(ge=1)
    """Version that they answer with."""
    share: float = Field(gt=0, le=1)
    """Share of the policies; the same ones every time."""


def parse_pins(pins: Any) -> Any:
    """Versions by policy, from a list of `NAME@VERSION`; all else as it is. Raises: RunError."""
    if not isinstance(pins, (list, tuple)):
        return pins
    parsed: dict[str, int] = {}
    for text in map(str, pins):
        name, _, version = text.rpartition("@")
        if not name or not version.isascii() or not version.isdigit() or int(version) < 1:
            raise RunError(f"pin {text!r}: expected NAME@VERSION, such as city-cell_3@2")
        parsed[name] = int(version)
    return parsed


class ReleaseChoice(ReleaseModel):
    """What a command, or the arguments of a service, can say about a release."""

    version: int | None = Field(default=None, ge=1)
    """Version of every policy. None: the library's release, or else the newest version of each."""
    pins: Annotated[Mapping[str, int], BeforeValidator(parse_pins)] = {}
    """Version by policy, for policies that differ; also a list of `NAME@VERSION`."""
    canary: Canary | None = None
    """A version that some policies answer with; pins go first."""
    shadow: int | None = Field(default=None, ge=1)
    """A version that answers beside the live one; differences are logged, nothing is applied."""


class Release(ReleaseChoice):
    """Which version of each policy answers."""

    versions: Mapping[str, int] = {}
    """Version by policy, where `version` is None."""

    def select(self, versions: Mapping[str, Sequence[int]]) -> dict[str, int]:
        """The version of each policy that answers.

        Args:
            versions: existing versions by name, oldest first.

        Raises: RunError for a version or a pinned policy that does not exist.
        """
        for name in self.pins:
            if name not in versions:
                raise RunError(f"pin {name}@{self.pins[name]}: no policy of that name")
        canaries: set[str] = set()
        if self.canary is not None:
            ordered = sorted(versions, key=lambda name: hashlib.sha256(name.encode()).digest())
            canaries = set(ordered[: math.ceil(self.canary.share * len(ordered))])
        chosen = {
            name: self.pins.get(
                name,
                self.canary.version
                if self.canary and name in canaries
                else self.version or self.versions.get(name, existing[-1]),
            )
            for name, existing in versions.items()
        }
        for name, version in chosen.items():
            if version not in versions[name]:
                known = ", ".join(map(str, versions[name]))
                raise RunError(f"{name} has no version {version}, there is {known}")
        return chosen

    def freeze(self, versions: Mapping[str, Sequence[int]]) -> "Release":
        """The same release, whatever versions are added later."""
        if self.version is not None:
            return self
        newest = {name: existing[-1] for name, existing in versions.items()}
        return self.model_copy(update={"versions": newest | dict(self.versions)})

    def select_shadow(self, versions: Mapping[str, Sequence[int]]) -> dict[str, int]:
        """The version of each policy that only answers for comparison; empty without a shadow."""
        return Release(version=self.shadow).select(versions) if self.shadow else {}


RELEASE_FIELDS = frozenset(ReleaseChoice.model_fields)
"""Arguments that a running replica can change."""


class ServiceArguments(ReleaseChoice):
    """Arguments of the application, from the command line or from `serveConfigV2` of KubeRay.

    A run has no versions.
    """

    run: str
    """A run directory, a policy library (a folder or a URI), or the folder of an export."""
    name: str = ""
    """The beginning of the names of a library's bundles that are served."""
    shadow_log: str | None = None
    """File to which each replica appends a line per cell and request with the shares of both
    versions."""
    token_file: str | None = None
    """File with the token that callers must present. Default: the environment variable
    SLICING_RLLIB_SERVE_TOKEN."""
    without_token: bool = False
    """Whether the service may run without a token."""
    max_age_s: float = Field(default=10.0, gt=0)
    """Age above which KPIs and neighbours' reports are stale."""
    max_body_bytes: int = Field(default=16 * 2**20, ge=1)
    """Largest body of a request."""
    max_requests_per_s: float = Field(default=1000.0, gt=0)
    """Requests per second that a replica accepts, with bursts of as many."""
    max_cells_per_s: float = Field(default=200_000.0, gt=0)
    """Cells per second of all requests."""
    max_bytes_per_s: float = Field(default=128 * 2**20, gt=0)
    """Bytes per second of all bodies."""
    trusted_hosts: tuple[str, ...] = ()
    """Names besides those of loopback by which a service without a token may be asked."""
    min_replicas: int = Field(default=1, ge=1)
    """Replicas without load."""
    max_replicas: int = Field(default=1, ge=1)
    """Replicas at full load; more than `min_replicas` turns autoscaling on."""
    poll_s: float = Field(default=1.0, gt=0)
    """Time between two looks for a new release and for files that have changed."""

    @property
    def release(self) -> Release | None:
        """The release that the arguments choose; None where the library's release decides."""
        chosen = {name: getattr(self, name) for name in RELEASE_FIELDS}
        return Release(**chosen) if any(chosen.values()) else None


class ReleaseHistory(ReleaseModel):
    """The release that a library's services follow, and earlier ones."""

    revision: int = Field(default=1, ge=1)
    """Number of this release: services say which one they serve."""
    release: Release = Release()
    """The release."""
    earlier: tuple[Release, ...] = ()
    """Earlier releases, newest first."""

    def change(self, wanted: Release | None) -> "ReleaseHistory":
        """The history with a further release; with None, with the one before the present one again.

        A canary or a shadow alone is added to the present release; anything else replaces it.

        Raises: RunError if there is none before.
        """
        if wanted is None:
            if not self.earlier:
                raise RunError("release: there is no earlier one to go back to")
            release, *earlier = self.earlier
        else:
            release, earlier = wanted, (self.release, *self.earlier)[:KEPT]
            if (wanted.canary or wanted.shadow) and not wanted.version and not wanted.pins:
                present = self.release
                update = {
                    "canary": wanted.canary or present.canary,
                    "shadow": wanted.shadow or present.shadow,
                }
                release = present.model_copy(update=update)
        return ReleaseHistory(revision=self.revision + 1, release=release, earlier=tuple(earlier))


def parse_history(path: str, data: bytes) -> ReleaseHistory:
    """The content of a release file. Raises: RunError."""
    try:
        return ReleaseHistory.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "release"
        raise RunError(f"{path}: {where}: {first['msg']}") from error
