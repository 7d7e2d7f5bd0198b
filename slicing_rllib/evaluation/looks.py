"""How figures look and which files they become: matplotlib's settings, width, and formats."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slicing_rllib.storage import require_writable
from slicing_rllib.storage.errors import ConfigError

# matplotlib leaves out types.
# pyright: reportUnknownMemberType=false, reportArgumentType=false

STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "slicing-rllib",
}
"""Settings of matplotlib. The salt makes SVG files reproducible."""
MIN_WIDTH_IN, MAX_WIDTH_IN = 1.0, 40.0
INCHES = {"in": 1.0, "cm": 1 / 2.54, "mm": 1 / 25.4, "pt": 1 / 72.27}
"""Inches of a unit; points are those of TeX."""


class Look(NamedTuple):
    """What a reader asks of figures."""

    suffixes: tuple[str, ...] = (".png", ".svg")
    width_in: float | None = None
    """Width of every figure, with its proportions kept; None for that of each figure."""
    style: dict[Any, Any] = {}  # noqa: RUF012
    """Settings of matplotlib that come before `STYLE`."""


_LOOK: ContextVar[Look] = ContextVar("look")


@contextmanager
def use_look(look: Look) -> Generator[None]:
    """Figures that are drawn and saved in the block look like that."""
    before = _LOOK.set(look)
    try:
        yield
    finally:
        _LOOK.reset(before)


def make_look(suffixes: tuple[str, ...], width: str | None, style: Path | None) -> Look:
    """From a width such as `3.5in` and a style file of matplotlib. Raises: ConfigError."""
    settings: dict[Any, Any] = {}
    if style is not None:
        if not style.is_file():
            raise ConfigError(f"--style {style}: expected a style file of matplotlib")
        settings = dict(mpl.rc_params_from_file(style, use_default_template=False))
    return Look(suffixes, None if width is None else parse_width(width), settings)


def parse_width(text: str) -> float:
    """Inches of `3.5in`, `89mm`, `8.9cm` or `252pt`. Raises: ConfigError."""
    number, unit = text[:-2], text[-2:]
    try:
        width = float(number) * INCHES[unit]
    except (KeyError, ValueError):
        width = 0.0
    if not MIN_WIDTH_IN <= width <= MAX_WIDTH_IN:
        raise ConfigError(f"--width {text}: expected 1 to 40 inches, such as 3.5in, 89mm or 252pt")
    return width


def make_panels(
    n: int,
    size_in: tuple[float, float],
    *,
    vertical: bool = False,
    sharey: bool = False,
    **settings: Any,
) -> tuple[Figure, list[Axes]]:
    """A figure of that width and height with `n` sets of axes beside or below each other.

    `settings` change matplotlib's for this figure.
    """
    with mpl.rc_context({**STYLE, **settings, **_LOOK.get(Look()).style}):
        figure = Figure(figsize=size_in, layout="constrained")
        shape = (n, 1) if vertical else (1, n)
        axes = figure.subplots(*shape, squeeze=False, sharex=vertical, sharey=sharey)
    return figure, list(axes.flat)


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Writes the figure under that name, by default as PNG and SVG; the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    look = _LOOK.get(Look())
    if look.width_in is not None:
        width, height = figure.get_size_inches()
        figure.set_size_inches(look.width_in, height * look.width_in / width)
    paths = [folder / f"{name}{suffix}" for suffix in look.suffixes]
    with mpl.rc_context({**STYLE, **look.style}):
        for path in paths:
            require_writable(path)
        for path in paths:
            dates = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
            figure.savefig(path, dpi=160, metadata=dates.get(path.suffix))
            # The next file keeps the places found for the first: finding them takes long.
            figure.set_layout_engine("none")
    return paths
