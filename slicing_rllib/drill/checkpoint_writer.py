"""`python -m ... FOLDER TEMPLATE STEP POINT`: writes a checkpoint and is killed at a point.

The checkpoint is a copy of the template. The process kills itself before or after one of its
file operations; with a negative point it writes to the end and prints the number of points.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slicing_rllib.drill.lossy_disk import WATCHED
from slicing_rllib.runs.checkpoints import MANIFEST, save_checkpoint


def copy_content(template: Path, folder: Path) -> None:
    """Copies everything of a checkpoint but its manifest, which is written anew."""
    ignored = shutil.ignore_patterns(MANIFEST) if (template / MANIFEST).exists() else None
    shutil.copytree(template, folder, dirs_exist_ok=True, ignore=ignored)


class _Countdown:
    """Kills the process at one of the points before and after file operations."""

    def __init__(self, point: int) -> None:
        self._point = point
        self.passed = 0

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self._pass()
            result = function(*arguments, **named)
            self._pass()
            return result

        return call

    def _pass(self) -> None:
        if self.passed == self._point:
            os.kill(os.getpid(), signal.SIGKILL)
        self.passed += 1


def main(folder: str, template: str, step: str, point: str) -> None:
    """Writes the checkpoint of `step`, which replaces all older ones in `folder`."""
    countdown = _Countdown(int(point))
    for name in (*WATCHED, "open", "write", "sendfile"):
        setattr(os, name, countdown.wrap(getattr(os, name)))
    save_checkpoint(
        Path(folder), int(step), lambda partial: copy_content(Path(template), partial), keep=1
    )
    sys.stdout.write(f"{countdown.passed}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
