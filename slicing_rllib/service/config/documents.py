"""YAML documents: read, parsed, and checked against a model, with one line for what is wrong."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from slicing_rllib.service.config_errors import describe_first_problem
from slicing_rllib.service.errors import ConfigError

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
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{expected} ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected a UTF-8 text file") from error
    return parse_document(text, str(path))


def parse_document(text: str, where: str) -> Document:
    """The mapping in a YAML text. Raises: ConfigError."""
    try:
        content = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise ConfigError(f"{where}{line}: {problem}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{where}: expected a mapping of settings, got {type(content).__name__}")
    odd = [key for key in content if not isinstance(key, str)]
    if odd:
        raise ConfigError(f"{where}: expected keys that are names, got {odd[0]!r}")
    return Document(content, text, where)


def validate_document(
    model: type[Model], document: Document, settings: Sequence[str] = ()
) -> Model:
    """The document as an instance of `model`. `settings` are `--set` arguments in its content.

    Raises: ConfigError, one line for the first thing that is wrong.
    """
    try:
        return model.model_validate(document.content)
    except ValidationError as error:
        schema = model.model_json_schema()
        line = describe_first_problem(error, document.where, document.text, settings, schema=schema)
        raise ConfigError(line) from error
