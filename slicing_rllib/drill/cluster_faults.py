"""Faults of the processes and nodes of the cluster that a training runs on."""

import psutil

from slicing_rllib.drill.cluster import Node
from slicing_rllib.drill.trial import Injection, Trial, wait_until

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
    try:
        trial.driver.watch(WORKER_PAUSE_S)
    finally:
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
    trial.cluster.add_nodes()
    return trial.go_on("node killed", "worker_lost")


def silence_node(trial: Trial) -> Injection:
    """All processes of a node are paused until the cluster has given it up, then go on."""
    node, _ = _choose_worker(trial, ENV_RUNNER)
    processes = trial.cluster.list_processes(node)
    trial.begin()
    trial.cluster.pause(processes)
    try:
        trial.driver.watch(NODE_PAUSE_S)
    finally:
        trial.cluster.resume(processes)
    return _replace_node(trial, node, f"node paused for {NODE_PAUSE_S:.0f} s")


def cut_off_node(trial: Trial) -> Injection:
    """The network of a node with an env runner is down until the cluster has given it up."""
    node, _ = _choose_worker(trial, ENV_RUNNER)
    assert node.host is not None
    trial.begin()
    node.host.cut_off()
    try:
        trial.driver.watch(NODE_PAUSE_S)
    finally:
        node.host.reconnect()
    return _replace_node(trial, node, f"node cut off for {NODE_PAUSE_S:.0f} s")


def _replace_node(trial: Trial, node: Node, fault: str) -> Injection:
    """What happened; the cluster does not take a node back that it has given up."""
    try:
        return trial.go_on(fault, "worker_lost")
    finally:
        trial.cluster.kill_node(node)
        trial.cluster.add_nodes()


def _choose_worker(trial: Trial, name: str) -> tuple[Node, psutil.Process]:
    """A random process of this name and its node, once all env runners are there."""
    trial.wait_for_workers()
    found = wait_until(lambda: trial.cluster.find_workers(name) or None, f"no {name} was seen")
    return found[int(trial.rng.integers(len(found)))]
