"""YAML documents: read, parsed, and checked against a model, with one line for what is wrong."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from slicing_rllib.service.config.plain_values import find_odd_values
from slicing_rllib.service.config_errors import describe_first_problem, describe_place
from slicing_rllib.service.errors import ConfigError
from slicing_rllib.service.strict_yaml import parse_yaml
from slicing_rllib.storage import read_bounded
from slicing_rllib.storage.regular_file import MIB

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
