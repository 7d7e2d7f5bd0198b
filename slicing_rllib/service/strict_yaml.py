"""YAML as people mean it: no key twice, no number that reads differently than it looks, no bombs.

PyYAML follows YAML 1.1, where `010` is eight and `1:30` ninety, and where a key that stands twice
silently wins over the first. Size is checked on the stream of events, before anything is built.
"""

import re
from collections.abc import Sequence
from typing import Any

import yaml
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.resolver import Resolver

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
