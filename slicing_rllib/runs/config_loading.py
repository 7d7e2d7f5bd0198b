"""From a YAML file or a built-in name, and `--set` arguments, to a checked `RunConfig`.

What experiments and sweeps share: many runs that start from one config.

The settings of a traffic file: from the command line, and as YAML for a config.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from slicing_rllib.inputs.tables import convert_parquet
from slicing_rllib.policies.baselines import BASELINES
from slicing_rllib.radio import SyntheticMask, TraceMask
from slicing_rllib.runs.config_checks import find_contradictions, find_huge_parts
from slicing_rllib.runs.run_config import (
    PACKAGE_POLICIES,
    RUN_KEYS,
    Name,
    PolicyName,
    RunConfig,
    Section,
    rename_keys,
)
from slicing_rllib.storage.errors import ConfigError
from slicing_rllib.storage.safe_yaml import (
    Document,
    describe_yaml_error,
    parse_document,
    parse_yaml,
    read_document,
)
from slicing_rllib.storage.yaml_validation import (
    describe_first_problem,
    find_invalid_values,
    refuse_first,
    shorten,
    validate_document,
)

BUILT_IN: dict[str, dict[str, Any]] = {
    "paper": {"name": "paper", "scenario": "paper"},
    "quick": {
        "name": "quick",
        "scenario": "paper",
        "env": {
            "observation": "per_slice",
            "deployments": [
                {"cell": "cell_12", "off_until": 500, "default_action_until": 600},
            ],
            "default_action_steps": 50,
        },
        "learning": {
            "actor_objective": "counterfactual",
            "base_policy": "persistence",
            "actor": "equivariant",
            "exploration_steps": 0,
            "exploration_noise": 0.0,
            "training_steps": 1500,
            "steps_per_iteration": 50,
        },
        "evaluation": {
            "steps": 200,
            "seeds": 5,
            "every_steps": 300,
        },
    },
}
"""Configs by name: the paper's, and one that shows everything in about a minute."""


def load_config(source: str, settings: Sequence[str] = ()) -> RunConfig:
    """The config of that built-in name or YAML file, with `key.path=value` settings on top.

    Raises: ConfigError for a file, key or value that cannot be used.
    """
    document = _read_config(source)
    _resolve_trace_path(document.content, Path(document.where).parent)
    for setting in settings:
        _apply_setting(document.content, setting)
    _convert_parquet_trace(document.content)
    rename_keys(document.content, RUN_KEYS, document.where)
    config = validate_document(RunConfig, document, settings)
    check_config(config, document, settings)
    _check_traffic_mask(config, document.where)
    _check_policies(config, document.where)
    _check_cells(config, document.where)
    _check_observation(config, document.where)
    return config


def check_config(config: RunConfig, document: Document, settings: Sequence[str] = ()) -> None:
    """Checks what no single setting shows: their size together, and contradictions.

    `document` and `settings` are what the config was made from. Raises: ConfigError.
    """
    # Text such as "nan" has become a number by now.
    refuse_first(find_invalid_values(config.model_dump()), document, settings)
    refuse_first(find_huge_parts(config), document, settings)
    refuse_first(find_contradictions(config), document, settings)


def dump_resolved_yaml(config: RunConfig) -> str:
    """The whole config as YAML, defaults included: enough to repeat the run."""
    plain = config.model_dump(mode="json")
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)


def make_json_schema() -> dict[str, Any]:
    """JSON Schema of a run config, for editors."""
    return RunConfig.model_json_schema()


def _read_config(source: str) -> Document:
    if source in BUILT_IN:
        return parse_document(yaml.safe_dump(BUILT_IN[source]), source)
    names = ", ".join(BUILT_IN)
    return read_document(Path(source), f"config {source!r}: expected a YAML file or one of {names}")


def _resolve_trace_path(content: dict[str, Any], folder: Path) -> None:
    """Makes the path of a traffic trace relative to the file that names it; changes `content`."""
    scenario = content.get("scenario")
    mask = scenario.get("mask") if isinstance(scenario, dict) else None
    if isinstance(mask, dict) and isinstance(mask.get("path"), str) and "\0" not in mask["path"]:
        mask["path"] = str((folder / mask["path"]).resolve())


def _convert_parquet_trace(content: dict[str, Any]) -> None:
    """Replaces the path of a Parquet file by that of its CSV copy; changes `content`."""
    scenario = content.get("scenario")
    mask = scenario.get("mask") if isinstance(scenario, dict) else None
    if isinstance(mask, dict) and isinstance(mask.get("path"), str) and "\0" not in mask["path"]:
        mask["path"] = str(convert_parquet(Path(mask["path"])))


def _apply_setting(content: dict[str, Any], setting: str) -> None:
    """Puts the value of a `key.path=value` setting into `content`, which it changes."""
    key, equals, value = setting.partition("=")
    if not equals or not key:
        raise ConfigError(
            f"--set {shorten(setting)}: expected KEY=VALUE, such as learning.gamma=0.2"
        )
    *parents, leaf = key.split(".")
    section: dict[str, Any] = content
    for parent in parents:
        below: Any = section.get(parent, {})
        if parent == "scenario" and isinstance(below, str):
            below = {"like": below}
        if not isinstance(below, dict):
            raise ConfigError(f"--set {shorten(setting)}: {parent} has no settings of its own")
        section[parent] = below
        section = below
    try:
        section[leaf] = parse_yaml(value)
    except yaml.YAMLError as error:
        why = describe_yaml_error(error)
        raise ConfigError(f"--set {shorten(setting)}: the value is not YAML: {why}") from error


def _check_traffic_mask(config: RunConfig, where: str) -> None:
    """A trace must be readable and fit the scenario's cells and slices."""
    try:
        config.scenario.bind_mask(0)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def _check_policies(config: RunConfig, where: str) -> None:
    own = (PolicyName.DRL, PolicyName.TL) if config.has_transfer else (PolicyName.DRL,)
    known = {*own, *PACKAGE_POLICIES, *BASELINES}
    for policy in config.evaluated_policies:
        if policy not in known:
            raise ConfigError(
                f"{where}: evaluation.policies: expected some of {', '.join(sorted(known))}, "
                f"got {policy!r}"
            )


def _check_observation(config: RunConfig, where: str) -> None:
    """The actor must find in the observation what its form reads."""
    observation, learning = config.env.observation, config.learning
    if learning.base_policy != "none" and observation == "paper":
        raise ConfigError(
            f"{where}: learning.base_policy {learning.base_policy}: expected env.observation "
            "widened or per_slice, got paper"
        )
    if "base_policy" in config.evaluated_policies and observation == "paper":
        raise ConfigError(
            f"{where}: evaluation.policies base_policy: expected env.observation widened or "
            "per_slice, got paper"
        )
    if learning.actor == "equivariant" and observation != "per_slice":
        raise ConfigError(
            f"{where}: learning.actor equivariant: expected env.observation per_slice, got "
            f"{observation}"
        )
    if learning.initial_actor != "random" and (learning.actor, learning.base_policy) != (
        "equivariant",
        "persistence",
    ):
        raise ConfigError(
            f"{where}: learning.initial_actor {learning.initial_actor}: expected learning.actor "
            f"equivariant and base_policy persistence, got {learning.actor} and "
            f"{learning.base_policy}"
        )


def _check_cells(config: RunConfig, where: str) -> None:
    cells = config.scenario.cells
    named = [("env.deployments", deployment.cell) for deployment in config.env.deployments]
    named += [("transfer.targets", cell) for cell in config.transfer.targets]
    named += [("learning.networks", cell) for cell in config.learning.networks]
    for key, cell in named:
        if cell not in cells:
            raise ConfigError(
                f"{where}: {key}: expected one of {cells[0]} to {cells[-1]}, got {cell!r}"
            )


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


YAML_SUFFIXES = (".yaml", ".yml")


def make_trace_mask(
    file: Path, mask: SyntheticMask | TraceMask, settings: Sequence[str]
) -> TraceMask:
    """The mask that plays a file.

    It is read like the traffic file of `mask`, if that is one, with KEY=VALUE `settings` on top.
    Raises: ConfigError for a setting or a Parquet file that cannot be used.
    """
    plain = make_mask_settings(file, mask)
    for setting in settings:
        _apply_mask_setting(plain, setting)
    plain["path"] = str(convert_parquet(Path(plain["path"])))
    adapter = TypeAdapter(TraceMask)
    try:
        return adapter.validate_python(plain)
    except ValidationError as error:
        schema = adapter.json_schema()
        line = describe_first_problem(error, str(file), "", settings, schema=schema)
        raise ConfigError(line) from error


def make_mask_settings(
    file: Path, mask: SyntheticMask | TraceMask, folder: Path | None = None
) -> dict[str, Any]:
    """`scenario.mask` for a traffic file, or for a YAML file with such settings.

    A traffic file is read like that of `mask`, if that is one. With `folder`, the path in the
    settings starts there, as it does in a config of that folder. Raises: ConfigError for a YAML
    file without `path`.
    """
    if file.suffix.lower() in YAML_SUFFIXES:
        settings = _read_yaml(file)
    else:
        like = TypeAdapter(TraceMask).dump_python(mask) if isinstance(mask, TraceMask) else {}
        settings = {**like, "kind": "csv", "path": str(file)}
    if folder is not None:
        settings["path"] = _make_relative(settings["path"], folder)
    return settings


def _make_relative(path: str, folder: Path) -> str:
    """The path from the folder on, so that both can move together."""
    return os.path.relpath(Path(path).resolve(), folder.resolve())


def format_mask_yaml(mask: TraceMask, folder: Path | None = None) -> str:
    """The settings that differ from the defaults, to be pasted into a config.

    With `folder`, the path starts there, as it does in a YAML file of that folder.
    """
    plain = TypeAdapter(TraceMask).dump_python(mask, exclude_defaults=True, mode="json")
    if folder is not None:
        plain["path"] = _make_relative(plain["path"], folder)
    block = {"scenario": {"mask": {"kind": "csv", **plain}}}
    return yaml.safe_dump(block, sort_keys=False, allow_unicode=True).rstrip()


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{file}: expected a YAML file with settings of a mask") from error
    for key in ("scenario", "mask"):
        content = content.get(key, content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not isinstance(content.get("path"), str):
        raise ConfigError(f"{file}: expected settings of a mask with the path of a traffic file")
    return {"kind": "csv", **content, "path": str((file.parent / content["path"]).resolve())}


def _apply_mask_setting(plain: dict[str, Any], setting: str) -> None:
    """Puts a KEY=VALUE setting into `plain`, which it changes. `columns.NAME=TEXT` maps a name."""
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {setting}: expected KEY=VALUE, such as unit=percent")
    section, _, name = key.removeprefix("scenario.mask.").partition(".")
    if section == "columns" and name:
        plain["columns"] = {**plain.get("columns", {}), name: text}
        return
    try:
        plain[section] = yaml.safe_load(text) if section != "separator" else text
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {setting}: the value is not YAML") from error
