"""Turns the first error that pydantic finds in a YAML document into one line for the user."""

import difflib
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from slicing_rllib.service.strict_yaml import find_line
from slicing_rllib.storage import make_printable

MAX_SHOWN_CHARACTERS = 120
JsonSchema = dict[str, Any]


def describe_first_problem(
    error: ValidationError,
    where: str,
    text: str,
    settings: Sequence[str] = (),
    *,
    schema: JsonSchema,
) -> str:
    """The first thing that is wrong, in one line: place, key, what was expected.

    `where` names the document and `text` is its YAML, from which the line number is taken;
    `settings` are `--set` arguments that override it; `schema` is the document's JSON Schema, from
    which the nearest known key is suggested.
    """
    problem = _drop_other_kinds(error.errors(include_url=False))[0]
    is_unknown = problem["type"] in ("extra_forbidden", "unexpected_keyword_argument")
    path = _find_key_path(problem["loc"], is_unknown)
    key = ".".join(path)
    place = describe_place(where, text, path, settings)
    if is_unknown:
        return f"{place}: unknown key {key}{_suggest_key(path, schema)}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    got = problem.get("input")
    # Our own messages already say what they got, and a whole section would not fit into a line.
    shows_input = problem["type"] != "value_error" and isinstance(got, str | int | float | bool)
    shown = f", got {shorten(repr(got))}" if shows_input else ""
    return f"{place}: {key}: {message}{shown}" if key else f"{place}: {message}"


def _drop_other_kinds(problems: list[Any]) -> list[Any]:
    """Where `kind` selects one of several models, only the problems of the model it names."""
    others = {
        problem["loc"][:-1]
        for problem in problems
        if problem["type"] == "literal_error" and problem["loc"][-1] == "kind"
    }
    meant = [problem for problem in problems if problem["loc"][:-1] not in others]
    return meant or problems


def _find_key_path(location: Sequence[str | int], is_unknown: bool) -> list[str]:
    """Keys from the top of the document to the problem.

    pydantic inserts the class name of a union's branch into the location. No known key begins with
    a capital letter, but an unknown key, which is the last one, may.
    """
    parts = [str(part) for part in location]
    known = parts[:-1] if is_unknown else parts
    return [part for part in known if not part[:1].isupper()] + parts[len(known) :]


def describe_place(where: str, text: str, path: Sequence[str], settings: Sequence[str]) -> str:
    """The last `--set` argument that sets the key or one below it; else file and line."""
    key = ".".join(path)
    for setting in reversed(settings):
        if f"{setting.partition('=')[0]}.".startswith(f"{key}."):
            return f"--set {shorten(setting)}"
    for setting in reversed(settings):
        if key.startswith(f"{setting.partition('=')[0]}."):
            return f"--set {shorten(setting)}"
    line = find_line(text, path)
    return where if line is None else f"{where}:{line}"


def shorten(setting: str) -> str:
    """A `--set` argument for a message, whatever it contains."""
    return make_printable(setting, MAX_SHOWN_CHARACTERS)


def _suggest_key(path: Sequence[str], schema: JsonSchema) -> str:
    known = _list_known_keys(path[:-1], schema)
    near = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
    return f", did you mean {near[0]}?" if near else ""


def _list_known_keys(path: Sequence[str], schema: JsonSchema) -> list[str]:
    """Keys that a schema has below a path."""
    nodes = [schema]
    for part in path:
        nodes = [
            _enter(branch, part) for node in nodes for branch in _resolve_branches(node, schema)
        ]
    return [
        key
        for node in nodes
        for branch in _resolve_branches(node, schema)
        for key in branch.get("properties", {})
    ]


def _resolve_branches(node: JsonSchema, schema: JsonSchema) -> list[JsonSchema]:
    """A schema node and all branches of its unions, with references resolved."""
    if "$ref" in node:
        return _resolve_branches(schema["$defs"][node["$ref"].rsplit("/", 1)[1]], schema)
    union = node.get("anyOf", []) + node.get("oneOf", []) + node.get("allOf", [])
    return [node] + [branch for option in union for branch in _resolve_branches(option, schema)]


def _enter(node: JsonSchema, part: str) -> JsonSchema:
    """The schema of a property or list item; the node itself where it has no such part."""
    if part in node.get("properties", {}):
        return node["properties"][part]
    items = node.get("items")
    return items if part.isdigit() and isinstance(items, dict) else node
