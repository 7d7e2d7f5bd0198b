"""A job: the command and the files that it reads, checked before it is submitted, and its log."""

import hashlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml
from ray.job_submission import JobDetails, JobStatus

from slicing_rllib.inputs.text_tables import MAX_BYTES
from slicing_rllib.radio import TraceMask
from slicing_rllib.runs.config_loading import DEFAULT_CONFIG, dump_resolved_yaml, load_config
from slicing_rllib.runs.run_config import RunConfig
from slicing_rllib.storage import read_bounded
from slicing_rllib.storage.errors import ConfigError
from slicing_rllib.studies.study_configs import SweepConfig

COMMANDS = ("train", "sweep")
TRACE_FILE, BASE_FILE = "trace.csv", "base.yaml"
NAMED = (None, "builtin", "random")
"""Values of settings that may name a folder and do not."""


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
    # It becomes part of a shell command and of a path.
    if submission_id is not None and not ID.fullmatch(submission_id):
        raise ConfigError(f"--id: expected letters, digits and . _ -, got {submission_id!r}")
    if command not in COMMANDS:
        raise ConfigError(
            "submit: expected -- train [CONFIG] [--set KEY=VALUE ...] or -- sweep YAML"
        )
    source, settings = _parse_arguments(rest)
    if command == "train":
        config = load_config(source or DEFAULT_CONFIG, settings)
        name, files, cpus = config.name, _collect_run_files(config), config.cpus
    else:
        if source is None or settings:
            raise ConfigError("submit -- sweep: expected a YAML file or the name of a sweep")
        sweep = SweepConfig.load(source)
        name, files, cpus = sweep.name, _collect_sweep_files(sweep), 1 + sum(sweep.trial_cpus)
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
    """The resolved config and the traffic trace that it names.

    Raises: ConfigError if the config names a folder relative to this machine's directory.
    """
    paths = {
        "pretrained_run": config.pretrained_run,
        "transfer.library": config.transfer.library,
        "learning.initial_actor": config.learning.initial_actor,
        "learning.initial_critic": config.learning.initial_critic,
    }
    for key, path in paths.items():
        if path not in NAMED and not Path(str(path)).is_absolute():
            raise ConfigError(
                f"submit: {key}: a job cannot read this machine's folders, expected an absolute "
                f"path in the cluster's storage, got {path!r}"
            )
    mask = config.scenario.mask
    if not isinstance(mask, TraceMask):
        return {"train.yaml": dump_resolved_yaml(config).encode()}
    plain = config.model_dump(mode="json")
    plain["scenario"]["mask"]["path"] = TRACE_FILE
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    return {"train.yaml": text.encode(), TRACE_FILE: read_bounded(Path(mask.path), MAX_BYTES)}


def _collect_sweep_files(sweep: SweepConfig) -> dict[str, bytes]:
    """The resolved sweep and the resolved base config of its trials."""
    files = _collect_run_files(sweep.make_trial_config({}))
    files[BASE_FILE] = files.pop("train.yaml")
    plain = sweep.model_copy(update={"base": BASE_FILE, "set": ()}).model_dump(mode="json")
    return {"sweep.yaml": yaml.safe_dump(plain, sort_keys=False).encode(), **files}


ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
STORAGE = re.compile(r"[A-Za-z0-9/._:@=+~-]+")
"""What a shell takes as it is."""
NOISE = re.compile(
    r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+\s+(DEBUG|INFO|WARNING)\b"  # Python logging of Ray
    r"|^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ [A-Z] "  # logging of Ray's C++ core
    r"|^(\x1b\[\d+m)*\([\w.:]+ (pid|ip)="  # output of Ray's workers
    r"|^Running entrypoint for job "
)
RESULT = re.compile(r"^\s*(evaluation on unseen traffic, .* seeds|\d+ trials)\s*$")
"""Title of the result table, with which the output of a command ends."""


class JobLog:
    """Selects the lines of a job's log that are worth showing while the job runs.

    The result table is left out: it is printed from the results themselves when they have been
    fetched.
    """

    def __init__(self) -> None:
        self._has_result = False

    def select(self, text: str) -> str:
        """The lines to show of the next part of the log, which consists of whole lines."""
        shown = []
        for line in text.splitlines():
            self._has_result = self._has_result or bool(RESULT.match(line))
            if not self._has_result and line.strip() and not NOISE.match(line):
                shown.append(line)
        return "\n".join(shown)


def compute_exit_code(details: JobDetails) -> int:
    """Exit code of a job that has ended, as a shell reports it.

    0 for success, 130 for a job that was stopped, 128 + n for one that signal n ended, else the
    driver's own code.
    """
    if details.status == JobStatus.SUCCEEDED:
        return 0
    if details.status == JobStatus.STOPPED:
        return 130
    code = details.driver_exit_code or 1
    return code if code > 0 else 128 - code


def format_details(details: JobDetails) -> str:
    """The state of a job as indented JSON. `exit_code` is null until the job has ended."""
    state = {
        "submission_id": details.submission_id,
        "status": str(details.status),
        "message": details.message,
        "exit_code": compute_exit_code(details) if details.status.is_terminal() else None,
    }
    return json.dumps(state, indent=2)
