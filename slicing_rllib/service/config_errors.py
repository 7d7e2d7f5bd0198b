"""One line for the first thing that is wrong in a YAML document: place, key, what was expected."""

import difflib
from collections.abc import Sequence
from typing import Any

import yaml
from pydantic import ValidationError


def describe_first_problem(
    error: ValidationError,
    where: str,
    text: str,
    settings: Sequence[str] = (),
    *,
    schema: dict[str, Any],
) -> str:
    """The first thing that is wrong, in one line: place, key, what was expected.

    `where` names the document and `text` is its YAML, from which the line number is taken;
    `settings` are `--set` arguments that override it; `schema` is the document's JSON Schema, from
    which the nearest known key is suggested.
    """
    problem = _of_the_kind_meant(error.errors(include_url=False))[0]
    unknown = problem["type"] in ("extra_forbidden", "unexpected_keyword_argument")
    # A union's branch stands in the path by its class's name; no known key begins with a capital.
    parts = [str(part) for part in problem["loc"]]
    known = parts[:-1] if unknown else parts
    path = [part for part in known if not part[:1].isupper()] + parts[len(known) :]
    key = ".".join(path)
    place = f"{where}{_line_of(text, path)}"
    for setting in settings:
        if f"{setting.partition('=')[0]}.".startswith(f"{key}."):
            place = f"--set {setting}"
    if unknown:
        near = difflib.get_close_matches(path[-1], _known_keys(path[:-1], schema), n=1, cutoff=0.5)
        hint = f", did you mean {near[0]}?" if near else ""
        return f"{place}: unknown key {key}{hint}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    got = problem.get("input")
    said = problem["type"] == "value_error" or not isinstance(got, str | int | float | bool)
    shown = "" if said else f", got {got!r}"
    return f"{place}: {key}: {message}{shown}" if key else f"{place}: {message}"


def _of_the_kind_meant(problems: list[Any]) -> list[Any]:
    """Where `kind` chooses among descriptions, only what is wrong with the one it names."""
    others = {
        problem["loc"][:-1]
        for problem in problems
        if problem["type"] == "literal_error" and problem["loc"][-1] == "kind"
    }
    meant = [problem for problem in problems if problem["loc"][:-1] not in others]
    return meant or problems


def _line_of(text: str, path: Sequence[str]) -> str:
    """`:line` of a key in a YAML text; nothing where the text does not have it."""
    node = yaml.compose(text)
    line = ""
    for part in path:
        if isinstance(node, yaml.MappingNode):
            found = [(k, v) for k, v in node.value if k.value == part]
            if not found:
                break
            line, node = f":{found[0][0].start_mark.line + 1}", found[0][1]
        elif isinstance(node, yaml.SequenceNode) and part.isdigit() and int(part) < len(node.value):
            node = node.value[int(part)]
            line = f":{node.start_mark.line + 1}"
    return line


def _known_keys(path: Sequence[str], schema: dict[str, Any]) -> list[str]:
    """Keys that a schema has below a path."""
    places = [schema]
    for part in path:
        places = [
            below
            for place in places
            for candidate in _alternatives(place, schema)
            for below in _below(candidate, part)
        ]
    return [
        key
        for place in places
        for candidate in _alternatives(place, schema)
        for key in candidate.get("properties", {})
    ]


def _alternatives(place: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    """A schema node, references and unions resolved."""
    if "$ref" in place:
        return _alternatives(schema["$defs"][place["$ref"].rsplit("/", 1)[1]], schema)
    union = place.get("anyOf", []) + place.get("oneOf", []) + place.get("allOf", [])
    return [place] + [found for option in union for found in _alternatives(option, schema)]


def _below(place: dict[str, Any], part: str) -> list[dict[str, Any]]:
    if part in place.get("properties", {}):
        return [place["properties"][part]]
    items = place.get("items")
    return [items] if part.isdigit() and isinstance(items, dict) else [place]
