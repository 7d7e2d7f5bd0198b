"""Rolls the newest version of a policy library out to a RayService of KubeRay.

KubeRay sends a changed `serveConfigV2` to the running cluster, where Ray Serve replaces the
replicas one by one. Source: KubeRay 1.7.0, rayservice_controller.go:1551-1616.
"""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

import yaml

from slicing_rllib.service.cluster.kubernetes_api import KubernetesApi
from slicing_rllib.service.errors import RunError
from slicing_rllib.transfer import PolicyLibrary

GROUP, PLURAL = "ray.io/v1", "rayservices"
POLL_S = 2.0
TIMEOUT_S = 600.0
"""How long replicas of the new version may take to start, which includes new nodes."""
ANSWERS = 10
"""Consecutive answers of the new version after which the roll-out is done: requests go to the
replicas at random, so that a single answer says nothing about the others."""
RUNNING, FAILED = "RUNNING", ("DEPLOY_FAILED", "UNHEALTHY")
"""States of an application. Source: Ray Serve, `ApplicationStatus`."""

OnMessage = Callable[[str], None]


class Rollout(NamedTuple):
    """What a roll-out has done."""

    service: str
    previous: int | None
    """Version that was served before; None is the newest of each bundle at that time."""
    version: int
    """Version that is served now."""


def roll_out(
    api: KubernetesApi, service: str, version: int | None, url: str, on_message: OnMessage
) -> Rollout:
    """Serves a version of the service's library, and restores the previous one if it does not run.

    Args:
        api: API of the Kubernetes cluster.
        service: name of the RayService.
        version: version of every bundle; None means the newest that every bundle has.
        url: URL of the service inside the cluster.
        on_message: called with lines about the progress.

    Raises: RunError if there is no such service or version, or if the version does not run.
    """
    config = _read_serve_config(api, service)
    arguments = _find_arguments(service, config)
    previous: int | None = arguments["version"]
    version = version or find_newest_version(str(arguments["run"]))
    if version == previous:
        on_message(f"{service} serves version {version} already")
        return Rollout(service, previous, version)
    on_message(f"{service}: version {previous} to version {version}")
    _write_version(api, service, config, version)
    if problem := _wait_for_version(api, service, version, url):
        _write_version(api, service, config, previous)
        raise RunError(f"{service}: version {version} {problem}; version {previous} is restored")
    on_message(f"{service} serves version {version}")
    return Rollout(service, previous, version)


def find_newest_version(library: str) -> int:
    """The newest version that every bundle of a library has. Raises: RunError if there is none."""
    versions = PolicyLibrary(library).list_versions()
    common = set.intersection(*map(set, versions.values())) if versions else set()
    if not common:
        raise RunError(f"{library}: expected a policy library whose bundles share a version")
    return max(common)


def _read_serve_config(api: KubernetesApi, service: str) -> dict[str, Any]:
    text = api.read_object(GROUP, PLURAL, service)["spec"].get("serveConfigV2", "")
    return yaml.safe_load(text) or {}


def _find_arguments(service: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the application that serves a library."""
    for application in config.get("applications", ()):
        arguments = application.get("args", {})
        if {"run", "version"} <= set(arguments):
            return arguments
    raise RunError(f"{service}: expected an application with run and version in its args")


def _write_version(
    api: KubernetesApi, service: str, config: dict[str, Any], version: int | None
) -> None:
    _find_arguments(service, config)["version"] = version
    text = yaml.safe_dump(config, sort_keys=False)
    api.patch_object(GROUP, PLURAL, service, {"spec": {"serveConfigV2": text}})


def _wait_for_version(api: KubernetesApi, service: str, version: int, url: str) -> str:
    """Waits until the service has answered with the version several times in a row.

    Returns why the version does not run, or an empty string.
    """
    deadline, answers, failures = time.monotonic() + TIMEOUT_S, 0, 0
    while time.monotonic() < deadline:
        states = _read_states(api.read_object(GROUP, PLURAL, service))
        # Twice, because the first reading may still be about an earlier configuration.
        failures = failures + 1 if any(state in FAILED for state in states) else 0
        if failures > 1:
            return f"is {', '.join(states)}"
        answers = answers + 1 if _read_served_version(url) == version else 0
        if answers >= ANSWERS and all(state == RUNNING for state in states):
            return ""
        time.sleep(0.0 if 0 < answers < ANSWERS else POLL_S)
    return f"does not run after {TIMEOUT_S:g} s"


def _read_states(ray_service: Mapping[str, Any]) -> list[str]:
    active = ray_service.get("status", {}).get("activeServiceStatus", {})
    return [state.get("status", "") for state in active.get("applicationStatuses", {}).values()]


def _read_served_version(url: str) -> int | None:
    """The version in the answer of one replica; None if the service does not answer."""
    try:
        with urlopen(f"{url}/v1/health", timeout=POLL_S) as answer:
            return json.load(answer).get("version")
    except (URLError, OSError, ValueError):
        return None
