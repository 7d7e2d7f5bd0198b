"""What a drill has found so far: faults, comparisons, and what ended a part of it."""

import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil

from slicing_rllib.drill.checkpoint_drill import CheckpointDrill
from slicing_rllib.drill.trial import Injection
from slicing_rllib.storage.errors import RunError

FAILURES = (RunError, OSError, subprocess.SubprocessError, psutil.Error)
"""What may go wrong in a drill: each is a problem in its report."""


@dataclass
class DrillResult:
    """What a drill has found. It grows while the drill runs, so that no failure loses it.

    Args:
        on_message: receives a line per fault and per part.
    """

    on_message: Callable[[str], None]
    injections: list[Injection] = field(default_factory=list)
    comparisons: list[bool] = field(default_factory=list)
    """Per finished training on the driver alone: whether its weights are bit for bit those of an
    undisturbed training."""
    checkpoints: CheckpointDrill | None = None
    """Kills and power failures while a checkpoint is written, where asked for."""
    failures: list[str] = field(default_factory=list)
    """What ended a part of the drill outside of a fault."""
    _started: float = field(default_factory=time.monotonic)

    @property
    def minutes(self) -> float:
        """Since the drill began."""
        return (time.monotonic() - self._started) / 60

    @property
    def problems(self) -> list[str]:
        """Everything that did not go as promised."""
        found = [f"{i.fault}: {i.problem}" for i in self.injections if i.problem]
        differing = self.comparisons.count(False)
        found += ["final weights differ from the undisturbed ones"] * differing
        return found + (self.checkpoints.problems if self.checkpoints else []) + self.failures

    def add_injection(self, injection: Injection) -> None:
        """Keeps what a fault did, and says it."""
        self.injections.append(injection)
        self.on_message(describe(injection))

    def add_comparison(self, training: str, is_same: bool) -> None:
        """Keeps whether a finished training has the weights of the undisturbed one, and says it."""
        self.comparisons.append(is_same)
        same = "bit for bit those of the undisturbed training"
        outcome = f"its weights are {same}" if is_same else f"PROBLEM: its weights are not {same}"
        self.on_message(f"{training} finished: {outcome}")

    @contextmanager
    def record_failure(self, part: str) -> Generator[None]:
        """Whatever ends the block is in the report; known failures end only the block."""
        try:
            yield
        except FAILURES as error:
            self.failures.append(f"{part}: {error}")
            self.on_message(f"PROBLEM: {part}: {error}")
        except BaseException as error:
            self.failures.append(f"{part}: ended by {type(error).__name__}")
            raise


def describe(injection: Injection) -> str:
    """A line for people."""
    outcome = f"PROBLEM: {injection.problem}" if injection.problem else "as promised"
    return (
        f"{injection.fault} at step {injection.step}: noticed by {injection.noticed}; goes on "
        f"after {injection.recovery_s:.1f} s, {injection.steps_lost} steps lost; {outcome}"
    )
