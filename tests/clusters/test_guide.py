"""The order of the steps in kuberay/README.md, and the files and gates that it names."""

import re

import kuberay
from manifests import KUBERAY, find_secret_variables, load

GUIDE = (KUBERAY / "README.md").read_text()


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


def test_the_guide_creates_every_secret_that_a_manifest_reads():
    """KubeRay creates the Secret of a cluster's token: raycluster_controller.go:436-472."""
    made = {
        (name, key)
        for name, key in re.findall(r"secret generic (\S+) --from-literal=(\w+)=", GUIDE)
    }
    named = {
        source
        for path in KUBERAY.glob("*.yaml")
        for source in find_secret_variables(load(path.stem)).values()
    }
    (cluster,) = load("raycluster")

    assert named == made | {(cluster["metadata"]["name"], "auth_token")}
