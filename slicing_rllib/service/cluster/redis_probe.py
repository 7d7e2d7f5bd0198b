"""Whether the Redis in which a Ray head keeps its state answers, measured on the head's node."""

import os
import socket
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

ADDRESS_VARIABLE = "RAY_REDIS_ADDRESS"
USER_VARIABLE, PASSWORD_VARIABLE = "REDIS_USERNAME", "REDIS_PASSWORD"
TAGS_VARIABLE = "RAY_USAGE_STATS_EXTRA_TAGS"
"""KubeRay names here the kind of object that has started a node, such as `kuberay_crd=RayJob`."""
STANDING_KINDS = ("RayCluster", "RayService")
"""Kinds of KubeRay whose cluster outlives its jobs."""
PORT = 6379
TIMEOUT_S = 5.0


def describe_redis(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a head keeps its state in, under `redis`, and what is wrong with it, else an empty
    string, under `redis_problem`.

    Args:
        environment: variables of a process on the head's node.
    """
    address = environment.get(ADDRESS_VARIABLE, "").split(",")[0]
    if not address:
        return _describe_missing_redis(environment)
    user = environment.get(USER_VARIABLE, "")
    problem = check_redis(address, environment.get(PASSWORD_VARIABLE, ""), user)
    return {"redis": f"{address} answers", "redis_problem": problem and f"{address} {problem}"}


def check_redis(address: str, password: str, user: str = "") -> str:
    """What is wrong with a Redis, or an empty string.

    Args:
        address: `HOST:PORT`, or a URL that begins with `redis://` or, for TLS, `rediss://`.
        password: its password, or an empty string.
        user: its user; an empty string for the default user.
    """
    url = urlsplit(address if "://" in address else f"redis://{address}")
    host, port = url.hostname or "", url.port or PORT
    login = [part.encode() for part in (user, password) if part]
    commands = [[b"AUTH", *login]] if password else []
    try:
        with socket.create_connection((host, port), TIMEOUT_S) as plain:
            link = plain
            if url.scheme == "rediss":
                link = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
            for command in (*commands, [b"PING"]):
                link.sendall(_encode_command(command))
                answer = link.recv(1024).decode(errors="replace").strip()
                if not answer.startswith("+"):
                    return f"refuses our {command[0].decode()} ({answer[:80] or 'no answer'})"
    except OSError as error:
        return f"does not answer ({error.strerror or error})"
    return ""


def _describe_missing_redis(environment: Mapping[str, str]) -> dict[str, str]:
    tags = dict(
        pair.split("=", 1) for pair in environment.get(TAGS_VARIABLE, "").split(";") if "=" in pair
    )
    kind = tags.get("kuberay_crd", "")
    if kind in STANDING_KINDS:
        problem = f"a {kind} without Redis loses its state with its head, expected redis.yaml"
        return {"redis": "none", "redis_problem": problem}
    return {"redis": "none: after the loss of the head, jobs start again", "redis_problem": ""}


def _encode_command(parts: list[bytes]) -> bytes:
    """A command in the protocol of Redis, in which every part carries its length."""
    head = b"*%d\r\n" % len(parts)
    return head + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
