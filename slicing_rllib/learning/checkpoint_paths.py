"""Relative paths for the checkpoints of an RLlib algorithm."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from ray.rllib.algorithms.algorithm import Algorithm

Own = TypeVar("Own", bound=Algorithm)


class CheckpointPaths(Algorithm):
    """An algorithm whose checkpoints may have relative paths, which RLlib takes for URIs."""

    def save_to_path(self, path: Any = None, **rllib: Any) -> str:
        """RLlib's; a path without a scheme may be relative."""
        return super().save_to_path(_make_absolute(path, rllib), **rllib)

    def restore_from_path(self, path: Any, *arguments: Any, **rllib: Any) -> None:
        """RLlib's; a path without a scheme may be relative."""
        super().restore_from_path(_make_absolute(path, rllib), *arguments, **rllib)

    @classmethod
    def from_checkpoint(cls: type[Own], path: Any, filesystem: Any = None, **rllib: Any) -> Own:
        """RLlib's; a path without a scheme may be relative."""
        absolute = _make_absolute(path, {"filesystem": filesystem})
        algorithm = super().from_checkpoint(absolute, filesystem, **rllib)
        assert isinstance(algorithm, cls)
        return algorithm


def _make_absolute(path: Any, rllib: Mapping[str, Any]) -> Any:
    """Paths of a file system that is given with them, and Ray's own types, stay as they are."""
    is_local = isinstance(path, str | Path) and "://" not in str(path)
    return str(Path(path).resolve()) if is_local and not rllib.get("filesystem") else path
