"""The setting `transfer.source`: a source by its name, or by its distance in the order of cells."""

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass

ROTATION = re.compile(r"next:(\d+)")


@dataclass(frozen=True)
class SourceName:
    """One source for every target: a cell of the run, or `library:NAME` for a bundle."""

    name: str

    def resolve(self, target: str, cells: Sequence[str], candidates: Container[str]) -> str:
        """The source's name."""
        return self.name


@dataclass(frozen=True)
class SourceRotation:
    """For each target the cell that follows it by `offset` places, written `next:OFFSET`.

    The order of cells is cyclic; an offset of 0 is the target itself.
    """

    offset: int

    def resolve(self, target: str, cells: Sequence[str], candidates: Container[str]) -> str:
        """The source's name: that cell of the run, or the bundle of the same name.

        Args:
            target: the cell that is to be warm-started, one of `cells`.
            cells: all cells of the run in their order.
            candidates: names of the sources that can be used. A cell that is not among them is
                looked for in the library.
        """
        cell = cells[(list(cells).index(target) + self.offset) % len(cells)]
        return cell if cell in candidates else label_bundle(cell)


def parse_source(text: str | None) -> SourceName | SourceRotation | None:
    """The meaning of a value of `transfer.source`; None where the measure is to decide."""
    if text is None:
        return None
    rotation = ROTATION.fullmatch(text)
    return SourceRotation(int(rotation[1])) if rotation else SourceName(text)


def label_bundle(name: str) -> str:
    """The name of a library's bundle among the candidates, apart from the run's own cells."""
    return f"library:{name}"
