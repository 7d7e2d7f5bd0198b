"""The service of rayservice.yaml, and the release of what the nightly job has trained."""

import kuberay
from manifests import (
    ROOT,
    find_secret_variables,
    load,
    load_job,
    load_one,
    load_serve_config,
)

from slicing_rllib.serving.admission import TOKEN_VARIABLE
from slicing_rllib.serving.release import ServiceArguments

APPLICATION = (ROOT / "slicing_rllib/serving/application.py").read_text()


PROXY_CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
"""Where Ray Serve's proxy finds the deadlines of connections."""


def test_the_result_of_a_night_is_what_the_service_serves_and_the_release_changes():
    (application,) = load_serve_config()["applications"]
    library = application["args"]["run"]
    release = load_one("release", "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (service,) = load("rayservice")
    (container,) = release["containers"]
    role = load_one("release", "Role")["rules"][0]

    assert f"library add {library} /results/nightly/$RUN" in load_job("raycronjob")["entrypoint"]
    name = service["metadata"]["name"]
    assert container["args"] == ["slicing-rllib", "cluster", "release", name]
    assert (role["resourceNames"], role["verbs"]) == ([name], ["get", "patch"])
    (mount,) = (m for m in container["volumeMounts"] if library.startswith(m["mountPath"]))
    assert mount["readOnly"] is True


def test_the_arguments_of_the_service_are_settings_of_the_application():
    """They name a version, which only a release changes, and demand a token."""
    (served,) = load_serve_config()["applications"]
    arguments = ServiceArguments(**served["args"])

    assert arguments == ServiceArguments(run="/results/policies", version=1)
    assert not arguments.without_token


def test_the_secret_of_the_service_is_the_token_that_each_replica_reads():
    """Replicas need a CPU, which only workers have, so that the head needs no token. The other
    variables are Python's and Ray's own."""
    cluster = kuberay.find_cluster_spec(load("rayservice")[0])
    head, (workers,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    (served,) = load_serve_config()["applications"]
    (deployment,) = served["deployments"]
    (container,) = workers["template"]["spec"]["containers"]

    names = {"HOME", "RAY_TMPDIR", PROXY_CALLBACK, TOKEN_VARIABLE}
    assert {entry["name"] for entry in container["env"]} == names
    assert find_secret_variables(workers) == {TOKEN_VARIABLE: ("slicing-serve-token", "token")}
    assert deployment["ray_actor_options"]["num_cpus"] > 0
    assert head["rayStartParams"]["num-cpus"] == "0"


def test_the_service_has_several_replicas_and_health_checks():
    """`tests/cluster/test_cluster_life.py` deploys this configuration."""
    (served,) = load_serve_config()["applications"]
    (deployment,) = served["deployments"]
    (group,) = kuberay.find_cluster_spec(load("rayservice")[0])["workerGroupSpecs"]

    assert f'name="{deployment["name"]}"' in APPLICATION
    assert deployment["autoscaling_config"]["min_replicas"] >= 2
    assert deployment["autoscaling_config"]["max_replicas"] <= 4 * group["maxReplicas"]
    assert group["minReplicas"] >= 2
    assert deployment["health_check_period_s"] > 0


def test_the_service_uses_no_field_that_kuberay_ignores():
    """Both are "not used anymore": apis/ray/v1/rayservice_types.go:94-99."""
    spec = load("rayservice")[0]["spec"]

    assert not {"serviceUnhealthySecondThreshold", "deploymentUnhealthySecondThreshold"} & set(spec)


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
