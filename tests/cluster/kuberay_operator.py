"""Stands for the API of Kubernetes with KubeRay's operator behind it, for a RayService."""

import json
from typing import Any
from urllib.request import Request, urlopen

import yaml
from local_cluster import LocalCluster

from slicing_rllib.cluster.kubernetes import KubernetesApi


class Operator(KubernetesApi):
    """Reads and changes one RayService.

    A changed `serveConfigV2` is sent to the cluster, and the states of applications are those that
    the cluster reports. Source: rayservice_controller.go:1551-1616, KubeRay 1.7.0.
    """

    def __init__(self, cluster: LocalCluster, manifest: dict[str, Any]) -> None:
        super().__init__("http://kubernetes", "default", "")
        self._cluster, self._manifest = cluster, manifest
        self.apply()

    def apply(self) -> None:
        config = yaml.safe_load(self._manifest["spec"]["serveConfigV2"])
        call_dashboard(self._cluster, "/api/serve/applications/", config)

    def read_states(self) -> dict[str, str]:
        found = call_dashboard(self._cluster, "/api/serve/applications/")["applications"]
        return {name: application["status"] for name, application in found.items()}

    def read_object(self, group: str, plural: str, name: str) -> dict[str, Any]:
        states = {state: {"status": status} for state, status in self.read_states().items()}
        status = {"activeServiceStatus": {"applicationStatuses": states}}
        return self._manifest | {"status": status}

    def patch_object(
        self, group: str, plural: str, name: str, patch: dict[str, Any]
    ) -> dict[str, Any]:
        self._manifest["spec"] |= patch["spec"]
        self.apply()
        return self._manifest


def call_dashboard(cluster: LocalCluster, path: str, body: Any = None) -> Any:
    """JSON of a GET, or of a PUT if there is a body, as KubeRay sends them."""
    request = Request(
        cluster.address + path, None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Bearer {cluster.env['RAY_AUTH_TOKEN']}",
         "Content-Type": "application/json"},
        method="GET" if body is None else "PUT",
    )  # fmt: skip
    with urlopen(request, timeout=30) as answer:
        text = answer.read()
    return json.loads(text) if text else None
