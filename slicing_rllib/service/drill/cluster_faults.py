"""Faults of the processes and nodes of the cluster that a training runs on."""

import time

import psutil

from slicing_rllib.service.drill.cluster import Node
from slicing_rllib.service.drill.trial import Injection, Trial, wait_until

ENV_RUNNER = "EnvRunner"
LEARNER = "update_cells"
WORKER_PAUSE_S = 20.0
NODE_PAUSE_S = 40.0
"""Longer than the cluster waits for a node that does not answer."""


def kill_env_runner(trial: Trial) -> Injection:
    """SIGKILL of an env runner."""
    _, process = _choose_worker(trial, ENV_RUNNER)
    trial.begin()
    process.kill()
    return trial.go_on("env runner killed", "worker_lost")


def pause_env_runner(trial: Trial) -> Injection:
    """SIGSTOP of an env runner for some seconds."""
    _, process = _choose_worker(trial, ENV_RUNNER)
    trial.begin()
    process.suspend()
    time.sleep(WORKER_PAUSE_S)
    process.resume()
    return trial.go_on(f"env runner paused for {WORKER_PAUSE_S:.0f} s", None)


def kill_learner(trial: Trial) -> Injection:
    """SIGKILL of a process that makes updates."""
    _, process = _choose_worker(trial, LEARNER)
    trial.begin()
    process.kill()
    report = trial.go_on("learner killed", None)
    return report._replace(noticed="Ray: the task is run again")


def kill_node(trial: Trial) -> Injection:
    """All processes of a node with an env runner end at once; a new node joins afterwards."""
    node, _ = _choose_worker(trial, ENV_RUNNER)
    trial.begin()
    trial.cluster.kill_node(node)
    trial.cluster.add_node()
    return trial.go_on("node killed", "worker_lost")


def silence_node(trial: Trial) -> Injection:
    """No process of a node answers, as in a partition, until the cluster has given the node up."""
    node, _ = _choose_worker(trial, ENV_RUNNER)
    processes = trial.cluster.list_processes(node)
    trial.begin()
    trial.cluster.pause(processes)
    time.sleep(NODE_PAUSE_S)
    trial.cluster.resume(processes)
    report = trial.go_on(f"node silent for {NODE_PAUSE_S:.0f} s", "worker_lost")
    trial.cluster.kill_node(node)
    trial.cluster.add_node()
    return report


def _choose_worker(trial: Trial, name: str) -> tuple[Node, psutil.Process]:
    """A random process of this name and its node, once there is one."""
    found = wait_until(lambda: trial.cluster.find_workers(name) or None, f"no {name} was seen")
    return found[int(trial.rng.integers(len(found)))]
