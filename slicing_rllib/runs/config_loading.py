"""From a YAML file or a built-in name, and `--set` arguments, to a checked `RunConfig`.

Also the settings of a traffic file, `scenario.mask`.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from slicing_rllib.radio import OwnMask, SyntheticMask, TraceMask
from slicing_rllib.radio.builtin import merge
from slicing_rllib.random_streams import Stream, derive_run_seed
from slicing_rllib.runs.run_config import RunConfig
from slicing_rllib.storage.errors import ConfigError
from slicing_rllib.storage.safe_yaml import (
    Document,
    describe_yaml_error,
    parse_document,
    parse_yaml,
    read_document,
)
from slicing_rllib.storage.yaml_validation import shorten, validate_document

BUILT_IN: dict[str, dict[str, Any]] = {
    "paper": {"name": "paper", "scenario": "paper"},
    "recommended": {
        "name": "recommended",
        "learning": {"critic": "per_slice", "initial_critic": "builtin", "training_steps": 1000},
    },
    "first_run": {
        "name": "first_run",
        "scenario": "paper",
        "env": {
            "deployments": [
                {"cell": "cell_12", "off_until": 2000, "default_action_until": 2200},
            ],
        },
        "learning": {
            "exploration_steps": 500,
            "training_steps": 2500,
            "steps_per_iteration": 50,
        },
        "transfer": {"measure": "kl_paper"},
        "compared_learners": {"per_slice": 200},
        "evaluation": {
            "steps": 100,
            "seeds": 5,
            "every_steps": 1000,
            "evaluation_steps": [2200, 2250, 2300, 2400, 2600, 2800],
            "curve_seeds": 4,
        },
    },
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
"""Configs by name: the paper's; the best learner, on which a file stands that names no `base`; the
paper's story in about a minute; and counterfactual learning in as short a time."""
DEFAULT_BASE = "recommended"
DEFAULT_CONFIG = "first_run"
"""What `train` trains without a name."""


MAX_BASES = 10
"""Files that stand on one another."""


def load_config(source: str, settings: Sequence[str] = ()) -> RunConfig:
    """The config of that built-in name or YAML file, with `key.path=value` settings on top.

    A file with `base: NAME` or `base: FILE` states what differs from that config, any other file
    what differs from DEFAULT_BASE. Raises: ConfigError for a file, key or value that cannot be
    used.
    """
    document = _read_with_bases(source, ())
    for setting in settings:
        _apply_setting(document.content, setting)
    try:
        return validate_document(RunConfig, document, settings)
    except ConfigError as error:
        if source in BUILT_IN or "per_slice" not in str(error):
            raise
        hint = f"without base: a file stands on {DEFAULT_BASE}, with base: paper on TD3"
        raise ConfigError(f"{error} ({hint})") from error


def _read_with_bases(source: str, files: tuple[str, ...]) -> Document:
    """The document on top of its base, if it names one; `files` are those that led here."""
    if source in BUILT_IN:
        return parse_document(yaml.safe_dump(BUILT_IN[source]), source)
    expected = f"config {source!r}: expected a YAML file or one of {', '.join(BUILT_IN)}"
    document = read_document(Path(source), expected)
    folder = Path(document.where).parent
    scenario = document.content.get("scenario")
    mask = scenario.get("mask") if isinstance(scenario, dict) else None
    if isinstance(mask, dict) and isinstance(mask.get("path"), str) and "\0" not in mask["path"]:
        # The path of a traffic file is relative to the file that names it.
        mask["path"] = str((folder / mask["path"]).resolve())
    base = document.content.pop("base", DEFAULT_BASE)
    if not isinstance(base, str) or not base or "\0" in base:
        raise ConfigError(f"{source}: base: expected a config's name or file, got {base!r}")
    below = base if base in BUILT_IN else str((folder / base).resolve())
    if below in files or len(files) == MAX_BASES:
        raise ConfigError(f"{source}: base: expected no circle and at most {MAX_BASES} files")
    content = _read_with_bases(below, (*files, below)).content
    if isinstance(content.get("scenario"), str):
        content["scenario"] = {"like": content["scenario"]}
    return document._replace(content=merge(content, document.content))


def dump_resolved_yaml(config: RunConfig) -> str:
    """The whole config as YAML, defaults included: enough to repeat the run."""
    plain = config.model_dump(mode="json")
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)


def _apply_setting(content: dict[str, Any], setting: str) -> None:
    """Puts the value of a `key.path=value` setting into `content`, which it changes."""
    key, value = _split_setting(setting, "learning.gamma=0.2")
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
    section[leaf] = _parse_value(value, setting)


def _split_setting(setting: str, example: str) -> tuple[str, str]:
    key, equals, value = setting.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {shorten(setting)}: expected KEY=VALUE, such as {example}")
    return key, value


def _parse_value(value: str, setting: str) -> Any:
    try:
        return parse_yaml(value)
    except yaml.YAMLError as error:
        why = describe_yaml_error(error)
        raise ConfigError(f"--set {shorten(setting)}: the value is not YAML: {why}") from error


def make_transfer_config(
    config: RunConfig,
    run: Path,
    target: str,
    *,
    steps: int,
    **transfer: str | None,
) -> RunConfig:
    """The config of a run on the network of another one, where only `target` learns.

    `config` is that of the other run, in the directory `run`; the traffic is unseen. `steps` are
    environment steps under the target's own policy. `transfer` are fields of `TransferSettings`,
    where None leaves that of the run: `source` (a cell, or a bundle of `library`), `library`,
    `method` and `measure`.
    Raises: ConfigError for a cell, method or measure that does not exist.
    """
    source, library = transfer.get("source"), transfer.get("library")
    known = config.scenario.cells
    for cell in [target] if source is None or library else [target, source]:
        if cell not in known:
            raise ConfigError(f"{run}: expected one of {known[0]} to {known[-1]}, got {cell}")
    plain: dict[str, Any] = config.model_dump()
    default_steps = max(config.env.default_action_steps, 1)
    total_steps = default_steps + steps
    # A cell that learns from scratch explores as long as in the other run.
    exploration_steps = min(config.learning.exploration_steps, total_steps)
    chosen = {key: value for key, value in transfer.items() if value is not None}
    chosen |= {"targets": (target,), "source": source, "library": library}
    plain |= {
        "name": f"{config.name[:48]}-to-{target}",
        "seed": derive_run_seed(config.seed, Stream.TRANSFER_RUN),
        "pretrained_run": str(run.resolve()),
        "transfer": plain["transfer"] | chosen,
        "env": plain["env"] | {"deployments": (), "default_action_steps": default_steps},
        "learning": plain["learning"]
        | {
            "exploration_steps": exploration_steps,
            "training_steps": total_steps - exploration_steps,
        },
        "evaluation": plain["evaluation"] | {"policies": None},
    }
    return validate_document(RunConfig, Document(plain, "", "transfer"))


def make_trace_mask(
    file: Path, mask: SyntheticMask | TraceMask | OwnMask, settings: Sequence[str]
) -> TraceMask:
    """The mask that plays a file.

    It is read like the traffic file of `mask`, if that is one, with KEY=VALUE `settings` on top;
    `columns.NAME=TEXT` maps a name. Raises: ConfigError for a setting that cannot be used.
    """
    plain = make_mask_settings(file, mask)
    for setting in settings:
        key, text = _split_setting(setting, "unit=percent")
        section, _, name = key.removeprefix("scenario.mask.").partition(".")
        if section == "columns" and name:
            plain["columns"] = {**plain.get("columns", {}), name: text}
        else:
            is_text = section in ("separator", "decimal", "thousands", "time_format")
            plain[section] = text if is_text else _parse_value(text, setting)
    return validate_document(TraceMask, Document(plain, "", str(file)), settings)


def make_mask_settings(
    file: Path, mask: SyntheticMask | TraceMask | OwnMask, folder: Path | None = None
) -> dict[str, Any]:
    """`scenario.mask` for a traffic file, or for a YAML file with such settings.

    A traffic file is read like that of `mask`, if that is one. With `folder`, the path in the
    settings starts there, as it does in a config of that folder. Raises: ConfigError for a YAML
    file without `path`.
    """
    if file.suffix.lower() in (".yaml", ".yml"):
        expected = f"{file}: expected a YAML file with settings of a mask"
        like: Any = read_document(file, expected).content
        for key in ("scenario", "mask"):
            like = like.get(key, like) if isinstance(like, dict) else like
        if not isinstance(like, dict) or not isinstance(like.get("path"), str):
            raise ConfigError(
                f"{file}: expected settings of a mask with the path of a traffic file"
            )
        settings = {"kind": "csv", **like, "path": str((file.parent / like["path"]).resolve())}
    else:
        like = TypeAdapter(TraceMask).dump_python(mask) if isinstance(mask, TraceMask) else {}
        settings = {**like, "kind": "csv", "path": str(file)}
    return settings if folder is None else _place_in_folder(settings, folder)


def format_mask_yaml(mask: TraceMask, folder: Path | None = None) -> str:
    """The settings that differ from the defaults, to be pasted into a config.

    With `folder`, the path starts there, as it does in a YAML file of that folder.
    """
    plain = TypeAdapter(TraceMask).dump_python(mask, exclude_defaults=True, mode="json")
    plain = {"kind": "csv", **(plain if folder is None else _place_in_folder(plain, folder))}
    block = {"scenario": {"mask": plain}}
    return yaml.safe_dump(block, sort_keys=False, allow_unicode=True).rstrip()


def _place_in_folder(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The settings with their path from the folder on, so that both can move together."""
    path = os.path.relpath(Path(settings["path"]).resolve(), folder.resolve())
    return settings | {"path": path}
