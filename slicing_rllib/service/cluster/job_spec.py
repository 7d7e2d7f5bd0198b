"""What a job is to do: a command and the files that it reads, checked before anything is sent."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from slicing_rllib.radio import TraceMask
from slicing_rllib.service.config import RunConfig, load_config, resolved_yaml
from slicing_rllib.service.errors import ConfigError
from slicing_rllib.service.sweeps.config import SweepConfig, load_sweep

COMMANDS = ("train", "sweep")
TRACE = "trace.csv"
BASE = "base.yaml"


class JobSpec(NamedTuple):
    """What a job is to do."""

    submission_id: str
    command: str
    name: str
    """Of the run or sweep."""
    files: Mapping[str, bytes]
    """By name; `train.yaml` or `sweep.yaml` is what the command is given."""
    cpus: int
    """That it needs at once, its driver's included."""
    digest: str
    """Of command and files: two orders with one digest are one job."""


def make_job_spec(arguments: Sequence[str], submission_id: str | None) -> JobSpec:
    """Checks the command that a job is to run. Raises: ConfigError for one that cannot be run."""
    command, *rest = arguments or ("",)
    if command not in COMMANDS:
        raise ConfigError(
            "submit: expected -- train [CONFIG] [--set KEY=VALUE ...] or -- sweep YAML"
        )
    source, settings = _words(rest)
    if command == "train":
        config = load_config(source or "quick", settings)
        name, files, cpus = config.name, _files_of_run(config), config.cpus
    else:
        if source is None or settings:
            raise ConfigError("submit -- sweep: expected a YAML file or the name of a sweep")
        sweep = load_sweep(source)
        name, files, cpus = sweep.name, _files_of_sweep(sweep), 1 + _cpus_of_trial(sweep)
    digest = hashlib.sha256(b"\0".join((command.encode(), *files.values()))).hexdigest()[:12]
    known_as = submission_id or f"{name}-{digest[:6]}-{time.strftime('%Y%m%d-%H%M%S')}"
    return JobSpec(known_as, command, name, files, cpus, digest)


def _words(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Source and settings. Raises: ConfigError for an option that makes no sense in a job."""
    source, settings, rest = None, [], list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--set" and rest:
            settings.append(rest.pop(0))
        elif word.startswith("--set="):
            settings.append(word.removeprefix("--set="))
        elif word.startswith("-"):
            raise ConfigError(f"submit: {word} has no place in a job, expected CONFIG and --set")
        elif source is not None:
            raise ConfigError(f"submit: expected one config, got {source} and {word}")
        else:
            source = word
    return source, settings


def _files_of_run(config: RunConfig) -> dict[str, bytes]:
    """The resolved config, and the trace that it names."""
    for key, path in (
        ("pretrained_run", config.pretrained_run),
        ("transfer.library", _library(config)),
    ):
        if path is not None and not Path(path).is_absolute():
            raise ConfigError(
                f"submit: {key}: a job does not see this machine's folders, expected an absolute "
                f"path in the cluster's storage, got {path!r}"
            )
    text, mask = resolved_yaml(config), config.scenario.mask
    if not isinstance(mask, TraceMask):
        return {"train.yaml": text.encode()}
    plain = yaml.safe_load(text)
    plain["scenario"]["mask"]["path"] = TRACE
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    return {"train.yaml": text.encode(), TRACE: Path(mask.path).read_bytes()}


def _library(config: RunConfig) -> str | None:
    return config.transfer.library


def _files_of_sweep(sweep: SweepConfig) -> dict[str, bytes]:
    """The sweep, and what its trials start from, both resolved."""
    files = _files_of_run(sweep.trial_config({}))
    files[BASE] = files.pop("train.yaml")
    plain = sweep.model_copy(update={"base": BASE, "set": ()}).model_dump(mode="json")
    return {"sweep.yaml": yaml.safe_dump(plain, sort_keys=False).encode(), **files}


def _cpus_of_trial(sweep: SweepConfig) -> int:
    """A trial, its env runners and learners."""
    return sweep.cpus_per_trial + sweep.trial_config({}).cpus - 1
