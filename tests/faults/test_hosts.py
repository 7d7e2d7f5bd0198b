"""Hosts of their own on this machine, and the cable that leads to each."""

import socket
import subprocess
import sys

import pytest
from hosts import explain_missing_namespaces, make_hosts

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1).close()"


def test_a_host_that_is_cut_off_reaches_nothing_until_it_is_reconnected():
    if missing := explain_missing_namespaces():
        pytest.skip(missing)
    with make_hosts(1) as (host,), socket.create_server((host.gateway, 0)) as server:
        port = str(server.getsockname()[1])

        def can_connect() -> bool:
            command = [*host.prefix, sys.executable, "-c", CONNECT, host.gateway, port]
            return subprocess.run(command, capture_output=True, check=False).returncode == 0

        assert can_connect()
        host.cut_off()
        assert not can_connect()
        host.reconnect()
        assert can_connect()
