"""Files that outlive crashes or that strangers supply: durable writing, bounded reading, locks.

All other parts use these; this package knows nothing of them.
"""

from slicing_rllib.storage.durable import (
    append_line,
    remove_tree,
    replace_durably,
    require_writable,
    sync,
    sync_tree,
    write_durably,
)
from slicing_rllib.storage.errors import make_printable
from slicing_rllib.storage.folder_lock import FolderLocked, lock_folder
from slicing_rllib.storage.foreign_files import (
    open_regular,
    read_bounded,
    read_json,
    read_text,
    require_regular,
)

__all__ = [
    "FolderLocked",
    "append_line",
    "lock_folder",
    "make_printable",
    "open_regular",
    "read_bounded",
    "read_json",
    "read_text",
    "remove_tree",
    "replace_durably",
    "require_regular",
    "require_writable",
    "sync",
    "sync_tree",
    "write_durably",
]
