"""Which changes of env runners are reported."""

import os
from types import SimpleNamespace

import pytest
import ray

from slicing_rllib.learning.workers import WorkerHealth


class Group:
    """Env runners as RLlib's group shows them; each has a process."""

    def __init__(self):
        self.processes = {1: 101, 2: 102}
        self.healthy, self.restarts, self.asked = [1, 2], 0, []

    def healthy_env_runner_ids(self):
        return self.healthy

    def num_remote_worker_restarts(self):
        return self.restarts

    def foreach_env_runner(self, function, *, remote_worker_ids, **options):
        self.asked.append(remote_worker_ids)
        with pytest.MonkeyPatch.context() as patched:
            context = SimpleNamespace(get_node_id=lambda: "node")
            patched.setattr(ray, "get_runtime_context", lambda: context)
            for index in remote_worker_ids:
                patched.setattr(os, "getpid", lambda index=index: self.processes[index])
                yield function(SimpleNamespace(index=index))


@pytest.fixture
def group():
    return Group()


@pytest.fixture
def health(group):
    health = WorkerHealth(group)
    assert list(health.check()) == []
    return health


def read_kinds(health):
    return [(event.kind, event.evidence["worker"]) for event in health.check()]


def test_nothing_is_asked_or_reported_while_all_answer(group, health):
    assert read_kinds(health) == []
    assert group.asked == [[1, 2]]


def test_a_loss_and_a_return_in_different_checks(group, health):
    group.healthy = [1]
    assert read_kinds(health) == [("worker_lost", 2)]
    group.healthy, group.restarts = [1, 2], 1
    assert read_kinds(health) == [("worker_restarted", 2)]
    assert read_kinds(health) == []


def test_a_loss_and_a_return_between_two_checks(group, health):
    """RLlib restores env runners outside of our iteration: only a restart count tells of it."""
    group.restarts, group.processes[2] = 1, 202

    assert read_kinds(health) == [("worker_lost", 2), ("worker_restarted", 2)]
    assert read_kinds(health) == []


def test_one_that_did_not_answer_in_time_but_is_the_same_process_was_not_lost(group, health):
    group.restarts = 1

    assert read_kinds(health) == []
