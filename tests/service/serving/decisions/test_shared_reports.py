"""Reports that replicas share, while the deployment that keeps them is away."""

import asyncio
from unittest.mock import MagicMock

import pytest
from ray.serve.handle import DeploymentHandle

from slicing_rllib.service.serving.decisions import shared_reports
from slicing_rllib.service.serving.decisions.reports import LoadReport
from slicing_rllib.service.serving.decisions.shared_reports import SharedReports


async def wait_for_ever(*arguments: object) -> None:
    await asyncio.Event().wait()


def test_a_store_that_does_not_answer_delays_no_request(monkeypatch: pytest.MonkeyPatch):
    """Ray Serve queues the call until the deployment is replaced; neighbours count as missing."""
    monkeypatch.setattr(shared_reports, "TIMEOUT_S", 0.01)
    handle = MagicMock(spec=DeploymentHandle)
    handle.exchange_plain.remote = wait_for_ever
    found = asyncio.run(SharedReports(handle).exchange({"a": LoadReport(0.0, {"s": 0.5})}, ["b"]))
    assert found == {}
