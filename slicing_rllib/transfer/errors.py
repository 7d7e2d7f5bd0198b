"""What goes wrong with what was learned elsewhere."""


class LibraryError(ValueError):
    """A library or bundle that cannot be used, in one line."""
