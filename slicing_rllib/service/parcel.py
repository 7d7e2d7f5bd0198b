"""The far end of a job: takes an order, runs it, hands its results back as text."""

import base64
import hashlib
import io
import json
import os
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

import slicing_rllib
from slicing_rllib.service.run_directory import RunError, write_atomically

RESULTS_MARK = "slicing-rllib results: "
NODES_MARK = "slicing-rllib nodes: "
CODE_MARK = "slicing-rllib code: "
ORDER = "order"
"""Metadata of a job that holds its files, packed."""
NOT_SENT = "checkpoint"
"""What begins so stays where it is: checkpoints are large, and only good for going on there."""
FILES = "order"
"""Folder of a job's results that holds what it was sent."""


def packed(files: Mapping[str, bytes]) -> str:
    """Files by name as one line of text that says whether it is whole."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return _line(data.getvalue())


def packed_folder(folder: Path) -> str:
    """A folder of results, without checkpoints, as one line of text."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        archive.add(folder, ".", filter=_wanted)
    return _line(data.getvalue())


def unpack(line: str, to: Path) -> None:
    """The reverse. Raises: RunError for a line that is not whole."""
    digest, _, encoded = line.partition(":")
    content = base64.b64decode(encoded)
    if hashlib.sha256(content).hexdigest() != digest:
        raise RunError("results: arrived damaged, expected the digest that was sent along")
    to.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:xz") as archive:
        archive.extractall(to, filter="data")


def code_digest() -> str:
    """Of the package as it is installed here: what two machines must share to be of one mind."""
    root = Path(slicing_rllib.__file__).parent
    total = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        total.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:16]


def order_of_this_job() -> str | None:
    """What the job's metadata holds: Ray tells a job's driver, and nobody else."""
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    return job.get("metadata", {}).get(ORDER)


def perform(command: str, folder: Path) -> int:
    """Runs this job's order in `folder`, from its last checkpoint; the exit code."""
    from slicing_rllib.service.cli import run

    sent, order = folder / FILES, order_of_this_job()
    if order is None:
        sent.mkdir(parents=True, exist_ok=True)
        for path in Path.cwd().iterdir():
            write_atomically(sent / path.name, path.read_bytes())
    else:
        unpack(order, sent)
    return run([command, str(sent / f"{command}.yaml"), "--out", str(folder), "--resume"])


def _line(content: bytes) -> str:
    return f"{hashlib.sha256(content).hexdigest()}:{base64.b64encode(content).decode()}"


def _wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if Path(entry.name).name.startswith(NOT_SENT) else entry


def _main(what: str, *arguments: str) -> int:
    match what, arguments:
        case "code", ():
            sys.stdout.write(f"{CODE_MARK}{code_digest()}\n")
        case "results", (folder,):
            sys.stdout.write(f"{RESULTS_MARK}{packed_folder(Path(folder))}\n")
        case "nodes", storage:
            from slicing_rllib.service import node_check

            rows = node_check.look(node_check.storage_of(storage[0] if storage else None))
            sys.stdout.write(f"{NODES_MARK}{json.dumps(rows)}\n")
        case (("train" | "sweep"), (folder,)):
            return perform(what, Path(folder).absolute())
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
