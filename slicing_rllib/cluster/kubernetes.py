"""Kubernetes as a pod with a service account sees it: its API, and releases of a RayService.

A release writes another version of the policy library into the service's `serveConfigV2`. KubeRay
sends it to the running cluster, where Ray Serve replaces the replicas one by one.
Source: KubeRay 1.7.0, rayservice_controller.go:1551-1616.
"""

import json
import os
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import yaml

from slicing_rllib.storage.errors import RunError
from slicing_rllib.transfer import PolicyLibrary

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Folder in which Kubernetes mounts a pod's token, the API's certificate and the namespace."""
HOST_VARIABLE, PORT_VARIABLE = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT_HTTPS"
TIMEOUT_S = 10.0
MERGE_PATCH = "application/merge-patch+json"
GROUP, PLURAL = "ray.io/v1", "rayservices"
POLL_S = 2.0
RELEASE_TIMEOUT_S = 600.0
"""How long replicas of the new version may take to start, which includes new nodes."""
ANSWERS = 10
"""Consecutive answers of the new version after which the release is done: requests go to the
replicas at random, so that a single answer says nothing about the others."""
RUNNING, FAILED = "RUNNING", ("DEPLOY_FAILED", "UNHEALTHY")
"""States of an application. Source: Ray Serve, `ApplicationStatus`."""

OnMessage = Callable[[str], None]


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


class ReleaseResult(NamedTuple):
    """What a release has changed."""

    service: str
    previous: int | None
    """Version that was served before; None is the newest of each bundle at that time."""
    version: int
    """Version that is served now."""


def release_version(
    api: KubernetesApi, service: str, version: int | None, url: str, on_message: OnMessage
) -> ReleaseResult:
    """Serves a version of the service's library, and restores the previous one if it does not run.

    Args:
        api: API of the Kubernetes cluster.
        service: name of the RayService.
        version: version of every bundle; None means the newest that every bundle has.
        url: URL of the service inside the cluster.
        on_message: called with lines about the progress.

    Raises: RunError if there is no such service or version, or if the version does not run.
    """
    config = _read_serve_config(api, service)
    arguments = _find_arguments(service, config)
    previous: int | None = arguments["version"]
    version = version or find_newest_version(str(arguments["run"]))
    if version == previous:
        on_message(f"{service} serves version {version} already")
        return ReleaseResult(service, previous, version)
    on_message(f"{service}: version {previous} to version {version}")
    _write_version(api, service, config, version)
    if problem := _wait_for_version(api, service, version, url):
        _write_version(api, service, config, previous)
        raise RunError(f"{service}: version {version} {problem}; version {previous} is restored")
    on_message(f"{service} serves version {version}")
    return ReleaseResult(service, previous, version)


def find_newest_version(library: str) -> int:
    """The newest version that every bundle of a library has. Raises: RunError if there is none."""
    versions = PolicyLibrary(library).list_versions()
    common = set.intersection(*map(set, versions.values())) if versions else set()
    if not common:
        raise RunError(f"{library}: expected a policy library whose bundles share a version")
    return max(common)


def _read_serve_config(api: KubernetesApi, service: str) -> dict[str, Any]:
    text = api.read_object(GROUP, PLURAL, service)["spec"].get("serveConfigV2", "")
    return yaml.safe_load(text) or {}


def _find_arguments(service: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the application that serves a library."""
    for application in config.get("applications", ()):
        arguments = application.get("args", {})
        if {"run", "version"} <= set(arguments):
            return arguments
    raise RunError(f"{service}: expected an application with run and version in its args")


def _write_version(
    api: KubernetesApi, service: str, config: dict[str, Any], version: int | None
) -> None:
    _find_arguments(service, config)["version"] = version
    text = yaml.safe_dump(config, sort_keys=False)
    api.patch_object(GROUP, PLURAL, service, {"spec": {"serveConfigV2": text}})


def _wait_for_version(api: KubernetesApi, service: str, version: int, url: str) -> str:
    """Waits until the service has answered with the version several times in a row.

    Returns why the version does not run, or an empty string.
    """
    deadline, answers, failures = time.monotonic() + RELEASE_TIMEOUT_S, 0, 0
    while time.monotonic() < deadline:
        states = _read_states(api.read_object(GROUP, PLURAL, service))
        # Twice, because the first reading may still be about an earlier configuration.
        failures = failures + 1 if any(state in FAILED for state in states) else 0
        if failures > 1:
            return f"is {', '.join(states)}"
        answers = answers + 1 if _read_served_version(url) == version else 0
        if answers >= ANSWERS and all(state == RUNNING for state in states):
            return ""
        time.sleep(0.0 if 0 < answers < ANSWERS else POLL_S)
    return f"does not run after {RELEASE_TIMEOUT_S:g} s"


def _read_states(ray_service: Mapping[str, Any]) -> list[str]:
    active = ray_service.get("status", {}).get("activeServiceStatus", {})
    return [state.get("status", "") for state in active.get("applicationStatuses", {}).values()]


def _read_served_version(url: str) -> int | None:
    """The version in the answer of one replica; None if the service does not answer."""
    try:
        with urlopen(f"{url}/v1/health", timeout=POLL_S) as answer:
            return json.load(answer).get("version")
    except (URLError, OSError, ValueError):
        return None
