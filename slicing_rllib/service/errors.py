"""Failures that end a command: each is one line for the user and decides the exit code."""


class ConfigError(ValueError):
    """A config that cannot be used. The message says where, what, and what was expected."""


class RunError(RuntimeError):
    """A run, job or command that cannot go on. The message is one line."""


class Interrupted(RunError):
    """Somebody asked a run to stop; its checkpoint has been written."""


class CheckpointError(RunError):
    """A checkpoint that cannot be used."""
