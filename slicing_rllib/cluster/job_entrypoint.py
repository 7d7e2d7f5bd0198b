"""What a job runs on the cluster: a command, or a short task whose log is its answer.

Files travel packed into one line of text, in the job's metadata or in its log. A digest tells
whether two machines have the same code. Every job starts here, so imports are few.
"""

import base64
import hashlib
import io
import json
import os
import sys
import tarfile
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote, urlsplit

import slicing_rllib
from slicing_rllib.storage import read_bounded, write_durably
from slicing_rllib.storage.errors import RunError
from slicing_rllib.storage.foreign_files import GIB, MIB

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


DEFAULT_STORAGE = "/tmp/slicing-rllib-run"
"""A folder of one node, which is enough only for a cluster of one node."""
STORAGE_VARIABLE = "SLICING_RLLIB_STORAGE"
"""Environment variable of the cluster's nodes that names the folder that they share."""
PACKAGE, DISTRIBUTION = "slicing_rllib", "slicing-rllib"
JOB_CODE = "runtime_resources"
"""Part of the path under which Ray unpacks the code of a job."""
NONE = "no slicing-rllib"


def main(task: str, *arguments: str) -> None:
    """Runs one task of a job. `train` and `sweep` do not return: the command replaces the process.

    Args:
        task: `train` or `sweep` with the run directory as argument; or `results` with a run
            directory, `nodes` with the storage or nothing, or `code`, which print an answer.
    """
    match task, arguments:
        case "code", ():
            answer = compute_code_digest()
        case "results", (folder,):
            answer = pack_folder(Path(folder))
        case "nodes", storage:
            from slicing_rllib.cluster.preflight import probe_nodes

            default = os.environ.get(STORAGE_VARIABLE, DEFAULT_STORAGE)
            answer = json.dumps(probe_nodes(storage[0] if storage else default))
        case (("train" | "sweep"), (folder,)):
            run_command(task, Path(folder).absolute())
        case _:
            sys.exit(f"job_entrypoint: expected a task and its arguments, got {task} {arguments}")
    sys.stdout.write(f"{ANSWER_MARK}{answer}\n")


def run_command(command: str, folder: Path) -> NoReturn:
    """Replaces this process by `slicing-rllib COMMAND`, which resumes the run in `folder`, if any.

    Ray's signals therefore reach the command, and Ray sees the command's exit code. The job's files
    are in its metadata, which Ray passes in an environment variable, or in the working directory.
    """
    files = folder / FILES_FOLDER
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    packed = job.get("metadata", {}).get(FILES_KEY)
    if packed is not None:
        unpack(packed, files)
    else:
        files.mkdir(parents=True, exist_ok=True)
        for path in Path.cwd().iterdir():
            write_durably(files / path.name, read_bounded(path, GIB))
    arguments = [command, str(files / f"{command}.yaml"), "--out", str(folder), "--resume"]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "slicing_rllib", *arguments])


def pack_folder(folder: Path) -> str:
    """One line of text that holds a folder without its checkpoints, and the SHA-256 digest."""

    def exclude_checkpoints(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if Path(entry.name).name.startswith(EXCLUDED_PREFIX) else entry

    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        archive.add(folder, ".", filter=exclude_checkpoints)
    content = data.getvalue()
    return f"{hashlib.sha256(content).hexdigest()}:{base64.b64encode(content).decode()}"


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


def compute_code_digest(root: Path | None = None) -> str:
    """Hash of the package's source: two machines with equal digests run equal code.

    Args:
        root: folder of the package; None means the one that this process has imported.
    """
    root = root or Path(slicing_rllib.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + read_bounded(path, MIB))
    return digest.hexdigest()[:16]


def describe_installed_code() -> str:
    """Version and digest of the installed package, or `NONE`."""
    places = [entry for entry in sys.path if JOB_CODE not in entry]
    version = "unknown"
    with suppress(PackageNotFoundError):
        installed = distribution(DISTRIBUTION)
        version = installed.version
        # An editable installation is not on the path: it is recorded by its URL.
        origin = json.loads(installed.read_text("direct_url.json") or "{}").get("url", "")
        places.append(unquote(urlsplit(origin).path))
    for folder in (Path(place) / PACKAGE for place in places):
        if (folder / "__init__.py").is_file():
            return f"{version} ({compute_code_digest(folder)})"
    return NONE


if __name__ == "__main__":
    main(*sys.argv[1:])
