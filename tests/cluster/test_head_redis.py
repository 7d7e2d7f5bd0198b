"""Whether a head's Redis answers, with a real Redis where one is installed."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from slicing_rllib.cluster.preflight import check_redis, describe_redis

MANIFEST = Path(__file__).parents[2] / "clusters" / "kuberay" / "redis.yaml"
PASSWORD = "of-the-secret"
PATH = os.environ["PATH"]
needs_redis = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="needs the command redis-server"
)


class RedisServer:
    """The container of redis.yaml, run with its own command.

    Args:
        folder: the volume of the container.
    """

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        *_, pods = yaml.safe_load_all(MANIFEST.read_text())
        (container,) = pods["spec"]["template"]["spec"]["containers"]
        *shell, script = container["command"]
        script = script.replace("/data", str(folder)).replace("6379", str(self.port))
        self._command = [*shell, f"{script} --bind 127.0.0.1"]

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, env={"REDIS_PASSWORD": PASSWORD, "PATH": PATH},
            stdout=subprocess.DEVNULL, process_group=0,
        )  # fmt: skip
        deadline = time.monotonic() + 20
        while check_redis(f"127.0.0.1:{self.port}", PASSWORD):
            assert time.monotonic() < deadline, "Redis does not start"
            time.sleep(0.05)

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


def ask(redis: RedisServer, *words: str) -> str:
    answer = subprocess.run(
        ["redis-cli", "-p", str(redis.port), *words], env={"REDISCLI_AUTH": PASSWORD, "PATH": PATH},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return answer.stdout.strip()


@needs_redis
def test_the_redis_of_the_manifest_keeps_what_it_has_confirmed(redis: RedisServer):
    """The server is killed, as with its pod, and started again on the same volume."""
    assert ask(redis, "SET", "job", "night") == "OK"

    redis.kill()
    redis.start()

    assert ask(redis, "GET", "job") == "night"


@needs_redis
def test_the_redis_of_the_manifest_refuses_a_wrong_password(redis: RedisServer):
    assert "refuses our AUTH" in check_redis(f"127.0.0.1:{redis.port}", "wrong")
    assert "refuses our PING" in check_redis(f"redis://127.0.0.1:{redis.port}", "")


@needs_redis
def test_a_head_with_a_redis_that_answers_passes(redis: RedisServer):
    address = f"127.0.0.1:{redis.port}"

    found = describe_redis({"RAY_REDIS_ADDRESS": address, "REDIS_PASSWORD": PASSWORD})

    assert found == {"redis": f"{address} answers", "redis_problem": ""}


def test_a_redis_that_does_not_answer_is_named():
    found = describe_redis({"RAY_REDIS_ADDRESS": "127.0.0.1:9,127.0.0.1:10"})

    assert found["redis_problem"] == "127.0.0.1:9 does not answer (Connection refused)"


@pytest.mark.parametrize(
    ("kind", "ok"), [("RayCluster", False), ("RayService", False), ("RayJob", True), ("", True)]
)
def test_only_a_standing_cluster_of_kuberay_needs_redis(kind: str, ok: bool):
    """KubeRay 1.7.0 names the kind in a variable: controllers/ray/common/pod.go:1316."""
    tags = f"kuberay_version=v1.7.0;kuberay_crd={kind}"

    found = describe_redis({"RAY_USAGE_STATS_EXTRA_TAGS": tags})

    assert (found["redis_problem"] == "") is ok
