"""YAML as people mean it: no key twice, no number that reads differently than it looks, no bombs.

PyYAML follows YAML 1.1, where `010` is eight and `1:30` ninety, and where a key that stands twice
silently wins over the first. Size is checked on the stream of events, before anything is built.

Turns the first error that pydantic finds in a YAML document into one line for the user.

What no setting may be, whichever it is: not a number, beyond every bound, or invisible.

YAML documents: read, parsed, and checked against a model, with one line for what is wrong.
"""

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.resolver import Resolver

from slicing_rllib.storage.errors import ConfigError, make_printable
from slicing_rllib.storage.regular_file import MIB, read_bounded

MAX_TEXT_CHARACTERS = 4 * 2**20
MAX_NESTING = 40
MAX_NODES = 150_000
"""Keys and values of a document, with everything that aliases stand for. So many take two seconds
to read."""
MAX_DIGITS = 40
OCTAL, SEXAGESIMAL = re.compile(r"[-+]?0[0-9_]+"), re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+.*")
UNUSED_TAGS = ("timestamp", "binary", "omap", "pairs", "set")
"""Types of YAML that no setting has. Text that looks like a date stays text."""
Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class StrictLoader(Base):
    """A safe loader whose results are what the text looks like."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in Resolver.yaml_implicit_resolvers.items()
    }
    yaml_constructors = {  # noqa: RUF012
        tag: constructor
        for tag, constructor in SafeConstructor.yaml_constructors.items()
        if tag is None or tag.rsplit(":", 1)[1] not in UNUSED_TAGS
    }

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """PyYAML's, with a place for every error."""
        try:
            return super().construct_object(node, deep=deep)
        except yaml.YAMLError:
            raise
        except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError) as error:
            raise ConstructorError(
                None, None, f"cannot be read as {node.tag.rsplit(':', 1)[-1]}", node.start_mark
            ) from error

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """PyYAML's. Raises: ConstructorError for a key that is no name or stands twice."""
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
        return super().construct_mapping(node, deep=deep)


def _check_keys(node: yaml.MappingNode) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ConstructorError(None, None, "expected a name as key", key.start_mark)
        if key.value in lines:
            raise ConstructorError(
                None, None, f"key {key.value!r} stands twice, first in line {lines[key.value]}",
                key.start_mark,
            )  # fmt: skip
        lines[key.value] = key.start_mark.line + 1


def _construct_number(loader: Any, node: yaml.ScalarNode) -> Any:
    text = node.value
    problem = ""
    if OCTAL.fullmatch(text):
        problem = f"YAML reads {text} as an octal number; expected no zeros in front"
    elif SEXAGESIMAL.fullmatch(text):
        problem = f"YAML reads {text} as a number to the base of 60; expected quotes or a number"
    elif len(text) > MAX_DIGITS:
        problem = f"expected a number of at most {MAX_DIGITS} digits"
    if problem:
        raise ConstructorError(None, None, problem, node.start_mark)
    is_integer = node.tag.endswith(":int")
    return loader.construct_yaml_int(node) if is_integer else loader.construct_yaml_float(node)


for _tag in ("int", "float"):
    StrictLoader.yaml_constructors[f"tag:yaml.org,2002:{_tag}"] = _construct_number


def parse_yaml(text: str) -> Any:
    """The content of a YAML text. Raises: yaml.YAMLError, with a mark where it has a place."""
    if len(text) > MAX_TEXT_CHARACTERS:
        raise yaml.YAMLError(f"expected at most {MAX_TEXT_CHARACTERS} characters, got {len(text)}")
    try:
        _check_size(text)
        return yaml.load(text, StrictLoader)
    except UnicodeError as error:
        raise yaml.YAMLError("expected UTF-8 text") from error


def find_line(text: str, path: Sequence[str]) -> int | None:
    """Line of the deepest key of `path` in a YAML text, from 1 on; None where there is none."""
    node: Any = yaml.compose(text, StrictLoader)
    line = None
    for part in path:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == part]
            if not found:
                break
            line, node = found[0][0].start_mark.line + 1, found[0][1]
        elif (
            isinstance(node, yaml.SequenceNode) and part.isdecimal() and int(part) < len(node.value)
        ):
            node = node.value[int(part)]
            line = node.start_mark.line + 1
    return line


def _check_size(text: str) -> None:
    """Raises: yaml.YAMLError for too deep a nesting or too many nodes, aliases expanded."""
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []
    """Anchor of each collection around the event, and the number of nodes before it."""
    nodes = 0
    for event in yaml.parse(text, StrictLoader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise ConstructorError(
                    None, None, f"alias {event.anchor!r} has no value yet", event.start_mark
                )
            nodes += sizes[event.anchor]
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, nodes))
            nodes += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = nodes - before
        elif isinstance(event, yaml.ScalarEvent):
            nodes += 1
            if event.anchor:
                sizes[event.anchor] = 1
        if len(open_nodes) > MAX_NESTING or nodes > MAX_NODES:
            raise ConstructorError(
                None, None,
                f"expected nesting no deeper than {MAX_NESTING} and at most {MAX_NODES} values",
                event.start_mark,
            )  # fmt: skip


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


MAX_INTEGER = 2**53
"""Beyond it, a float no longer tells neighbouring integers apart."""
MAX_VALUE_CHARACTERS = 4096

Problem = tuple[tuple[str, ...], str]
"""Path of a key, and what is wrong with its value."""


def find_odd_values(content: Any, *, max_integer: float = MAX_INTEGER) -> Iterator[Problem]:
    """Values of a nested structure that no setting may have."""
    stack: list[tuple[tuple[str, ...], Any]] = [((), content)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, dict):
            stack += [((*path, str(key)), below) for key, below in value.items()]
        elif isinstance(value, list | tuple):
            stack += [((*path, str(index)), below) for index, below in enumerate(value)]
        elif problem := _describe_problem(value, max_integer):
            yield path, problem


def _describe_problem(value: Any, max_integer: float) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f"expected a finite number, got {value}"
    if isinstance(value, int) and abs(value) > max_integer:
        return f"expected a number of at most {max_integer}, got {value:.3g}"
    if isinstance(value, str) and len(value) > MAX_VALUE_CHARACTERS:
        return f"expected at most {MAX_TEXT_CHARACTERS} characters, got {len(value)}"
    if isinstance(value, str) and not value.isprintable():
        return "expected printable characters only"
    return ""


MAX_DOCUMENT_BYTES = 8 * MIB

Model = TypeVar("Model", bound=BaseModel)


class Document(NamedTuple):
    """A YAML mapping, and what error messages need to point into it."""

    content: dict[str, Any]
    text: str
    """The YAML from which line numbers are taken; empty where there is none."""
    where: str
    """What messages call the document: its path or name."""


def read_document(path: Path, expected: str) -> Document:
    """The mapping in a YAML file. `expected` begins the message about a file that cannot be read.

    Raises: ConfigError.
    """
    try:
        text = read_bounded(path, MAX_DOCUMENT_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{expected} ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected a UTF-8 text file") from error
    return parse_document(text, str(path))


def parse_document(text: str, where: str) -> Document:
    """The mapping in a YAML text. Raises: ConfigError."""
    try:
        content = parse_yaml(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{where}{line}: {describe_yaml_error(error)}") from error
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise ConfigError(f"{where}: expected a mapping of settings, got {type(content).__name__}")
    odd = [key for key in content if not isinstance(key, str)]
    if odd:
        raise ConfigError(f"{where}: expected keys that are names, got {odd[0]!r}")
    return Document(content, text, where)


def refuse_first(
    problems: Iterable[tuple[tuple[str, ...], str]], document: Document, settings: Sequence[str]
) -> None:
    """Raises: ConfigError for the first of the problems, each a path of keys and what is wrong.

    `settings` are `--set` arguments in the document's content.
    """
    for path, what in problems:
        place = describe_place(document.where, document.text, path, settings)
        raise ConfigError(f"{place}: {'.'.join(path)}: {what}")


def describe_yaml_error(error: yaml.YAMLError) -> str:
    """What is wrong, without a place."""
    problem = getattr(error, "problem", None) or getattr(error, "reason", None)
    return str(problem or error or "not YAML")


def validate_document(
    model: type[Model], document: Document, settings: Sequence[str] = ()
) -> Model:
    """The document as an instance of `model`. `settings` are `--set` arguments in its content.

    Raises: ConfigError, one line for the first thing that is wrong.
    """
    # Integers have limits of their own, which say more.
    odd = find_odd_values(document.content, max_integer=math.inf)
    refuse_first(odd, document, settings)
    try:
        return model.model_validate(document.content)
    except ValidationError as error:
        schema = model.model_json_schema()
        line = describe_first_problem(error, document.where, document.text, settings, schema=schema)
        raise ConfigError(line) from error
