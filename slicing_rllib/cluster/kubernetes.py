"""Kubernetes as a pod with a service account sees it: its API, checks, and releases.

The checks compare KubeRay, volume claims and Redis with what jobs need.

A release writes another version of the policy library into the service's `serveConfigV2`. KubeRay
sends it to the running cluster, where Ray Serve replaces the replicas one by one.
Source: KubeRay 1.7.0, rayservice_controller.go:1551-1616.
"""

import json
import os
import re
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import yaml

from slicing_rllib.storage import read_text
from slicing_rllib.storage.errors import RunError
from slicing_rllib.storage.foreign_files import MAX_JSON_BYTES
from slicing_rllib.storage.safe_yaml import parse_yaml
from slicing_rllib.transfer import PolicyLibrary

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Folder in which Kubernetes mounts a pod's token, the API's certificate and the namespace."""
HOST_VARIABLE, PORT_VARIABLE = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT_HTTPS"
TIMEOUT_S = 10.0
MERGE_PATCH = "application/merge-patch+json"
RAY_GROUP, PLURAL = "ray.io/v1", "rayservices"
POLL_S = 2.0
RELEASE_TIMEOUT_S = 600.0
"""How long replicas of the new version may take to start, which includes new nodes."""
ANSWERS = 10
"""Consecutive answers of the new version after which the release is done: requests go to the
replicas at random, so that a single answer says nothing about the others."""
RUNNING, FAILED = "RUNNING", ("DEPLOY_FAILED", "UNHEALTHY")
"""States of an application. Source: Ray Serve, `ApplicationStatus`."""
RAY_KINDS = ("rayclusters", "rayjobs", "rayservices", "raycronjobs")
OPERATOR_LABELS = "app.kubernetes.io/name=kuberay-operator"
MIN_OPERATOR_VERSION = (1, 7)
CRON_GATE = "RayCronJob"
"""Gate of RayCronJob, off by default. Source: KubeRay 1.7.0, features.go:110 and main.go:353."""
FIELD_GATES = {
    "networkPolicy": "RayClusterNetworkPolicy",
    "tlsOptions": "RayClusterMTLS",
    "historyServerOptions": "RayClusterHistoryServer",
}
"""Fields of a Ray cluster that KubeRay refuses unless a gate is on, which is off by default.
Source: KubeRay 1.7.0, validation.go:261, 316 and 323, and features.go:112-115."""
SHARED = "ReadWriteMany"

OnMessage = Callable[[str], None]
Json = dict[str, Any]


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
    ) -> list[Json]:
        """Objects of one kind. An empty list if Kubernetes does not know the kind.

        Args:
            group: API group and version, such as `apps/v1`; `v1` for the core group.
            plural: name of the kind, such as `deployments`.
            all_namespaces: whether to list all namespaces instead of the pod's own.
            labels: labels that the objects must have, such as `app=redis`.

        Raises: RunError if the API does not answer or does not permit it.
        """
        root = group if all_namespaces else f"{group}/namespaces/{self.namespace}"
        query = f"?labelSelector={labels}" if labels else ""
        try:
            return self._send("GET", f"{root}/{plural}{query}")["items"]
        except _NotFoundError:
            return []

    def read_object(self, group: str, plural: str, name: str) -> Json:
        """One object of the namespace. Raises: RunError if there is none or it may not be read."""
        try:
            return self._send("GET", f"{group}/namespaces/{self.namespace}/{plural}/{name}")
        except _NotFoundError as error:
            raise RunError(f"{plural}/{name}: no such object in {self.namespace}") from error

    def patch_object(self, group: str, plural: str, name: str, patch: Json) -> Json:
        """Merges a patch into an object and returns the result. Raises: RunError if refused."""
        return self._send("PATCH", f"{group}/namespaces/{self.namespace}/{plural}/{name}", patch)

    def _send(self, method: str, path: str, body: Json | None = None) -> Json:
        path = f"/api/{path}" if path.startswith("v1/") else f"/apis/{path}"
        request = Request(
            self._address + path,
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {self._token}", "Content-Type": MERGE_PATCH},
            method=method,
        )
        context = self._tls if self._address.startswith("https") else None
        try:
            with urlopen(request, timeout=TIMEOUT_S, context=context) as answer:
                return json.loads(answer.read(MAX_JSON_BYTES))
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
        token = read_text(service_account / "token").strip()
        namespace = read_text(service_account / "namespace").strip()
    except OSError:
        return None
    if not host:
        return None
    certificate = service_account / "ca.crt"
    host = f"[{host}]" if ":" in host else host
    return KubernetesApi(f"https://{host}:{port}", namespace, token, certificate)


class Check(NamedTuple):
    """The result of one check."""

    name: str
    ok: bool
    found: str
    """What was found; if the check failed, also what was expected."""


def judge(name: str, problems: Iterable[str], found: str) -> Check:
    """Passes if there are no problems; then `found` says what there is."""
    problems = list(problems)
    return Check(name, not problems, "; ".join(problems) or found)


def check_kubernetes(api: KubernetesApi) -> Iterator[Check]:
    """Checks KubeRay's version and gates, the volume claims and Redis."""
    try:
        operators = api.list_objects(
            "apps/v1", "deployments", all_namespaces=True, labels=OPERATOR_LABELS
        )
        ray_objects = [
            (f"{kind}/{found['metadata']['name']}", found)
            for kind in RAY_KINDS
            for found in api.list_objects(RAY_GROUP, kind)
        ]
        claims = api.list_objects("v1", "persistentvolumeclaims")
        services = api.list_objects("v1", "services")
    except RunError as error:
        yield Check("kubernetes", False, str(error))
        return
    versions = [_read_operator_version(operator) for operator in operators]
    yield judge("kuberay", _find_version_problems(versions), ", ".join(versions))
    gates = _find_gate_problems(operators, ray_objects)
    yield judge("feature gates", gates, "every gate in use is on")
    mounts = _find_values([found for _, found in ray_objects], "persistentVolumeClaim")
    names = sorted({mount["claimName"] for mount in mounts})
    yield judge("volume claims", _find_claim_problems(names, claims), ", ".join(names))
    redis = _find_redis_problems(ray_objects, services)
    yield judge("redis service", redis, "where one is needed")


def _find_version_problems(versions: Sequence[str]) -> Iterator[str]:
    """There must be one operator of a version that has all fields of our manifests."""
    if len(versions) != 1:
        yield f"{len(versions)} operators, expected one"
        return
    numbers = tuple(int(part) for part in re.findall(r"\d+", versions[0])[:2])
    if numbers < MIN_OPERATOR_VERSION:
        expected = ".".join(map(str, MIN_OPERATOR_VERSION))
        yield f"{versions[0]}, expected KubeRay {expected} or later"


def _read_operator_version(operator: Json) -> str:
    image = operator["spec"]["template"]["spec"]["containers"][0]["image"]
    labels = operator["metadata"].get("labels", {})
    tag = image.rsplit("/", 1)[-1].partition("@")[0].partition(":")[2]
    return tag if re.match(r"v?\d+\.\d+", tag) else labels.get("app.kubernetes.io/version", image)


def _find_gate_problems(
    operators: Sequence[Json], ray_objects: Sequence[tuple[str, Json]]
) -> Iterator[str]:
    """Every feature gate that an object needs must be on."""
    enabled = set[str]()
    for operator in operators:
        container = operator["spec"]["template"]["spec"]["containers"][0]
        for argument in (*container.get("command", ()), *container.get("args", ())):
            if match := re.fullmatch(r"--?feature-gates=(.*)", argument):
                pairs = (pair.partition("=") for pair in match[1].split(","))
                enabled |= {gate for gate, _, value in pairs if value.lower() == "true"}
    for name, found in ray_objects:
        needed = [CRON_GATE] if name.startswith("raycronjobs/") else []
        needed += [g for field, g in FIELD_GATES.items() if _find_values(found["spec"], field)]
        for gate in needed:
            if gate not in enabled:
                expected = "clusters/kuberay/operator-values.yaml, or an object without it"
                yield f"{name} needs {gate}, which is off; expected it in {expected}"


def _find_claim_problems(names: Sequence[str], claims: Sequence[Json]) -> Iterator[str]:
    """Every volume claim of the pods must be bound, and several nodes can mount it."""
    if not names:
        yield "the pods mount no volume claim, expected that of clusters/kuberay/storage.yaml"
    by_name = {claim["metadata"]["name"]: claim for claim in claims}
    for name in names:
        claim = by_name.get(name)
        if claim is None:
            yield f"{name} does not exist, expected clusters/kuberay/storage.yaml"
        elif SHARED not in claim["spec"].get("accessModes", ()):
            yield f"{name} is {claim['spec'].get('accessModes')}, expected {SHARED}"
        elif (phase := claim.get("status", {}).get("phase")) != "Bound":
            yield f"{name} is {phase}, expected Bound"


def _find_redis_problems(
    ray_objects: Sequence[tuple[str, Json]], services: Sequence[Json]
) -> Iterator[str]:
    """The standing clusters must name a Redis whose service exists.

    Jobs need none, because they start again and resume from their checkpoints. A cluster that a
    RayJob or RayService owns is checked with its owner.
    """
    hosts = {service["metadata"]["name"] for service in services}
    for name, found in ray_objects:
        options = _find_values(found, "gcsFaultToleranceOptions")
        addresses = [option.get("redisAddress", "") for option in options]
        is_standing = name.startswith(("rayclusters/", "rayservices/"))
        if not addresses and is_standing and not found["metadata"].get("ownerReferences"):
            yield f"{name} has no gcsFaultToleranceOptions: a new head forgets all jobs"
        for address in addresses:
            host = re.sub(r"^rediss?://", "", address).split(":")[0]
            if "." not in host and host not in hosts:
                yield f"{name}: no service {host!r}, expected clusters/kuberay/redis.yaml"


def _find_values(value: Any, key: str) -> list[Any]:
    """All values of a key, at any depth."""
    if isinstance(value, dict):
        own = [value[key]] if key in value else []
        return own + [found for child in value.values() for found in _find_values(child, key)]
    if isinstance(value, list):
        return [found for child in value for found in _find_values(child, key)]
    return []


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
    ray_service = api.read_object(RAY_GROUP, PLURAL, service)
    config = parse_yaml(ray_service["spec"].get("serveConfigV2", "")) or {}
    arguments = _find_arguments(service, config)
    previous: int | None = arguments["version"]
    version = version or _find_newest_version(str(arguments["run"]))
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


def _find_newest_version(library: str) -> int:
    """The newest version that every bundle of a library has. Raises: RunError if there is none."""
    versions = PolicyLibrary(library).list_versions()
    common = set.intersection(*map(set, versions.values())) if versions else set()
    if not common:
        raise RunError(f"{library}: expected a policy library whose bundles share a version")
    return max(common)


def _find_arguments(service: str, config: Mapping[str, Any]) -> Json:
    """Arguments of the application that serves a library."""
    for application in config.get("applications", ()):
        arguments = application.get("args", {})
        if {"run", "version"} <= set(arguments):
            return arguments
    raise RunError(f"{service}: expected an application with run and version in its args")


def _write_version(api: KubernetesApi, service: str, config: Json, version: int | None) -> None:
    _find_arguments(service, config)["version"] = version
    text = yaml.safe_dump(config, sort_keys=False)
    api.patch_object(RAY_GROUP, PLURAL, service, {"spec": {"serveConfigV2": text}})


def _wait_for_version(api: KubernetesApi, service: str, version: int, url: str) -> str:
    """Waits until the service has answered with the version several times in a row.

    Returns why the version does not run, or an empty string.
    """
    deadline, answers, failures = time.monotonic() + RELEASE_TIMEOUT_S, 0, 0
    while time.monotonic() < deadline:
        status = api.read_object(RAY_GROUP, PLURAL, service).get("status", {})
        applications = status.get("activeServiceStatus", {}).get("applicationStatuses", {})
        states = [application.get("status", "") for application in applications.values()]
        # Twice, because the first reading may still be about an earlier configuration.
        failures = failures + 1 if any(state in FAILED for state in states) else 0
        if failures > 1:
            return f"is {', '.join(states)}"
        answers = answers + 1 if _read_served_version(url) == version else 0
        if answers >= ANSWERS and all(state == RUNNING for state in states):
            return ""
        time.sleep(0.0 if 0 < answers < ANSWERS else POLL_S)
    return f"does not run after {RELEASE_TIMEOUT_S:g} s"


def _read_served_version(url: str) -> int | None:
    """The version in the answer of one replica; None if the service does not answer."""
    try:
        with urlopen(f"{url}/v1/health", timeout=POLL_S) as answer:
            return json.loads(answer.read(MAX_JSON_BYTES)).get("version")
    except (URLError, OSError, ValueError):
        return None
