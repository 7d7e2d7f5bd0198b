"""`python victim.py ARGUMENTS`: the command `slicing-rllib`, with faults that signals cause.

SIGUSR1 makes the KPIs of the next network step NaN, as a broken probe would. SIGUSR2 sets the clock
of the process a day back. All other faults come from outside.
"""

import runpy
import signal
import time
from types import FrameType
from typing import Any

import numpy as np

from slicing_rllib.radio import Simulator, StepKpis

CLOCK_JUMP_S = -86_400.0


def _break_next_kpis(signum: int, frame: FrameType | None) -> None:
    step = Simulator.step

    def break_kpis(self: Simulator, *arguments: Any) -> StepKpis:
        Simulator.step = step
        return StepKpis(
            *(
                np.full_like(array, np.nan) if np.issubdtype(array.dtype, np.floating) else array
                for array in step(self, *arguments)
            )
        )

    Simulator.step = break_kpis  # pyright: ignore[reportAttributeAccessIssue]


def _jump(signum: int, frame: FrameType | None) -> None:
    now = time.time
    time.time = lambda: now() + CLOCK_JUMP_S


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _break_next_kpis)
    signal.signal(signal.SIGUSR2, _jump)
    runpy.run_module("slicing_rllib", run_name="__main__", alter_sys=True)
