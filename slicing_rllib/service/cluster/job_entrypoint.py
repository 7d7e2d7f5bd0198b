"""The far end of a job: takes an order, runs it, hands its results back as text."""

import json
import os
import sys
from pathlib import Path

from slicing_rllib.service.cluster.archive import code_digest, pack_folder, unpack
from slicing_rllib.service.runs.run_directory import write_atomically

RESULTS_MARK = "slicing-rllib results: "
NODES_MARK = "slicing-rllib nodes: "
CODE_MARK = "slicing-rllib code: "
ORDER = "order"
"""Metadata of a job that holds its files, packed."""
FILES = "order"
"""Folder of a job's results that holds what it was sent."""


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


def _main(what: str, *arguments: str) -> int:
    match what, arguments:
        case "code", ():
            sys.stdout.write(f"{CODE_MARK}{code_digest()}\n")
        case "results", (folder,):
            sys.stdout.write(f"{RESULTS_MARK}{pack_folder(Path(folder))}\n")
        case "nodes", storage:
            from slicing_rllib.service.cluster import node_probe

            rows = node_probe.look(node_probe.storage_of(storage[0] if storage else None))
            sys.stdout.write(f"{NODES_MARK}{json.dumps(rows)}\n")
        case (("train" | "sweep"), (folder,)):
            return perform(what, Path(folder).absolute())
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
