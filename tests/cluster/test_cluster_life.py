"""A head and two workers, each with its own address, run what the manifests for KubeRay say.

`tests/clusters/kuberay.py` builds the commands that KubeRay runs in its pods. As root:
`pytest -n0 -m slow -o log_cli=true --log-cli-level=INFO tests/cluster/test_cluster_life.py`
"""

import json
import logging
import secrets
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import kuberay
import pytest
import yaml
from host_cluster import HostCluster
from hosts import explain_missing_namespaces, make_hosts
from kuberay_operator import Operator, call_dashboard
from manifests import find_secret_variables

from slicing_rllib.cluster.kubernetes import ReleaseResult, release_version
from slicing_rllib.storage.errors import RunError
from slicing_rllib.transfer import PolicyLibrary

ROOT = Path(__file__).parents[2]
MISSING = explain_missing_namespaces()
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
    pytest.mark.slow,
    pytest.mark.timeout(900),
]

TIMEOUT_S = 300
TOKEN = secrets.token_hex(16)
"""What callers of the service present."""
SMALL = (
    "--set env.deployments=[] --set learning.exploration_steps=30 --set learning.training_steps=20 "
    "--set learning.steps_per_iteration=50 --set evaluation.steps=5 --set evaluation.seeds=1 "
    "--set evaluation.policies=[counterfactual,equal] --set evaluation.every_steps=100000"
)
HEAD, FIRST_WORKER, SECOND_WORKER = 0, 1, 2
log = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def cluster(storage: Path) -> Iterator[HostCluster]:
    """As in rayservice.yaml, only the workers have the variables whose values are secret."""
    manifest = load_manifest("rayservice", storage)
    variables = find_secret_variables(kuberay.find_cluster_spec(manifest)["workerGroupSpecs"])
    with (
        TemporaryDirectory(prefix="c", ignore_cleanup_errors=True) as folder,
        make_hosts(3) as hosts,
        HostCluster(Path(folder), hosts, (4, 4), dict.fromkeys(variables, TOKEN)) as started,
    ):
        yield started


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stands for the volume /results, which all pods mount, with the traffic of a collector."""
    folder = tmp_path_factory.mktemp("results")
    (folder / "traffic").mkdir()
    (folder / "traffic" / "newest.csv").write_text(
        "slice_1,slice_2,slice_3,slice_4\n1,0.5,0.25,1\n"
    )
    return folder


def load_manifest(name: str, storage: Path) -> dict[str, Any]:
    text = (ROOT / "clusters" / "kuberay" / f"{name}.yaml").read_text()
    return yaml.safe_load(text.replace("/results", str(storage)))


def wait_until(condition: Callable[[], object], expectation: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {TIMEOUT_S} s: {expectation}"
        time.sleep(0.2)


def submit_night(cluster: HostCluster, storage: Path, run: str) -> None:
    """One tick of the nightly RayCronJob: the submitter's pod runs KubeRay's command."""
    job = load_manifest("raycronjob", storage)["spec"]["jobTemplate"]
    job["entrypoint"] = job["entrypoint"].replace("train paper", f"train quick {SMALL}")
    command = kuberay.build_submit_command(job, f"{run}-x", cluster.address)
    # Debian's CI has `python` only in the virtual environment, which the cluster's PATH names.
    ended = subprocess.run(
        ["/bin/bash", "-ce", "--", command],
        env=cluster.env | {"RUN": run}, timeout=TIMEOUT_S, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    details = call_dashboard(cluster, f"/api/jobs/{run}-x")
    assert details["status"] == "SUCCEEDED", ended.stdout + ended.stderr
    driver = details["driver_info"]["node_ip_address"]
    log.info("%s: %s, driver on %s\n%s", run, details["status"], driver, ended.stdout)
    assert driver != cluster.get_host(HEAD)
    assert "nightly-cell_1 version" in ended.stdout


def test_two_nights_give_two_versions_and_their_drivers_run_on_workers(
    cluster: HostCluster, storage: Path
):
    """Each night has its own run directory and its own copy of the newest traffic."""
    for number in (1, 2):
        submit_night(cluster, storage, f"slicing-nightly-{number}")

    versions = PolicyLibrary(str(storage / "policies")).list_versions()
    assert len(versions) == 12
    assert {tuple(found) for found in versions.values()} == {(1, 2)}
    summary = json.loads((storage / "nightly" / "slicing-nightly-2" / "summary.json").read_text())
    assert set(summary["policies"]) == {"counterfactual", "equal"}
    assert (storage / "nightly" / "slicing-nightly-1.csv").is_file()


@pytest.fixture(scope="module")
def operator(cluster: HostCluster, storage: Path) -> Operator:
    """The service of rayservice.yaml, which answers on both workers."""
    started = Operator(cluster, load_manifest("rayservice", storage))
    wait_until(lambda: started.read_states() == {"slicing": "RUNNING"}, "a running service")
    for node in (FIRST_WORKER, SECOND_WORKER):
        wait_until(lambda node=node: read_version(cluster, node) == 1, "an answer on each worker")
    return started


def read_version(cluster: HostCluster, node: int) -> int | None:
    """The version that the proxy of a node answers with; None if it does not answer."""
    try:
        with urlopen(f"http://{cluster.get_host(node)}:8000/v1/health", timeout=5) as answer:
            return json.load(answer)["version"]
    except (URLError, OSError):
        return None


def find_replicas(cluster: HostCluster) -> dict[str, str]:
    """Identifier of each running replica by the address of its node."""
    found = call_dashboard(cluster, "/api/serve/applications/")["applications"]["slicing"]
    return {
        replica["node_ip"]: replica["replica_id"]
        for replica in found["deployments"]["PolicyService"]["replicas"]
        if replica["state"] == "RUNNING"
    }


def call_service(cluster: HostCluster, path: str, token: str, body: Any = None) -> tuple[int, Any]:
    """Status and JSON of a request to the proxy of a worker: POST if there is a body, else GET."""
    request = Request(
        f"http://{cluster.get_host(SECOND_WORKER)}:8000{path}",
        None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        with urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_each_worker_has_a_replica_and_the_secret_is_the_token_of_callers(
    cluster: HostCluster, operator: Operator
):
    """The head, which has no CPU for a replica, does not know the token."""
    status, example = call_service(cluster, "/v1/example", TOKEN)
    decided, answer = call_service(cluster, "/v1/decisions", TOKEN, example)
    refused, problem = call_service(cluster, "/v1/decisions", "another", example)
    log.info("POST /v1/decisions: %d %s", decided, json.dumps(answer["decisions"]["cell_1"]))
    log.info("POST /v1/decisions with another token: %d %s", refused, json.dumps(problem))

    assert (status, decided, refused) == (200, 200, 401)
    assert {made["policy"] for made in answer["decisions"].values()} == {
        f"nightly-cell_{cell}@1" for cell in range(1, 13)
    }
    assert call_service(cluster, "/v1/ready", "none")[0] == 200
    assert call_service(cluster, "/v1/health", "none")[1]["status"] == "ok"
    workers = {cluster.get_host(node) for node in (FIRST_WORKER, SECOND_WORKER)}
    assert set(find_replicas(cluster)) == workers


def test_a_release_changes_the_version_and_no_request_fails(
    cluster: HostCluster, operator: Operator
):
    versions, ended, before = [], threading.Event(), find_replicas(cluster)

    def ask() -> None:
        while not ended.is_set():
            versions.append(read_version(cluster, FIRST_WORKER))

    client = threading.Thread(target=ask)
    client.start()
    try:
        url = f"http://{cluster.get_host(SECOND_WORKER)}:8000"
        done = release_version(operator, "slicing-serve", None, url, log.info)
    finally:
        ended.set()
        client.join()

    log.info("%d answers; replicas %s, then %s", len(versions), before, find_replicas(cluster))
    assert done == ReleaseResult("slicing-serve", 1, 2)
    assert set(versions) == {1, 2}
    assert read_version(cluster, FIRST_WORKER) == 2


def test_a_version_that_does_not_exist_is_taken_back_and_the_old_one_goes_on(
    cluster: HostCluster, operator: Operator
):
    url = f"http://{cluster.get_host(SECOND_WORKER)}:8000"

    with pytest.raises(RunError, match="version 9 is DEPLOY_FAILED; version 2 is restored"):
        release_version(operator, "slicing-serve", 9, url, log.info)

    assert read_version(cluster, FIRST_WORKER) == 2
    wait_until(lambda: operator.read_states() == {"slicing": "RUNNING"}, "the old configuration")


def test_the_probe_of_a_serving_worker_passes_in_its_own_network(
    cluster: HostCluster, operator: Operator
):
    """The probe asks for no token, and the agent and the proxy answer without one."""
    ports = [
        word.partition("=")[2]
        for word in cluster.nodes[FIRST_WORKER].args
        if str(word).startswith("--dashboard-agent-listen-port")
    ]
    probe = kuberay.build_worker_probe(int(ports[0]), 8000)
    prefix = cluster.get_host_prefix(FIRST_WORKER)

    ended = subprocess.run([*prefix, "bash", "-c", probe], capture_output=True, check=False)

    assert ended.returncode == 0, shlex.join([*prefix, probe])


def test_the_service_survives_the_loss_of_a_node(cluster: HostCluster, operator: Operator):
    """The other worker's replica answers; Kubernetes would drop the lost pod from the service."""
    cluster.kill_node(cluster.nodes[SECOND_WORKER])
    versions: list[int | None] = []

    def ask_often() -> bool:
        versions.extend(read_version(cluster, FIRST_WORKER) for _ in range(20))
        return versions[-20:] == [2] * 20

    wait_until(ask_often, "answers of the remaining replica")
    log.info("node lost: %d of %d requests failed", versions.count(None), len(versions))
    assert read_version(cluster, SECOND_WORKER) is None
