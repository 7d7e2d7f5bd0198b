"""The API of the Kubernetes cluster that this process runs in, with the pod's service account."""

import json
import os
import ssl
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from slicing_rllib.service.errors import RunError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Folder in which Kubernetes mounts a pod's token, the API's certificate and the namespace."""
HOST_VARIABLE, PORT_VARIABLE = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT_HTTPS"
TIMEOUT_S = 10.0
MERGE_PATCH = "application/merge-patch+json"


class KubernetesApi:
    """Reads and changes objects.

    Args:
        address: URL of the API, such as `https://10.0.0.1:443`.
        namespace: namespace of the objects that a call names without one.
        token: token of the service account.
        certificate: file with the API's certificate; None for the authorities of this machine.
    """

    def __init__(
        self, address: str, namespace: str, token: str, certificate: Path | None = None
    ) -> None:
        self._address, self.namespace, self._token = address, namespace, token
        self._tls = ssl.create_default_context(cafile=certificate)

    def list_objects(
        self, group: str, plural: str, *, all_namespaces: bool = False, labels: str = ""
    ) -> list[dict[str, Any]]:
        """Objects of one kind. An empty list if Kubernetes does not know the kind.

        Args:
            group: API group and version, such as `apps/v1`; `v1` for the core group.
            plural: name of the kind, such as `deployments`.
            all_namespaces: whether to list all namespaces instead of the pod's own.
            labels: labels that the objects must have, such as `app=redis`.

        Raises: RunError if the API does not answer or does not permit it.
        """
        scope = "" if all_namespaces else f"/namespaces/{self.namespace}"
        query = f"?labelSelector={labels}" if labels else ""
        try:
            answer = self._send("GET", f"{_format_root(group)}{scope}/{plural}{query}")
        except _NotFoundError:
            return []
        return answer["items"]

    def read_object(self, group: str, plural: str, name: str) -> dict[str, Any]:
        """One object of the namespace. Raises: RunError if there is none or it may not be read."""
        try:
            return self._send("GET", self._format_path(group, plural, name))
        except _NotFoundError as error:
            raise RunError(f"{plural}/{name}: no such object in {self.namespace}") from error

    def patch_object(
        self, group: str, plural: str, name: str, patch: dict[str, Any]
    ) -> dict[str, Any]:
        """Merges a patch into an object and returns the result. Raises: RunError if refused."""
        return self._send("PATCH", self._format_path(group, plural, name), patch)

    def _format_path(self, group: str, plural: str, name: str) -> str:
        return f"{_format_root(group)}/namespaces/{self.namespace}/{plural}/{name}"

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        request = Request(
            self._address + path,
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {self._token}", "Content-Type": MERGE_PATCH},
            method=method,
        )
        context = self._tls if self._address.startswith("https") else None
        try:
            with urlopen(request, timeout=TIMEOUT_S, context=context) as answer:
                return json.load(answer)
        except HTTPError as error:
            with error:
                if error.code == 404:
                    raise _NotFoundError(path) from error
                what = "may not do this, expected the role of clusters/kuberay"
                reason = what if error.code in (401, 403) else error.reason
                raise RunError(f"Kubernetes: {method} {path}: {error.code}: {reason}") from error
        except (URLError, OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise RunError(f"Kubernetes: {self._address} does not answer ({reason})") from error


class _NotFoundError(RunError):
    """The API has nothing at a path."""


def find_kubernetes_api(service_account: Path = SERVICE_ACCOUNT) -> KubernetesApi | None:
    """The API of the cluster in which this process is a pod with a service account, else None.

    Args:
        service_account: folder with `token`, `namespace` and `ca.crt`.
    """
    host, port = os.environ.get(HOST_VARIABLE), os.environ.get(PORT_VARIABLE, "443")
    try:
        token = (service_account / "token").read_text().strip()
        namespace = (service_account / "namespace").read_text().strip()
    except OSError:
        return None
    if not host:
        return None
    certificate = service_account / "ca.crt"
    host = f"[{host}]" if ":" in host else host
    return KubernetesApi(f"https://{host}:{port}", namespace, token, certificate)


def _format_root(group: str) -> str:
    return f"/api/{group}" if group == "v1" else f"/apis/{group}"
