"""The slicing-rllib that a node's image contains, apart from code that a job has brought along."""

import json
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

from slicing_rllib.service.cluster.archive import compute_code_digest

PACKAGE, DISTRIBUTION = "slicing_rllib", "slicing-rllib"
JOB_CODE = "runtime_resources"
"""Part of the path under which Ray unpacks the code of a job."""
NONE = "no slicing-rllib"


def describe_installed_code() -> str:
    """Version and digest of the installed package, or `NONE`."""
    folder = find_installed_code()
    if folder is None:
        return NONE
    try:
        version = distribution(DISTRIBUTION).version
    except PackageNotFoundError:
        version = "unknown"
    return f"{version} ({compute_code_digest(folder)})"


def find_installed_code() -> Path | None:
    """Folder of the installed package, or None."""
    for entry in sys.path:
        folder = Path(entry) / PACKAGE
        if JOB_CODE not in entry and (folder / "__init__.py").is_file():
            return folder
    try:
        installed = distribution(DISTRIBUTION)
    except PackageNotFoundError:
        return None
    # An editable installation is not on the path: it is recorded by its URL.
    origin = json.loads(installed.read_text("direct_url.json") or "{}").get("url", "")
    folder = Path(unquote(urlsplit(origin).path)) / PACKAGE
    return folder if (folder / "__init__.py").is_file() else None
