"""What `submit` shows of a job's log."""

from slicing_rllib.cluster.jobs import JobLog

LOG = """\
2026-11-25 10:00:00,123\tINFO job_manager.py:568 -- Runtime env is setting up.
Running entrypoint for job night: python -m slicing_rllib.cluster.job_entrypoint train /x
[2026-11-25 10:00:01,456 W 12 34] (driver) gcs_client.cc:12: retrying
(ColumnarEnvRunner pid=99) a message of Ray
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
