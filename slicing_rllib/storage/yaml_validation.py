"""Checks a YAML document against a pydantic model: one line for the first thing that is wrong.

The line says where (file and line, or the `--set` argument), which key, and what was expected.
"""

import difflib
import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from slicing_rllib.storage.errors import ConfigError, make_printable
from slicing_rllib.storage.safe_yaml import Document, find_line

MAX_SHOWN_CHARACTERS = 120
MAX_INTEGER = 2**53
"""Beyond it, a float no longer tells neighbouring integers apart."""
MAX_VALUE_CHARACTERS = 4096

Model = TypeVar("Model")
JsonSchema = dict[str, Any]
Problem = tuple[tuple[str, ...], str]
"""Path of a key, and what is wrong with its value."""


def validate_document(
    model: type[Model], document: Document, settings: Sequence[str] = ()
) -> Model:
    """The document as an instance of `model`. `settings` are `--set` arguments in its content.

    Raises: ConfigError, one line for the first thing that is wrong.
    """
    # Integers have limits of their own in the model, which say more.
    for path, what in find_invalid_values(document.content, max_integer=math.inf):
        place = _describe_place(document, path, settings)
        raise ConfigError(f"{place}: {'.'.join(path)}: {what}")
    try:
        return TypeAdapter(model).validate_python(document.content)
    except ValidationError as error:
        raise ConfigError(_describe_first(error, model, document, settings)) from error


def find_invalid_values(content: Any, *, max_integer: float = MAX_INTEGER) -> Iterator[Problem]:
    """Values of a nested structure that no setting may have, whichever it is."""
    stack: list[tuple[tuple[str, ...], Any]] = [((), content)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, dict):
            entries = cast("dict[Any, Any]", value).items()
            stack += [((*path, str(key)), below) for key, below in entries]
        elif isinstance(value, list | tuple):
            items = enumerate(cast("Sequence[Any]", value))
            stack += [((*path, str(index)), below) for index, below in items]
        elif problem := _describe_invalid(value, max_integer):
            yield path, problem


def _describe_invalid(value: Any, max_integer: float) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f"expected a finite number, got {value}"
    if isinstance(value, int) and abs(value) > max_integer:
        return f"expected a number of at most {max_integer}, got {value:.3g}"
    if isinstance(value, str) and len(value) > MAX_VALUE_CHARACTERS:
        return f"expected at most {MAX_VALUE_CHARACTERS} characters, got {len(value)}"
    if isinstance(value, str) and not value.isprintable():
        return "expected printable characters only"
    return ""


def make_setting_error(path: Sequence[str], what: str) -> PydanticCustomError:
    """The error that a model's validator raises about a setting somewhere below the model."""
    return PydanticCustomError("setting", "{what}", {"what": what, "path": tuple(path)})


def _describe_first(
    error: ValidationError, model: Any, document: Document, settings: Sequence[str]
) -> str:
    """The first thing that is wrong, in one line: place, key, what was expected."""
    problem = _drop_other_kinds(error.errors(include_url=False))[0]
    is_unknown = problem["type"] in ("extra_forbidden", "unexpected_keyword_argument")
    location = (*problem["loc"], *problem.get("ctx", {}).get("path", ()))
    path = _find_key_path(location, is_unknown)
    key = ".".join(path)
    place = _describe_place(document, path, settings)
    if is_unknown:
        known = _list_known_keys(path[:-1], TypeAdapter(model).json_schema())
        near = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
        hint = f", did you mean {near[0]}?" if near else ""
        return f"{place}: unknown key {key}{hint}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    got = problem.get("input")
    # Our own messages already say what they got, and a whole section would not fit into a line.
    shows_input = problem["type"] != "value_error" and isinstance(got, str | int | float | bool)
    shown = f", got {shorten(repr(got))}" if shows_input else ""
    return f"{place}: {key}: {message}{shown}" if key else f"{place}: {message}"


def shorten(setting: str) -> str:
    """A `--set` argument for a message, whatever it contains."""
    return make_printable(setting, MAX_SHOWN_CHARACTERS)


def _drop_other_kinds(problems: Sequence[Any]) -> Sequence[Any]:
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


def _describe_place(document: Document, path: Sequence[str], settings: Sequence[str]) -> str:
    """The last `--set` argument that sets the key or one below it, or one above; else the line."""
    key = ".".join(path) + "."
    keys = {setting: f"{setting.partition('=')[0]}." for setting in reversed(settings)}
    at_or_below = [setting for setting, its_key in keys.items() if its_key.startswith(key)]
    above = [setting for setting, its_key in keys.items() if key.startswith(its_key)]
    for setting in at_or_below + above:
        return f"--set {shorten(setting)}"
    line = find_line(document.text, path)
    return document.where if line is None else f"{document.where}:{line}"


def _list_known_keys(path: Sequence[str], schema: JsonSchema) -> list[str]:
    """Keys that a schema has below a path."""

    def resolve(node: JsonSchema) -> list[JsonSchema]:
        """A node and all branches of its unions, with references resolved."""
        if "$ref" in node:
            return resolve(schema["$defs"][node["$ref"].rsplit("/", 1)[1]])
        union = node.get("anyOf", []) + node.get("oneOf", []) + node.get("allOf", [])
        return [node] + [branch for option in union for branch in resolve(option)]

    def enter(node: JsonSchema, part: str) -> JsonSchema:
        """The schema of a property or list item; the node itself where it has no such part."""
        if part in node.get("properties", {}):
            return node["properties"][part]
        items = node.get("items")
        return cast("JsonSchema", items) if part.isdigit() and isinstance(items, dict) else node

    nodes = [schema]
    for part in path:
        nodes = [enter(branch, part) for node in nodes for branch in resolve(node)]
    return [
        key for node in nodes for branch in resolve(node) for key in branch.get("properties", {})
    ]
