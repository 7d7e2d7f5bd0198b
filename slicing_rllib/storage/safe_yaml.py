"""YAML of strangers: what was read is what the text looks like, and it has a bounded size.

PyYAML follows YAML 1.1, where `010` is eight and `1:30` ninety, and where a key that stands twice
silently wins over the first; all of these are refused, with the line. So are anchors and aliases,
a few of which can stand for billions of values. Size is checked on the stream of events, before
anything is built.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import yaml
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.resolver import Resolver

from slicing_rllib.storage.errors import CONTROL, ConfigError
from slicing_rllib.storage.foreign_files import MIB, read_bounded

if TYPE_CHECKING:
    from yaml import SafeLoader as FastestLoader
else:
    FastestLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_yaml: Any = yaml
"""PyYAML's functions whose types its stubs leave out."""

MAX_DOCUMENT_BYTES = 8 * MIB
MAX_TEXT_CHARACTERS = 4 * 2**20
MAX_NESTING = 40
MAX_VALUES = 150_000
"""Keys and values of a document; this many take two seconds to read."""
MAX_DIGITS = 40
OCTAL, SEXAGESIMAL = re.compile(r"[-+]?0[0-9_]+"), re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+.*")
UNUSED_TAGS = ("timestamp", "binary", "omap", "pairs", "set")
"""Types of YAML that no setting has. Text that looks like a date stays text."""


class Document(NamedTuple):
    """What was read, a mapping in a YAML file, and what messages need to point into it."""

    content: Any
    text: str
    """The YAML from which line numbers are taken; empty where there is none."""
    where: str
    """What messages call the document: its path or name."""


def read_document(
    path: Path,
    expected: str,
    *,
    max_bytes: int = MAX_DOCUMENT_BYTES,
    follow_links: bool = True,
) -> Document:
    """The mapping in a YAML file. `expected` begins the message about a file that cannot be read.

    Raises: ConfigError.
    """
    try:
        text = read_bounded(path, max_bytes, follow_links=follow_links).decode("utf-8-sig")
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
    if content is None:
        return Document({}, text, where)
    if not isinstance(content, dict):
        raise ConfigError(f"{where}: expected a mapping of settings, got {type(content).__name__}")
    settings = cast("dict[Any, Any]", content)
    for key in settings:
        if not isinstance(key, str):
            raise ConfigError(f"{where}: expected keys that are names, got {key!r}")
    return Document(settings, text, where)


def parse_yaml(text: str) -> Any:
    """The content of a YAML text. Raises: yaml.YAMLError, with a mark where it has a place."""
    if len(text) > MAX_TEXT_CHARACTERS:
        raise yaml.YAMLError(f"expected at most {MAX_TEXT_CHARACTERS} characters, got {len(text)}")
    try:
        _check_events(text)
        return yaml.load(text, StrictLoader)
    except UnicodeError as error:
        raise yaml.YAMLError("expected UTF-8 text") from error


def describe_yaml_error(error: yaml.YAMLError) -> str:
    """What is wrong, without a place."""
    problem = getattr(error, "problem", None) or getattr(error, "reason", None)
    return str(problem or error or "not YAML")


def find_line(text: str, path: Sequence[str]) -> int | None:
    """Line of the deepest key of `path` in a YAML text, from 1 on; None where there is none."""
    node: Any = _yaml.compose(text, StrictLoader)
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


def _check_events(text: str) -> None:
    """Raises: ConstructorError for an anchor or alias, a control character, too deep a nesting or
    too many values."""
    depth = n_values = 0
    for event in _yaml.parse(text, StrictLoader):
        if isinstance(event, yaml.NodeEvent):
            n_values += 1
            if event.anchor:
                problem = f"expected no anchors and aliases (&{event.anchor}, *{event.anchor})"
                raise ConstructorError(None, None, problem, event.start_mark)
        if isinstance(event, yaml.ScalarEvent) and (match := CONTROL.search(event.value)):
            problem = f"expected text without control characters, got {match.group()!r}"
            raise ConstructorError(None, None, problem, event.start_mark)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_NESTING or n_values > MAX_VALUES:
            problem = (
                f"expected nesting no deeper than {MAX_NESTING} and at most {MAX_VALUES} values"
            )
            raise ConstructorError(None, None, problem, event.start_mark)


class StrictLoader(FastestLoader):
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
            return cast("Any", super()).construct_object(node, deep=deep)
        except yaml.YAMLError:
            raise
        except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError) as error:
            problem = f"cannot be read as {node.tag.rsplit(':', 1)[-1]}"
            raise ConstructorError(None, None, problem, node.start_mark) from error

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """PyYAML's. Raises: ConstructorError for a key that is no name or stands twice."""
        lines: dict[str, int] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode):
                raise ConstructorError(None, None, "expected a name as key", key.start_mark)
            if key.value in lines:
                problem = f"key {key.value!r} stands twice, first in line {lines[key.value]}"
                raise ConstructorError(None, None, problem, key.start_mark)
            lines[key.value] = key.start_mark.line + 1
        return super().construct_mapping(node, deep=deep)

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """An integer or a float. Raises: ConstructorError for one that looks like another one."""
        text: str = node.value
        problem = ""
        if OCTAL.fullmatch(text):
            problem = f"YAML reads {text} as an octal number; expected no zeros in front"
        elif SEXAGESIMAL.fullmatch(text):
            problem = (
                f"YAML reads {text} as a number to the base of 60; expected quotes or a number"
            )
        elif len(text) > MAX_DIGITS:
            problem = f"expected a number of at most {MAX_DIGITS} digits"
        if problem:
            raise ConstructorError(None, None, problem, node.start_mark)
        is_integer = node.tag.endswith(":int")
        return self.construct_yaml_int(node) if is_integer else self.construct_yaml_float(node)


for _tag in ("int", "float"):
    StrictLoader.add_constructor(f"tag:yaml.org,2002:{_tag}", StrictLoader.construct_number)
