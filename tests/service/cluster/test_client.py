"""Jobs on a real cluster of a head and a worker node that sees other files."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))

from local_cluster import LocalCluster

from slicing_rllib.service.cluster import archive
from slicing_rllib.service.cluster import client as jobs
from slicing_rllib.service.cluster.job_spec import make_job_spec
from slicing_rllib.service.errors import ConfigError, RunError
from slicing_rllib.service.runs.run_directory import RunDirectory

TIMEOUT_S = 180
SMALL = [
    "env.deployments=[]", "learning.exploration_steps=50", "learning.steps_per_iteration=50",
    "evaluation.steps=10", "evaluation.seeds=1", "evaluation.policies=[drl, equal, oracle]",
    "evaluation.every_steps=100000",
]  # fmt: skip


def quick(*settings: str) -> list[str]:
    """`train quick` in small numbers."""
    return ["train", "quick", *(word for s in (*SMALL, *settings) for word in ("--set", s))]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Three CPUs: one of the head, two of a worker node."""
    # A short path: a socket's may have 107 characters.
    with (
        TemporaryDirectory(prefix="c", ignore_cleanup_errors=True) as folder,
        LocalCluster(Path(folder), 1, (2,)) as started,
    ):
        yield started


Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def call(cluster: LocalCluster, tmp_path: Path) -> Call:
    """`slicing-rllib ARGUMENTS` with the cluster's address and token."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        own = {"RAY_API_SERVER_ADDRESS": cluster.address, **variables}
        return subprocess.run(
            [sys.executable, "-m", "slicing_rllib", *arguments],
            cwd=tmp_path, env=cluster.env | own, timeout=TIMEOUT_S,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {TIMEOUT_S} s: {what}"
        time.sleep(0.05)


def driver_of(submission_id: str) -> psutil.Process:
    """The process of a job that trains."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "slicing_rllib.service.cluster.job_entrypoint" in words and words[-1].endswith(
            f"/{submission_id}"
        ):
            return process
    raise AssertionError(f"no driver of {submission_id}")


def kinds(run: RunDirectory) -> list[str]:
    return [event["kind"] for event in run.events()]


def test_a_job_whose_driver_is_killed_goes_on_and_comes_back_whole(
    call: Call, tmp_path: Path, cluster: LocalCluster
):
    """Env runners on both nodes; the same order again resumes from the last checkpoint."""
    storage = tmp_path / "storage"
    order = ["--storage", str(storage), "--id", "night", "--",
             *quick("num_env_runners=2", "learning.training_steps=550",
                    "checkpoint.every_steps=100")]  # fmt: skip
    sent = call("submit", "--detach", *order)
    assert (sent.returncode, sent.stdout.strip()) == (0, "night"), sent.stderr
    assert "travels with the job" not in sent.stderr
    until(lambda: any(storage.glob("night/checkpoints/step_*")), "a checkpoint")
    driver_of("night").kill()
    until(lambda: cluster.job_status("night") == "FAILED", "a failed job")
    assert json.loads(call("submit", "status", "night").stdout)["exit_code"] == 137

    ended = call("submit", "--json", *order)

    assert ended.returncode == 0, ended.stderr
    assert "going on from its checkpoint" in ended.stderr
    run = RunDirectory.open(tmp_path / "runs" / "night")
    assert json.loads(ended.stdout) == run.summary()
    assert run.summary()["env_steps"] == 600
    assert {"started", "resumed", "finished"} <= set(kinds(run))
    assert (run.path / "figures").is_dir()
    assert not run.checkpoints.exists()
    assert set(run.summary()["env_runner_nodes"]) == {"1", "2"}
    assert "resumed at step" in call("submit", "logs", "night").stdout


def test_a_failing_job_ends_with_its_own_code(call: Call, tmp_path: Path):
    """A run of another config lies where it would write: exit code 2."""
    taken = tmp_path / "storage" / "bad"
    taken.mkdir(parents=True)
    (taken / "config.yaml").write_text("seed: 99\n")

    ended = call("submit", "--storage", str(taken.parent), "--id", "bad", "--", *quick())

    assert ended.returncode == 2
    assert "has another config" in ended.stderr


def test_a_job_that_is_stopped_says_so(call: Call, cluster: LocalCluster, tmp_path: Path):
    order = ["--storage", str(tmp_path), "--id", "long", "--",
             *quick("learning.training_steps=1000000")]  # fmt: skip
    assert call("submit", "--detach", *order).returncode == 0
    again = call("submit", "--detach", *order)
    assert "there already" in again.stderr
    other = call("submit", "--id", "long", "--", *quick("seed=9"))
    assert (other.returncode, "another job of that name" in other.stderr) == (1, True)
    until((tmp_path / "long" / "metrics.jsonl").exists, "a first row")

    assert call("submit", "stop", "long").returncode == 0

    until(lambda: cluster.job_status("long") == "STOPPED", "a stopped job")
    assert "interrupted" in kinds(RunDirectory.open(tmp_path / "long"))


def test_what_cannot_be_is_one_line(call: Call):
    """The wrong token, a request that no node can hold, nobody there, no such job."""
    huge = quick("num_env_runners=40")
    for ended, line in [
        (call("submit", "--", *quick(), RAY_AUTH_TOKEN="f" * 64), "refuses the token"),
        (call("submit", "--", *huge), "needs 41 CPUs (its driver included), the cluster has 3"),
        (call("submit", "--address", "http://127.0.0.1:9", "--", *quick()), "no Ray cluster"),
        (call("submit", "status", "nothing"), "expected a job of"),
    ]:
        assert ended.returncode == 1
        assert line in ended.stderr
        assert ended.stderr.count("\n") == 1


def test_training_goes_on_when_a_node_is_gone(cluster: LocalCluster, tmp_path: Path):
    """No grace: its processes killed at once. A node that comes later gets the runners back."""
    path = tmp_path / "run"
    settings = quick("num_env_runners=3", "learning.training_steps=2450")
    driver = subprocess.Popen(
        [sys.executable, "-m", "slicing_rllib", *settings, "--out", str(path)],
        env=cluster.env | {"RAY_ADDRESS": cluster.gcs}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until((path / "metrics.jsonl").exists, "a first row")
    run = RunDirectory(path)

    cluster.lose(cluster.nodes[1])
    until(lambda: kinds(run).count("worker_lost") == 2, "two lost runners")
    cluster.add_worker(2)
    said = driver.communicate(timeout=TIMEOUT_S)[1]

    assert driver.returncode == 0, said
    assert kinds(run).count("worker_restarted") == 2
    assert run.summary()["env_steps"] >= 2500
    assert set(run.summary()["policies"]) == {"drl", "equal", "oracle"}
    nodes = run.summary()["env_runner_nodes"]
    lost = {e["evidence"]["node"] for e in run.events() if e["kind"] == "worker_lost"}
    assert len(set(nodes.values())) == 2
    assert not lost & set(nodes.values())


def test_preflight_finds_the_folder_that_nodes_do_not_share(call: Call, cluster: LocalCluster):
    """Everything else of this cluster is as it should be."""
    apart = call("cluster", "check", "--storage", str(cluster.session / "runs"), "--json")

    assert apart.returncode == 1
    (row,) = (row for row in json.loads(apart.stdout) if not row["ok"])
    assert row["name"] == "storage"
    assert "is not shared" in row["found"]


def test_clusters_of_another_ray_are_refused():
    class Old(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"ray_version": "2.9.0", "version": "4"}')

        def log_message(self, *arguments: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Old) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with pytest.raises(RunError, match=r"the cluster runs Ray 2\.9\.0, this machine"):
                jobs.Cluster(f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()


def test_an_order_that_is_too_large_is_not_sent(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(jobs, "MAX_PACKAGE_BYTES", 100_000)

    with pytest.raises(RunError, match=r"order: 0\.2 MiB, Ray takes at most"):
        jobs._written({"trace.csv": b"0" * 200_000}, str(tmp_path))


def test_a_trace_travels_with_its_run(tmp_path: Path):
    """Unpacked elsewhere the order trains on the same trace."""
    (tmp_path / "busy.csv").write_text("slice_1,slice_2,slice_3,slice_4\n1,0.5,0.25,1\n")
    config = {"scenario": {"like": "paper", "mask": {"kind": "csv", "path": "busy.csv"}}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    order = make_job_spec(["train", str(tmp_path / "mine.yaml")], "one")

    archive.unpack(archive.pack_files(order.files), tmp_path / "there")

    assert (tmp_path / "there" / "trace.csv").read_text().startswith("slice_1")
    same = make_job_spec(["train", str(tmp_path / "there" / "train.yaml")], "two")
    assert same.digest == order.digest


def test_a_sweep_can_be_a_job(tmp_path: Path):
    order = make_job_spec(["sweep", "learning_rates"], None)

    archive.unpack(archive.pack_files(order.files), tmp_path)

    same = make_job_spec(["sweep", str(tmp_path / "sweep.yaml")], None)
    assert same.files["base.yaml"] == order.files["base.yaml"]
    assert order.submission_id.startswith("learning_rates-")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["evaluate", "x"], "expected -- train"),
        (["train", "--out", "here"], "--out has no place in a job"),
        (["train", "quick", "paper"], "expected one config"),
        (["train", "--set", "pretrained_run=runs/a"], "does not see this machine's folders"),
        (["sweep"], "expected a YAML file"),
    ],
)
def test_what_no_job_can_do_is_refused_here(arguments: list[str], line: str):
    with pytest.raises(ConfigError, match=line):
        make_job_spec(arguments, None)


def test_results_that_are_not_whole_are_refused(tmp_path: Path):
    line = archive.pack_files({"a": b"1"})

    with pytest.raises(RunError, match="arrived damaged"):
        archive.unpack("0" + line[1:] if line[0] != "0" else "1" + line[1:], tmp_path)


def test_exit_codes_are_those_of_a_shell():
    """kill -9: 137."""
    status = jobs.JobStatus.FAILED
    details = jobs.JobDetails(
        type="SUBMISSION", entrypoint="", status=status, driver_exit_code=-signal.SIGKILL
    )

    assert jobs.exit_code(details) == 128 + 9
