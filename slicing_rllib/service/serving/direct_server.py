"""The service in this process: the shortest latency, without Ray Serve's proxy and replicas."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import uvicorn

from slicing_rllib.service.errors import RunError
from slicing_rllib.service.serving.application import api, find_service
from slicing_rllib.service.serving.policy_service import PolicyService
from slicing_rllib.service.serving.server import check_port_is_free
from slicing_rllib.service.serving.settings import RELEASE_FIELDS, ServiceArguments

POLL_S = 0.01


@contextmanager
def serve_directly(arguments: ServiceArguments, host: str, port: int) -> Iterator[None]:
    """Answers requests in a thread of this process for the block.

    Args:
        arguments: settings of the service; there is one replica, this process.
        host: address to listen on.
        port: port to listen on.

    Raises: RunError if the port is taken or the server does not start.
    """
    check_port_is_free(host, port)
    service = PolicyService(arguments.model_dump(mode="json"))
    release = arguments.model_dump(mode="json", include={*RELEASE_FIELDS})
    asyncio.run(service.reconfigure(release))
    api.dependency_overrides[find_service] = lambda: service
    server = uvicorn.Server(
        uvicorn.Config(
            api, host=host, port=port, log_level="warning", access_log=False, lifespan="off"
        )
    )
    thread = Thread(target=server.run, name="http", daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise RunError(f"port {port} on {host}: the server did not start")
            time.sleep(POLL_S)
        yield
    finally:
        server.should_exit = True
        thread.join()
        service.stop()
        del api.dependency_overrides[find_service]
