"""A run directory that cannot be written ends the run with one line, and nothing is lost."""

import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from slicing_rllib.runs.checkpoints import find_newest_valid, remove_leftovers
from slicing_rllib.runs.progress import ProgressListener
from slicing_rllib.runs.run_config import RunConfig
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.runs.training import train
from slicing_rllib.storage.errors import RunError

pytestmark = pytest.mark.usefixtures("unchecked")


class ActAfter(ProgressListener):
    """Does something after the iteration that ends at a step."""

    def __init__(self, step: int, act: Callable[[], object]) -> None:
        self._step, self._act = step, act

    def on_iteration(self, row: dict, total_steps: int) -> None:
        if row["env_steps"] == self._step:
            self._act()


@pytest.fixture
def limit_file_size(monkeypatch: pytest.MonkeyPatch):
    """Sets the size beyond which the kernel lets this process write no file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)


def test_a_checkpoint_that_cannot_be_written_ends_the_run_with_one_line(
    finished: RunDirectory, small: RunConfig, tmp_path: Path, limit_file_size
):
    """The kernel refuses files of more than 100 kB from step 75 on, as a quota would.

    Afterwards the run goes on where its last checkpoint is, bit for bit.
    """
    run = RunDirectory.create(tmp_path / "run", small)
    with pytest.raises(RunError) as caught:
        train(small, run, ActAfter(75, lambda: limit_file_size(100_000)), draw_figures=False)

    assert "cannot be written (File too large)" in str(caught.value)
    assert "last good checkpoint is step_000000050" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert run.events()[-1]["kind"] == "storage_failed"
    assert remove_leftovers(run.checkpoints) == []

    limit_file_size(resource.RLIM_INFINITY)
    train(small, run, ProgressListener(), resume=True, draw_figures=False)
    assert run.summary()["policies"] == finished.summary()["policies"]


@pytest.mark.parametrize("victim", [".", "checkpoints", "metrics.jsonl"])
def test_a_run_whose_files_are_gone_ends_with_one_line(
    small: RunConfig, tmp_path: Path, victim: str
):
    """The folder is moved away, or something else is where a file should be."""
    run = RunDirectory.create(tmp_path / "run", small)

    def take_away() -> None:
        (run.path / victim).rename(tmp_path / "moved")
        if victim == "metrics.jsonl":
            (run.path / victim).mkdir()

    with pytest.raises(RunError, match="cannot be written") as caught:
        train(small, run, ActAfter(75, take_away), draw_figures=False)

    assert "\n" not in str(caught.value)
    if victim == ".":
        assert not run.path.exists(), "nothing is written where the run was"
    moved = RunDirectory(tmp_path / "moved")
    folder = {".": moved.checkpoints, "checkpoints": moved.path}.get(victim, run.checkpoints)
    assert find_newest_valid(folder)[0] is not None
