"""Exceptions that end a command with one line for the user. Their class decides the exit code.

Foreign text in messages: one line, without control characters, of bounded length.
"""

import re
import unicodedata


class ConfigError(ValueError):
    """A config cannot be used (exit code 2): the message says where, why, and what was expected."""


class RunError(RuntimeError):
    """A run, job or command cannot go on (exit code 1). The message is one line."""


class Interrupted(RunError):
    """Somebody asked a run to stop (exit code 130). Its checkpoint has been written."""


class CheckpointError(RunError):
    """A checkpoint cannot be used."""


class CheckpointFormatError(CheckpointError):
    """A checkpoint that another version has written in a format of its own."""


class LibraryError(ValueError):
    """A policy library or a bundle cannot be used (exit code 1). The message is one line."""


FORM_ERRORS = (LookupError, TypeError, AttributeError, ArithmeticError, ValueError)
"""What code that trusts its inputs raises where they have another form."""
LINE_BREAK = re.compile(r"\s*[^\S ]\s*")
"""White space that is more than spaces."""
CONTROL = re.compile(
    "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]"
)
"""Control characters but tab and line breaks, other line breaks, and those that reorder text."""
MAX_MESSAGE_CHARACTERS = 600
INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories of characters that move the cursor, reorder text or show nothing."""


def make_printable(text: str, limit: int = MAX_MESSAGE_CHARACTERS) -> str:
    """The text in one line of at most `limit` characters.

    Control characters, among them a terminal's escapes, are shown as `\\x1b`. Of a text that is too
    long, the beginning and the end are kept, because messages end with what was expected.
    """
    # Cut before escaping, too, so that a text of many megabytes costs no time.
    line = LINE_BREAK.sub(" ", _cut(text, limit, len(text))).strip()
    return _cut("".join(map(_escape, line)), limit, len(text))


def _cut(text: str, limit: int, length: int) -> str:
    if len(text) <= limit:
        return text
    mark = f" ... ({length} characters) ... "
    kept = max(limit - len(mark), 2)
    return text[: kept - kept // 3] + mark + text[len(text) - kept // 3 :]


def _escape(character: str) -> str:
    if unicodedata.category(character) not in INVISIBLE:
        return character
    return character.encode("unicode_escape").decode("ascii")
