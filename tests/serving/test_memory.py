"""Policies that remember earlier reports: the service decides as the environment, step by step."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from slicing_rllib.policies.trained_policy import BUILTIN_CURVES, load_pretrained
from slicing_rllib.runs.config_loading import load_config
from slicing_rllib.runs.policy_evaluation import (
    make_cell_policies,
    make_network,
    make_trained_policy,
)
from slicing_rllib.serving.closed_loop import make_request
from slicing_rllib.serving.decisions import (
    PolicySet,
    decide,
    join_reports,
    list_new_reports,
    list_wanted_reports,
)
from slicing_rllib.serving.policy_service import LocalReports
from slicing_rllib.serving.requests import parse_request

START = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
SLICES = [f"slice_{n}" for n in range(1, 5)]


class Controller:
    """A service of a network's policies, in this process."""

    def __init__(self, policies):
        self.policies, self.reports = PolicySet(policies), LocalReports()

    def ask(self, kpis, cells, now):
        body = make_request(kpis, cells, SLICES)
        for report in body["cells"].values():
            report["measured_at"] = now.isoformat()
        request = parse_request(json.dumps(body).encode())
        new = list_new_reports(request, self.policies, now)
        wanted = list_wanted_reports(request, self.policies)
        kept = asyncio.run(self.reports.exchange(new, wanted))
        made = decide(request, self.policies, join_reports(new, kept), now, 10.0)
        return np.array([list(made[cell].shares.values()) for cell in cells])


@pytest.fixture(scope="module")
def network():
    config = load_config("paper", ["learning.critic=per_slice"])
    weights = dict.fromkeys(config.scenario.cells, load_pretrained(BUILTIN_CURVES).weights)
    return config, make_trained_policy(config, weights), make_cell_policies(config, weights, [])


def test_the_service_remembers_what_the_environment_remembers(network):
    config, trained, policies = network
    env, controller = make_network(config), Controller(policies)
    batched = env.reset_batched(1)
    for second in range(6):
        shares = controller.ask(env.kpis, env.cells, START + timedelta(seconds=second))
        assert shares == pytest.approx(trained.compute_actions(batched.obs), abs=1e-6)
        batched = env.step_batched(shares.astype(np.float32))


def test_an_interval_that_is_reported_again_is_remembered_once(network):
    config, _, policies = network
    env, controller = make_network(config), Controller(policies)
    env.reset_batched(1)
    controller.ask(env.kpis, env.cells, START)
    env.step_batched(np.ones((12, 4), np.float32))

    first, again = (
        controller.ask(env.kpis, env.cells, START + timedelta(seconds=1)) for _ in range(2)
    )

    assert np.array_equal(first, again)


def test_after_a_long_silence_a_cell_starts_from_its_last_report(network):
    config, _, policies = network
    env, controller, fresh = make_network(config), Controller(policies), Controller(policies)
    env.reset_batched(1)
    controller.ask(env.kpis, env.cells, START)
    env.step_batched(np.eye(4, dtype=np.float32)[np.arange(12) % 4] + 0.1)
    later = START + timedelta(hours=1)

    shares = controller.ask(env.kpis, env.cells, later)

    assert np.array_equal(shares, fresh.ask(env.kpis, env.cells, later))
