"""Cluster files as their readers take them: Ray's launcher, KubeRay, Kubernetes, Docker."""

import ast
import copy
import json
import re
import tomllib
import warnings
from importlib import import_module
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import ray
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]
CLUSTERS = ROOT / "clusters"
KUBERAY = CLUSTERS / "kuberay"
SCHEMAS = ROOT.parent / "shared" / "data" / "kuberay"
LAUNCHERS = ("local", "onprem", "aws")
RAY_KINDS = ("raycluster", "rayjob", "raycronjob", "rayservice")
PLAIN_KINDS = ("networkpolicy", "storage")
KUBERNETES = "1.31"
RAY = "2.60.0"
needs_schemas = pytest.mark.skipif(
    not SCHEMAS.is_dir(), reason="needs the schemas of KubeRay in ../shared/data/kuberay"
)


def documents(name):
    return list(yaml.safe_load_all((KUBERAY / f"{name}.yaml").read_text()))


def document(name):
    (only,) = documents(name)
    return only


def found(value, key):
    """Every value under that key, however deep."""
    if isinstance(value, dict):
        for name, below in value.items():
            if name == key:
                yield below
            yield from found(below, key)
    elif isinstance(value, list):
        for below in value:
            yield from found(below, key)


def pod_templates(manifest):
    return [*found(manifest, "template"), *found(manifest, "submitterPodTemplate")]


def check_ray_object(manifest):
    schema = json.loads((SCHEMAS / f"{manifest['kind']}.schema.json").read_text())
    jsonschema.Draft7Validator(schema).validate(manifest)


def check_pod(template):
    metadata = {"name": "pod"} | template.get("metadata", {})
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def launcher(name):
    return yaml.safe_load((CLUSTERS / f"{name}.yaml").read_text())


def check_launcher(config):
    validate_config(prepare_config(copy.deepcopy(config)))


@pytest.mark.parametrize("name", LAUNCHERS)
def test_ray_takes_the_launcher_file(name):
    check_launcher(launcher(name))


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_typo_in_a_launcher_file_is_caught(name):
    config = launcher(name)
    config["idle_timeout_minuts"] = config.pop("idle_timeout_minutes")

    with pytest.raises(jsonschema.ValidationError, match="idle_timeout_minuts"):
        check_launcher(config)


@needs_schemas
@pytest.mark.parametrize("name", RAY_KINDS)
def test_kuberay_takes_the_manifest(name):
    check_ray_object(document(name))


@needs_schemas
@pytest.mark.parametrize("name", RAY_KINDS)
def test_a_typo_in_a_ray_object_is_caught(name):
    manifest = document(name)
    (cluster,) = _clusters(manifest)
    cluster["rayVersoin"] = cluster.pop("rayVersion")

    with pytest.raises(jsonschema.ValidationError, match="rayVersoin"):
        check_ray_object(manifest)


@pytest.mark.parametrize("name", RAY_KINDS)
def test_kubernetes_takes_every_pod(name):
    templates = pod_templates(document(name))

    assert len(templates) >= 2
    for template in templates:
        check_pod(template)


@pytest.mark.parametrize("name", RAY_KINDS)
def test_a_typo_in_a_pod_is_caught(name):
    for template in pod_templates(document(name)):
        container = template["spec"]["containers"][0]
        container["resuorces"] = container.pop("resources")
        with pytest.raises(kubernetes_validate.ValidationError, match="resuorces"):
            check_pod(template)


@pytest.mark.parametrize("name", PLAIN_KINDS)
def test_kubernetes_takes_what_stands_beside_the_cluster(name):
    for manifest in documents(name):
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", PLAIN_KINDS)
def test_a_typo_beside_the_cluster_is_caught(name):
    for manifest in documents(name):
        manifest["spce"] = manifest.pop("spec")
        with pytest.raises(kubernetes_validate.ValidationError, match="spce"):
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", RAY_KINDS)
def test_every_pod_is_secure_by_default(name):
    """No root, no privileges to gain, limits on everything."""
    for template in pod_templates(document(name)):
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])


@pytest.mark.parametrize("name", RAY_KINDS)
def test_ray_asks_for_a_token_and_its_head_does_no_work(name):
    for cluster in _clusters(document(name)):
        group = cluster["headGroupSpec"]
        assert cluster["authOptions"] == {"mode": "token"}
        assert cluster["networkPolicy"]["mode"] == "DenyAllIngress"
        assert group["rayStartParams"]["num-cpus"] == "0"
        ray_containers = [
            template["spec"]["containers"][0]
            for template in (group["template"], cluster["workerGroupSpecs"][0]["template"])
        ]
        assert all(c["securityContext"]["readOnlyRootFilesystem"] for c in ray_containers)


@pytest.mark.parametrize("name", LAUNCHERS)
def test_launched_clusters_ask_for_a_token_and_keep_the_dashboard_on_the_loopback(name):
    config = launcher(name)
    head, worker = config["head_start_ray_commands"][-1], config["worker_start_ray_commands"][-1]

    assert "RAY_AUTH_MODE=token" in head
    assert "RAY_AUTH_MODE=token" in worker
    assert "--dashboard-host=127.0.0.1" in head


@pytest.mark.parametrize("name", ["rayjob", "raycronjob"])
def test_a_job_that_is_tried_again_goes_on(name):
    (entrypoint,) = found(document(name), "entrypoint")

    assert "--resume" in entrypoint
    assert all(count > 0 for count in found(document(name), "backoffLimit"))


def test_the_service_names_an_application_that_there_is():
    """As Ray Serve reads it; `tests/service/test_serving.py` starts the application."""
    config = yaml.safe_load(document("rayservice")["spec"]["serveConfigV2"])
    (named,) = config["applications"]
    module, name = named["import_path"].split(":")
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
    with warnings.catch_warnings():
        # Ray Serve's own, while it is imported.
        warnings.simplefilter("ignore")
        schema = import_module("ray.serve.schema")

    schema.ServeDeploySchema.model_validate(config)
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_prometheus_finds_the_port_that_pods_name():
    monitored = {e["port"] for e in document("podmonitor")["spec"]["podMetricsEndpoints"]}
    named = {p["name"] for ports in found(document("raycluster"), "ports") for p in ports}

    assert monitored <= named


def test_ray_is_one_version_everywhere():
    """The pin, constraints, image, KubeRay's rayVersion and every tag; else nodes refuse."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (pinned,) = (d for d in project["dependencies"] if d.startswith("ray["))
    constraints = (CLUSTERS / "constraints.txt").read_text().splitlines()
    dockerfile = (CLUSTERS / "Dockerfile").read_text()
    manifests = [document(name) for name in RAY_KINDS] + [launcher(name) for name in LAUNCHERS]
    tags = {image.split(":")[1] for m in manifests for image in found(m, "image")}

    assert pinned.endswith("==" + RAY.rsplit(".", 1)[0] + ".*")
    assert f"ray=={RAY}" in constraints
    assert re.findall(r"^FROM rayproject/ray:([\d.]+)-py311$", dockerfile, re.M) == [RAY]
    assert (
        {v for m in manifests for v in found(m, "rayVersion")} == tags == {RAY} == {ray.__version__}
    )


def test_constraints_cover_the_dependencies_and_name_no_accelerator():
    lines = (CLUSTERS / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[\[<>=]", d)[0] for d in project["dependencies"]}

    assert needed - set(pins) == {"torch"}
    assert not any(name.startswith(("torch", "nvidia", "triton")) for name in pins)


def test_the_image_is_not_root_and_is_asked_for_its_health():
    lines = (CLUSTERS / "Dockerfile").read_text().splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER")]

    assert users[-1] == "1000"
    assert any(line.startswith("HEALTHCHECK") for line in lines)
    assert any("-c /opt/slicing-rllib/constraints.txt" in line for line in lines)


def _clusters(manifest):
    """Specs of Ray clusters in it."""
    if manifest["kind"] == "RayCluster":
        yield manifest["spec"]
    yield from found(manifest, "rayClusterSpec")
    yield from found(manifest, "rayClusterConfig")
