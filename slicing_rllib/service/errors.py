"""Exceptions that end a command with one line for the user. Their class decides the exit code."""


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
