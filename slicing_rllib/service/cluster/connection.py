"""The connection to a cluster's dashboard; its errors become one line."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray.exceptions import RayError
from ray.job_submission import JobSubmissionClient

from slicing_rllib.service.errors import RunError

ADDRESS_VARIABLE = "RAY_API_SERVER_ADDRESS"
DEFAULT_ADDRESS = "http://127.0.0.1:8265"
CLIENT_ERRORS = (RuntimeError, ValueError, OSError, RayError)
"""What Ray's clients raise if a cluster does not answer or refuses a request."""


def connect(address: str) -> JobSubmissionClient:
    """A client of the job API at a dashboard's URL.

    Raises: RunError if there is no such cluster, it refuses our token, or it runs another version
    of Ray than this machine.
    """
    with convert_errors(address):
        with use_address(address):
            client = JobSubmissionClient(address)
        version = _read_ray_version(client)
    if version != ray.__version__:
        raise RunError(
            f"{address}: the cluster runs Ray {version}, this machine {ray.__version__}; "
            "expected the same version"
        )
    return client


@contextmanager
def use_address(address: str) -> Iterator[None]:
    """Sets RAY_API_SERVER_ADDRESS for the block and restores it afterwards.

    Ray's clients prefer this variable to the address that is passed to them, so the variable has to
    agree with the argument while a client is made.
    """
    previous = os.environ.get(ADDRESS_VARIABLE)
    os.environ[ADDRESS_VARIABLE] = address
    try:
        yield
    finally:
        if previous is None:
            del os.environ[ADDRESS_VARIABLE]
        else:
            os.environ[ADDRESS_VARIABLE] = previous


@contextmanager
def convert_errors(address: str) -> Iterator[None]:
    """Raises: RunError with one line instead of an error of Ray's clients."""
    try:
        yield
    except RunError:
        raise
    except CLIENT_ERRORS as error:
        raise RunError(_describe_error(address, error)) from error


def _describe_error(address: str, error: Exception) -> str:
    text = " ".join(str(error).split())
    if any(sign in text for sign in ("401", "403", "Unauthorized", "authentication", "token")):
        return (
            f"{address}: the cluster refuses the token, expected its token in RAY_AUTH_TOKEN or "
            "~/.ray/auth_token"
        )
    if "ailed to connect" in text or "onnection" in text or "Max retries" in text:
        return f"{address}: no Ray cluster answers, expected the URL of a Ray dashboard"
    return f"{address}: {text[:200]}"


def _read_ray_version(client: JobSubmissionClient) -> str:
    answer = client._do_request("GET", "/api/version")
    if answer.status_code != 200:
        raise RuntimeError(f"{answer.status_code} {answer.text}")
    return str(answer.json().get("ray_version"))
