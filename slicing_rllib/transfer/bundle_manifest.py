"""The manifest of a bundle, which a stranger may have written: read strictly, or refused."""

import json
import re
from collections.abc import Mapping
from typing import Any

from slicing_rllib.transfer.errors import LibraryError

FORMAT = 1
"""Version of the manifest's layout."""
MANIFEST, WEIGHTS, EXPERIENCE = "manifest.json", "weights.safetensors", "experience.safetensors"
MAX_SLICES = 64
SHA256 = re.compile(r"[0-9a-f]{64}")
MAPPINGS = ("sha256", "sla", "returns", "provenance")


def parse_manifest(data: bytes, where: str) -> dict[str, Any]:
    """The manifest with all keys that others read, of the types that they expect.

    `where` is what messages call the file. Raises: LibraryError.
    """
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise LibraryError(f"{where}: expected JSON") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise LibraryError(f"{where}: expected a manifest of format {FORMAT}")
    problem = _find_problem(manifest)
    if problem:
        raise LibraryError(f"{where}: {problem}")
    return manifest


def _find_problem(manifest: Mapping[str, Any]) -> str:
    for key in MAPPINGS:
        if not isinstance(manifest.get(key), dict):
            return f"{key}: expected a mapping"
    if set(manifest["sha256"]) != {WEIGHTS, EXPERIENCE}:
        return f"sha256: expected the digests of {WEIGHTS} and {EXPERIENCE} and of nothing else"
    if not all(_is_digest(digest) for digest in manifest["sha256"].values()):
        return "sha256: expected digests of 64 hexadecimal digits"
    slices = manifest.get("slices", [])
    if not _is_list_of(slices, str) or not 0 < len(slices) <= MAX_SLICES:
        return f"slices: expected 1 to {MAX_SLICES} names"
    for key in ("throughput_mbps", "delay_ms"):
        numbers = manifest["sla"].get(key, [])
        if not _is_list_of(numbers, int | float) or len(numbers) != len(slices):
            return f"sla.{key}: expected a number for each of {len(slices)} slices"
    for key in ("name", "message"):
        if not isinstance(manifest.get(key), str):
            return f"{key}: expected a name"
    if not isinstance(manifest.get("transitions"), int):
        return "transitions: expected a number"
    if not _is_list_of(list(manifest["returns"].values()), int | float):
        return "returns: expected numbers"
    return ""


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and SHA256.fullmatch(value) is not None


def _is_list_of(value: Any, kind: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)
