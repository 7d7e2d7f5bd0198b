"""What preflight finds wrong in Kubernetes, from the answers of its API."""

import copy
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import certifi
import pytest
import yaml

from slicing_rllib.cluster.kubernetes import (
    Check,
    KubernetesApi,
    check_kubernetes,
    find_kubernetes_api,
)
from slicing_rllib.storage.errors import RunError

KUBERAY = Path(__file__).parents[2] / "clusters" / "kuberay"
NAMESPACE = "ran"
TOKEN = "of-the-pod"


def load(name: str) -> dict[str, Any]:
    return next(yaml.safe_load_all((KUBERAY / f"{name}.yaml").read_text()))


def make_operator(gates: str = "", tag: str = "v1.7.0") -> dict[str, Any]:
    """As KubeRay makes it. Source: 1.7.0, chart templates/deployment.yaml:66-146."""
    container = {
        "image": f"example/kuberay/operator:{tag}",
        "args": ["--enable-leader-election=true", *([f"--feature-gates={gates}"] if gates else [])],
    }
    return {
        "metadata": {"name": "kuberay-operator"},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }


def make_state() -> dict[str, list[dict[str, Any]]]:
    """What a correct Kubernetes lists, by path."""
    claim = load("storage") | {"status": {"phase": "Bound"}}
    own, ray = f"/api/v1/namespaces/{NAMESPACE}", f"/apis/ray.io/v1/namespaces/{NAMESPACE}"
    return {
        "/apis/apps/v1/deployments": [make_operator("RayCronJob=true,RayClusterMTLS=false")],
        f"{ray}/rayclusters": [load("raycluster")],
        f"{ray}/rayjobs": [load("rayjob")],
        f"{ray}/rayservices": [load("rayservice")],
        f"{ray}/raycronjobs": [load("raycronjob")],
        f"{own}/persistentvolumeclaims": [claim],
        f"{own}/services": [load("redis")],
    }


STATE = make_state()


class FakeApi(HTTPServer):
    """Lists objects as the API of Kubernetes does, for a pod with the right token.

    `lists` maps a path to its objects. A path that is missing has status 404.
    """

    def __init__(self) -> None:
        self.lists = copy.deepcopy(STATE)
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: FakeApi

    def do_GET(self) -> None:
        items = self.server.lists.get(self.path.partition("?")[0])
        permitted = self.headers["Authorization"] == f"Bearer {TOKEN}"
        self.send_response(403 if not permitted else 404 if items is None else 200)
        self.end_headers()
        self.wfile.write(json.dumps({"items": items}).encode())

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture
def server() -> Iterator[FakeApi]:
    with FakeApi() as started:
        threading.Thread(target=started.serve_forever, daemon=True).start()
        yield started
        started.shutdown()


def check(server: FakeApi, token: str = TOKEN) -> dict[str, Check]:
    api = KubernetesApi(f"http://127.0.0.1:{server.server_port}", NAMESPACE, token)
    return {found.name: found for found in check_kubernetes(api)}


def find_failure(server: FakeApi) -> Check:
    """The only check that fails."""
    (failure,) = (found for found in check(server).values() if not found.ok)
    return failure


def find_list(server: FakeApi, plural: str) -> list[dict[str, Any]]:
    (items,) = (items for path, items in server.lists.items() if path.endswith(f"/{plural}"))
    return items


def test_our_manifests_pass_with_the_gate_of_the_nightly_job(server: FakeApi):
    checks = check(server)

    assert [name for name, found in checks.items() if found.ok] == list(checks)
    assert list(checks) == ["kuberay", "feature gates", "volume claims", "redis service"]
    assert checks["kuberay"].found == "v1.7.0"


@pytest.mark.parametrize("gates", ["", "RayCronJob=false", "RayClusterNetworkPolicy=true"])
def test_a_nightly_job_without_its_gate_is_named(server: FakeApi, gates: str):
    find_list(server, "deployments")[:] = [make_operator(gates)]

    failure = find_failure(server)

    assert failure.name == "feature gates"
    assert "raycronjobs/slicing-nightly needs RayCronJob, which is off" in failure.found


def test_the_network_policy_of_kuberay_without_its_gate_is_named(server: FakeApi):
    find_list(server, "rayclusters")[0]["spec"]["networkPolicy"] = {"mode": "DenyAllIngress"}

    found = find_failure(server).found

    assert "rayclusters/slicing needs RayClusterNetworkPolicy, which is off" in found


@pytest.mark.parametrize("tag", ["v1.6.2", "1.4.0", "nightly"])
def test_an_operator_that_is_too_old_or_unknown_is_named(server: FakeApi, tag: str):
    find_list(server, "deployments")[:] = [make_operator("RayCronJob=true", tag)]

    assert find_failure(server).name == "kuberay"


def test_a_missing_operator_is_named(server: FakeApi):
    find_list(server, "deployments").clear()
    find_list(server, "raycronjobs").clear()

    assert find_failure(server) == Check("kuberay", False, "0 operators, expected one")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"spec": {"accessModes": ["ReadWriteOnce"]}}, "expected ReadWriteMany"),
        ({"status": {"phase": "Pending"}}, "is Pending, expected Bound"),
        ({"metadata": {"name": "other"}}, "does not exist"),
    ],
)
def test_storage_that_nodes_cannot_share_is_named(server: FakeApi, change: dict, problem: str):
    find_list(server, "persistentvolumeclaims")[0].update(change)

    failure = find_failure(server)

    assert (failure.name, problem in failure.found) == ("volume claims", True)


def test_a_standing_cluster_without_redis_is_named_and_a_job_is_not(server: FakeApi):
    del find_list(server, "rayclusters")[0]["spec"]["gcsFaultToleranceOptions"]

    found = find_failure(server).found

    assert (
        found == "rayclusters/slicing has no gcsFaultToleranceOptions: a new head forgets all jobs"
    )


def test_a_missing_service_of_redis_is_named(server: FakeApi):
    find_list(server, "services").clear()

    assert "no service 'redis'" in find_failure(server).found


def test_a_kind_that_kubernetes_does_not_know_has_no_objects(server: FakeApi):
    """KubeRay's definitions of its kinds are not installed: nothing needs a gate."""
    server.lists = {path: items for path, items in server.lists.items() if "ray.io" not in path}

    assert check(server)["feature gates"].ok


def test_a_pod_without_the_role_gives_one_row(server: FakeApi):
    checks = check(server, token="of-another-pod")

    assert list(checks) == ["kubernetes"]
    assert "expected the role of clusters/kuberay" in checks["kubernetes"].found


def test_an_api_that_does_not_answer_gives_one_line():
    api = KubernetesApi("http://127.0.0.1:9", NAMESPACE, TOKEN)

    with pytest.raises(RunError, match="does not answer"):
        api.read_object("ray.io/v1", "rayservices", "slicing-serve")


def test_only_a_pod_with_a_service_account_has_an_api(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "192.0.2.1")
    assert find_kubernetes_api(tmp_path) is None
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "namespace").write_text(NAMESPACE)
    (tmp_path / "ca.crt").write_bytes(Path(certifi.where()).read_bytes())

    found = find_kubernetes_api(tmp_path)

    assert found is not None
    assert found.namespace == NAMESPACE
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    assert find_kubernetes_api(tmp_path) is None
