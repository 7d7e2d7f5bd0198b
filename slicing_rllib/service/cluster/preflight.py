"""Whether a cluster is fit for jobs that run unattended: one check per row."""

import json
import shlex
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from slicing_rllib.service.cluster.archive import code_digest
from slicing_rllib.service.cluster.client import Cluster
from slicing_rllib.service.cluster.job_entrypoint import NODES_MARK
from slicing_rllib.service.errors import RunError

LEAST_CPUS = 2
"""A driver and an env runner."""
MOST_SKEW_S = 1.0
"""Between clocks; beyond that, events of several nodes cannot be put in order."""
OPEN_S = 5.0


class Check(NamedTuple):
    """One thing that has been looked at."""

    name: str
    ok: bool
    found: str


def checks(address: str, storage: str | None, says: Callable[[str], None]) -> Iterator[Check]:
    """Row by row; where the dashboard does not answer, there is only that one."""
    try:
        cluster = Cluster(address)
    except RunError as error:
        yield Check("dashboard", False, str(error))
        return
    yield Check("dashboard", True, address)
    yield Check("ray", True, cluster.ray_version)
    yield _token(address)
    try:
        nodes = _nodes(cluster, storage, says)
    except RunError as error:
        yield Check("nodes", False, str(error))
        return
    yield from of_nodes(nodes)


def of_nodes(nodes: list[dict[str, Any]]) -> Iterator[Check]:
    """What nodes say of themselves, held against what a run needs."""
    cpus = sum(node["resources"].get("CPU", 0.0) for node in nodes)
    gpus = sum(node["resources"].get("GPU", 0.0) for node in nodes)
    gib = sum(node["resources"].get("memory", 0.0) for node in nodes) / 2**30
    shown = f"{len(nodes)} nodes, {cpus:g} CPUs, {gpus:g} GPUs, {gib:.1f} GiB"
    yield Check("resources", cpus >= LEAST_CPUS, shown)
    yield _all("nodes answer", nodes, "problem")
    answering = [node for node in nodes if not node.get("problem")]
    yield _alike("python", answering)
    yield _alike("torch", answering)
    yield _alike("code", answering, expected=code_digest())
    yield _all("storage", answering, "storage")
    skew_s = max((abs(node["clock_skew_s"]) for node in answering), default=0.0)
    yield Check("clocks", skew_s <= MOST_SKEW_S, f"at most {skew_s:.3f} s from the driver's")
    metrics = _all("metrics", nodes, "metrics")
    open_to_all = "every node answers; without a token: let only Prometheus reach them"
    yield metrics._replace(found=open_to_all) if metrics.ok else metrics


def _token(address: str) -> Check:
    """Ray without tokens runs anybody's code."""
    try:
        with urlopen(f"{address}/api/jobs/", timeout=OPEN_S):
            return Check("token", False, "none is asked for; RAY_AUTH_MODE=token on all nodes")
    except HTTPError as error:
        refused = error.code in (401, 403)
        return Check("token", refused, "accepted, and asked for" if refused else f"{error}")
    except URLError as error:
        return Check("token", False, str(error.reason))


def _nodes(
    cluster: Cluster, storage: str | None, says: Callable[[str], None]
) -> list[dict[str, Any]]:
    what = f"nodes {shlex.quote(storage)}" if storage else "nodes"
    code, text = cluster.run_helper_job(what, cluster.environment(says))
    if code or NODES_MARK not in text:
        last = (text.strip().splitlines() or ["it said nothing"])[-1]
        raise RunError(f"the job that looks at the nodes failed: {last[:200]}")
    return json.loads(text.split(NODES_MARK, 1)[1].splitlines()[0])


def _all(name: str, nodes: Iterable[dict[str, Any]], key: str) -> Check:
    """No node has anything to complain of."""
    bad = [f"{_short(node)}: {node[key]}" for node in nodes if node.get(key)]
    return Check(name, not bad, "; ".join(bad) or "every node")


def _alike(name: str, nodes: list[dict[str, Any]], expected: str | None = None) -> Check:
    """All nodes have the same; this machine's, where one is expected."""
    by_value: dict[str, list[str]] = {}
    for node in nodes:
        by_value.setdefault(node[name], []).append(_short(node))
    wanted = expected or next(iter(by_value), "")
    shown = "; ".join(
        value if len(by_value) == 1 else f"{value} ({', '.join(where)})"
        for value, where in by_value.items()
    )
    return Check(name, set(by_value) == {wanted}, shown or "no node answers")


def _short(node: dict[str, Any]) -> str:
    return f"{node['address']} {node['node'][:8]}"
