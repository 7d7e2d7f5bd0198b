"""The cluster files are valid for Ray's launcher, KubeRay, Kubernetes and Docker."""

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
PLAIN_KINDS = ("networkpolicy", "storage", "redis", "ingress", "preflight", "release", "monitor")
POD_KINDS = ("redis", "preflight", "release", "monitor")
KUBERNETES = "1.31"
RAY = "2.60.0"
needs_schemas = pytest.mark.skipif(
    not SCHEMAS.is_dir(), reason="needs KubeRay's schemas in ../shared/data/kuberay"
)


def load_documents(name):
    return list(yaml.safe_load_all((KUBERAY / f"{name}.yaml").read_text()))


def load_document(name):
    (only,) = load_documents(name)
    return only


def find_values(value, key):
    """All values of a key, at any depth."""
    if isinstance(value, dict):
        for name, child in value.items():
            if name == key:
                yield child
            yield from find_values(child, key)
    elif isinstance(value, list):
        for child in value:
            yield from find_values(child, key)


def find_pod_templates(manifest):
    found = [*find_values(manifest, "template"), *find_values(manifest, "submitterPodTemplate")]
    # A set of pods has a template of volume claims as well, and a job template is not a pod's.
    return [template for template in found if "containers" in template.get("spec", {})]


def check_ray_object(manifest):
    schema = json.loads((SCHEMAS / f"{manifest['kind']}.schema.json").read_text())
    jsonschema.Draft7Validator(schema).validate(manifest)


def check_pod(template):
    metadata = {"name": "pod"} | template.get("metadata", {})
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def load_launcher(name):
    return yaml.safe_load((CLUSTERS / f"{name}.yaml").read_text())


def check_launcher(config):
    validate_config(prepare_config(copy.deepcopy(config)))


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_launcher_file_is_valid_for_ray(name):
    check_launcher(load_launcher(name))


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_misspelt_key_of_a_launcher_file_is_detected(name):
    config = load_launcher(name)
    config["idle_timeout_minuts"] = config.pop("idle_timeout_minutes")

    with pytest.raises(jsonschema.ValidationError, match="idle_timeout_minuts"):
        check_launcher(config)


@needs_schemas
@pytest.mark.parametrize("name", RAY_KINDS)
def test_a_manifest_is_valid_for_kuberay(name):
    check_ray_object(load_document(name))


@needs_schemas
@pytest.mark.parametrize("name", RAY_KINDS)
def test_a_misspelt_key_of_a_ray_object_is_detected(name):
    manifest = load_document(name)
    (cluster,) = _find_cluster_specs(manifest)
    cluster["rayVersoin"] = cluster.pop("rayVersion")

    with pytest.raises(jsonschema.ValidationError, match="rayVersoin"):
        check_ray_object(manifest)


@pytest.mark.parametrize("name", RAY_KINDS)
def test_every_pod_is_valid_for_kubernetes(name):
    templates = find_pod_templates(load_document(name))

    assert len(templates) >= 2
    for template in templates:
        check_pod(template)


@pytest.mark.parametrize("name", RAY_KINDS)
def test_a_misspelt_key_of_a_pod_is_detected(name):
    for template in find_pod_templates(load_document(name)):
        container = template["spec"]["containers"][0]
        container["resuorces"] = container.pop("resources")
        with pytest.raises(kubernetes_validate.ValidationError, match="resuorces"):
            check_pod(template)


@pytest.mark.parametrize("name", PLAIN_KINDS)
def test_the_other_manifests_are_valid_for_kubernetes(name):
    for manifest in load_documents(name):
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", PLAIN_KINDS)
def test_a_misspelt_key_of_the_other_manifests_is_detected(name):
    for manifest in load_documents(name):
        manifest["metdata"] = manifest.pop("metadata")
        with pytest.raises(kubernetes_validate.ValidationError, match="metdata"):
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", [*RAY_KINDS, *POD_KINDS])
def test_every_pod_is_secure_by_default(name):
    """It does not run as root, cannot gain privileges, and has limits on all resources."""
    templates = find_pod_templates(load_documents(name))
    assert templates
    for template in templates:
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])


@pytest.mark.parametrize("name", RAY_KINDS)
def test_ray_asks_for_a_token_and_its_head_runs_no_tasks(name):
    for cluster in _find_cluster_specs(load_document(name)):
        group = cluster["headGroupSpec"]
        assert cluster["authOptions"] == {"mode": "token"}
        assert group["rayStartParams"]["num-cpus"] == "0"
        ray_containers = [
            template["spec"]["containers"][0]
            for template in (group["template"], cluster["workerGroupSpecs"][0]["template"])
        ]
        assert all(c["securityContext"]["readOnlyRootFilesystem"] for c in ray_containers)


@pytest.mark.parametrize("name", LAUNCHERS)
def test_launched_clusters_ask_for_a_token_and_their_dashboard_listens_on_loopback(name):
    config = load_launcher(name)
    head, worker = config["head_start_ray_commands"][-1], config["worker_start_ray_commands"][-1]

    assert "RAY_AUTH_MODE=token" in head
    assert "RAY_AUTH_MODE=token" in worker
    assert "--dashboard-host=127.0.0.1" in head


@pytest.mark.parametrize("name", ["rayjob", "raycronjob"])
def test_a_job_that_is_retried_resumes(name):
    (entrypoint,) = find_values(load_document(name), "entrypoint")

    assert "--resume" in entrypoint
    assert all(count > 0 for count in find_values(load_document(name), "backoffLimit"))


def test_the_service_names_an_existing_application():
    """`tests/serving/test_application.py` starts the application."""
    config = yaml.safe_load(load_document("rayservice")["spec"]["serveConfigV2"])
    (named,) = config["applications"]
    module, name = named["import_path"].split(":")
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
    with warnings.catch_warnings():
        # Importing Ray Serve causes warnings of its own.
        warnings.simplefilter("ignore")
        schema = import_module("ray.serve.schema")

    schema.ServeDeploySchema.model_validate(config)
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_pod_monitor_uses_a_port_name_of_the_pods():
    monitored = {e["port"] for e in load_document("podmonitor")["spec"]["podMetricsEndpoints"]}
    named = {
        p["name"] for ports in find_values(load_document("raycluster"), "ports") for p in ports
    }

    assert monitored <= named


def test_all_files_name_the_same_version_of_ray():
    """The pin, constraints, image, KubeRay's rayVersion and every tag. Ray refuses other nodes.

    The image installs what the constraints name.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (pinned,) = (d for d in project["dependencies"] if d.startswith("ray["))
    constraints = (CLUSTERS / "constraints.txt").read_text().splitlines()
    dockerfile = (CLUSTERS / "Dockerfile").read_text()
    names = (*RAY_KINDS, "preflight", "release", "monitor")
    manifests = [document for name in names for document in load_documents(name)]
    manifests += [load_launcher(name) for name in LAUNCHERS]
    tags = {image.split(":")[1] for m in manifests for image in find_values(m, "image")}

    assert pinned.endswith("==" + RAY.rsplit(".", 1)[0] + ".*")
    assert f"ray=={RAY}" in constraints
    assert "-c /opt/slicing-rllib/constraints.txt" in dockerfile
    assert re.findall(r"-t slicing-rllib:([\d.]+) ", dockerfile) == [RAY]
    assert (
        {v for m in manifests for v in find_values(m, "rayVersion")}
        == tags
        == {RAY}
        == {ray.__version__}
    )


def test_constraints_cover_all_dependencies_except_those_of_an_accelerator():
    lines = (CLUSTERS / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    (installed,) = re.findall(
        r'"/opt/slicing-rllib\[([a-z,]+)\]"', (CLUSTERS / "Dockerfile").read_text()
    )
    wanted = [d for extra in installed.split(",") for d in extras[extra]]
    needed = {re.split(r"[\[<>=]", d)[0] for d in [*project["dependencies"], *wanted]}

    assert needed - set(pins) == {"torch"}
    assert not any(name.startswith(("torch", "nvidia", "triton")) for name in pins)


def test_the_image_does_not_run_as_root_and_has_a_health_check():
    lines = (CLUSTERS / "Dockerfile").read_text().splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER")]

    assert users[-1] == "1000:100"
    assert any(line.startswith("HEALTHCHECK") for line in lines)
    assert any("-c /opt/slicing-rllib/constraints.txt" in line for line in lines)


def _find_cluster_specs(manifest):
    """The specs of all Ray clusters in a manifest."""
    if manifest["kind"] == "RayCluster":
        yield manifest["spec"]
    yield from find_values(manifest, "rayClusterSpec")
    yield from find_values(manifest, "rayClusterConfig")
