"""Who may connect to which port of which pod."""

import kuberay
import pytest
from manifests import JOBS, STANDING, load, load_job, load_one, match_labels


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
    ("name", "kind"), [("preflight", "Job"), ("release", "CronJob"), *((n, "") for n in JOBS)]
)
def test_pods_that_call_the_cluster_have_the_label_of_clients(name: str, kind: str):
    if kind == "":
        template = load_job(name)["submitterPodTemplate"]
    else:
        spec = load_one(name, kind)["spec"]
        template = spec.get("jobTemplate", {"spec": spec})["spec"]["template"]

    assert template["metadata"]["labels"]["slicing-rllib/client"] == "true"
