"""Fetches the results of a finished job from the cluster."""

from pathlib import Path

import yaml

from slicing_rllib.service.cluster.archive import unpack
from slicing_rllib.service.cluster.client import Cluster
from slicing_rllib.service.cluster.job_entrypoint import FILES_FOLDER, RESULTS_MARK
from slicing_rllib.service.cluster.job_spec import TRACE_FILE, JobSpec
from slicing_rllib.service.errors import RunError
from slicing_rllib.storage import write_durably


def fetch_results(cluster: Cluster, job_spec: JobSpec, folder: Path) -> Path:
    """Writes the run directory of a job, without its checkpoints, to a local folder.

    A helper job prints the packed run directory to its log, so that only the job API is needed.

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
    code, log = cluster.run_helper_job(f"results {run_directory}", environment, node)
    if code or RESULTS_MARK not in log:
        raise RunError(f"job {job_spec.submission_id}: its results cannot be fetched")
    unpack(log.split(RESULTS_MARK, 1)[1].split()[0], folder)
    _use_local_trace(folder)
    return folder


def _use_local_trace(folder: Path) -> None:
    """Makes the fetched config name the traffic trace that was fetched with it."""
    config = folder / "config.yaml"
    if (folder / FILES_FOLDER / TRACE_FILE).is_file() and config.is_file():
        plain = yaml.safe_load(config.read_text(encoding="utf-8"))
        plain["scenario"]["mask"]["path"] = f"{FILES_FOLDER}/{TRACE_FILE}"
        write_durably(config, yaml.safe_dump(plain, sort_keys=False).encode())
