"""What KubeRay 1.7.0 makes of the manifests: gates, names, state, jobs and their drivers."""

import kuberay
import pytest
from manifests import JOBS, STANDING, load, load_job, load_one, match_labels


@pytest.mark.parametrize("name", [*STANDING, "rayjob"])
def test_a_manifest_needs_no_gate_that_is_off_by_default(name: str):
    """`spec.networkPolicy` "requires the RayClusterNetworkPolicy feature gate to be enabled":
    controllers/ray/utils/validation.go:316-318. It is off: pkg/features/features.go:112."""
    (manifest,) = load(name)

    assert kuberay.find_needed_gates(manifest) == set()


def test_the_values_of_the_operator_turn_on_the_gate_of_the_nightly_job():
    """Off by default: pkg/features/features.go:110. Without it, "RayCronJob feature gate is
    disabled, skipping RayCronJob controller setup": main.go:353-358."""
    (manifest,) = load("raycronjob")
    (values,) = load("operator-values")
    enabled = {gate["name"] for gate in values["featureGates"] if gate["enabled"]}

    assert kuberay.find_needed_gates(manifest) == enabled == {"RayCronJob"}


@pytest.mark.parametrize("name", [*STANDING, *JOBS])
def test_the_names_of_objects_are_short_enough(name: str):
    """KubeRay appends its own to them: controllers/ray/utils/constant.go:375-385."""
    (manifest,) = load(name)

    assert len(manifest["metadata"]["name"]) <= kuberay.MAX_NAME_LENGTHS[manifest["kind"]]


@pytest.mark.parametrize("name", STANDING)
def test_a_standing_cluster_keeps_its_state_in_the_redis_of_this_folder(name: str):
    options = kuberay.find_cluster_spec(load(name)[0])["gcsFaultToleranceOptions"]
    service, server = load_one("redis", "Service"), load_one("redis", "StatefulSet")
    pod = server["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    host, port = options["redisAddress"].split(":")

    assert host == service["metadata"]["name"]
    assert int(port) == service["spec"]["ports"][0]["port"]
    assert match_labels({"matchLabels": service["spec"]["selector"]}, pod["metadata"]["labels"])
    (password,) = (entry for entry in container["env"] if entry["name"] == "REDIS_PASSWORD")
    assert password["valueFrom"] == options["redisPassword"]["valueFrom"]
    (mount,) = container["volumeMounts"]
    (claim,) = server["spec"]["volumeClaimTemplates"]
    assert mount["name"] == claim["metadata"]["name"]


@pytest.mark.parametrize("name", JOBS)
def test_a_job_needs_no_redis(name: str):
    """A job whose head is lost starts again on a new cluster: rayjob_controller.go:516-557."""
    assert "gcsFaultToleranceOptions" not in kuberay.find_cluster_spec(load(name)[0])
    assert load_job(name)["backoffLimit"] > 0


@pytest.mark.parametrize("name", JOBS)
def test_the_driver_of_a_job_does_not_run_on_the_head(name: str):
    """KubeRay passes the number to `ray job submit` only if it is above 0
    (controllers/ray/common/job.go:192), and Ray runs a driver without resources on the head."""
    command = kuberay.build_submit_command(load_job(name), "one", "http://head:8265")

    assert "--entrypoint-num-cpus 1.000000" in command


def test_the_nightly_job_learns_from_the_newest_traffic_under_a_name_that_retries_share():
    """`$RUN` is a label that KubeRay puts on the submitter's pod: rayjob_controller.go:602. The
    submitter's shell replaces it, because the entrypoint is pasted in: common/job.go:205."""
    job = load_job("raycronjob")
    (container,) = job["submitterPodTemplate"]["spec"]["containers"]
    (run,) = (entry for entry in container["env"] if entry["name"] == "RUN")

    path = run["valueFrom"]["fieldRef"]["fieldPath"]
    assert path == "metadata.labels['ray.io/originated-from-cr-name']"
    assert "cp /results/traffic/newest.csv /results/nightly/$RUN" in job["entrypoint"]
    assert "scenario.mask.path=/results/nightly/$RUN.csv" in job["entrypoint"]
    assert "--out /results/nightly/$RUN --resume" in job["entrypoint"]


def test_all_attempts_of_a_night_end_before_the_next_night():
    """The deadline counts from the start of each attempt: rayjob_controller.go:916, 1236."""
    job = load_job("raycronjob")

    assert job["activeDeadlineSeconds"] * (job["backoffLimit"] + 1) < 24 * 3600


def test_finished_nights_are_deleted():
    """RayCronJobSpec has no history limit: apis/ray/v1/raycronjob_types.go:10-25. The rules exclude
    `shutdownAfterJobFinishes`: controllers/ray/utils/validation.go:771."""
    job = load_job("raycronjob")
    rules = job["deletionStrategy"]["deletionRules"]
    conditions = [rule["condition"] for rule in rules if rule["policy"] == "DeleteSelf"]

    assert "shutdownAfterJobFinishes" not in job
    assert {c.get("jobStatus", c.get("jobDeploymentStatus")) for c in conditions} == {
        "SUCCEEDED", "Failed",
    }  # fmt: skip
    # CEL rule of the CRD: exactly one of the two per condition.
    assert all(len({"jobStatus", "jobDeploymentStatus"} & set(r["condition"])) == 1 for r in rules)
