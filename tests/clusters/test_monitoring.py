"""Prometheus rules by their unit tests; dashboards and alerts with Prometheus and Ray."""

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest
import yaml
from local_cluster import LocalCluster

CLUSTERS = Path(__file__).parents[2] / "clusters"
RULES = CLUSTERS / "prometheus"
DASHBOARDS = sorted((CLUSTERS / "grafana" / "dashboards").glob("*.json"))
EXPECTED = {"fleet", "run", "cell", "transfers", "workers"}
DEADLINE_S = 120.0
needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="needs prometheus and promtool (Debian package prometheus)",
)


def run_promtool(*arguments, cwd=RULES):
    return subprocess.run(
        ["promtool", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


@needs_prometheus
def test_the_unit_tests_of_the_rules_pass():
    result = run_promtool("test", "rules", "rules_test.yaml")

    assert result.returncode == 0, result.stdout + result.stderr


def test_every_alert_has_a_test_that_fires_it():
    alerts = {rule["alert"] for rule in _load_rules("alert_rules.yaml")}
    tests = yaml.safe_load((RULES / "rules_test.yaml").read_text())["tests"]
    fired = {
        case["alertname"]
        for test in tests
        for case in test["alert_rule_test"]
        if case.get("exp_alerts")
    }

    assert fired == alerts


@needs_prometheus
def test_the_scrape_config_is_valid():
    result = run_promtool("check", "config", "prometheus.yaml")

    assert result.returncode == 0, result.stdout + result.stderr


@needs_prometheus
@pytest.mark.parametrize("file", ["recording_rules.yaml", "alert_rules.yaml"])
def test_a_misspelt_key_of_a_rule_is_detected(file, tmp_path):
    text = (RULES / file).read_text()
    (tmp_path / file).write_text(text.replace("expr:", "exrp:", 1))

    assert run_promtool("check", "rules", file).returncode == 0
    assert run_promtool("check", "rules", file, cwd=tmp_path).returncode != 0


def test_dashboards_have_unique_names_and_panels_do_not_overlap():
    assert {path.stem for path in DASHBOARDS} == EXPECTED
    for path in DASHBOARDS:
        dashboard = json.loads(path.read_text())
        places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in dashboard["panels"]]
        assert dashboard["uid"] == f"slicing-{path.stem}"
        assert len(set(places)) == len(places)
        assert all(p["gridPos"]["x"] + p["gridPos"]["w"] <= 24 for p in dashboard["panels"])


def test_provisioning_names_the_data_source_of_the_dashboards():
    provisioned = CLUSTERS / "grafana" / "provisioning" / "datasources" / "prometheus.yaml"
    (source,) = yaml.safe_load(provisioned.read_text())["datasources"]
    used = {
        target["datasource"]["uid"]
        for path in DASHBOARDS
        for panel in json.loads(path.read_text())["panels"]
        for target in panel["targets"]
    }

    assert used == {source["uid"]}


class Prometheus:
    """Client of a Prometheus server on a loopback port."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def query(self, expression: str) -> list:
        parameters = urllib.parse.urlencode({"query": expression})
        return self._get(f"/api/v1/query?{parameters}")["data"]["result"]

    def read_firing_alerts(self) -> set[str]:
        """Names of the alerts that fire, not only wait for their `for`."""
        alerts = self._get("/api/v1/alerts")["data"]["alerts"]
        return {a["labels"]["alertname"] for a in alerts if a["state"] == "firing"}

    def wait_until(self, condition) -> None:
        end = time.monotonic() + DEADLINE_S
        while not self._holds(condition):
            assert time.monotonic() < end, f"the condition did not hold within {DEADLINE_S} s"
            time.sleep(0.25)

    def _holds(self, condition) -> bool:
        try:
            return bool(condition(self))
        except urllib.error.URLError:
            return False

    def _get(self, path: str) -> dict:
        with urllib.request.urlopen(self._url + path, timeout=10) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def metrics_port(ray_folder):
    """Metrics port of a Ray node to which a run reports every second instead of every ten."""
    environment = os.environ | {
        "RAY_TMPDIR": ray_folder,
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_metrics_report_interval_ms": "1000",
    }
    run = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("live_run.py")],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    # Ray may print messages of its own before the port.
    yield next(int(line) for line in run.stdout if line.strip().isdigit())
    run.stdin.close()
    run.wait(timeout=60)
    run.stdout.close()


@contextmanager
def run_prometheus(metrics_port: int, rules: Path, folder: Path) -> Iterator[Prometheus]:
    """A Prometheus that scrapes the port and evaluates the rules every second."""
    config = yaml.safe_load((RULES / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(rules / file) for file in config["rule_files"]]
    config["scrape_configs"][0]["file_sd_configs"][0]["files"] = [str(folder / "nodes.json")]
    (folder / "nodes.json").write_text(json.dumps([{"targets": [f"127.0.0.1:{metrics_port}"]}]))
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    port = _find_free_port()
    arguments = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(arguments, stdout=log, stderr=log)
    yield Prometheus(port)
    server.terminate()
    server.wait(timeout=30)


@pytest.fixture(scope="module")
def prometheus(metrics_port, tmp_path_factory):
    with run_prometheus(metrics_port, RULES, tmp_path_factory.mktemp("prometheus")) as server:
        yield server


@needs_prometheus
def test_no_dashboard_panel_is_empty(prometheus):
    """The expressions of all panels have a result, for a run that reports through Ray."""
    prometheus.wait_until(lambda p: p.query("run:slicing_env_steps:rate5m > 0"))
    prometheus.wait_until(lambda p: p.query('ray_gcs_actors_count or ray_resources{Name="CPU"}'))
    prometheus.wait_until(lambda p: p.query('ALERTS{alertname="SlicingWorkerLost"}'))

    empty = [
        expression for expression in _iterate_expressions() if not prometheus.query(expression)
    ]

    assert empty == []


@pytest.fixture
def training(monkeypatch, tmp_path):
    """`train` with two env runners on a cluster of its own, and an SLA that cannot be met."""
    required = {"throughput_mbps": 60.0, "delay_ms": 5.0}
    groups = [{"name": name, "slices": [required] * 4} for name in "AB"]
    config = {
        "name": "impossible_sla",
        "scenario": {"like": "paper", "sla_groups": groups},
        "num_env_runners": 2,
        "learning": {"exploration_steps": 0, "updates_per_step": 0, "steps_per_iteration": 20},
        "evaluation": {"steps": 10, "seeds": 1, "every_steps": 10**6},
    }
    (tmp_path / "impossible_sla.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("RAY_metrics_report_interval_ms", "1000")
    command = [sys.executable, "-m", "slicing_rllib", "train", "impossible_sla.yaml"]
    with (
        TemporaryDirectory(prefix="a", ignore_cleanup_errors=True) as folder,
        LocalCluster(Path(folder), 3, ()) as cluster,
        (tmp_path / "log").open("w") as log,
    ):
        env = cluster.env | {"RAY_ADDRESS": cluster.gcs}
        run = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=log, stderr=log)
        yield cluster
        run.send_signal(signal.SIGTERM)
        assert run.wait(timeout=60) == 130, (tmp_path / "log").read_text()


@needs_prometheus
@pytest.mark.slow
def test_alerts_fire_in_a_training(training, tmp_path):
    """One alert fires because of the SLA, another one after an env runner was killed.

    Only `for: 5m` of the rules is replaced, by one second.
    """
    for file in RULES.glob("*_rules.yaml"):
        (tmp_path / file.name).write_text(file.read_text().replace("for: 5m", "for: 1s"))
    with run_prometheus(training.metrics_port, tmp_path, tmp_path) as prometheus:
        prometheus.wait_until(lambda p: "SlicingThroughputSlaViolated" in p.read_firing_alerts())
        assert "SlicingWorkerLost" not in prometheus.read_firing_alerts()
        _kill_an_env_runner(training)

        prometheus.wait_until(lambda p: "SlicingWorkerLost" in p.read_firing_alerts())


def _kill_an_env_runner(cluster: LocalCluster) -> None:
    for process in psutil.Process(cluster.nodes[0].pid).children(recursive=True):
        if "BatchedEnvRunner" in " ".join(process.cmdline()):
            process.kill()
            return
    raise AssertionError("no env runner to kill")


def _iterate_expressions():
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield re.sub(r"\$run\b", "live", target["expr"]).replace("$cell", "cell_2")


def _load_rules(file):
    groups = yaml.safe_load((RULES / file).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
