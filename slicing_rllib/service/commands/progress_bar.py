"""Progress of training and evaluation in a terminal, on stderr."""

from collections import deque
from typing import Any, NamedTuple

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from slicing_rllib.service.console import err
from slicing_rllib.service.runs.progress import ProgressListener
from slicing_rllib.storage import make_printable

LINE_EVERY_STEPS = 500
"""Steps that a shown mean is over. Without a terminal, a line is printed after so many steps."""
WAITING_LINE_EVERY_S = 20.0
"""Without a terminal, time between two lines about an outage."""
SILENT_EVENTS = frozenset({"started", "resumed", "finished", "interrupted"})
"""Kinds of events that have no line of their own: others say the same."""


class _Interval(NamedTuple):
    """An iteration's part of a mean."""

    steps: int
    reward: float
    same_steps: dict[str, float]


class ProgressBar(ProgressListener):
    """A bar with steps per second, and the mean reward beside what other splits would have got."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=err,
            disable=not err.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._rate = 0.0
        self._last: tuple[int, float] | None = None
        self._recent: deque[_Interval] = deque()
        self._waited_s = 0.0

    def __enter__(self) -> "ProgressBar":
        self._bar.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._bar.stop()

    def on_message(self, text: str) -> None:
        err.print(make_printable(text), highlight=False, markup=False, soft_wrap=True)

    def on_event(self, kind: str, cell: str | None, message: str, env_step: int) -> None:
        if kind not in SILENT_EVENTS:
            about = f"{cell}: " if cell and not message.startswith(cell) else ""
            self.on_message(f"step {env_step}  {kind.replace('_', ' ')}: {about}{message}")

    def on_iteration(self, row: dict[str, Any], total_steps: int) -> None:
        steps = row["env_steps"]
        if row["reward_mean"] is None:
            return
        self._waited_s = 0.0
        self._add_interval(row)
        note = f"{self._steps_per_s(steps, row['time_s']):.0f} steps/s  {self._describe_reward()}"
        self._show("training", steps, total_steps, note)
        if not err.is_terminal and (steps % LINE_EVERY_STEPS == 0 or steps >= total_steps):
            self.on_message(f"step {steps} of {total_steps}  {note}")
        if "evaluation_reward_mean" in row:
            self._show_evaluation(row)

    def on_wait(self, waited_s: float, limit_s: float) -> None:
        note = f"waiting for env runners, {waited_s:.0f} s of {limit_s:.0f}"
        if "training" in self._tasks:
            self._bar.update(self._tasks["training"], note=note)
        if not err.is_terminal and waited_s >= self._waited_s:
            self.on_message(note)
            self._waited_s = waited_s + WAITING_LINE_EVERY_S

    def on_rollout(self, policy: str, done: int, total: int) -> None:
        self._show("evaluating", done, total, policy)

    def _add_interval(self, row: dict[str, Any]) -> None:
        """Remembers the iteration, and as many before it as a shown mean is over."""
        if self._last is not None and row["env_steps"] < self._last[0]:
            self._recent.clear()  # The branch without transfer begins at an earlier step.
        self._recent.append(_Interval(row["steps"], row["reward_mean"], row["same_steps"]))
        while sum(each.steps for each in self._recent) - self._recent[0].steps >= LINE_EVERY_STEPS:
            self._recent.popleft()

    def _describe_reward(self) -> str:
        steps = sum(each.steps for each in self._recent) or 1
        mean = sum(each.steps * each.reward for each in self._recent) / steps
        names = self._recent[-1].same_steps
        known = [name for name in names if all(name in each.same_steps for each in self._recent)]
        beside = "  ".join(
            f"{name} {sum(each.steps * each.same_steps[name] for each in self._recent) / steps:.3f}"
            for name in known
        )
        same = f"  (same steps: {beside})" if beside else ""
        return f"reward {mean:.3f} over {steps} steps{same}"

    def _show_evaluation(self, row: dict[str, Any]) -> None:
        """A line for each point of the learning curve, with baselines on the same traffic."""
        beside = "  ".join(f"{name} {level:.3f}" for name, level in row["references"].items())
        self.on_message(
            f"step {row['env_steps']}  evaluated without noise: "
            f"{row['evaluation_reward_mean']:.3f}  (same traffic: {beside})"
        )

    def _show(self, what: str, done: int, total: int, note: str) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=total, note="")
        self._bar.update(self._tasks[what], completed=done, total=total, note=note)

    def _steps_per_s(self, steps: int, time_s: float) -> float:
        if self._last is not None and time_s > self._last[1] and steps >= self._last[0]:
            self._rate = (steps - self._last[0]) / (time_s - self._last[1])
        self._last = (steps, time_s)
        return self._rate
