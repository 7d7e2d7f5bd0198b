"""Options that several benchmarks have."""

from typing import Annotated

import typer

Turns = Annotated[
    int, typer.Option(min=1, help="Number of interleaved turns. The median over turns counts.")
]
Seconds = Annotated[float, typer.Option(min=0.1, help="Least duration of a turn, in seconds.")]
