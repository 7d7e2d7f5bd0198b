"""What experiments and sweeps share: many runs that start from one config."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from slicing_rllib.service.config.documents import read_document, validate_document
from slicing_rllib.service.config.loading import load_config
from slicing_rllib.service.config.renamed_keys import rename_keys
from slicing_rllib.service.config.run_config import RunConfig
from slicing_rllib.service.config.sections import Name, Section

Family = TypeVar("Family", bound="RunFamily")


class RunFamily(Section):
    """Runs that start from one config and differ in settings."""

    KIND: ClassVar[str]
    """What messages call such a family."""
    FOLDER: ClassVar[Path]
    """Folder with the families that come with a checkout."""
    RENAMED_KEYS: ClassVar[Mapping[str, str]] = {}
    """Earlier keys of the YAML file and their new names."""

    name: Name
    """Name of the default output folder, and the title of reports."""
    base: str
    """The config that all runs start from: a built-in name or a YAML file, whose path may be
    relative to the file that names it."""
    set: tuple[str, ...] = ()
    """KEY=VALUE settings for all runs."""

    def make_run_config(self, settings: Sequence[str] = ()) -> RunConfig:
        """The config of a run with further settings of its own. Raises: ConfigError."""
        return load_config(self.base, [*self.set, *settings])


def load_family(
    model: type[Family], source: str, changes: Mapping[str, Any] | None = None
) -> tuple[Family, str]:
    """The family of a YAML file, or of a name in the model's FOLDER; and its path for messages.

    `changes` replace keys of the file. Raises: ConfigError for a file, key or value that cannot be
    used.
    """
    known = model.FOLDER / f"{source}.yaml"
    names = ", ".join(sorted(path.stem for path in model.FOLDER.glob("*.yaml")))
    expected = f"{model.KIND} {source!r}: expected a YAML file or one of {names}"
    document = read_document(known if known.is_file() else Path(source), expected)
    rename_keys(document.content, model.RENAMED_KEYS, document.where)
    document.content.update(changes or {})
    family = validate_document(model, document)
    base = Path(document.where).parent / family.base
    if base.is_file():
        family = family.model_copy(update={"base": str(base.resolve())})
    return family, document.where
