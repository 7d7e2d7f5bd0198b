"""A small file system of its own, which can be filled up without harm."""

import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

DISK_BYTES = 400_000_000


@contextmanager
def mount_small_disk(where: Path) -> Generator[Path | None]:
    """A small file system of its own; None where mounting is not permitted."""
    where.mkdir()
    size = f"size={DISK_BYTES}"
    command = ["mount", "-t", "tmpfs", "-o", size, "slicing-rllib-drill", str(where)]
    try:
        is_mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        is_mounted = False
    try:
        yield where if is_mounted else None
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(where)], check=False)
