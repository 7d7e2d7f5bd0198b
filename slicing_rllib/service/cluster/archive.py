"""Files packed into one line of text, so that they fit into a job's metadata or its log."""

import base64
import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import slicing_rllib
from slicing_rllib.service.errors import RunError

EXCLUDED_PREFIX = "checkpoint"
"""Files and folders with this prefix are not packed: checkpoints are large, and a job resumes only
from the storage that it wrote them to."""


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


def compute_code_digest(root: Path | None = None) -> str:
    """Hash of the package's source: two machines with equal digests run equal code.

    Args:
        root: folder of the package; None means the one that this process has imported.
    """
    root = root or Path(slicing_rllib.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _encode(content: bytes) -> str:
    return f"{hashlib.sha256(content).hexdigest()}:{base64.b64encode(content).decode()}"


def _exclude_checkpoints(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if Path(entry.name).name.startswith(EXCLUDED_PREFIX) else entry
