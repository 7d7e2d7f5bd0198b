"""Jobs on a cluster of a head and a worker node that do not share a file system."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest
from local_cluster import LocalCluster

from slicing_rllib.cli.main import run as run_here
from slicing_rllib.cluster import client
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.storage.errors import RunError

TIMEOUT_S = 180
SMALL = [
    "env.deployments=[]", "learning.exploration_steps=50", "learning.steps_per_iteration=50",
    "evaluation.steps=10", "evaluation.seeds=1",
    "evaluation.policies=[counterfactual, equal, oracle]",
    "evaluation.every_steps=100000",
]  # fmt: skip


def make_train_arguments(*settings: str) -> list[str]:
    """`train quick` with few steps and seeds."""
    return ["train", "quick", *(word for s in (*SMALL, *settings) for word in ("--set", s))]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Three CPUs: one on the head, two on a worker node."""
    # The path must be short: that of a socket has at most 107 characters.
    with (
        TemporaryDirectory(prefix="c", ignore_cleanup_errors=True) as folder,
        LocalCluster(Path(folder), 1, (2,)) as started,
    ):
        yield started


Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def call(cluster: LocalCluster, tmp_path: Path) -> Call:
    """Calls `slicing-rllib` with the cluster's address and token."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        own = {"RAY_API_SERVER_ADDRESS": cluster.address, **variables}
        return subprocess.run(
            [sys.executable, "-m", "slicing_rllib", *arguments],
            cwd=tmp_path, env=cluster.env | own, timeout=TIMEOUT_S,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


def wait_until(condition: Callable[[], object], expectation: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {TIMEOUT_S} s: {expectation}"
        time.sleep(0.05)


def find_driver(submission_id: str) -> psutil.Process:
    """The process of a job that runs `python -m slicing_rllib train ... --out RUN --resume`."""
    for process in psutil.process_iter(["cmdline"]):
        match process.info["cmdline"] or []:
            case [_, "-m", "slicing_rllib", "train", _, "--out", run, "--resume"] if run.endswith(
                f"/{submission_id}"
            ):
                return process
    raise AssertionError(f"no driver of {submission_id}")


def read_event_kinds(run: RunDirectory) -> list[str]:
    return [event["kind"] for event in run.events()]


@pytest.mark.slow
def test_a_job_whose_driver_was_killed_resumes_and_its_results_are_fetched(
    call: Call, tmp_path: Path, cluster: LocalCluster
):
    """Env runners run on both nodes. Submitting the job again resumes from the last checkpoint."""
    storage = tmp_path / "storage"
    settings = "num_env_runners=2", "learning.training_steps=550", "checkpoint.every_steps=100"
    job = ["--storage", str(storage), "--id", "night", "--", *make_train_arguments(*settings)]
    submitted = call("submit", "--detach", *job)
    assert (submitted.returncode, submitted.stdout.strip()) == (0, "night"), submitted.stderr
    assert "is sent with the job" not in submitted.stderr
    wait_until(lambda: any(storage.glob("night/checkpoints/step_*")), "a checkpoint")
    find_driver("night").kill()
    wait_until(lambda: cluster.read_job_status("night") == "FAILED", "a failed job")
    assert json.loads(call("submit", "status", "night").stdout)["exit_code"] == 137

    ended = call("submit", "--json", *job)

    assert ended.returncode == 0, ended.stderr
    assert "resuming from its last checkpoint" in ended.stderr
    run = RunDirectory.open(tmp_path / "runs" / "night")
    assert json.loads(ended.stdout) == run.summary()
    assert run.summary()["env_steps"] == 600
    assert {"started", "resumed", "finished"} <= set(read_event_kinds(run))
    assert (run.path / "figures").is_dir()
    assert not run.checkpoints.exists()
    assert set(run.summary()["env_runner_nodes"]) == {"1", "2"}
    assert "resumed at step" in call("submit", "logs", "night").stdout


@pytest.mark.slow
def test_submit_exits_with_the_code_of_the_job(call: Call, tmp_path: Path):
    """The job's run directory holds a run with another config: exit code 2."""
    taken = tmp_path / "storage" / "bad"
    taken.mkdir(parents=True)
    (taken / "config.yaml").write_text("seed: 99\n")

    ended = call(
        "submit", "--storage", str(taken.parent), "--id", "bad", "--", *make_train_arguments()
    )

    assert ended.returncode == 2
    assert "has another config" in ended.stderr


@pytest.mark.slow
def test_a_stopped_job_writes_an_event(call: Call, cluster: LocalCluster, tmp_path: Path):
    arguments = make_train_arguments("learning.training_steps=1000000")
    job = ["--storage", str(tmp_path), "--id", "long", "--", *arguments]
    assert call("submit", "--detach", *job).returncode == 0
    again = call("submit", "--detach", *job)
    assert "exists already" in again.stderr
    other = call("submit", "--id", "long", "--", *make_train_arguments("seed=9"))
    assert (other.returncode, "another job of this name" in other.stderr) == (1, True)
    wait_until((tmp_path / "long" / "metrics.jsonl").exists, "a first row")

    assert call("submit", "stop", "long").returncode == 0

    wait_until(lambda: cluster.read_job_status("long") == "STOPPED", "a stopped job")
    assert "interrupted" in read_event_kinds(RunDirectory.open(tmp_path / "long"))


@pytest.mark.slow
def test_a_job_that_cannot_run_gives_one_line(call: Call):
    """A wrong token, too few CPUs, no cluster at the address, an unknown job."""
    huge = make_train_arguments("num_env_runners=40")
    for ended, line in [
        (
            call("submit", "--", *make_train_arguments(), RAY_AUTH_TOKEN="f" * 64),
            "refuses the token",
        ),
        (call("submit", "--", *huge), "needs 41 CPUs (its driver included), the cluster has 3"),
        (
            call("submit", "--address", "http://127.0.0.1:9", "--", *make_train_arguments()),
            "no Ray cluster",
        ),
        (call("submit", "status", "nothing"), "expected the name of a job of"),
    ]:
        assert ended.returncode == 1
        assert line in ended.stderr
        assert ended.stderr.count("\n") == 1


@pytest.mark.slow
def test_training_continues_when_a_node_fails(cluster: LocalCluster, tmp_path: Path):
    """The node's processes are killed at once. A node that joins later gets new env runners."""
    path = tmp_path / "run"
    settings = make_train_arguments("num_env_runners=3", "learning.training_steps=2450")
    driver = subprocess.Popen(
        [sys.executable, "-m", "slicing_rllib", *settings, "--out", str(path)],
        env=cluster.env | {"RAY_ADDRESS": cluster.gcs}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_until((path / "metrics.jsonl").exists, "a first row")
    run = RunDirectory(path)

    cluster.kill_node(cluster.nodes[1])
    wait_until(lambda: read_event_kinds(run).count("worker_lost") == 2, "two lost runners")
    cluster.add_worker(2)
    stderr = driver.communicate(timeout=TIMEOUT_S)[1]

    assert driver.returncode == 0, stderr
    assert read_event_kinds(run).count("worker_restarted") == 2
    assert run.summary()["env_steps"] >= 2500
    assert set(run.summary()["policies"]) == {"counterfactual", "equal", "oracle"}
    nodes = run.summary()["env_runner_nodes"]
    lost = {e["evidence"]["node"] for e in run.events() if e["kind"] == "worker_lost"}
    assert len(set(nodes.values())) == 2
    assert not lost & set(nodes.values())


@pytest.mark.slow
def test_preflight_reports_a_folder_that_nodes_do_not_share(call: Call, cluster: LocalCluster):
    """All other checks of this cluster pass."""
    result = call("cluster", "check", "--storage", str(cluster.session / "runs"), "--json")

    assert result.returncode == 1
    (row,) = (row for row in json.loads(result.stdout) if not row["ok"])
    assert row["name"] == "storage"
    assert "is not shared" in row["found"]


@contextmanager
def answer_as_dashboard(status: int, body: bytes) -> Iterator[str]:
    """URL of a server that answers every GET in this way."""

    class Dashboard(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Dashboard) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def test_a_dashboard_that_refuses_or_does_not_answer_gives_one_line(capsys):
    arguments = ["--", *make_train_arguments()]
    with answer_as_dashboard(403, b"") as url:
        assert run_here(["submit", "--address", url, *arguments]) == 1
    assert "refuses the token" in capsys.readouterr().err
    assert run_here(["submit", "--address", "http://127.0.0.1:9", *arguments]) == 1
    said = capsys.readouterr().err
    assert "no Ray cluster" in said
    assert said.count("\n") == 1


def test_a_cluster_with_another_version_of_ray_is_refused():
    with (
        answer_as_dashboard(200, b'{"ray_version": "2.9.0", "version": "4"}') as url,
        pytest.raises(RunError, match=r"the cluster runs Ray 2\.9\.0, this machine"),
    ):
        client.Cluster(url)


def test_files_that_are_too_large_are_not_uploaded(monkeypatch):
    monkeypatch.setattr(client, "MAX_UPLOAD_BYTES", 100_000)

    with pytest.raises(RunError, match=r"files have 0\.2 MiB, Ray takes at most"):
        client.require_uploadable({"trace.csv": b"0" * 200_000})
