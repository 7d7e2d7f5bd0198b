"""The policies of a release, loaded and checked."""

from collections.abc import Mapping
from dataclasses import dataclass

from slicing_rllib.service.serving.decisions.policy_set import PolicySet
from slicing_rllib.service.serving.versions.policy_source import (
    FileState,
    PolicySource,
    index_by_cell,
)
from slicing_rllib.service.serving.versions.release import Release


@dataclass(frozen=True)
class ServedPolicies:
    """One release in memory. It never changes, so that a request meets one version throughout."""

    source: PolicySource
    """Where the policies come from."""
    release: Release
    """The release."""
    revision: int | None
    """Number of the release in the library's release file; None if the file does not decide."""
    chosen: Mapping[str, int]
    """Version of each policy."""
    live: PolicySet
    """The policies that answer."""
    shadow: PolicySet | None
    """The policies that only answer for comparison."""
    states: tuple[FileState, ...]
    """The files, as they were when they were loaded."""


def load_release(source: PolicySource, release: Release, revision: int | None) -> ServedPolicies:
    """Loads and checks the policies of a release.

    Raises: RunError, LibraryError or PolicyError if any policy cannot be used.
    """
    versions = source.list_versions()
    chosen, shadow = release.select(versions), release.select_shadow(versions)
    # Before the files are read: a change in between is noticed later rather than never.
    states = tuple(source.read_states(chosen))
    return ServedPolicies(
        source=source,
        release=release,
        revision=revision,
        chosen=chosen,
        live=PolicySet(index_by_cell(source.load(chosen))),
        shadow=PolicySet(index_by_cell(source.load(shadow))) if shadow else None,
        states=states,
    )
