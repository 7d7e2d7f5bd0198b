"""Checks whether a cluster can run unattended jobs."""

import json
import shlex
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from slicing_rllib.service.cluster.archive import compute_code_digest
from slicing_rllib.service.cluster.check import Check
from slicing_rllib.service.cluster.client import Cluster
from slicing_rllib.service.cluster.installed_code import describe_installed_code
from slicing_rllib.service.cluster.job_entrypoint import NODES_MARK
from slicing_rllib.service.cluster.kubernetes_api import find_kubernetes_api
from slicing_rllib.service.cluster.kubernetes_checks import check_kubernetes
from slicing_rllib.service.errors import RunError

MIN_CPUS = 2
"""One CPU for the driver and one for an env runner."""
MAX_CLOCK_SKEW_S = 1.0
"""With a larger skew, events of several nodes cannot be put in order."""
TOKEN_TIMEOUT_S = 5.0


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


def check_nodes(nodes: list[dict[str, Any]]) -> Iterator[Check]:
    """Compares the facts about nodes, as `node_probe.probe_nodes` returns them, with our needs."""
    yield _check_resources(nodes)
    yield _check_each_node("nodes answer", nodes, "problem")
    answering = [node for node in nodes if not node.get("problem")]
    yield _check_equal("python", answering)
    yield _check_equal("torch", answering)
    yield _check_equal("code", answering, expected=compute_code_digest())
    yield _check_images(answering)
    yield _check_redis(answering)
    yield _check_each_node("storage", answering, "storage")
    skew_s = max((abs(node["clock_skew_s"]) for node in answering), default=0.0)
    yield Check("clocks", skew_s <= MAX_CLOCK_SKEW_S, f"at most {skew_s:.3f} s from the driver's")
    metrics = _check_each_node("metrics", nodes, "metrics")
    reminder = "every node answers, without a token: let only Prometheus reach the ports"
    yield metrics._replace(found=reminder) if metrics.ok else metrics


def _check_resources(nodes: list[dict[str, Any]]) -> Check:
    cpus = sum(node["resources"].get("CPU", 0.0) for node in nodes)
    gpus = sum(node["resources"].get("GPU", 0.0) for node in nodes)
    gib = sum(node["resources"].get("memory", 0.0) for node in nodes) / 2**30
    found = f"{len(nodes)} nodes, {cpus:g} CPUs, {gpus:g} GPUs, {gib:.1f} GiB"
    return Check("resources", cpus >= MIN_CPUS, found)


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


def _check_images(nodes: list[dict[str, Any]]) -> Check:
    """Passes if every node's image contains this machine's code.

    `submit` sends this machine's code if they differ, but RayJob and RayService run the image's.
    """
    own = describe_installed_code()
    images = _check_equal("image", nodes, expected=own)
    return images if images.ok else images._replace(found=f"{images.found}; this machine has {own}")


def _check_redis(nodes: list[dict[str, Any]]) -> Check:
    """Passes if a new head could take over, or if the cluster needs no such head."""
    head = next((node for node in nodes if "redis" in node), None)
    if head is None:
        return Check("redis", False, "the head does not answer")
    return Check("redis", not head["redis_problem"], head["redis_problem"] or head["redis"])


def _probe_nodes(
    cluster: Cluster, storage: str | None, on_message: Callable[[str], None]
) -> list[dict[str, Any]]:
    task = f"nodes {shlex.quote(storage)}" if storage else "nodes"
    code, log = cluster.run_helper_job(task, cluster.prepare_job_environment(on_message))
    if code or NODES_MARK not in log:
        last_line = (log.strip().splitlines() or ["its log is empty"])[-1]
        raise RunError(f"the job that probes the nodes failed: {last_line[:200]}")
    return json.loads(log.split(NODES_MARK, 1)[1].splitlines()[0])


def _check_each_node(name: str, nodes: Iterable[dict[str, Any]], key: str) -> Check:
    """Passes if `key` of every node is empty."""
    problems = [f"{_format_node(node)}: {node[key]}" for node in nodes if node.get(key)]
    return Check(name, not problems, "; ".join(problems) or "every node")


def _check_equal(name: str, nodes: list[dict[str, Any]], expected: str | None = None) -> Check:
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


def _format_node(node: dict[str, Any]) -> str:
    return f"{node['address']} {node['node'][:8]}"
