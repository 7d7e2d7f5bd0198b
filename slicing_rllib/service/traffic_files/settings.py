"""The settings of a traffic file: from the command line, and as YAML for a config."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from slicing_rllib.radio import SyntheticMask, TraceMask
from slicing_rllib.service.config_errors import describe_first_problem
from slicing_rllib.service.errors import ConfigError
from slicing_rllib.service.traffic_files.parquet import convert_parquet

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
        _apply_setting(plain, setting)
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


def _apply_setting(plain: dict[str, Any], setting: str) -> None:
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
