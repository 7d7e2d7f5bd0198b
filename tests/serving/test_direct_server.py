"""`serve --direct`: the same service in this process."""

import json
import socket
from urllib.request import Request, urlopen

import pytest

from slicing_rllib.cli.main import USAGE, run
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.serving.service_settings import ServiceArguments
from slicing_rllib.storage.errors import RunError

pytestmark = pytest.mark.usefixtures("unchecked", "application_module")


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def test_decisions_are_answered_without_ray_serve(served_run: RunDirectory, port: int):
    from slicing_rllib.serving.application import serve_directly

    url = f"http://127.0.0.1:{port}/v1"
    with serve_directly(
        ServiceArguments(run=str(served_run.path), without_token=True), "127.0.0.1", port
    ):
        with urlopen(f"{url}/ready") as ready:
            assert json.load(ready) == {"status": "ready"}
        with urlopen(f"{url}/example") as example:
            body = example.read()
        asked = Request(f"{url}/decisions", body, {"Content-Type": "application/json"})
        with urlopen(asked) as answer:
            cells = json.load(answer)["decisions"]

    assert len(cells) == 12
    assert all(sum(cell["shares"].values()) == pytest.approx(1) for cell in cells.values())
    with pytest.raises(OSError, match="refused"):
        urlopen(f"{url}/ready")


def test_a_port_that_is_taken_is_named(served_run: RunDirectory):
    from slicing_rllib.serving.application import serve_directly

    arguments = ServiceArguments(run=str(served_run.path), without_token=True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with (
            pytest.raises(RunError, match=f"port {number} on 127.0.0.1"),
            serve_directly(arguments, "127.0.0.1", number),
        ):
            pass


def test_only_one_process_answers_directly(served_run: RunDirectory, capsys):
    code = run(["serve", str(served_run.path), "--direct", "--replicas", "2"])

    assert code == USAGE
    assert "--direct: expected one replica" in capsys.readouterr().err
