"""What a job runs on the cluster: a training or sweep, or a helper job whose log is its answer."""

import json
import os
import sys
from pathlib import Path

from slicing_rllib.service.cluster.archive import compute_code_digest, pack_folder, unpack
from slicing_rllib.storage import write_durably

RESULTS_MARK = "slicing-rllib results: "
NODES_MARK = "slicing-rllib nodes: "
CODE_MARK = "slicing-rllib code: "
FILES_KEY = "job_files"
"""Key of the job's metadata that holds its packed files. Absent if they are in the working
directory because they are too large for the metadata."""
FILES_FOLDER = "job_files"
"""Folder of the run directory in which the job's files are written."""


def main(task: str, *arguments: str) -> None:
    """Runs one task of a job. `train` and `sweep` do not return: the command replaces the process.

    Args:
        task: `train` or `sweep` with the run directory as argument; `results` with a run directory,
            `nodes` with the storage or nothing, or `code`, which print one marked line.
    """
    match task, arguments:
        case "code", ():
            _print_marked(CODE_MARK, compute_code_digest())
        case "results", (folder,):
            _print_marked(RESULTS_MARK, pack_folder(Path(folder)))
        case "nodes", storage:
            from slicing_rllib.service.cluster.node_probe import probe_nodes
            from slicing_rllib.service.cluster.storage import resolve_storage

            rows = probe_nodes(resolve_storage(storage[0] if storage else None))
            _print_marked(NODES_MARK, json.dumps(rows))
        case (("train" | "sweep"), (folder,)):
            run_command(task, Path(folder).absolute())
        case _:
            sys.exit(f"job_entrypoint: expected a task and its arguments, got {task} {arguments}")


def run_command(command: str, folder: Path) -> None:
    """Replaces this process by `slicing-rllib COMMAND`, which resumes the run in `folder`, if any.

    Ray's signals therefore reach the command, and Ray sees the command's exit code.
    """
    files = folder / FILES_FOLDER
    _write_job_files(files)
    arguments = [command, str(files / f"{command}.yaml"), "--out", str(folder), "--resume"]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "slicing_rllib", *arguments])


def _write_job_files(folder: Path) -> None:
    packed = _read_packed_files()
    if packed is not None:
        unpack(packed, folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    for path in Path.cwd().iterdir():
        write_durably(folder / path.name, path.read_bytes())


def _read_packed_files() -> str | None:
    """The files in this job's metadata, which Ray passes to a job in an environment variable."""
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    return job.get("metadata", {}).get(FILES_KEY)


def _print_marked(mark: str, content: str) -> None:
    sys.stdout.write(f"{mark}{content}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
