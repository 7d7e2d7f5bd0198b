"""Errors of the policy library."""


class LibraryError(ValueError):
    """A library or a bundle cannot be used; the message is one line for the user."""
