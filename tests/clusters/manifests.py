"""The manifests for KubeRay, as documents of YAML."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
KUBERAY = ROOT / "clusters" / "kuberay"
JOBS, STANDING = ("rayjob", "raycronjob"), ("raycluster", "rayservice")


def load(name: str) -> list[dict]:
    """All objects of a manifest."""
    return list(yaml.safe_load_all((KUBERAY / f"{name}.yaml").read_text()))


def load_one(name: str, kind: str) -> dict:
    """The only object of a kind in a manifest."""
    (found,) = (document for document in load(name) if document["kind"] == kind)
    return found


def load_job(name: str) -> dict:
    """The spec of the RayJob that a manifest describes."""
    (manifest,) = load(name)
    return manifest["spec"].get("jobTemplate", manifest["spec"])


def load_serve_config() -> dict:
    """What rayservice.yaml tells Ray Serve."""
    (manifest,) = load("rayservice")
    return yaml.safe_load(manifest["spec"]["serveConfigV2"])


def find_secret_variables(value: Any) -> dict[str, tuple[str, str]]:
    """Name and key of a Secret by the variable that it gives, in any part of a manifest."""
    if isinstance(value, list):
        return {
            name: source for child in value for name, source in find_secret_variables(child).items()
        }
    if not isinstance(value, dict):
        return {}
    secret = value.get("valueFrom", {}).get("secretKeyRef")
    if secret and "name" in value:
        return {value["name"]: (secret["name"], secret["key"])}
    return find_secret_variables(list(value.values()))


def match_labels(selector: dict, labels: dict[str, str]) -> bool:
    """Whether a label selector of Kubernetes selects labels."""
    wanted = selector.get("matchLabels", {})
    return wanted.items() <= labels.items() and all(
        labels.get(rule["key"]) in rule["values"] for rule in selector.get("matchExpressions", ())
    )
