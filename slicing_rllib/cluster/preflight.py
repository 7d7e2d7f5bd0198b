"""Checks whether a cluster can run unattended jobs: its nodes, and Kubernetes where it runs there.

A job measures facts about each node on the node itself: versions and code, the shared storage, the
clock, the metrics port, and on the head's node the Redis in which the head keeps its state. Here
they are compared with what jobs need.
"""

import json
import logging
import os
import shlex
import shutil
import socket
import ssl
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from slicing_rllib.cluster.job_entrypoint import compute_code_digest, describe_installed_code
from slicing_rllib.cluster.kubernetes import (
    Check,
    Json,
    check_kubernetes,
    find_kubernetes_api,
    judge,
)
from slicing_rllib.storage.errors import RunError

MIN_CPUS = 2
"""One CPU for the driver and one for an env runner."""
MAX_CLOCK_SKEW_S = 1.0
"""With a larger skew, events of several nodes cannot be put in order."""
PROBE_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 5.0
"""For the dashboard, a metrics port and Redis."""
CLOCK_READINGS = 5
HEAD_RESOURCE = "node:__internal_head__"
"""Resource that only the head has."""
ADDRESS_VARIABLE = "RAY_REDIS_ADDRESS"
USER_VARIABLE, PASSWORD_VARIABLE = "REDIS_USERNAME", "REDIS_PASSWORD"
TAGS_VARIABLE = "RAY_USAGE_STATS_EXTRA_TAGS"
"""KubeRay names here the kind of object that has started a node, such as `kuberay_crd=RayJob`."""
STANDING_KINDS = ("RayCluster", "RayService")
"""Kinds of KubeRay whose cluster outlives its jobs."""
REDIS_PORT = 6379


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
    # Nodes import this file for `NodeProbe`, and need no client.
    from slicing_rllib.cluster.client import Cluster

    try:
        cluster = Cluster(address)
    except RunError as error:
        yield Check("dashboard", False, str(error))
        return
    yield Check("dashboard", True, address)
    yield Check("ray", True, ray.__version__)
    yield _check_token(address)
    try:
        environment = cluster.prepare_job_environment(on_message)
        task = f"nodes {shlex.quote(storage)}" if storage else "nodes"
        rows, last_line = cluster.run_task(task, environment)
    except RunError as error:
        yield Check("nodes", False, str(error))
        return
    if rows is None:
        problem = f"the job that probes the nodes failed: {last_line[:200]}"
        yield Check("nodes", False, problem)
        return
    yield from check_nodes(json.loads(rows))


def check_nodes(nodes: list[Json]) -> Iterator[Check]:
    """Compares the facts about nodes, as `probe_nodes` returns them, with our needs."""
    totals = {
        kind: sum(node["resources"].get(kind, 0.0) for node in nodes)
        for kind in ("CPU", "GPU", "memory")
    }
    found = f"{len(nodes)} nodes, {totals['CPU']:g} CPUs, {totals['GPU']:g} GPUs, "
    found += f"{totals['memory'] / 2**30:.1f} GiB"
    yield Check("resources", totals["CPU"] >= MIN_CPUS, found)
    yield judge("nodes answer", _name_nodes(nodes, "problem"), "every node")
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
    yield judge("storage", _name_nodes(answering, "storage"), "every node")
    skew_s = max((abs(node["clock_skew_s"]) for node in answering), default=0.0)
    yield Check("clocks", skew_s <= MAX_CLOCK_SKEW_S, f"at most {skew_s:.3f} s from the driver's")
    reminder = "every node answers, without a token: let only Prometheus reach the ports"
    yield judge("metrics", _name_nodes(nodes, "metrics"), reminder)


def _check_token(address: str) -> Check:
    """A Ray dashboard that does not ask for a token lets anybody run code."""
    try:
        with urlopen(f"{address}/api/jobs/", timeout=ANSWER_TIMEOUT_S):
            expected = "expected RAY_AUTH_MODE=token on all nodes"
            return Check("token", False, f"the dashboard asks for no token; {expected}")
    except HTTPError as error:
        refused = error.code in (401, 403)
        return Check("token", refused, "required, and ours is accepted" if refused else f"{error}")
    except URLError as error:
        return Check("token", False, str(error.reason))


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


def probe_nodes(storage: str) -> list[Json]:
    """One row of facts per live node, the driver's node first. Starts Ray in this process.

    A row has the keys `node address resources metrics` and, if the node answers, `python torch code
    image clock_skew_s storage`, else `problem`. The head's row also has `redis redis_problem`.
    In `metrics`, `storage` and the problems, an empty string means that nothing is wrong.
    """
    ray.init(logging_level=logging.ERROR, log_to_driver=False)
    driver_node = ray.get_runtime_context().get_node_id()
    folder = Path(storage) / f".check-{uuid.uuid4().hex[:8]}"
    problem = ""
    try:
        folder.mkdir(parents=True)
        (folder / "driver").write_text("")
    except OSError as error:
        problem = f"cannot be written by the driver ({error.strerror})"
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        nodes.sort(key=lambda node: node["NodeID"] != driver_node)
        # All probes start before the first answer is awaited, so that they import in parallel.
        places = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes]
        actor = ray.remote(NodeProbe)
        probes = [actor.options(num_cpus=0, scheduling_strategy=p).remote() for p in places]
        return [
            _probe_node(node, probe, folder, problem)
            for node, probe in zip(nodes, probes, strict=True)
        ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _probe_node(node: Json, probe: Any, folder: Path, problem: str) -> Json:
    node_id = node["NodeID"]
    row: Json = {
        "node": node_id,
        "address": node["NodeManagerAddress"],
        "resources": node["Resources"],
        "metrics": _check_metrics(node),
    }
    facts = probe.measure.remote(str(folder), node_id, HEAD_RESOURCE in node["Resources"])
    try:
        row |= ray.get(facts, timeout=PROBE_TIMEOUT_S)
        row["clock_skew_s"] = _measure_clock_skew_s(probe)
    except RayError as error:
        return row | {"problem": " ".join(str(error).split())[:200]}
    problem = problem or row["storage"]
    if not problem and not (folder / node_id).is_file():
        problem = "is not shared: the driver does not see the file that this node wrote"
    return row | {"storage": problem}


def _measure_clock_skew_s(probe: Any) -> float:
    """How far the node's clock is ahead of ours, in seconds.

    The reading with the shortest round trip is used, because its uncertainty is the smallest.
    """
    readings = []
    for _ in range(CLOCK_READINGS):
        before = time.time()
        node_time: Any = ray.get(probe.read_clock_s.remote(), timeout=PROBE_TIMEOUT_S)
        after = time.time()
        readings.append((after - before, node_time - (before + after) / 2))
    return min(readings)[1]


def _check_metrics(node: Json) -> str:
    """What is wrong with the node's metrics port, or an empty string."""
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    try:
        with urlopen(address, timeout=ANSWER_TIMEOUT_S) as answer:
            return "" if answer.status == 200 else f"{address} answers {answer.status}"
    except (URLError, OSError) as error:
        return f"{address} does not answer ({getattr(error, 'reason', error)})"


class NodeProbe:
    """An actor that runs on the node that it measures."""

    def measure(self, folder: str, node_id: str, is_head: bool) -> dict[str, str]:
        """Versions, digests of our code and of the image's, the storage, and the head's Redis.

        The storage must hold the driver's file and let this node write one.
        """
        import torch

        storage = ""
        try:
            if not (Path(folder) / "driver").is_file():
                storage = "is not shared: the file that the driver wrote is missing here"
            else:
                (Path(folder) / node_id).write_text(node_id)
        except OSError as error:
            storage = f"cannot be written ({error.strerror})"
        facts = {
            "python": ".".join(map(str, sys.version_info[:3])),
            "torch": str(torch.__version__),
            "code": compute_code_digest(),
            "image": describe_installed_code(),
            "storage": storage,
        }
        return facts | (describe_redis(os.environ) if is_head else {})

    def read_clock_s(self) -> float:
        """Seconds since the epoch."""
        return time.time()


def describe_redis(environment: Mapping[str, str]) -> dict[str, str]:
    """What a head keeps its state in, under `redis`, and what is wrong with it, else an empty
    string, under `redis_problem`.

    Args:
        environment: variables of a process on the head's node.
    """
    address = environment.get(ADDRESS_VARIABLE, "").split(",")[0]
    if address:
        user = environment.get(USER_VARIABLE, "")
        problem = check_redis(address, environment.get(PASSWORD_VARIABLE, ""), user)
        return {"redis": f"{address} answers", "redis_problem": problem and f"{address} {problem}"}
    tags = (pair.partition("=") for pair in environment.get(TAGS_VARIABLE, "").split(";"))
    kind = {name: value for name, _, value in tags}.get("kuberay_crd", "")
    if kind in STANDING_KINDS:
        problem = f"a {kind} without Redis loses its state with its head, expected redis.yaml"
        return {"redis": "none", "redis_problem": problem}
    return {"redis": "none: after the loss of the head, jobs start again", "redis_problem": ""}


def check_redis(address: str, password: str, user: str = "") -> str:
    """What is wrong with a Redis, or an empty string.

    Args:
        address: `HOST:PORT`, or a URL that begins with `redis://` or, for TLS, `rediss://`.
        password: its password, or an empty string.
        user: its user; an empty string for the default user.
    """
    url = urlsplit(address if "://" in address else f"redis://{address}")
    host, port = url.hostname or "", url.port or REDIS_PORT
    login = [part.encode() for part in (user, password) if part]
    commands = [[b"AUTH", *login]] if password else []
    try:
        with socket.create_connection((host, port), ANSWER_TIMEOUT_S) as plain:
            link = plain
            if url.scheme == "rediss":
                link = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
            for command in (*commands, [b"PING"]):
                # In Redis's protocol, every part of a command carries its length.
                parts = (b"$%d\r\n%s\r\n" % (len(part), part) for part in command)
                link.sendall(b"*%d\r\n" % len(command) + b"".join(parts))
                answer = link.recv(1024).decode(errors="replace").strip()
                if not answer.startswith("+"):
                    return f"refuses our {command[0].decode()} ({answer[:80] or 'no answer'})"
    except OSError as error:
        return f"does not answer ({error.strerror or error})"
    return ""
