"""Checks whether a cluster can run unattended jobs: its nodes, and Kubernetes where it runs there.

`node_probe.py` measures the facts about the nodes; here they are compared with what jobs need.
"""

import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from slicing_rllib.cluster.client import Cluster
from slicing_rllib.cluster.kubernetes import KubernetesApi, find_kubernetes_api
from slicing_rllib.cluster.node_probe import compute_code_digest, describe_installed_code
from slicing_rllib.storage.errors import RunError

MIN_CPUS = 2
"""One CPU for the driver and one for an env runner."""
MAX_CLOCK_SKEW_S = 1.0
"""With a larger skew, events of several nodes cannot be put in order."""
TOKEN_TIMEOUT_S = 5.0
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

Json = dict[str, Any]


class Check(NamedTuple):
    """The result of one check."""

    name: str
    ok: bool
    found: str
    """What was found; if the check failed, also what was expected."""


def run_checks(
    address: str, storage: str | None, on_message: Callable[[str], None]
) -> Iterator[Check]:
    """Checks a cluster, and Kubernetes if this process is a pod.

    If the dashboard does not answer, nothing more is checked about the cluster itself.

    Args:
        address: URL of the cluster's dashboard.
        storage: folder that all nodes share; None means the one that the cluster's nodes name.
        on_message: called with lines about the progress.
    """
    if (api := find_kubernetes_api()) is not None:
        yield from check_kubernetes(api)
    try:
        cluster = Cluster(address)
    except RunError as error:
        yield Check("dashboard", False, str(error))
        return
    yield Check("dashboard", True, address)
    yield Check("ray", True, cluster.ray_version)
    yield _check_token(address)
    try:
        nodes = _probe_nodes(cluster, storage, on_message)
    except RunError as error:
        yield Check("nodes", False, str(error))
        return
    yield from check_nodes(nodes)


def check_nodes(nodes: list[Json]) -> Iterator[Check]:
    """Compares the facts about nodes, as `node_probe.probe_nodes` returns them, with our needs."""
    totals = {
        kind: sum(node["resources"].get(kind, 0.0) for node in nodes)
        for kind in ("CPU", "GPU", "memory")
    }
    found = f"{len(nodes)} nodes, {totals['CPU']:g} CPUs, {totals['GPU']:g} GPUs, "
    found += f"{totals['memory'] / 2**30:.1f} GiB"
    yield Check("resources", totals["CPU"] >= MIN_CPUS, found)
    yield _judge("nodes answer", _name_nodes(nodes, "problem"), "every node")
    answering = [node for node in nodes if not node.get("problem")]
    yield _check_equal("python", answering)
    yield _check_equal("torch", answering)
    yield _check_equal("code", answering, expected=compute_code_digest())
    # `submit` sends this machine's code where it differs; RayJob and RayService run the image's.
    own = describe_installed_code()
    images = _check_equal("image", answering, expected=own)
    yield images if images.ok else images._replace(found=f"{images.found}; this machine has {own}")
    head = next((node for node in answering if "redis" in node), None)
    if head is None:
        yield Check("redis", False, "the head does not answer")
    else:
        yield Check("redis", not head["redis_problem"], head["redis_problem"] or head["redis"])
    yield _judge("storage", _name_nodes(answering, "storage"), "every node")
    skew_s = max((abs(node["clock_skew_s"]) for node in answering), default=0.0)
    yield Check("clocks", skew_s <= MAX_CLOCK_SKEW_S, f"at most {skew_s:.3f} s from the driver's")
    reminder = "every node answers, without a token: let only Prometheus reach the ports"
    yield _judge("metrics", _name_nodes(nodes, "metrics"), reminder)


def _probe_nodes(
    cluster: Cluster, storage: str | None, on_message: Callable[[str], None]
) -> list[Json]:
    task = f"nodes {shlex.quote(storage)}" if storage else "nodes"
    rows, last_line = cluster.run_task(task, cluster.prepare_job_environment(on_message))
    if rows is None:
        raise RunError(f"the job that probes the nodes failed: {last_line[:200]}")
    return json.loads(rows)


def _check_token(address: str) -> Check:
    """A Ray dashboard that does not ask for a token lets anybody run code."""
    try:
        with urlopen(f"{address}/api/jobs/", timeout=TOKEN_TIMEOUT_S):
            expected = "expected RAY_AUTH_MODE=token on all nodes"
            return Check("token", False, f"the dashboard asks for no token; {expected}")
    except HTTPError as error:
        refused = error.code in (401, 403)
        return Check("token", refused, "required, and ours is accepted" if refused else f"{error}")
    except URLError as error:
        return Check("token", False, str(error.reason))


def _judge(name: str, problems: Iterable[str], found: str) -> Check:
    """Passes if there are no problems; then `found` says what there is."""
    problems = list(problems)
    return Check(name, not problems, "; ".join(problems) or found)


def _name_nodes(nodes: Iterable[Json], key: str) -> Iterator[str]:
    """What is wrong with each node whose `key` is not empty."""
    return (f"{_format_node(node)}: {node[key]}" for node in nodes if node.get(key))


def _check_equal(name: str, nodes: list[Json], expected: str | None = None) -> Check:
    """Passes if all nodes have the same value, which is `expected` unless that is None."""
    nodes_by_value: dict[str, list[str]] = {}
    for node in nodes:
        nodes_by_value.setdefault(node[name], []).append(_format_node(node))
    expected = expected or next(iter(nodes_by_value), "")
    found = "; ".join(
        value if len(nodes_by_value) == 1 else f"{value} ({', '.join(names)})"
        for value, names in nodes_by_value.items()
    )
    return Check(name, set(nodes_by_value) == {expected}, found or "no node answers")


def _format_node(node: Json) -> str:
    return f"{node['address']} {node['node'][:8]}"


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
    yield _judge("kuberay", _find_version_problems(versions), ", ".join(versions))
    gates = _find_gate_problems(operators, ray_objects)
    yield _judge("feature gates", gates, "every gate in use is on")
    names = sorted(
        {
            claim["claimName"]
            for _, found in ray_objects
            for claim in _find_values(found, "persistentVolumeClaim")
        }
    )
    yield _judge("volume claims", _find_claim_problems(names, claims), ", ".join(names))
    redis = _find_redis_problems(ray_objects, services)
    yield _judge("redis service", redis, "where one is needed")


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
    enabled = {gate for operator in operators for gate in _find_enabled_gates(operator)}
    for name, found in ray_objects:
        needed = [CRON_GATE] if name.startswith("raycronjobs/") else []
        for field, gate in FIELD_GATES.items():
            needed += [gate] if any(True for _ in _find_values(found["spec"], field)) else []
        for gate in needed:
            if gate not in enabled:
                yield (
                    f"{name} needs {gate}, which is off; expected it in "
                    "clusters/kuberay/operator-values.yaml, or an object without it"
                )


def _find_enabled_gates(operator: Json) -> Iterator[str]:
    container = operator["spec"]["template"]["spec"]["containers"][0]
    for argument in (*container.get("command", ()), *container.get("args", ())):
        if match := re.fullmatch(r"--?feature-gates=(.*)", argument):
            pairs = (pair.partition("=") for pair in match[1].split(","))
            yield from (gate for gate, _, value in pairs if value.lower() == "true")


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
        addresses = [
            options.get("redisAddress", "")
            for options in _find_values(found, "gcsFaultToleranceOptions")
        ]
        is_standing = name.startswith(("rayclusters/", "rayservices/"))
        if not addresses and is_standing and not found["metadata"].get("ownerReferences"):
            yield f"{name} has no gcsFaultToleranceOptions: a new head forgets all jobs"
        for address in addresses:
            host = re.sub(r"^rediss?://", "", address).split(":")[0]
            if "." not in host and host not in hosts:
                yield f"{name}: no service {host!r}, expected clusters/kuberay/redis.yaml"


def _find_values(value: Any, key: str) -> Iterator[Any]:
    """All values of a key, at any depth."""
    if isinstance(value, dict):
        if key in value:
            yield value[key]
        value = list(value.values())
    if isinstance(value, list):
        for child in value:
            yield from _find_values(child, key)
