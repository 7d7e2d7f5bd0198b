"""The log of a job as `submit` shows it: what the command says, without what Ray says around it."""

import re

NOISE = re.compile(
    r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+\s+(DEBUG|INFO|WARNING)\b"  # Python logging of Ray
    r"|^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ [A-Z] "  # logging of Ray's C++ core
    r"|^(\x1b\[\d+m)*\([\w.:]+ (pid|ip)="  # output of Ray's workers
    r"|^Running entrypoint for job "
)
RESULT = re.compile(r"^\s*(evaluation on unseen traffic, .* seeds|\d+ trials)\s*$")
"""Title of the result table, with which the output of a command ends."""


class JobLog:
    """Selects the lines of a job's log that are worth showing while the job runs.

    The result table is left out: it is printed from the results themselves when they have been
    fetched.
    """

    def __init__(self) -> None:
        self._has_result = False

    def select(self, text: str) -> str:
        """The lines to show of the next part of the log, which consists of whole lines."""
        shown = []
        for line in text.splitlines():
            self._has_result = self._has_result or bool(RESULT.match(line))
            if not self._has_result and line.strip() and not NOISE.match(line):
                shown.append(line)
        return "\n".join(shown)
