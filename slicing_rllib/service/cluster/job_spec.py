"""What a job runs: a command and the files that it reads, checked before anything is submitted."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from slicing_rllib.radio import TraceMask
from slicing_rllib.service.config import RunConfig, dump_resolved_yaml, load_config
from slicing_rllib.service.errors import ConfigError
from slicing_rllib.service.sweeps.config import SweepConfig, load_sweep

COMMANDS = ("train", "sweep")
TRACE_FILE = "trace.csv"
BASE_FILE = "base.yaml"


class JobSpec(NamedTuple):
    """A job as it is submitted to a cluster."""

    submission_id: str
    """Name of the job on the cluster."""
    command: str
    """`train` or `sweep`."""
    name: str
    """Name of the run or sweep, from its config."""
    files: Mapping[str, bytes]
    """Content by file name. The command is called with `train.yaml` or `sweep.yaml`."""
    cpus: int
    """CPUs that the job occupies at the same time, including its driver."""
    digest: str
    """Hash of the command and the files. Two specs with the same digest are the same job."""


def make_job_spec(arguments: Sequence[str], submission_id: str | None) -> JobSpec:
    """The spec of the job that runs a command.

    Args:
        arguments: the command and its arguments, such as `["train", "paper", "--set", "seed=7"]`.
        submission_id: name of the job; None builds one from the name, the digest and the time.

    Raises: ConfigError for a command or a config that cannot run as a job.
    """
    command, *rest = arguments or ("",)
    if command not in COMMANDS:
        raise ConfigError(
            "submit: expected -- train [CONFIG] [--set KEY=VALUE ...] or -- sweep YAML"
        )
    source, settings = _parse_arguments(rest)
    if command == "train":
        config = load_config(source or "quick", settings)
        name, files, cpus = config.name, _collect_run_files(config), config.cpus
    else:
        if source is None or settings:
            raise ConfigError("submit -- sweep: expected a YAML file or the name of a sweep")
        sweep = load_sweep(source)
        name, files, cpus = sweep.name, _collect_sweep_files(sweep), 1 + _count_trial_cpus(sweep)
    digest = hashlib.sha256(b"\0".join((command.encode(), *files.values()))).hexdigest()[:12]
    generated_id = f"{name}-{digest[:6]}-{time.strftime('%Y%m%d-%H%M%S')}"
    return JobSpec(submission_id or generated_id, command, name, files, cpus, digest)


def _parse_arguments(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Config source and settings. Raises: ConfigError for an option that a job does not support."""
    source, settings, rest = None, [], list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--set" and rest:
            settings.append(rest.pop(0))
        elif word.startswith("--set="):
            settings.append(word.removeprefix("--set="))
        elif word.startswith("-"):
            raise ConfigError(f"submit: a job does not support {word}, expected CONFIG and --set")
        elif source is not None:
            raise ConfigError(f"submit: expected one config, got {source} and {word}")
        else:
            source = word
    return source, settings


def _collect_run_files(config: RunConfig) -> dict[str, bytes]:
    """The resolved config and the traffic trace that it names."""
    _check_paths_are_absolute(config)
    text, mask = dump_resolved_yaml(config), config.scenario.mask
    if not isinstance(mask, TraceMask):
        return {"train.yaml": text.encode()}
    plain = yaml.safe_load(text)
    plain["scenario"]["mask"]["path"] = TRACE_FILE
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    return {"train.yaml": text.encode(), TRACE_FILE: Path(mask.path).read_bytes()}


NAMED = (None, "builtin", "random")
"""Values of settings that may name a folder and do not."""


def _check_paths_are_absolute(config: RunConfig) -> None:
    """Raises: ConfigError if the config names a folder relative to this machine's directory."""
    paths = {
        "pretrained_run": config.pretrained_run,
        "transfer.library": config.transfer.library,
        "learning.initial_actor": config.learning.initial_actor,
    }
    for key, path in paths.items():
        if path not in NAMED and not Path(str(path)).is_absolute():
            raise ConfigError(
                f"submit: {key}: a job cannot read this machine's folders, expected an absolute "
                f"path in the cluster's storage, got {path!r}"
            )


def _collect_sweep_files(sweep: SweepConfig) -> dict[str, bytes]:
    """The resolved sweep and the resolved base config of its trials."""
    files = _collect_run_files(sweep.make_trial_config({}))
    files[BASE_FILE] = files.pop("train.yaml")
    plain = sweep.model_copy(update={"base": BASE_FILE, "set": ()}).model_dump(mode="json")
    return {"sweep.yaml": yaml.safe_dump(plain, sort_keys=False).encode(), **files}


def _count_trial_cpus(sweep: SweepConfig) -> int:
    """CPUs of one trial with its env runners and learners."""
    return sweep.cpus_per_trial + sweep.make_trial_config({}).cpus - 1
