"""What a job consists of, what `submit` shows of its log, and how it ends."""

import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from ray.job_submission import JobDetails, JobStatus

from slicing_rllib.cluster.job_entrypoint import pack_folder, unpack
from slicing_rllib.cluster.jobs import JobLog, compute_exit_code, make_job_spec
from slicing_rllib.storage.errors import ConfigError, RunError

LOG = """\
2026-11-25 10:00:00,123\tINFO job_manager.py:568 -- Runtime env is setting up.
Running entrypoint for job night: python -m slicing_rllib.cluster.job_entrypoint train /x
[2026-11-25 10:00:01,456 W 12 34] (driver) gcs_client.cc:12: retrying
(BatchedEnvRunner pid=99) a message of Ray
step 500 of 1500  140 steps/s  reward 0.700 over 500 steps
step 600  warm started: cell_12: integrated from cell_11, 600 transitions
step 1000  guard passed: cell_12: +0.013 of reward
"""
TABLE = """\
      evaluation on unseen traffic, 5 seeds
┏━━━━━━━━┳━━━━━━━━┓
┃ policy ┃ reward ┃
"""


def test_progress_and_events_are_shown_and_rays_messages_are_not():
    assert JobLog().select(LOG).splitlines() == [
        "step 500 of 1500  140 steps/s  reward 0.700 over 500 steps",
        "step 600  warm started: cell_12: integrated from cell_11, 600 transitions",
        "step 1000  guard passed: cell_12: +0.013 of reward",
    ]


def test_the_result_table_is_left_out_from_its_title_on():
    log = JobLog()

    assert log.select("evaluating\n" + TABLE) == "evaluating"
    assert log.select("figures, table and checkpoints: /x\n") == ""


def pack(files: Mapping[str, bytes], folder: Path) -> str:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return pack_folder(folder)


def test_a_traffic_trace_is_part_of_the_job(tmp_path: Path):
    """A job made from the unpacked files is the same job."""
    (tmp_path / "busy.csv").write_text("slice_1,slice_2,slice_3,slice_4\n1,0.5,0.25,1\n")
    config = {"scenario": {"like": "paper", "mask": {"kind": "csv", "path": "busy.csv"}}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    job_spec = make_job_spec(["train", str(tmp_path / "mine.yaml")], "one")

    unpack(pack(job_spec.files, tmp_path / "here"), tmp_path / "there")

    assert (tmp_path / "there" / "trace.csv").read_text().startswith("slice_1")
    same = make_job_spec(["train", str(tmp_path / "there" / "train.yaml")], "two")
    assert same.digest == job_spec.digest


def test_a_sweep_can_run_as_a_job(tmp_path: Path):
    job_spec = make_job_spec(["sweep", "learning_rates"], None)

    unpack(pack(job_spec.files, tmp_path / "here"), tmp_path / "there")

    same = make_job_spec(["sweep", str(tmp_path / "there" / "sweep.yaml")], None)
    assert same.files["base.yaml"] == job_spec.files["base.yaml"]
    assert job_spec.submission_id.startswith("learning_rates-")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["evaluate", "x"], "expected -- train"),
        (["train", "--out", "here"], "a job does not support --out"),
        (["train", "quick", "paper"], "expected one config"),
        (["train", "--set", "pretrained_run=runs/a"], "cannot read this machine's folders"),
        (["sweep"], "expected a YAML file"),
    ],
)
def test_a_command_that_cannot_run_as_a_job_is_refused_before_it_is_submitted(
    arguments: list[str], line: str
):
    with pytest.raises(ConfigError, match=line):
        make_job_spec(arguments, None)


def test_results_that_are_not_whole_are_refused(tmp_path: Path):
    line = pack({"a": b"1"}, tmp_path / "here")

    with pytest.raises(RunError, match="expected content with the digest"):
        unpack("0" + line[1:] if line[0] != "0" else "1" + line[1:], tmp_path)


def test_a_job_ended_by_a_signal_has_the_exit_code_of_a_shell():
    """kill -9 gives 128 + 9 = 137."""
    status = JobStatus.FAILED
    details = JobDetails(
        type="SUBMISSION", entrypoint="", status=status, driver_exit_code=-signal.SIGKILL
    )

    assert compute_exit_code(details) == 128 + 9


@pytest.mark.parametrize("name", ["a;touch X", "$(x)", "../a", "", "-a"])
def test_an_id_that_a_shell_would_run_is_refused(name: str):
    with pytest.raises(ConfigError, match="--id: expected letters, digits"):
        make_job_spec(["train", "quick"], name)
