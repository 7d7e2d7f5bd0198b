"""From a YAML file or a built-in name, and `--set` arguments, to a checked `RunConfig`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from slicing_rllib.baselines import BASELINES
from slicing_rllib.service.config.consistency import find_contradictions
from slicing_rllib.service.config.documents import (
    Document,
    describe_yaml_error,
    parse_document,
    read_document,
    refuse_first,
    validate_document,
)
from slicing_rllib.service.config.plain_values import find_odd_values
from slicing_rllib.service.config.policy_names import PACKAGE_POLICIES, PolicyName
from slicing_rllib.service.config.renamed_keys import RUN_KEYS, rename_keys
from slicing_rllib.service.config.run_config import RunConfig
from slicing_rllib.service.config.run_size import find_huge_parts
from slicing_rllib.service.config_errors import shorten
from slicing_rllib.service.errors import ConfigError
from slicing_rllib.service.strict_yaml import parse_yaml
from slicing_rllib.service.traffic_files.parquet import convert_parquet

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
            "actor_gradient": "counterfactual",
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
    refuse_first(find_odd_values(config.model_dump()), document, settings)
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
