"""Where served policies come from: a run directory, a policy library, or exported policies.

The policies of a release, loaded and checked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from slicing_rllib.policies import CellPolicy, PolicyError, load_policy, make_policy, select_actor
from slicing_rllib.policies.cell_policy import MANIFEST_FILE
from slicing_rllib.runs.policy_evaluation import make_cell_policies, record_kpis
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.serving.policy_set import PolicySet
from slicing_rllib.serving.release import RELEASE_FILE, Release, ReleaseHistory, parse_history
from slicing_rllib.storage.errors import RunError
from slicing_rllib.transfer import PolicyLibrary

POLICIES_FILE = "policies.safetensors"


class FileState(NamedTuple):
    """How a file looked when its policy was loaded."""

    path: str
    size: int
    time_ns: int


@runtime_checkable
class PolicySource(Protocol):
    """Versions of policies at one location."""

    def list_versions(self) -> Mapping[str, Sequence[int]]:
        """Versions by the name of the policy, oldest first; only 0 where there are none."""
        ...

    def load(self, chosen: Mapping[str, int]) -> list[CellPolicy]:
        """The policies with these versions. Raises: RunError, LibraryError or PolicyError."""
        ...

    def read_release(self) -> ReleaseHistory | None:
        """The release that services follow; None if nobody has made one."""
        ...

    def read_states(self, chosen: Mapping[str, int]) -> list[FileState]:
        """The files of these policies as they are now; files that are gone are left out."""
        ...


class RunSource:
    """The policies of a run directory."""

    def __init__(self, path: Path) -> None:
        self._run = RunDirectory.open(path)
        self._config = self._run.config()

    def list_versions(self) -> Mapping[str, Sequence[int]]:
        """Version 0 of each cell's policy."""
        return {f"{self._config.name}-{cell}": [0] for cell in self._config.scenario.cells}

    def load(self, chosen: Mapping[str, int]) -> list[CellPolicy]:
        """All policies of the run."""
        weights = self._run.policies()
        recorded = record_kpis(self._config, weights)
        policies = make_cell_policies(self._config, weights, recorded)
        return [policy for policy in policies.values() if policy.name in chosen]

    def read_release(self) -> ReleaseHistory | None:
        """A run has no versions, so nothing is released."""
        return None

    def read_states(self, chosen: Mapping[str, int]) -> list[FileState]:
        """The file of all policies."""
        return _list_states([self._run.path / POLICIES_FILE])


class LibrarySource:
    """The bundles of a policy library."""

    def __init__(self, where: str, prefix: str = "") -> None:
        """`prefix` limits which bundles: the beginning of their names."""
        self._library, self._prefix = PolicyLibrary(where), prefix

    def list_versions(self) -> Mapping[str, Sequence[int]]:
        """Versions of the bundles."""
        versions = self._library.list_versions()
        return {name: found for name, found in versions.items() if name.startswith(self._prefix)}

    def load(self, chosen: Mapping[str, int]) -> list[CellPolicy]:
        """The policies of these bundles."""
        return [self._load_one(name, version) for name, version in chosen.items()]

    def read_release(self) -> ReleaseHistory | None:
        """The content of the library's release file."""
        data = self._library.read_file(RELEASE_FILE)
        return (
            None if data is None else parse_history(f"{self._library.where}/{RELEASE_FILE}", data)
        )

    def read_states(self, chosen: Mapping[str, int]) -> list[FileState]:
        """All files of these bundles."""
        return [FileState(*state) for state in self._library.read_states(chosen)]

    def _load_one(self, name: str, version: int) -> CellPolicy:
        bundle = self._library.load(name, version)
        if bundle.policy is None:
            raise RunError(
                f"{name}@{version}: a bundle without encoder, from an earlier version of the "
                "package; library add makes a new version"
            )
        return make_policy(
            bundle.policy,
            select_actor(bundle.weights),
            name=name,
            version=version,
            provenance=bundle.provenance,
        )


class ExportSource:
    """Folders that `export` has written."""

    def __init__(self, path: Path) -> None:
        self._folders = [file.parent for file in sorted(path.glob(f"*/{MANIFEST_FILE}"))]
        self._policies = {policy.name: policy for policy in map(load_policy, self._folders)}

    def list_versions(self) -> Mapping[str, Sequence[int]]:
        """The exported version of each policy."""
        return {name: [policy.version] for name, policy in self._policies.items()}

    def load(self, chosen: Mapping[str, int]) -> list[CellPolicy]:
        """The policies."""
        return [self._policies[name] for name in chosen]

    def read_release(self) -> ReleaseHistory | None:
        """An export has one version, so nothing is released."""
        return None

    def read_states(self, chosen: Mapping[str, int]) -> list[FileState]:
        """All files of the folders."""
        return _list_states([file for folder in self._folders for file in sorted(folder.iterdir())])


def open_source(location: str, prefix: str = "") -> PolicySource:
    """The policies at a location.

    Args:
        location: a run directory, the folder of an export, or a library: a folder or a URI.
        prefix: the beginning of the names of a library's bundles.

    Raises: RunError where there are none.
    """
    path = Path(location)
    if (path / "config.yaml").is_file():
        source: PolicySource = RunSource(path)
    elif any(path.glob(f"*/{MANIFEST_FILE}")):
        source = ExportSource(path)
    else:
        source = LibrarySource(location, prefix)
    if not source.list_versions():
        raise RunError(f"{location}: expected a run directory, a policy library or an export")
    return source


def index_by_cell(policies: Sequence[CellPolicy]) -> dict[str, CellPolicy]:
    """Policies by cell. Raises: PolicyError if two are for the same cell."""
    by_cell: dict[str, CellPolicy] = {}
    for policy in policies:
        other = by_cell.setdefault(policy.encoder.cell, policy)
        if other is not policy:
            raise PolicyError(
                f"{policy.encoder.cell}: expected one policy, got {other.name} and {policy.name}; "
                "--name chooses the bundles whose names begin with it"
            )
    return by_cell


def _list_states(paths: Sequence[Path]) -> list[FileState]:
    return [
        FileState(str(path), status.st_size, status.st_mtime_ns)
        for path in paths
        if path.is_file() and (status := path.stat())
    ]


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
