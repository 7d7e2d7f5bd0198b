"""What a job runs on the cluster: a command, or a short task whose log is its answer.

Files travel packed into one line of text, in the job's metadata or in its log.
"""

import base64
import hashlib
import io
import json
import os
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from slicing_rllib.storage import write_durably
from slicing_rllib.storage.errors import RunError

ANSWER_MARK = "slicing-rllib answers: "
"""Begins the line of a task's log that is its answer."""
FILES_KEY = "job_files"
"""Key of the job's metadata that holds its packed files. Absent if they are in the working
directory because they are too large for the metadata."""
FILES_FOLDER = "job_files"
"""Folder of the run directory in which the job's files are written."""
EXCLUDED_PREFIX = "checkpoint"
"""Files and folders with this prefix are not packed: checkpoints are large, and a job resumes only
from the storage that it wrote them to."""


def main(task: str, *arguments: str) -> None:
    """Runs one task of a job. `train` and `sweep` do not return: the command replaces the process.

    Args:
        task: `train` or `sweep` with the run directory as argument; or `results` with a run
            directory, `nodes` with the storage or nothing, or `code`, which print an answer.
    """
    match task, arguments:
        case "code", ():
            from slicing_rllib.cluster.node_probe import compute_code_digest

            answer = compute_code_digest()
        case "results", (folder,):
            answer = pack_folder(Path(folder))
        case "nodes", storage:
            from slicing_rllib.cluster.jobs import resolve_storage
            from slicing_rllib.cluster.node_probe import probe_nodes

            answer = json.dumps(probe_nodes(resolve_storage(storage[0] if storage else None)))
        case (("train" | "sweep"), (folder,)):
            run_command(task, Path(folder).absolute())
        case _:
            sys.exit(f"job_entrypoint: expected a task and its arguments, got {task} {arguments}")
    sys.stdout.write(f"{ANSWER_MARK}{answer}\n")


def run_command(command: str, folder: Path) -> NoReturn:
    """Replaces this process by `slicing-rllib COMMAND`, which resumes the run in `folder`, if any.

    Ray's signals therefore reach the command, and Ray sees the command's exit code.
    """
    files = folder / FILES_FOLDER
    _write_job_files(files)
    arguments = [command, str(files / f"{command}.yaml"), "--out", str(folder), "--resume"]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "slicing_rllib", *arguments])


def _write_job_files(folder: Path) -> None:
    """Writes the files in this job's metadata, which Ray passes in an environment variable; if they
    were too large for it, they are in the working directory."""
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    packed = job.get("metadata", {}).get(FILES_KEY)
    if packed is not None:
        unpack(packed, folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    for path in Path.cwd().iterdir():
        write_durably(folder / path.name, path.read_bytes())


def pack_files(files: Mapping[str, bytes]) -> str:
    """One line of text that holds the files and their SHA-256 digest.

    Args:
        files: content by file name.
    """
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return _encode(data.getvalue())


def pack_folder(folder: Path) -> str:
    """One line of text that holds a folder without its checkpoints, and the SHA-256 digest."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        archive.add(folder, ".", filter=_exclude_checkpoints)
    return _encode(data.getvalue())


def unpack(line: str, folder: Path) -> None:
    """Writes the files of a packed line into a folder, which is created if necessary.

    Raises: RunError if the content does not match its digest.
    """
    digest, _, encoded = line.partition(":")
    content = base64.b64decode(encoded)
    if hashlib.sha256(content).hexdigest() != digest:
        raise RunError("packed files: expected content with the digest that was sent with it")
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:xz") as archive:
        archive.extractall(folder, filter="data")


def _encode(content: bytes) -> str:
    return f"{hashlib.sha256(content).hexdigest()}:{base64.b64encode(content).decode()}"


def _exclude_checkpoints(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if Path(entry.name).name.startswith(EXCLUDED_PREFIX) else entry


if __name__ == "__main__":
    main(*sys.argv[1:])
