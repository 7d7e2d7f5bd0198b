"""The kinds of events are listed once; the table in a README is made from them."""

import ast
import inspect
from pathlib import Path

import slicing_rllib.runs
from slicing_rllib.policies import events

README = Path(slicing_rllib.runs.__file__).with_name("README.md")


def list_meanings() -> dict[str, str]:
    """The docstring under each kind, by the kind's value."""
    tree = ast.parse(inspect.getsource(events.EventKind))
    body = tree.body[0].body[1:]  # type: ignore[attr-defined]
    return {
        kind.value.value: " ".join(text.value.value.split())
        for kind, text in zip(body[::2], body[1::2], strict=True)
    }


def test_every_kind_of_event_has_a_meaning_and_a_row_in_the_readme():
    meanings = list_meanings()
    rows = [f"| `{kind}` | {meaning} |" for kind, meaning in meanings.items()]

    assert list(meanings) == list(events.EventKind)
    assert "\n".join(["| kind | meaning |", "| --- | --- |", *rows, ""]) in README.read_text()
