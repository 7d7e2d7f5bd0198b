"""Jobs on a Ray cluster: sent, followed, stopped, their results fetched back."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import ray
import yaml
from ray.exceptions import RayError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

import slicing_rllib
from slicing_rllib.service.cluster.archive import code_digest, pack_files, unpack
from slicing_rllib.service.cluster.job_entrypoint import (
    CODE_MARK,
    FILES,
    ORDER,
    RESULTS_MARK,
)
from slicing_rllib.service.cluster.job_spec import TRACE, JobSpec
from slicing_rllib.service.errors import RunError
from slicing_rllib.service.runs.run_directory import write_atomically

ADDRESS_VARIABLE = "RAY_API_SERVER_ADDRESS"
DEFAULT_ADDRESS = "http://127.0.0.1:8265"
POLL_S = 1.0
HELPER_JOB_POLL_S = 0.25
HELPER_JOB_TIMEOUT_S = 120.0
TIMEOUT_S = 60.0
"""How long the cluster may be silent before we say that it is gone."""
DEFAULT_STORAGE = "/tmp/slicing-rllib-run"
STORAGE_VARIABLE = "SLICING_RLLIB_STORAGE"
INLINE_CHARACTERS = 64 * 1024
"""An order up to here travels in the job's metadata, which needs no files on any node.

Linux takes 128 KiB in one variable.
"""
MAX_PACKAGE_BYTES = 512 * 2**20
"""Ray's own bound on what travels with a job."""

CLIENT_ERRORS = (RuntimeError, ValueError, OSError, RayError)
"""What Ray's clients raise when a cluster does not do as asked."""

Says = Callable[[str], None]


class Node(NamedTuple):
    """A live node."""

    node_id: str
    address: str
    is_head: bool
    resources: Mapping[str, float]


class Cluster:
    """A Ray cluster by its dashboard's address. Raises: RunError where it cannot be used."""

    def __init__(self, address: str) -> None:
        self.address = address
        try:
            with _only(address):
                self._client = JobSubmissionClient(address)
            self.ray_version = self._version()
        except CLIENT_ERRORS as error:
            raise RunError(_trouble(address, error)) from error
        if self.ray_version != ray.__version__:
            raise RunError(
                f"{address}: the cluster runs Ray {self.ray_version}, this machine "
                f"{ray.__version__}; expected the same"
            )

    def nodes(self) -> list[Node]:
        """Live nodes, the head first."""
        from ray.util.state import list_nodes

        try:
            with _only(self.address):
                found: list[Any] = list_nodes(address=self.address, detail=True)
        except CLIENT_ERRORS as error:
            raise RunError(_trouble(self.address, error)) from error
        live = [
            Node(node.node_id, node.node_ip, bool(node.is_head_node), node.resources_total or {})
            for node in found
            if node.state == "ALIVE"
        ]
        return sorted(live, key=lambda node: not node.is_head)

    def cpus(self) -> float:
        """CPUs of all live nodes."""
        return sum(node.resources.get("CPU", 0.0) for node in self.nodes())

    def submit(self, order: JobSpec, storage: str | None, says: Says) -> bool:
        """Sends an order; False where the same one is there already and runs or has succeeded.

        One that failed or was stopped goes on from its last checkpoint.
        Raises: RunError for another job of that name, or one that this cluster cannot hold.
        """
        known = self._details(order.submission_id)
        if known is not None and (known.metadata or {}).get("digest") != order.digest:
            raise RunError(f"job {order.submission_id}: there already is another job of that name")
        if known is not None and known.status not in (JobStatus.FAILED, JobStatus.STOPPED):
            return False
        self._check_feasible(order)
        if known is not None:
            says(f"{order.submission_id} has {known.status.lower()}: going on from its checkpoint")
            self._client.delete_job(order.submission_id)
        env = self.environment(says)
        says(f"submitting {order.submission_id} to {self.address}")
        self._send(order, storage, env)
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
        """Asks a job to write a checkpoint and end."""
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
            except CLIENT_ERRORS as error:
                if time.monotonic() - last_answer > TIMEOUT_S:
                    raise RunError(_trouble(self.address, error)) from error
                time.sleep(POLL_S)
                continue
            if text[said:].strip():
                heard(text[said:].strip("\n"))
            said = len(text)
            if details.status.is_terminal():
                return exit_code(details)
            time.sleep(POLL_S)

    def fetch(self, order: JobSpec, to: Path) -> Path:
        """The results of a job, without its checkpoints, by way of the job API alone.

        Raises: RunError where they did not arrive whole, or `to` is taken.
        """
        if to.exists() and any(to.iterdir()):
            raise RunError(f"{to}: expected an empty folder for the results")
        details = self.status(order.submission_id)
        env = dict(details.runtime_env or {})
        env.pop("working_dir", None)
        folder = details.entrypoint.split("job_entrypoint", 1)[1].split()[1]
        # Where storage is not shared, only the job's own node has them.
        where = {"ray.io/node-id": details.driver_node_id} if details.driver_node_id else None
        code, text = self.run_helper_job(f"results {folder}", env, where)
        if code or RESULTS_MARK not in text:
            raise RunError(f"job {order.submission_id}: its results could not be fetched")
        unpack(text.split(RESULTS_MARK, 1)[1].split()[0], to)
        _make_local(to)
        return to

    def run_helper_job(
        self, what: str, env: Mapping[str, Any], where: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """A short job of ours, gone when it has ended: its exit code and what it printed."""
        try:
            name = self._started(
                entrypoint=f"python -m slicing_rllib.service.cluster.job_entrypoint {what}",
                runtime_env=dict(env),
                entrypoint_label_selector=dict(where) if where else None,
            )
            deadline = time.monotonic() + HELPER_JOB_TIMEOUT_S
            while not (details := self.status(name)).status.is_terminal():
                if time.monotonic() > deadline:
                    self._client.stop_job(name)
                    return 1, ""
                time.sleep(HELPER_JOB_POLL_S)
            text = self._client.get_job_logs(name)
            self._client.delete_job(name)
        except CLIENT_ERRORS as error:
            raise RunError(_trouble(self.address, error)) from error
        return exit_code(details), text

    def _check_feasible(self, order: JobSpec) -> None:
        there = self.cpus()
        if order.cpus > there:
            raise RunError(
                f"{self.address}: {order.name} needs {order.cpus} CPUs (its driver included), the "
                f"cluster has {there:g}"
            )

    def environment(self, says: Says) -> dict[str, Any]:
        """What jobs run with. Our own code travels along unless the cluster has the very same."""
        env: dict[str, Any] = {"env_vars": {"OMP_NUM_THREADS": "1"}}
        if os.environ.get("SLICING_RLLIB_DEBUG"):
            env["env_vars"]["SLICING_RLLIB_DEBUG"] = "1"
        code, text = self.run_helper_job("code", env)
        theirs = text.split(CODE_MARK, 1)[1].split()[0] if CODE_MARK in text else None
        if code == 0 and theirs == code_digest():
            return env
        found = "other" if theirs else "no"
        says(f"the cluster has {found} slicing-rllib code: this machine's travels with the job")
        return env | {"py_modules": [str(Path(slicing_rllib.__file__).parent)]}

    def _send(self, order: JobSpec, storage: str | None, env: Mapping[str, Any]) -> None:
        metadata = {"digest": order.digest, "name": order.name}
        line = pack_files(order.files)
        with TemporaryDirectory() as folder:
            if len(line) <= INLINE_CHARACTERS:
                own: dict[str, Any] = dict(env)
                metadata[ORDER] = line
            else:
                own = {**env, "working_dir": _written(order.files, folder)}
            try:
                self._started(
                    submission_id=order.submission_id,
                    entrypoint=_entrypoint(order, storage),
                    runtime_env=own,
                    metadata=metadata,
                    entrypoint_num_cpus=1,
                )
            except CLIENT_ERRORS as error:
                raise RunError(_trouble(self.address, error)) from error

    def _started(self, **job: Any) -> str:
        """Sends a job; a cluster that has just come up has no agent yet to start it."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            try:
                return self._client.submit_job(**job)
            except RuntimeError as error:
                if "No available agent" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(POLL_S)

    def _details(self, submission_id: str) -> JobDetails | None:
        try:
            return self._client.get_job_info(submission_id)
        except CLIENT_ERRORS as error:
            if "404" in str(error) or "does not exist" in str(error):
                return None
            raise RunError(_trouble(self.address, error)) from error

    def _version(self) -> str:
        answer = self._client._do_request("GET", "/api/version")
        if answer.status_code != 200:
            raise RuntimeError(f"{answer.status_code} {answer.text}")
        return str(answer.json().get("ray_version"))


@contextmanager
def _only(address: str) -> Iterator[None]:
    """Ray prefers what the environment says to what it is told; here they agree."""
    before = os.environ.get(ADDRESS_VARIABLE)
    os.environ[ADDRESS_VARIABLE] = address
    try:
        yield
    finally:
        if before is None:
            del os.environ[ADDRESS_VARIABLE]
        else:
            os.environ[ADDRESS_VARIABLE] = before


def _entrypoint(order: JobSpec, storage: str | None) -> str:
    """Resumes where an earlier attempt of the same job left off."""
    root = f'"{storage}"' if storage else f'"${{{STORAGE_VARIABLE}:-{DEFAULT_STORAGE}}}"'
    return f"python -m slicing_rllib.service.cluster.job_entrypoint {order.command} {root}/{order.submission_id}"


def _written(files: Mapping[str, bytes], folder: str) -> str:
    """A folder that Ray takes along. Raises: RunError for files that are too large for that."""
    size = sum(map(len, files.values()))
    if size > MAX_PACKAGE_BYTES:
        raise RunError(
            f"order: {size / 2**20:.1f} MiB, Ray takes at most {MAX_PACKAGE_BYTES / 2**20:g} MiB"
        )
    for name, content in files.items():
        (Path(folder) / name).write_bytes(content)
    return folder


def _make_local(folder: Path) -> None:
    """Points a fetched run at the trace that came with it."""
    config = folder / "config.yaml"
    if (folder / FILES / TRACE).is_file() and config.is_file():
        plain = yaml.safe_load(config.read_text(encoding="utf-8"))
        plain["scenario"]["mask"]["path"] = f"{FILES}/{TRACE}"
        write_atomically(config, yaml.safe_dump(plain, sort_keys=False).encode())


def exit_code(details: JobDetails) -> int:
    """Of an ended job, as a shell would have it."""
    if details.status == JobStatus.SUCCEEDED:
        return 0
    if details.status == JobStatus.STOPPED:
        return 130
    code = details.driver_exit_code or 1
    return code if code > 0 else 128 - code


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
            "exit_code": exit_code(details) if details.status.is_terminal() else None,
        },
        indent=2,
    )
