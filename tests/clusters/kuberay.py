"""What KubeRay 1.7.0 makes of our manifests, as far as tests need it; each part names its source.

The sources are those of the tag v1.7.0, below `ray-operator/`.
"""

from typing import Any

OFF_BY_DEFAULT = {
    "networkPolicy": "RayClusterNetworkPolicy",
    "tlsOptions": "RayClusterMTLS",
    "historyServerOptions": "RayClusterHistoryServer",
}
"""Fields of a Ray cluster's spec that are refused unless their gate is on, and the gate. Source:
pkg/features/features.go:112-115; controllers/ray/utils/validation.go:261, 316, 323."""
CRON_GATE = "RayCronJob"
"""Gate without which the operator does not start the controller of RayCronJob. Source:
pkg/features/features.go:110; main.go:353-358."""
MAX_NAME_LENGTHS = {"RayCluster": 53, "RayService": 47, "RayJob": 47, "RayCronJob": 36}
"""Source: controllers/ray/utils/constant.go:375-385."""


def build_submit_command(job: dict[str, Any], job_id: str, address: str) -> str:
    """The command that the submitter's pod runs as `/bin/bash -ce -- COMMAND`, in K8sJobMode.

    Source: BuildJobSubmitCommand, controllers/ray/common/job.go:90-212; the bash options:
    controllers/ray/rayjob_controller.go:645.

    Args:
        job: spec of the RayJob.
        job_id: name of the job in Ray.
        address: URL of the head's dashboard.
    """
    healthy = (
        'python -c "import urllib.request; r=urllib.request.urlopen('
        f"'{address}/api/gcs_healthz', timeout=10); exit(0 if b'success' in r.read() else 1)\""
    )
    submit = f"ray job submit --address {address} --no-wait --submission-id {job_id}"
    if cpus := job.get("entrypointNumCpus"):
        submit += f" --entrypoint-num-cpus {cpus:f}"
    return (
        f"until {healthy} >/dev/null 2>&1 ; do sleep 2 ; done ; "
        f"if ! ray job status --address {address} {job_id} >/dev/null 2>&1 ; "
        f"then {submit} -- {job['entrypoint'].strip()} ; fi ; "
        f"ray job logs --address {address} --follow {job_id}"
    )


def build_worker_probe(agent_port: int, serve_port: int) -> str:
    """The readiness probe of a worker that serves, which runs as `bash -c COMMAND`.

    Source: controllers/ray/common/pod.go:816-826; controllers/ray/utils/constant.go:340.
    """
    check = "wget --tries 1 -T {} -q -O- http://localhost:{}/{} | grep success"
    agent = check.format(2, agent_port, "api/local_raylet_healthz")
    return f"{agent} && {check.format(10, serve_port, '-/healthz')}"


def find_needed_gates(manifest: dict[str, Any]) -> set[str]:
    """Feature gates that are off by default and that a manifest needs."""
    gates = {CRON_GATE} if manifest["kind"] == "RayCronJob" else set()
    return gates | {gate for field, gate in OFF_BY_DEFAULT.items() if _has_key(manifest, field)}


def find_cluster_spec(manifest: dict[str, Any]) -> dict[str, Any]:
    """The spec of the Ray cluster in a manifest."""
    spec = manifest["spec"]
    match manifest["kind"]:
        case "RayCluster":
            return spec
        case "RayJob":
            return spec["rayClusterSpec"]
        case "RayCronJob":
            return spec["jobTemplate"]["rayClusterSpec"]
        case _:
            return spec["rayClusterConfig"]


def _has_key(value: Any, key: str) -> bool:
    if isinstance(value, dict):
        return key in value or any(_has_key(child, key) for child in value.values())
    return isinstance(value, list) and any(_has_key(child, key) for child in value)
