"""Where served policies come from: a run directory, a policy library, or exported policies."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from slicing_rllib.policies import CellPolicy, PolicyError, load_policy, parse_policy, select_actor
from slicing_rllib.policies.cell_policy import MANIFEST_FILE
from slicing_rllib.radio import StepKpis
from slicing_rllib.runs.policy_evaluation import make_cell_policies, record_kpis
from slicing_rllib.runs.run_directory import RunDirectory, explain_foreign_run
from slicing_rllib.serving.release import RELEASE_FILE, ReleaseHistory, parse_history
from slicing_rllib.storage.errors import RunError
from slicing_rllib.transfer import PolicyLibrary

POLICIES_FILE = "policies.safetensors"


FileState = tuple[str, int, int]
"""Path, size and time of change in ns of a file."""


class PolicySource(ABC):
    """Versions of policies at one location. Only a library has a release."""

    _files: Sequence[Path] = ()
    """Local files that all policies come from."""

    @abstractmethod
    def list_versions(self) -> Mapping[str, Sequence[int]]:
        """Versions by the name of the policy, oldest first; only 0 where there are none."""

    @abstractmethod
    def load(self, chosen: Mapping[str, int]) -> list[CellPolicy]:
        """The policies with these versions. Raises: RunError, LibraryError or PolicyError."""

    def read_states(self, chosen: Mapping[str, int]) -> list[FileState]:
        """The files of these policies as they are now; files that are gone are left out."""
        return [
            (str(path), status.st_size, status.st_mtime_ns)
            for path in self._files
            if path.is_file() and (status := path.stat())
        ]

    def read_release(self) -> ReleaseHistory | None:
        """The release that services follow; None if nobody has made one."""
        return None

    def record_kpis(self) -> Sequence[StepKpis]:
        """KPIs of the policies' network; empty for a library, which has none."""
        return ()


class RunSource(PolicySource):
    """The policies of a run directory, in version 0."""

    def __init__(self, path: Path) -> None:
        self._run = RunDirectory.open(path)
        self._config = self._run.config()
        self._files = (self._run.path / POLICIES_FILE,)

    def list_versions(self) -> Mapping[str, Sequence[int]]:
        return {f"{self._config.name}-{cell}": [0] for cell in self._config.scenario.cells}

    def load(self, chosen: Mapping[str, int]) -> list[CellPolicy]:
        with explain_foreign_run(str(self._run.path)):
            policies = make_cell_policies(self._config, self._run.policies(), self.record_kpis())
        return [policy for policy in policies.values() if policy.name in chosen]

    def record_kpis(self) -> Sequence[StepKpis]:
        return record_kpis(self._config, self._run.policies())


class LibrarySource(PolicySource):
    """The bundles of a policy library."""

    def __init__(self, where: str, prefix: str = "") -> None:
        """`prefix` limits which bundles: the beginning of their names."""
        self._library, self._prefix = PolicyLibrary(where), prefix

    def list_versions(self) -> Mapping[str, Sequence[int]]:
        versions = self._library.list_versions()
        return {name: found for name, found in versions.items() if name.startswith(self._prefix)}

    def load(self, chosen: Mapping[str, int]) -> list[CellPolicy]:
        policies: list[CellPolicy] = []
        for name, version in chosen.items():
            bundle = self._library.load(name, version)
            if bundle.policy is None:
                raise RunError(
                    f"{name}@{version}: a bundle without encoder cannot be served; library add "
                    "makes a new version"
                )
            weights, provenance = select_actor(bundle.weights), bundle.provenance
            read = parse_policy(
                bundle.policy, weights, name=name, version=version, provenance=provenance
            )
            policies.append(read)
        return policies

    def read_states(self, chosen: Mapping[str, int]) -> list[FileState]:
        return self._library.read_states(chosen)

    def read_release(self) -> ReleaseHistory | None:
        data = self._library.read_file(RELEASE_FILE)
        where = f"{self._library.where}/{RELEASE_FILE}"
        return None if data is None else parse_history(where, data)

    def write_release(self, history: ReleaseHistory) -> None:
        self._library.write_file(RELEASE_FILE, history.model_dump_json(indent=1).encode())


class ExportSource(PolicySource):
    """Folders that `export` has written; each has one version."""

    def __init__(self, path: Path) -> None:
        folders = [file.parent for file in sorted(path.glob(f"*/{MANIFEST_FILE}"))]
        self._policies = {policy.name: policy for policy in map(load_policy, folders)}
        self._files = [file for folder in folders for file in sorted(folder.iterdir())]

    def list_versions(self) -> Mapping[str, Sequence[int]]:
        return {name: [policy.version] for name, policy in self._policies.items()}

    def load(self, chosen: Mapping[str, int]) -> list[CellPolicy]:
        return [self._policies[name] for name in chosen]


def open_source(location: str, prefix: str = "") -> PolicySource:
    """The policies at a location.

    Args:
        location: a run directory, the folder of an export, or a library: a folder or a URI.
        prefix: the beginning of the names of a library's bundles.

    Raises: RunError where there are none.
    """
    path = Path(location)
    source: PolicySource
    if (path / "config.yaml").is_file():
        source = RunSource(path)
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
