"""Commands as jobs on a Ray cluster: what is sent, followed, and fetched back."""

import base64
import hashlib
import io
import json
import os
import tarfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

import slicing_rllib
from slicing_rllib.radio import TraceMask
from slicing_rllib.service.config import ConfigError, RunConfig, load_config, resolved_yaml
from slicing_rllib.service.run_directory import RunError

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
POLL_S = 1.0
PATIENCE_S = 60.0
"""How long the cluster may be silent before we say that it is gone."""
RUN_FOLDER = "slicing-rllib-run"
FETCH_MARK = "slicing-rllib results: "
MAX_PACKAGE_BYTES = 512 * 2**20

TROUBLE = (RuntimeError, ValueError, OSError, RayError)
"""What Ray's clients raise when a cluster does not do as asked."""

Says = Callable[[str], None]


class Order(NamedTuple):
    """What a job is to do."""

    submission_id: str
    arguments: tuple[str, ...]
    config: RunConfig
    digest: str
    """Of the resolved config and arguments: two orders with one digest are one job."""


class Cluster:
    """A Ray cluster by its dashboard's address. Raises: RunError where it cannot be used."""

    def __init__(self, address: str) -> None:
        self.address = address
        try:
            self._client = JobSubmissionClient(address)
            self._get_version()
        except RunError:
            raise
        except TROUBLE as error:
            raise RunError(_trouble(address, error)) from error

    def cpus(self) -> float:
        """CPUs of all live nodes."""
        return sum(node.get("CPU", 0.0) for node in self.nodes())

    def nodes(self) -> list[dict[str, float]]:
        """Resources of each live node."""
        from ray.util.state import list_nodes

        try:
            found: list[Any] = list_nodes(address=self.address, detail=True)
        except TROUBLE as error:
            raise RunError(_trouble(self.address, error)) from error
        return [dict(node.resources_total or {}) for node in found if node.state == "ALIVE"]

    def submit(self, order: Order, says: Says) -> bool:
        """Sends an order; False where the same one is there already.

        Raises: RunError for another job of that name, or one that this cluster cannot hold.
        """
        known = self._details(order.submission_id)
        if known is not None:
            if (known.metadata or {}).get("digest") == order.digest:
                return False
            raise RunError(f"job {order.submission_id}: there already is another job of that name")
        needed, there = 1 + order.config.num_env_runners, self.cpus()
        if needed > there:
            raise RunError(
                f"{self.address}: the run needs {needed} CPUs (a driver, "
                f"{order.config.num_env_runners} env runners), the cluster has {there:g}"
            )
        says(f"submitting {order.submission_id} to {self.address}")
        with TemporaryDirectory() as folder:
            self._send(order, _packed(order.config, Path(folder)))
        return True

    def status(self, submission_id: str) -> JobDetails:
        """Raises: RunError for a job that is not there."""
        found = self._details(submission_id)
        if found is None:
            raise RunError(f"job {submission_id}: expected a job of {self.address}")
        return found

    def logs(self, submission_id: str) -> str:
        self.status(submission_id)
        return self._client.get_job_logs(submission_id)

    def stop(self, submission_id: str) -> None:
        self.status(submission_id)
        self._client.stop_job(submission_id)

    def follow(self, submission_id: str, heard: Says) -> int:
        """Passes on what the job says until it has ended; its exit code. Outages are waited out.

        Raises: RunError where the cluster stays silent.
        """
        said, last_answer = 0, time.monotonic()
        while True:
            try:
                details = self.status(submission_id)
                text = self._client.get_job_logs(submission_id)
                last_answer = time.monotonic()
            except TROUBLE as error:
                if time.monotonic() - last_answer > PATIENCE_S:
                    raise RunError(_trouble(self.address, error)) from error
                time.sleep(POLL_S)
                continue
            if text[said:].strip():
                heard(text[said:].rstrip("\n"))
            said = len(text)
            if details.status.is_terminal():
                return _exit_code(details)
            time.sleep(POLL_S)

    def fetch(self, order: Order, to: Path) -> Path:
        """The run directory of a job, without its checkpoints, by way of the job API alone.

        Raises: RunError where it did not arrive whole, or `to` is taken.
        """
        if to.exists() and any(to.iterdir()):
            raise RunError(f"{to}: expected an empty folder for the results")
        errand = f"{order.submission_id}-results-{int(time.time())}"
        self._client.submit_job(
            submission_id=errand,
            entrypoint=f"python -m slicing_rllib.service.parcel {_remote_folder(order)}",
            runtime_env=_runtime_env(None),
        )
        while not (details := self.status(errand)).status.is_terminal():
            time.sleep(POLL_S / 4)
        text = self._client.get_job_logs(errand)
        self._client.delete_job(errand)
        if details.status != JobStatus.SUCCEEDED or FETCH_MARK not in text:
            raise RunError(f"job {order.submission_id}: its results could not be fetched")
        unpack(text.split(FETCH_MARK, 1)[1].split()[0], to)
        return to

    def _send(self, order: Order, package: Path) -> None:
        size = sum(path.stat().st_size for path in package.rglob("*") if path.is_file())
        if size > MAX_PACKAGE_BYTES:
            raise RunError(f"package: {size / 2**20:.0f} MiB, Ray takes at most 512 MiB")
        try:
            self._client.submit_job(
                submission_id=order.submission_id,
                entrypoint=_entrypoint(order),
                runtime_env=_runtime_env(package),
                metadata={"digest": order.digest, "run": order.config.name},
                entrypoint_num_cpus=1,
            )
        except TROUBLE as error:
            raise RunError(_trouble(self.address, error)) from error

    def _details(self, submission_id: str) -> JobDetails | None:
        try:
            return self._client.get_job_info(submission_id)
        except TROUBLE as error:
            if "404" in str(error) or "does not exist" in str(error):
                return None
            raise RunError(_trouble(self.address, error)) from error

    def _get_version(self) -> None:
        answer = self._client._do_request("GET", "/api/version")
        if answer.status_code != 200:
            raise RuntimeError(f"{answer.status_code} {answer.text}")
        theirs = answer.json().get("ray_version")
        if theirs != ray.__version__:
            raise RunError(
                f"{self.address}: the cluster runs Ray {theirs}, this machine {ray.__version__}; "
                "expected the same"
            )


def order_of(arguments: Sequence[str], submission_id: str | None) -> Order:
    """Checks the command that a job is to run. Raises: ConfigError for one that cannot be run."""
    if not arguments or arguments[0] != "train":
        raise ConfigError("submit: expected -- train [CONFIG] [--set KEY=VALUE ...]")
    source, settings = _train_arguments(arguments[1:])
    config = load_config(source, settings)
    digest = hashlib.sha256(resolved_yaml(config).encode()).hexdigest()[:12]
    name = submission_id or f"{config.name}-{digest[:6]}-{time.strftime('%Y%m%d-%H%M%S')}"
    return Order(name, tuple(arguments), config, digest)


def pack(folder: Path) -> str:
    """A run directory without checkpoints as one line of text."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        for path in sorted(folder.iterdir()):
            if path.name != "checkpoints":
                archive.add(path, path.name)
    content = data.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    return f"{digest}:{base64.b64encode(content).decode()}"


def unpack(line: str, to: Path) -> None:
    """The reverse. Raises: RunError for a line that is not whole."""
    digest, _, encoded = line.partition(":")
    content = base64.b64decode(encoded)
    if hashlib.sha256(content).hexdigest() != digest:
        raise RunError("results: arrived damaged, expected the digest that was sent along")
    to.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:xz") as archive:
        archive.extractall(to, filter="data")


def _train_arguments(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """CONFIG and settings. Raises: ConfigError for an option that makes no sense in a job."""
    source, settings, rest = "quick", [], list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--set" and rest:
            settings.append(rest.pop(0))
        elif word.startswith("--set="):
            settings.append(word.removeprefix("--set="))
        elif word.startswith("-"):
            raise ConfigError(f"submit: {word} has no place in a job, expected CONFIG and --set")
        else:
            source = word
    return source, settings


def _packed(config: RunConfig, folder: Path) -> Path:
    """A folder with the resolved config, and the trace that it names."""
    text = resolved_yaml(config)
    mask = config.scenario.mask
    if isinstance(mask, TraceMask):
        (folder / "trace.csv").write_bytes(Path(mask.path).read_bytes())
        text = text.replace(mask.path, "trace.csv")
    (folder / "config.yaml").write_text(text)
    return folder


def _entrypoint(order: Order) -> str:
    """Resumes where an earlier attempt of the same job left off."""
    return (
        "python -m slicing_rllib.service.cli train config.yaml "
        f"--out {_remote_folder(order)} --resume"
    )


def _remote_folder(order: Order) -> str:
    return f"/tmp/{RUN_FOLDER}/{order.submission_id}"


def _runtime_env(package: Path | None) -> dict[str, Any]:
    """Our own package travels with the job, so a cluster needs only Ray and torch."""
    env: dict[str, Any] = {
        "py_modules": [str(Path(slicing_rllib.__file__).parent)],
        "env_vars": {
            "OMP_NUM_THREADS": "1",
            "SLICING_RLLIB_DEBUG": os.environ.get("SLICING_RLLIB_DEBUG", ""),
        },
    }
    return env if package is None else env | {"working_dir": str(package)}


def _exit_code(details: JobDetails) -> int:
    if details.status == JobStatus.SUCCEEDED:
        return 0
    if details.status == JobStatus.STOPPED:
        return 130
    return details.driver_exit_code or 1


def _trouble(address: str, error: Exception) -> str:
    """One line of what Ray has to say in many."""
    text = " ".join(str(error).split())
    if any(sign in text for sign in ("401", "403", "Unauthorized", "authentication", "token")):
        return f"{address}: the cluster refuses the token; RAY_AUTH_TOKEN or ~/.ray/auth_token"
    if "ailed to connect" in text or "onnection" in text or "Max retries" in text:
        return f"{address}: no Ray cluster answers here, expected its dashboard's address"
    return f"{address}: {text[:200]}"


def as_json(details: JobDetails) -> str:
    """A job's state for scripts."""
    return json.dumps(
        {
            "submission_id": details.submission_id,
            "status": str(details.status),
            "message": details.message,
            "exit_code": _exit_code(details) if details.status.is_terminal() else None,
        },
        indent=2,
    )
