"""What the tests of foreign input share: damage, the number of examples, and what may be touched.

`SLICING_RLLIB_FUZZ=10000 pytest -n 0 -m fuzz` tries so many inputs per entry point; the suite tries
a few.
"""

import os
import resource
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from slicing_rllib.storage.foreign_files import GIB

EXAMPLES = int(os.environ.get("SLICING_RLLIB_FUZZ", "15"))
MAX_CPU_S, MAX_WAIT_S = 2.0, 60.0
"""Per input, in a full run: work of this process, and time beside other processes, after which it
hangs. In the suite, other tests share the process and time is not judged."""
BUDGET = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES < 100,
    suppress_health_check=list(HealthCheck),
)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
NASTY = (
    "\0", "\x1b[31m", "\u202e", "\ud7ff", "\ufeff", "nan", "-.inf", "1e999", "9" * 400, "010",
    "0x_", "1:30", "2001-99-99", "!!python/object:os.system", "!!int x", "&a [*a]", "[" * 60, "{",
    "<<: *a", "~", "''", "../../etc/passwd", "/dev/zero", "|", "- ", ": ", "\t", "²", "null",
)  # fmt: skip
CODE = (
    sysconfig.get_path("stdlib"),
    sysconfig.get_path("purelib"),
    # Where an import looks besides: the archive of the standard library, and editable installs.
    *(path for path in sys.path if path.endswith(".zip")),
    "__editable__",
)

opened: list[tuple[str, int]] | None = None
"""Files that are opened while a block of `watch` runs, with the flags."""


def note_open(event: str, arguments: tuple) -> None:
    if opened is None or event != "open" or not isinstance(arguments[0], str | bytes):
        return
    path = os.fsdecode(arguments[0])
    if not path.startswith((os.sep + "dev", os.sep + "proc")):
        opened.append((path, arguments[2] or 0))


sys.addaudithook(note_open)


@contextmanager
def watch(folder: Path, *, may_read: tuple[Path, ...] | None = None) -> Iterator[None]:
    """The block writes only into the folder, and is quick and modest.

    `may_read`: the only folders besides, and besides code, in which files are read; None for any.
    """
    global opened
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, worked = time.monotonic(), time.process_time()
    opened = []
    try:
        yield
    finally:
        touched, opened = opened, None
    took, cpu = time.monotonic() - started, time.process_time() - worked
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    outside = [(path, flags) for path, flags in touched if not path.startswith(str(folder))]
    written = [path for path, flags in outside if flags & WRITES]
    assert written == [], written
    if may_read is not None:
        known = (*CODE, *(str(path) for path in may_read))
        foreign = [path for path, _ in outside if not path.startswith(known)]
        assert foreign == [], foreign
    assert grown < GIB, f"{grown} bytes"
    assert EXAMPLES < 100 or (cpu < MAX_CPU_S and took < MAX_WAIT_S), f"{cpu} of {took} s"


@st.composite
def damage(draw: st.DrawFn, text: str) -> str:
    """A text with a few changes of the kinds that people and attackers make."""
    for _ in range(draw(st.integers(1, 3))):
        lines = text.splitlines() or [""]
        row = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(["insert", "value", "drop", "twice", "cut", "random"])):
            case "insert":
                at = draw(st.integers(0, len(text)))
                text = text[:at] + draw(st.sampled_from(NASTY)) + text[at:]
            case "value":
                key = lines[row].partition(":")[0]
                lines[row] = f"{key}: {draw(st.sampled_from(NASTY))}"
                text = "\n".join(lines)
            case "drop":
                text = "\n".join(lines[:row] + lines[row + 1 :])
            case "twice":
                text = "\n".join([*lines, lines[row]])
            case "cut":
                text = text[: draw(st.integers(0, len(text)))]
            case "random":
                at = draw(st.integers(0, len(text)))
                text = text[:at] + draw(st.text(max_size=20)) + text[at:]
    return text


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
