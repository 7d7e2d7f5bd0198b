"""A Ray cluster as `submit` and `cluster check` use it: its nodes, its jobs and their results.

Errors of Ray's clients become one line.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray
import yaml
from ray.exceptions import RayError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient
from ray.util.state import list_nodes

import slicing_rllib
from slicing_rllib.cluster.job_entrypoint import (
    ANSWER_MARK,
    DEFAULT_STORAGE,
    FILES_FOLDER,
    FILES_KEY,
    STORAGE_VARIABLE,
    compute_code_digest,
    pack_folder,
    unpack,
)
from slicing_rllib.cluster.jobs import STORAGE, TRACE_FILE, JobLog, JobSpec, compute_exit_code
from slicing_rllib.storage import write_durably
from slicing_rllib.storage.errors import ConfigError, RunError
from slicing_rllib.storage.safe_yaml import read_document

ENTRYPOINT = "python -m slicing_rllib.cluster.job_entrypoint"
ADDRESS_VARIABLE = "RAY_API_SERVER_ADDRESS"
CLIENT_ERRORS = (RuntimeError, ValueError, OSError, RayError)
"""What Ray's clients raise if a cluster does not answer or refuses a request."""
POLL_S, TASK_POLL_S = 1.0, 0.25
TASK_TIMEOUT_S = 120.0
TIMEOUT_S = 60.0
"""How long a cluster may not answer before the command fails."""
MAX_METADATA_CHARACTERS = 64 * 1024
"""Packed files of at most this size travel in the job's metadata, so that no node needs a copy.

Ray passes the metadata in one environment variable, which Linux limits to 128 KiB.
"""
MAX_UPLOAD_BYTES = 512 * 2**20
"""Ray's limit for a working directory."""

OnMessage = Callable[[str], None]
"""Called with lines for the user."""


class Cluster:
    """A Ray cluster, reached through its dashboard.

    Args:
        address: URL of the dashboard, such as `http://127.0.0.1:8265`.

    Raises: RunError if there is no such cluster, it refuses our token, or it runs another version
    of Ray than this machine; from every method, if it does not answer.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        with convert_errors(address):
            with use_address(address):
                self._client = JobSubmissionClient(address)
            answer = self._client._do_request("GET", "/api/version")
            if answer.status_code != 200:
                raise RuntimeError(f"{answer.status_code} {answer.text}")
        version = str(answer.json().get("ray_version"))
        if version != ray.__version__:
            raise RunError(
                f"{address}: the cluster runs Ray {version}, this machine {ray.__version__}; "
                "expected the same version"
            )

    def submit(self, job_spec: JobSpec, storage: str | None, on_message: OnMessage) -> bool:
        """Submits a job. False if the same job is already there and runs or has succeeded.

        A job that failed or was stopped is submitted again and resumes from its last checkpoint.

        Args:
            job_spec: the job.
            storage: folder that the nodes share; None means the one that the cluster's nodes name.
            on_message: called with lines about the progress.

        Raises: RunError if another job has this name, or if the cluster has too few CPUs.
        """
        if storage and not STORAGE.fullmatch(storage):
            raise ConfigError(f"--storage: expected a path without special signs, got {storage!r}")
        job_id = job_spec.submission_id
        existing = self._find_details(job_id)
        if existing is not None and (existing.metadata or {}).get("digest") != job_spec.digest:
            raise RunError(f"job {job_id}: the cluster has another job of this name")
        if existing is not None and existing.status not in (JobStatus.FAILED, JobStatus.STOPPED):
            return False
        cpus = self._count_cpus()
        if job_spec.cpus > cpus:
            raise RunError(
                f"{self.address}: {job_spec.name} needs {job_spec.cpus} CPUs (its driver included),"
                f" the cluster has {cpus:g}"
            )
        if existing is not None:
            status = existing.status.lower()
            on_message(f"{job_id} has {status}: resuming from its last checkpoint")
            self._client.delete_job(job_id)
        runtime_env = self.prepare_job_environment(on_message)
        on_message(f"submitting {job_id} to {self.address}")
        metadata = {"digest": job_spec.digest, "name": job_spec.name}
        # An earlier attempt's run directory has the same path.
        root = f'"{storage}"' if storage else f'"${{{STORAGE_VARIABLE}:-{DEFAULT_STORAGE}}}"'
        with TemporaryDirectory() as folder, convert_errors(self.address):
            for file_name, content in job_spec.files.items():
                Path(folder, file_name).write_bytes(content)
            packed = pack_folder(Path(folder))
            if len(packed) <= MAX_METADATA_CHARACTERS:
                metadata[FILES_KEY] = packed
            else:
                require_uploadable(job_spec.files)
                runtime_env["working_dir"] = folder
            self._submit_when_ready(
                submission_id=job_id,
                entrypoint=f"{ENTRYPOINT} {job_spec.command} {root}/{job_id}",
                runtime_env=runtime_env,
                metadata=metadata,
                entrypoint_num_cpus=1,
            )
        return True

    def read_details(self, submission_id: str) -> JobDetails:
        """What the cluster knows about a job. Raises: RunError if there is no such job."""
        details = self._find_details(submission_id)
        if details is None:
            raise RunError(f"job {submission_id}: expected the name of a job of {self.address}")
        return details

    def read_log(self, submission_id: str) -> str:
        """Everything that a job has printed. Raises: RunError if there is no such job."""
        self.read_details(submission_id)
        with convert_errors(self.address):
            return self._client.get_job_logs(submission_id)

    def stop(self, submission_id: str) -> None:
        """Asks a job to write a checkpoint and end. Raises: RunError if there is no such job."""
        self.read_details(submission_id)
        with convert_errors(self.address):
            self._client.stop_job(submission_id)

    def follow(self, submission_id: str, on_message: OnMessage) -> int:
        """Passes the log of a job, without Ray's own lines and the result table, to `on_message`
        until the job has ended. Returns its exit code.

        Raises: RunError if the cluster does not answer for `TIMEOUT_S`.
        """
        n_shown, last_answer, job_log = 0, time.monotonic(), JobLog()
        while True:
            try:
                details, log = self.read_details(submission_id), self.read_log(submission_id)
            except RunError:
                if time.monotonic() - last_answer > TIMEOUT_S:
                    raise
                time.sleep(POLL_S)
                continue
            last_answer = time.monotonic()
            end = len(log) if details.status.is_terminal() else log.rfind("\n") + 1
            if shown := job_log.select(log[n_shown:end]):
                on_message(shown)
            n_shown = max(end, n_shown)
            if details.status.is_terminal():
                return compute_exit_code(details)
            time.sleep(POLL_S)

    def run_task(
        self,
        task: str,
        environment: Mapping[str, Any],
        labels: Mapping[str, str] | None = None,
    ) -> tuple[str | None, str]:
        """Runs a short task of `job_entrypoint` and deletes its job.

        Returns the task's answer, None if it failed, and the last line of its log.

        Args:
            task: name of the task and its arguments, quoted for a shell.
            environment: Ray's runtime environment of the job.
            labels: labels that the job's node must have.
        """
        with convert_errors(self.address):
            name = self._submit_when_ready(
                entrypoint=f"{ENTRYPOINT} {task}",
                runtime_env=dict(environment),
                entrypoint_label_selector=dict(labels) if labels else None,
            )
            deadline = time.monotonic() + TASK_TIMEOUT_S
            while not (details := self.read_details(name)).status.is_terminal():
                if time.monotonic() > deadline:
                    self._client.stop_job(name)
                    return None, f"no answer within {TASK_TIMEOUT_S:g} s"
                time.sleep(TASK_POLL_S)
            log = self._client.get_job_logs(name)
            self._client.delete_job(name)
        _, mark, answer = log.partition(ANSWER_MARK)
        is_answered = details.status == JobStatus.SUCCEEDED and mark
        last_line = (log.strip().splitlines() or ["its log is empty"])[-1]
        return answer.splitlines()[0] if is_answered else None, last_line

    def prepare_job_environment(self, on_message: OnMessage) -> dict[str, Any]:
        """Ray's runtime environment for jobs.

        It contains this machine's code, unless the cluster has installed exactly the same code.
        """
        environment: dict[str, Any] = {"env_vars": {"OMP_NUM_THREADS": "1"}}
        if os.environ.get("SLICING_RLLIB_DEBUG"):
            environment["env_vars"]["SLICING_RLLIB_DEBUG"] = "1"
        digest, _ = self.run_task("code", environment)
        if digest == compute_code_digest():
            return environment
        installed = "another version of slicing-rllib" if digest else "no slicing-rllib"
        on_message(f"the cluster has {installed}: this machine's code is sent with the job")
        return environment | {"py_modules": [str(Path(slicing_rllib.__file__).parent)]}

    def _count_cpus(self) -> float:
        """CPUs of all live nodes."""
        with convert_errors(self.address), use_address(self.address):
            nodes: list[Any] = list_nodes(address=self.address, detail=True)
        alive = [node for node in nodes if node.state == "ALIVE"]
        return sum((node.resources_total or {}).get("CPU", 0.0) for node in alive)

    def _submit_when_ready(self, **job: Any) -> str:
        """Submits a job and returns its name.

        A cluster that has just started has no agent yet that could start a job: this is retried.
        """
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            try:
                return self._client.submit_job(**job)
            except RuntimeError as error:
                if "No available agent" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(POLL_S)

    def _find_details(self, submission_id: str) -> JobDetails | None:
        with convert_errors(self.address):
            try:
                return self._client.get_job_info(submission_id)
            except CLIENT_ERRORS as error:
                if "404" in str(error) or "does not exist" in str(error):
                    return None
                raise


def require_uploadable(files: Mapping[str, bytes]) -> None:
    """Raises: RunError for files that are larger than Ray allows for a working directory."""
    n_bytes = sum(map(len, files.values()))
    if n_bytes > MAX_UPLOAD_BYTES:
        raise RunError(
            f"the job's files have {n_bytes / 2**20:.1f} MiB, Ray takes at most "
            f"{MAX_UPLOAD_BYTES / 2**20:g} MiB"
        )


@contextmanager
def use_address(address: str) -> Iterator[None]:
    """Sets RAY_API_SERVER_ADDRESS for the block and restores it afterwards.

    Ray's clients prefer this variable to the address that is passed to them, so the variable has to
    agree with the argument while a client is made.
    """
    previous = os.environ.get(ADDRESS_VARIABLE)
    os.environ[ADDRESS_VARIABLE] = address
    try:
        yield
    finally:
        if previous is None:
            del os.environ[ADDRESS_VARIABLE]
        else:
            os.environ[ADDRESS_VARIABLE] = previous


@contextmanager
def convert_errors(address: str) -> Iterator[None]:
    """Raises: RunError with one line instead of an error of Ray's clients."""
    try:
        yield
    except RunError:
        raise
    except CLIENT_ERRORS as error:
        text = " ".join(str(error).split())
        if any(sign in text for sign in ("401", "403", "Unauthorized", "authentication", "token")):
            where = "RAY_AUTH_TOKEN or ~/.ray/auth_token"
            text = f"the cluster refuses the token, expected its token in {where}"
        elif "ailed to connect" in text or "onnection" in text or "Max retries" in text:
            text = "no Ray cluster answers, expected the URL of a Ray dashboard"
        raise RunError(f"{address}: {text[:200]}") from error


def fetch_results(cluster: Cluster, job_spec: JobSpec, folder: Path) -> Path:
    """Writes the run directory of a job, without its checkpoints, to a local folder.

    A task of `job_entrypoint` prints the packed run directory, so that only the job API is needed.

    Raises: RunError if the folder is not empty or the results cannot be fetched.
    """
    if folder.exists() and any(folder.iterdir()):
        raise RunError(f"{folder}: expected an empty folder for the results")
    details = cluster.read_details(job_spec.submission_id)
    environment = dict(details.runtime_env or {})
    environment.pop("working_dir", None)
    run_directory = details.entrypoint.split("job_entrypoint", 1)[1].split()[1]
    # Without shared storage, only the node that ran the job's driver has the results.
    node = {"ray.io/node-id": details.driver_node_id} if details.driver_node_id else None
    packed, _ = cluster.run_task(f"results {run_directory}", environment, node)
    if packed is None:
        raise RunError(f"job {job_spec.submission_id}: its results cannot be fetched")
    unpack(packed, folder)
    # The fetched config names the traffic trace that was fetched with it.
    config = folder / "config.yaml"
    if (folder / FILES_FOLDER / TRACE_FILE).is_file() and config.is_file():
        plain = read_document(config, str(config)).content
        plain["scenario"]["mask"]["path"] = f"{FILES_FOLDER}/{TRACE_FILE}"
        write_durably(config, yaml.safe_dump(plain, sort_keys=False).encode())
    return folder
