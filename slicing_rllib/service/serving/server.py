"""Serves policies on this machine until the caller ends the block."""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.schema import LoggingConfig

from slicing_rllib.service.errors import RunError
from slicing_rllib.service.ray_session import ray_session
from slicing_rllib.service.serving.application import make_application
from slicing_rllib.service.serving.settings import ServiceArguments, require_token_beyond_loopback

NAME = "slicing"
LOOPBACK = "127.0.0.1"


@contextmanager
def serve_policies(arguments: ServiceArguments, host: str, port: int) -> Iterator[None]:
    """Serves policies for the block, on the Ray that this process is connected to.

    Args:
        arguments: settings of the service.
        host: address to listen on.
        port: port to listen on.

    Raises: RunError if the port is taken.
    """
    check_port_is_free(host, port)
    # Ray Serve would otherwise log each of its steps to the terminal.
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    serve.start(http_options=HTTPOptions(host=host, port=port))
    try:
        serve.run(
            make_application(arguments, shares_reports=arguments.max_replicas > 1),
            name=NAME,
            logging_config=LoggingConfig(log_level="WARNING"),
        )
        yield
    finally:
        serve.shutdown()


@contextmanager
def serve_for_command(arguments: ServiceArguments) -> Iterator[str]:
    """Starts Ray and the service on a free port for the block; the URL of the service."""
    arguments = require_token_beyond_loopback(arguments, LOOPBACK)
    with socket.create_server((LOOPBACK, 0)) as free:
        port = free.getsockname()[1]
    with ray_session(2), serve_policies(arguments, LOOPBACK, port):
        yield f"http://{LOOPBACK}:{port}"


def check_port_is_free(host: str, port: int) -> None:
    """Raises: RunError if the port is taken: Ray Serve itself would retry without a message."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise RunError(f"port {port} on {host}: cannot listen ({error.strerror})") from error
