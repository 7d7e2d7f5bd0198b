"""Ray's processes that outlive a killed driver: found again by their session, and ended by id."""

import os
import re
from contextlib import suppress
from pathlib import Path

import psutil

from slicing_rllib.storage import read_bounded, write_durably

NOTE = ".ray_session"
"""Name of the file in a run directory that names the Ray session of the training in progress."""
SESSION = re.compile(r"session_[0-9_-]+_([0-9]{1,9})")
"""Name of a session's folder, which ends with the process id of its driver."""
MAX_NOTE_BYTES = 4096


def note_session(folder: Path, session: str) -> None:
    """Writes down which Ray session the training in `folder` has started, if that can be written.

    `session` is the folder of the session's logs and sockets.
    """
    with suppress(OSError):
        write_durably(folder / NOTE, session.encode())


def forget_session(folder: Path) -> None:
    """Removes the note: Ray has ended in order."""
    with suppress(OSError):
        (folder / NOTE).unlink(missing_ok=True)


def end_leftovers(folder: Path) -> int:
    """Kills what is left of the Ray session that a killed training in `folder` had started.

    Only processes of this user that have files of that session open, and only if its driver no
    longer runs. Returns how many there were.
    """
    try:
        session = Path(os.path.realpath(read_bounded(folder / NOTE, MAX_NOTE_BYTES).decode()))
    except (OSError, ValueError):
        return 0
    name = SESSION.fullmatch(session.name)
    if name is None or psutil.pid_exists(int(name[1])):
        return 0
    leftovers = [process for process in psutil.process_iter() if _belongs_to(process, session)]
    for process in leftovers:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(leftovers, timeout=5)
    forget_session(folder)
    return len(leftovers)


def _belongs_to(process: psutil.Process, session: Path) -> bool:
    try:
        if process.uids().real != os.getuid() or process.pid == os.getpid():
            return False
        names = [*process.cmdline(), *(file.path for file in process.open_files())]
    except (psutil.Error, OSError):
        return False
    return any(str(session) in name for name in names)
