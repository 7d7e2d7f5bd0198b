"""Mistakes that a cluster meets on its first day. KubeRay's sources are those of release 1.7.0."""

import os
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
import yaml
from packaging.requirements import Requirement
from packaging.version import Version
from ray.autoscaler._private.util import prepare_config

sys.path.insert(0, str(Path(__file__).parent))

import kuberay

ROOT = Path(__file__).parents[2]
CLUSTERS = ROOT / "clusters"
KUBERAY = CLUSTERS / "kuberay"
JOBS, STANDING = ("rayjob", "raycronjob"), ("raycluster", "rayservice")
DOCKERFILE = (CLUSTERS / "Dockerfile").read_text()
GUIDE = (KUBERAY / "README.md").read_text()
APPLICATION = (ROOT / "slicing_rllib/service/serving/application.py").read_text()


def load(name: str) -> list[dict]:
    return list(yaml.safe_load_all((KUBERAY / f"{name}.yaml").read_text()))


def load_one(name: str, kind: str) -> dict:
    (found,) = (document for document in load(name) if document["kind"] == kind)
    return found


def load_job(name: str) -> dict:
    (manifest,) = load(name)
    return manifest["spec"].get("jobTemplate", manifest["spec"])


def load_serve_config() -> dict:
    (manifest,) = load("rayservice")
    return yaml.safe_load(manifest["spec"]["serveConfigV2"])


def match_labels(selector: dict, labels: dict[str, str]) -> bool:
    """Whether a label selector of Kubernetes selects labels."""
    wanted = selector.get("matchLabels", {})
    return wanted.items() <= labels.items() and all(
        labels.get(rule["key"]) in rule["values"] for rule in selector.get("matchExpressions", ())
    )


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


def test_the_result_of_a_night_is_what_the_service_serves_and_the_roll_out_changes():
    (application,) = load_serve_config()["applications"]
    library = application["args"]["run"]
    rollout = load_one("rollout", "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (service,) = load("rayservice")
    (container,) = rollout["containers"]
    role = load_one("rollout", "Role")["rules"][0]

    assert f"library add {library} /results/nightly/$RUN" in load_job("raycronjob")["entrypoint"]
    name = service["metadata"]["name"]
    assert container["args"] == ["slicing-rllib", "cluster", "roll-out", name]
    assert (role["resourceNames"], role["verbs"]) == ([name], ["get", "patch"])
    (mount,) = (m for m in container["volumeMounts"] if library.startswith(m["mountPath"]))
    assert mount["readOnly"] is True


def test_the_service_has_a_version_several_replicas_and_health_checks():
    """`tests/service/cluster/cluster_life.py` deploys this configuration."""
    (served,) = load_serve_config()["applications"]
    (deployment,) = served["deployments"]
    (group,) = kuberay.find_cluster_spec(load("rayservice")[0])["workerGroupSpecs"]

    assert served["args"] == {"run": "/results/policies", "version": 1}
    assert f"class {deployment['name']}:" in APPLICATION
    assert deployment["autoscaling_config"]["min_replicas"] >= 2
    assert deployment["autoscaling_config"]["max_replicas"] <= 4 * group["maxReplicas"]
    assert group["minReplicas"] >= 2
    assert deployment["health_check_period_s"] > 0


def test_the_service_uses_no_field_that_kuberay_ignores():
    """Both are "not used anymore": apis/ray/v1/rayservice_types.go:94-99."""
    spec = load("rayservice")[0]["spec"]

    assert not {"serviceUnhealthySecondThreshold", "deploymentUnhealthySecondThreshold"} & set(spec)


def run_commands(config: str, folder: Path, stubs: dict[str, str]) -> tuple[int, str]:
    """Runs the initialization commands of a launcher file in a shell, one by one as Ray does.

    Args:
        config: name of the launcher file.
        folder: what stands for /results; commands of `stubs` append their arguments to `log`.
        stubs: script by name of a command.

    Returns the exit code of the first command that failed, and the log.
    """
    binaries = folder.parent / "bin"
    binaries.mkdir(exist_ok=True)
    for name, script in stubs.items():
        stub = binaries / name
        stub.write_text(f'#!/bin/sh\necho "{name} $*" >> {folder.parent}/log\n{script}\n')
        stub.chmod(stub.stat().st_mode | stat.S_IXUSR)
    prepared = prepare_config(yaml.safe_load((CLUSTERS / f"{config}.yaml").read_text()))
    env = os.environ | {"PATH": f"{binaries}:{os.environ['PATH']}", "USER": "ubuntu"}
    code, log = 0, folder.parent / "log"
    for command in prepared["initialization_commands"]:
        command = command.replace("/results", str(folder))
        code = subprocess.run(["bash", "-c", command], env=env, check=False).returncode
        if code:
            break
    return code, log.read_text() if log.exists() else ""


AWS_STUBS = {
    "sudo": 'exec "$@"', "docker": "", "mount.nfs4": "", "usermod": "", "chown": "",
    "mountpoint": "exit 1", "apt-get": "exit 9",
}  # fmt: skip


def test_every_aws_node_mounts_the_file_system_before_docker_could_create_the_folder(
    tmp_path: Path,
):
    """Ray keeps the commands in the config that it prepares, and gives them to the autoscaler."""
    code, log = run_commands("aws", tmp_path / "results", AWS_STUBS | {"mount": ""})

    assert code == 0
    assert re.search(r"^mount -t nfs4 .*:/ \S*/results$", log, re.M)
    assert re.search(r"^chown 1000:100 \S*/results$", log, re.M)
    assert log.index("mount -t nfs4") < log.index("chown 1000:100")
    assert (tmp_path / "results").is_dir()


def test_an_aws_node_that_cannot_mount_the_file_system_does_not_start(tmp_path: Path):
    code, log = run_commands("aws", tmp_path / "results", AWS_STUBS | {"mount": "exit 32"})

    assert code == 32
    assert "chown 1000:100" not in log


def test_an_aws_node_names_its_machine_image():
    """Ray's default is "AWS Deep Learning AMI (Ubuntu 18.04) V71.0", autoscaler/_private/aws/
    config.py: too old for the file system's client and for Docker."""
    config = yaml.safe_load((CLUSTERS / "aws.yaml").read_text())

    nodes = config["available_node_types"].values()
    assert all(node["node_config"]["ImageId"].startswith("ami-") for node in nodes)


@pytest.mark.parametrize(
    ("shared", "owner", "user", "ok"),
    [(True, 1000, 1000, True), (False, 1000, 1000, False), (True, 0, 1000, False),
     (True, 1000, 1001, False)],
)  # fmt: skip
def test_a_host_without_the_shared_folder_or_with_another_user_does_not_start(
    tmp_path: Path, shared: bool, owner: int, user: int, ok: bool
):
    folder = tmp_path / "results"
    folder.mkdir()
    if shared:
        (folder / ".shared").touch()
    stubs = {"stat": f"echo {owner}", "id": f"echo {user}"}

    assert (run_commands("onprem", folder, stubs)[0] == 0) is ok


def test_the_image_pins_pytorch_for_the_cpu_and_takes_another_build_as_an_argument():
    (default,) = re.findall(r"^ARG TORCH=(\S+)$", DOCKERFILE, re.M)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (needed,) = (r for r in map(Requirement, project["dependencies"]) if r.name == "torch")

    assert Version(default).local == "cpu"
    assert Version(default).public in needed.specifier
    assert Version(default).public == Version(torch.__version__).public
    assert '"torch==${TORCH}"' in DOCKERFILE


def test_the_image_contains_what_kuberay_and_the_launcher_call_in_it():
    """Probes: controllers/ray/utils/constant.go:340. The launcher reads HOME from the image's
    variables and calls rsync in it, autoscaler/_private/command_runner.py; its login shells read
    /etc/profile.d, and its autoscaler on the head connects to further nodes with ssh."""
    packages = re.search(r"apt-get install -y --no-install-recommends\s+\\\n\s*(.*?)\\", DOCKERFILE)

    assert packages
    assert {"openssh-client", "rsync", "wget"} <= set(packages[1].split())
    assert "HOME=/home/ray" in DOCKERFILE
    assert "> /etc/profile.d/" in DOCKERFILE
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.M)[-1] == "1000:100"


def test_every_pod_is_denied_all_connections_that_no_policy_allows():
    policies = load("networkpolicy")
    (deny,) = (policy for policy in policies if not policy["spec"]["ingress"])
    redis = load_one("redis", "StatefulSet")["spec"]["template"]
    pods = [
        group["template"]
        for name in (*STANDING, *JOBS)
        for cluster in [kuberay.find_cluster_spec(load(name)[0])]
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])
    ]

    assert deny["spec"]["policyTypes"] == ["Ingress"]
    for pod in (*pods, redis):
        assert match_labels(deny["spec"]["podSelector"], pod["metadata"]["labels"])


def find_ports(source_labels: dict[str, str], namespace_labels: dict[str, str]) -> set:
    """Ports of a Ray pod that the policies open to a pod; None stands for all ports."""
    ray_pod, opened = {"app.kubernetes.io/name": "slicing-rllib"}, set()
    for policy in load("networkpolicy"):
        if not match_labels(policy["spec"]["podSelector"], ray_pod):
            continue
        for rule in policy["spec"]["ingress"]:
            for peer in rule["from"]:
                own = "namespaceSelector" not in peer and namespace_labels == {}
                other = "namespaceSelector" in peer and match_labels(
                    peer["namespaceSelector"], namespace_labels
                )
                if (own or other) and match_labels(peer.get("podSelector", {}), source_labels):
                    opened |= {port["port"] for port in rule.get("ports", ({"port": None},))}
    return opened


@pytest.mark.parametrize(
    ("pod", "namespace", "ports"),
    [
        ({}, {}, set()),
        ({"app.kubernetes.io/name": "slicing-rllib"}, {}, {None}),
        ({"slicing-rllib/client": "true"}, {}, {8265, 8000}),
        ({"slicing-rllib/client": "true"}, {"team": "other"}, set()),
        ({"app": "ingress"}, {"slicing-rllib/serving-client": "true"}, {8000}),
        ({"app.kubernetes.io/name": "prometheus"}, {"team": "watch"}, {8080}),
        ({"app.kubernetes.io/name": "kuberay-operator"}, {"team": "ray"}, {8265, 8000}),
    ],
)
def test_who_may_connect_to_which_port(pod: dict, namespace: dict, ports: set):
    """KubeRay itself needs the dashboard and, for a service, the proxy of the head."""
    assert find_ports(pod, namespace) == ports


@pytest.mark.parametrize(
    ("name", "kind"), [("preflight", "Job"), ("rollout", "CronJob"), *((n, "") for n in JOBS)]
)
def test_pods_that_call_the_cluster_have_the_label_of_clients(name: str, kind: str):
    if kind == "":
        template = load_job(name)["submitterPodTemplate"]
    else:
        spec = load_one(name, kind)["spec"]
        template = spec.get("jobTemplate", {"spec": spec})["spec"]["template"]

    assert template["metadata"]["labels"]["slicing-rllib/client"] == "true"


def test_the_ingress_has_tls_and_leads_to_the_service():
    """KubeRay names the service NAME-serve-svc: controllers/ray/utils/util.go:349."""
    (ingress,) = load("ingress")
    (service,) = load("rayservice")
    (rule,) = ingress["spec"]["rules"]
    (path,) = rule["http"]["paths"]

    assert ingress["spec"]["tls"][0]["hosts"] == [rule["host"]]
    assert path["backend"]["service"] == {
        "name": f"{service['metadata']['name']}-serve-svc",
        "port": {"number": load_serve_config()["http_options"]["port"]},
    }


def test_the_guide_waits_for_the_secret_before_it_reads_it():
    """The operator creates it later than the cluster: raycluster_controller.go:436-472."""
    wait, read = "kubectl wait --for=create secret/slicing", "kubectl get secret slicing "

    assert 0 < GUIDE.index(wait) < GUIDE.index(read)


def test_the_guide_names_every_file_and_every_gate_and_no_other():
    named = set(re.findall(r"clusters/kuberay/([\w-]+\.yaml)|`([\w-]+\.yaml)`", GUIDE))
    files = {path.name for path in KUBERAY.glob("*.yaml")}

    assert {a or b for a, b in named} == files
    assert all(gate in GUIDE for gate in (kuberay.CRON_GATE, *kuberay.OFF_BY_DEFAULT.values()))


def test_the_guide_leads_from_an_empty_cluster_to_a_watched_training_and_back():
    steps = [
        "helm install",
        "kubectl create secret generic slicing-redis",
        "kubectl apply -f clusters/kuberay/storage.yaml",
        "kubectl apply -f clusters/kuberay/raycluster.yaml",
        "kubectl wait --for=create secret/slicing",
        "kubectl apply -f clusters/kuberay/preflight.yaml",
        "slicing-rllib submit",
        "kubectl apply -f clusters/kuberay/monitor.yaml",
        "## Upgrade",
        "## Remove",
        "## If it does not start",
    ]
    positions = [GUIDE.index(step) for step in steps]

    assert positions == sorted(positions)
