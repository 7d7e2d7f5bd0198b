"""Files as one line of text that can travel through a job's metadata or log."""

import base64
import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import slicing_rllib
from slicing_rllib.service.errors import RunError

NOT_SENT = "checkpoint"
"""Files and folders whose names begin so are left out: checkpoints are large, and a job can only
be continued where it ran."""


def pack_files(files: Mapping[str, bytes]) -> str:
    """Files by name as one line of text that says whether it is whole."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return _encode(data.getvalue())


def pack_folder(folder: Path) -> str:
    """A folder of results, without checkpoints, as one line of text."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        archive.add(folder, ".", filter=_leave_out_checkpoints)
    return _encode(data.getvalue())


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
    """Hash of the package's source as it is installed here; two machines that share it run the same code."""
    root = Path(slicing_rllib.__file__).parent
    total = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        total.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:16]


def _encode(content: bytes) -> str:
    return f"{hashlib.sha256(content).hexdigest()}:{base64.b64encode(content).decode()}"


def _leave_out_checkpoints(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if Path(entry.name).name.startswith(NOT_SENT) else entry
