"""Checks of how Kubernetes and KubeRay are set up for our manifests, from inside the cluster."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from slicing_rllib.service.cluster.check import Check
from slicing_rllib.service.cluster.kubernetes_api import KubernetesApi
from slicing_rllib.service.errors import RunError

RAY_GROUP = "ray.io/v1"
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


def check_kubernetes(api: KubernetesApi) -> Iterator[Check]:
    """Checks KubeRay's version and gates, the volume claims and Redis."""
    try:
        operators = api.list_objects(
            "apps/v1", "deployments", all_namespaces=True, labels=OPERATOR_LABELS
        )
        ray_objects = [
            (kind, found) for kind in RAY_KINDS for found in api.list_objects(RAY_GROUP, kind)
        ]
        claims = api.list_objects("v1", "persistentvolumeclaims")
        services = api.list_objects("v1", "services")
    except RunError as error:
        yield Check("kubernetes", False, str(error))
        return
    yield check_operator(operators)
    yield check_gates(operators, ray_objects)
    yield check_claims(ray_objects, claims)
    yield check_redis_services(ray_objects, services)


def check_operator(operators: list[dict[str, Any]]) -> Check:
    """Passes if there is one operator of a version that has all fields of our manifests."""
    versions = [_read_operator_version(operator) for operator in operators]
    expected = f"expected KubeRay {'.'.join(map(str, MIN_OPERATOR_VERSION))} or later"
    if len(versions) != 1:
        return Check("kuberay", False, f"{len(versions)} operators, expected one")
    numbers = tuple(int(part) for part in re.findall(r"\d+", versions[0])[:2])
    ok = numbers >= MIN_OPERATOR_VERSION
    return Check("kuberay", ok, versions[0] if ok else f"{versions[0]}, {expected}")


def check_gates(
    operators: list[dict[str, Any]], ray_objects: list[tuple[str, dict[str, Any]]]
) -> Check:
    """Passes if every feature gate that an object needs is on."""
    enabled = {gate for operator in operators for gate in _find_enabled_gates(operator)}
    missing = [
        f"{kind}/{found['metadata']['name']} needs {gate}"
        for kind, found in ray_objects
        for gate in _find_needed_gates(kind, found)
        if gate not in enabled
    ]
    fix = "expected it in clusters/kuberay/operator-values.yaml, or an object without it"
    found = f"{'; '.join(missing)}, which is off; {fix}" if missing else "every gate in use is on"
    return Check("feature gates", not missing, found)


def check_claims(
    ray_objects: list[tuple[str, dict[str, Any]]], claims: list[dict[str, Any]]
) -> Check:
    """Passes if every volume claim of the pods is bound and can be mounted by several nodes."""
    by_name = {claim["metadata"]["name"]: claim for claim in claims}
    names = sorted(
        {
            claim["claimName"]
            for _, found in ray_objects
            for claim in _find_values(found, "persistentVolumeClaim")
        }
    )
    problems = [problem for name in names if (problem := _find_claim_problem(name, by_name))]
    if not names:
        problems = [
            "the pods mount no volume claim, expected that of clusters/kuberay/storage.yaml"
        ]
    return Check("volume claims", not problems, "; ".join(problems) or ", ".join(names))


def check_redis_services(
    ray_objects: list[tuple[str, dict[str, Any]]], services: list[dict[str, Any]]
) -> Check:
    """Passes if the standing clusters name a Redis, and its service exists.

    Jobs need none, because they start again and resume from their checkpoints.
    """
    names = {service["metadata"]["name"] for service in services}
    problems = []
    for kind, found in ray_objects:
        name = f"{kind}/{found['metadata']['name']}"
        addresses = [
            options.get("redisAddress", "")
            for options in _find_values(found, "gcsFaultToleranceOptions")
        ]
        if not addresses and kind in ("rayclusters", "rayservices") and not _is_owned(found):
            problems.append(f"{name} has no gcsFaultToleranceOptions: a new head forgets all jobs")
        for address in addresses:
            host = re.sub(r"^rediss?://", "", address).split(":")[0]
            if "." not in host and host not in names:
                problems.append(
                    f"{name}: no service {host!r}, expected clusters/kuberay/redis.yaml"
                )
    return Check("redis service", not problems, "; ".join(problems) or "where one is needed")


def _read_operator_version(operator: dict[str, Any]) -> str:
    image = operator["spec"]["template"]["spec"]["containers"][0]["image"]
    labels = operator["metadata"].get("labels", {})
    tag = image.rsplit("/", 1)[-1].partition("@")[0].partition(":")[2]
    return tag if re.match(r"v?\d+\.\d+", tag) else labels.get("app.kubernetes.io/version", image)


def _find_enabled_gates(operator: dict[str, Any]) -> Iterator[str]:
    container = operator["spec"]["template"]["spec"]["containers"][0]
    for argument in (*container.get("command", ()), *container.get("args", ())):
        if match := re.fullmatch(r"--?feature-gates=(.*)", argument):
            pairs = (pair.partition("=") for pair in match[1].split(","))
            yield from (gate for gate, _, value in pairs if value.lower() == "true")


def _find_needed_gates(kind: str, found: dict[str, Any]) -> Iterator[str]:
    if kind == "raycronjobs":
        yield CRON_GATE
    for field, gate in FIELD_GATES.items():
        if any(True for _ in _find_values(found["spec"], field)):
            yield gate


def _find_claim_problem(name: str, claims: dict[str, dict[str, Any]]) -> str:
    if name not in claims:
        return f"{name} does not exist, expected clusters/kuberay/storage.yaml"
    claim = claims[name]
    if SHARED not in claim["spec"].get("accessModes", ()):
        return f"{name} is {claim['spec'].get('accessModes')}, expected {SHARED}"
    phase = claim.get("status", {}).get("phase")
    return "" if phase == "Bound" else f"{name} is {phase}, expected Bound"


def _is_owned(found: dict[str, Any]) -> bool:
    """Whether a RayJob or RayService has created this cluster: its own row tells about it."""
    return bool(found["metadata"].get("ownerReferences"))


def _find_values(value: Any, key: str) -> Iterator[Any]:
    """All values of a key, at any depth."""
    children: Iterable[Any] = ()
    if isinstance(value, dict):
        if key in value:
            yield value[key]
        children = value.values()
    elif isinstance(value, list):
        children = value
    for child in children:
        yield from _find_values(child, key)
