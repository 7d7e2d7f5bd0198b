"""Alerts by their unit tests; every dashboard's expression on a Prometheus that scrapes Ray."""

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

sys.path.insert(0, str(Path(__file__).parents[1] / "service" / "cluster"))

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


def promtool(*arguments, cwd=RULES):
    return subprocess.run(
        ["promtool", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


@needs_prometheus
def test_every_alert_fires_when_it_should():
    result = promtool("test", "rules", "rules_test.yaml")

    assert result.returncode == 0, result.stdout + result.stderr


def test_every_alert_has_a_test_that_fires_it():
    alerts = {rule["alert"] for rule in _rules("alert_rules.yaml")}
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
    result = promtool("check", "config", "prometheus.yaml")

    assert result.returncode == 0, result.stdout + result.stderr


@needs_prometheus
@pytest.mark.parametrize("file", ["recording_rules.yaml", "alert_rules.yaml"])
def test_a_typo_in_a_rule_is_caught(file, tmp_path):
    text = (RULES / file).read_text()
    (tmp_path / file).write_text(text.replace("expr:", "exrp:", 1))

    assert promtool("check", "rules", file).returncode == 0
    assert promtool("check", "rules", file, cwd=tmp_path).returncode != 0


def test_dashboards_have_names_of_their_own_and_no_two_panels_in_one_place():
    assert {path.stem for path in DASHBOARDS} == EXPECTED
    for path in DASHBOARDS:
        dashboard = json.loads(path.read_text())
        places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in dashboard["panels"]]
        assert dashboard["uid"] == f"slicing-{path.stem}"
        assert len(set(places)) == len(places)
        assert all(p["gridPos"]["x"] + p["gridPos"]["w"] <= 24 for p in dashboard["panels"])


def test_provisioning_names_the_data_source_that_dashboards_ask():
    provisioned = CLUSTERS / "grafana" / "provisioning" / "datasources" / "prometheus.yaml"
    (source,) = yaml.safe_load(provisioned.read_text())["datasources"]
    asked = {
        target["datasource"]["uid"]
        for path in DASHBOARDS
        for panel in json.loads(path.read_text())["panels"]
        for target in panel["targets"]
    }

    assert asked == {source["uid"]}


class Prometheus:
    """A server on the loopback that scrapes one Ray node."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def query(self, expression: str) -> list:
        asked = urllib.parse.urlencode({"query": expression})
        return self._get(f"/api/v1/query?{asked}")["data"]["result"]

    def firing(self) -> set[str]:
        """Alerts whose `for` is over."""
        alerts = self._get("/api/v1/alerts")["data"]["alerts"]
        return {a["labels"]["alertname"] for a in alerts if a["state"] == "firing"}

    def until(self, condition) -> None:
        end = time.monotonic() + DEADLINE_S
        while not self._holds(condition):
            assert time.monotonic() < end, "Prometheus has no data of the run"
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
    """Of a Ray node that a run reports to, every second instead of every ten."""
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
    # Ray may print news of its own before our port.
    yield next(int(line) for line in run.stdout if line.strip().isdigit())
    run.stdin.close()
    run.wait(timeout=60)
    run.stdout.close()


@contextmanager
def scraping(metrics_port: int, rules: Path, folder: Path) -> Iterator[Prometheus]:
    """A Prometheus of our own on that port, with those rules, every second instead of every ten."""
    config = yaml.safe_load((RULES / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(rules / file) for file in config["rule_files"]]
    config["scrape_configs"][0]["file_sd_configs"][0]["files"] = [str(folder / "nodes.json")]
    (folder / "nodes.json").write_text(json.dumps([{"targets": [f"127.0.0.1:{metrics_port}"]}]))
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    port = _free_port()
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
    with scraping(metrics_port, RULES, tmp_path_factory.mktemp("prometheus")) as server:
        yield server


@needs_prometheus
def test_no_dashboard_panel_is_empty(prometheus):
    """Each expression as Grafana would ask it, against a run that reports through a real Ray."""
    prometheus.until(lambda p: p.query("run:slicing_env_steps:rate5m > 0"))
    prometheus.until(lambda p: p.query('ray_gcs_actors_count or ray_resources{Name="CPU"}'))
    prometheus.until(lambda p: p.query('ALERTS{alertname="SlicingWorkerLost"}'))

    empty = [ask for ask in _expressions() if not prometheus.query(ask)]

    assert empty == []


@pytest.fixture
def training(monkeypatch, tmp_path):
    """`train` with two env runners on a Ray of its own, and an SLA that no split can meet."""
    promised = {"throughput_mbps": 60.0, "delay_ms": 5.0}
    groups = [{"name": name, "slices": [promised] * 4} for name in "AB"]
    config = {
        "name": "unhappy",
        "scenario": {"like": "paper", "sla_groups": groups},
        "num_env_runners": 2,
        "learning": {"exploration_steps": 10**6, "steps_per_iteration": 20},
        "evaluation": {"steps": 10, "seeds": 1, "every_steps": 10**6},
    }
    (tmp_path / "unhappy.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("RAY_metrics_report_interval_ms", "1000")
    command = [sys.executable, "-m", "slicing_rllib", "train", "unhappy.yaml"]
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
def test_alerts_fire_in_a_training(training, tmp_path):
    """An SLA that is not met, then an env runner killed with -9.

    The rules are ours but for `for: 5m`, which is a second here; unchanged rules have been tried.
    """
    for file in RULES.glob("*_rules.yaml"):
        (tmp_path / file.name).write_text(file.read_text().replace("for: 5m", "for: 1s"))
    with scraping(training.metrics_port, tmp_path, tmp_path) as prometheus:
        prometheus.until(lambda p: "SlicingThroughputSlaViolated" in p.firing())
        assert "SlicingWorkerLost" not in prometheus.firing()
        _kill_an_env_runner(training)

        prometheus.until(lambda p: "SlicingWorkerLost" in p.firing())


def _kill_an_env_runner(cluster: LocalCluster) -> None:
    for process in psutil.Process(cluster.nodes[0].pid).children(recursive=True):
        if "ColumnarEnvRunner" in " ".join(process.cmdline()):
            process.kill()
            return
    raise AssertionError("no env runner to kill")


def _expressions():
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield re.sub(r"\$run\b", "live", target["expr"]).replace("$cell", "cell_2")


def _rules(file):
    groups = yaml.safe_load((RULES / file).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
