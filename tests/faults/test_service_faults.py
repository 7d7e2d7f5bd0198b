"""What callers notice of roll-outs, roll-backs and killed replicas, under load.

The README of `benchmarks` has the results with one and with two replicas of
`SLICING_RLLIB_FULL_STUDIES=1 pytest -n 0 -s -m slow tests/faults/test_service_faults.py`.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import psutil
import pytest
from random_policies import WITH_MESSAGES, AnswerCheck, add_version

from slicing_rllib.benchmarks.rows import (
    SIZES,
    Row,
    compare_with_expected,
    is_within_tolerance,
    make_row,
)
from slicing_rllib.benchmarks.serving import (
    DECISIONS,
    LoadGenerator,
    Outcome,
    Service,
    configure,
    make_bodies,
    measure_network,
    start_service,
)
from slicing_rllib.serving.release import RELEASE_FILE, Release, ReleaseHistory

INTERVALS = 20
"""Different requests, which are sent in turn."""
N_OPEN = 8
"""Requests that are open at a time."""
LEAD_S = 1.0
"""Load before and after a change."""
TIMEOUT_S = 120.0
POLL_S = 0.05
POLICIES, REPORTS = "PolicyService", "NeighbourReports"
"""Deployments of Ray Serve."""
NO_REQUEST = "no request"
"""How many may be lost, or answered wrongly."""


@dataclass(frozen=True)
class _Scene:
    """A service of a library with two versions, under load."""

    service: Service
    library: Path
    bodies: list[bytes]
    check: AnswerCheck
    n_replicas: int


def run(*, replicas: list[int], on_message: Callable[[str], None]) -> Iterator[Row]:
    """Yields, for roll-out, roll-back and kill -9, lost requests, wrong answers and times.

    Each request contains the whole network. A request is lost if its answer is an error or does
    not come. An answer is wrong if it is not what NumPy computes with a version that may answer.

    Args:
        replicas: Numbers of replicas.
        on_message: Receives one line of text before each part.
    """
    for n_replicas in replicas:
        on_message(f"replicas: {n_replicas}; starting the service")
        with _serve_two_versions(n_replicas) as scene:
            for event, change, version in (
                ("roll-out", "--version=2", 2),
                ("roll-back", "--back", 1),
            ):
                on_message(f"replicas: {n_replicas}; {event} under load")
                yield from asyncio.run(_measure_change(scene, event, change, version))
            on_message(f"replicas: {n_replicas}; kill -9 of one under load")
            yield from asyncio.run(_measure_kill(scene))
            if n_replicas > 1:
                on_message(f"replicas: {n_replicas}; kill -9 of the reports that they share")
                yield from asyncio.run(_measure_kill_of_reports(scene))


@contextmanager
def _serve_two_versions(n_replicas: int) -> Iterator[_Scene]:
    """Starts with version 1. Policies read messages, which replicas exchange with each other."""
    config = configure(SIZES[0], WITH_MESSAGES)
    recorded, cells = measure_network(config, INTERVALS), config.scenario.cells
    with TemporaryDirectory() as folder:
        library = Path(folder)
        policies = {version: add_version(library, config, recorded, version) for version in (1, 2)}
        (library / RELEASE_FILE).write_text(
            ReleaseHistory(release=Release(version=1)).model_dump_json()
        )
        check = AnswerCheck(policies, recorded, cells, cells)
        bodies = make_bodies(config, recorded, len(cells))
        with start_service(library, replicas=n_replicas) as service:
            yield _Scene(service, library, bodies, check, n_replicas)


async def _measure_change(scene: _Scene, event: str, change: str, version: int) -> list[Row]:
    """After the command has ended, only the new version may answer."""
    scene.check.allowed = {1, 2}

    async def roll_out() -> float:
        started = time.perf_counter()
        command = [
            sys.executable,
            "-m",
            "slicing_rllib",
            "release",
            str(scene.library),
            change,
            "--force",
        ]
        process = await asyncio.create_subprocess_exec(
            *command, "--url", scene.service.url, stdout=asyncio.subprocess.DEVNULL
        )
        if await process.wait():
            pytest.fail(f"the {event} has failed")
        seconds = time.perf_counter() - started
        await asyncio.sleep(LEAD_S)
        scene.check.allowed = {version}
        return seconds

    outcomes, seconds = await _change_under_load(scene, roll_out)
    return [
        _expect_none("serving.lost_requests", _count_lost(outcomes), event, scene, outcomes),
        _expect_none("serving.wrong_answers", _count_wrong(outcomes), event, scene, outcomes),
        make_row("serving.change_s", seconds, "s", event=event, replicas=scene.n_replicas),
    ]


async def _measure_kill(scene: _Scene) -> list[Row]:
    event, killed_s = "kill -9", 0.0

    async def kill_one() -> float:
        nonlocal killed_s
        known = await _find_replicas(scene.service, lambda found: len(found) == scene.n_replicas)
        os.kill(min(list_replicas(scene.service)), signal.SIGKILL)
        killed_s = time.perf_counter()
        await _find_replicas(scene.service, lambda found: bool(found - known))
        return time.perf_counter() - killed_s

    outcomes, replaced_s = await _change_under_load(scene, kill_one)
    where = {"event": event, "replicas": scene.n_replicas}
    lost, recovery_s = _count_lost(outcomes), _find_recovery_s(outcomes, killed_s)
    return [
        make_row("serving.lost_requests", lost, "1", **where, requests=len(outcomes)),
        _expect_none("serving.wrong_answers", _count_wrong(outcomes), event, scene, outcomes),
        make_row("serving.recovery_s", recovery_s, "s", **where),
        make_row("serving.replacement_s", replaced_s, "s", **where),
    ]


async def _measure_kill_of_reports(scene: _Scene) -> list[Row]:
    """Requests contain the reports of all neighbours, so that policies answer all the same."""

    async def kill() -> float:
        started = time.perf_counter()
        os.kill(min(list_replicas(scene.service, REPORTS)), signal.SIGKILL)
        while not list_replicas(scene.service, REPORTS):
            await asyncio.sleep(POLL_S)
        return time.perf_counter() - started

    event = "kill -9 of reports"
    outcomes, _ = await _change_under_load(scene, kill)
    slowest_s = max(outcome.latency_ms for outcome in outcomes) / 1e3
    return [
        _expect_none("serving.lost_requests", _count_lost(outcomes), event, scene, outcomes),
        _expect_none("serving.wrong_answers", _count_wrong(outcomes), event, scene, outcomes),
        make_row("serving.slowest_s", slowest_s, "s", event=event, replicas=scene.n_replicas),
    ]


async def _change_under_load(
    scene: _Scene, change: Callable[[], Awaitable[float]]
) -> tuple[list[Outcome], float]:
    """What became of all requests, and the result of `change`."""
    is_over = asyncio.Event()
    url = scene.service.url + DECISIONS
    async with LoadGenerator(url, scene.bodies, scene.check) as generator:
        load = asyncio.create_task(generator.send_concurrently(N_OPEN, is_over.is_set))
        try:
            await asyncio.sleep(LEAD_S)
            result = await asyncio.wait_for(change(), TIMEOUT_S)
            await asyncio.sleep(LEAD_S)
        finally:
            is_over.set()
            outcomes = await load
    return outcomes, result


async def _find_replicas(service: Service, is_enough: Callable[[set[str]], bool]) -> set[str]:
    """Asks for the health of the service until enough replicas have answered; their names."""
    found: set[str] = set()
    async with aiohttp.ClientSession() as session:
        while not is_enough(found):
            try:
                async with session.get(f"{service.url}/v1/health") as answer:
                    if answer.status == 200:
                        found.add((await answer.json())["replica"])
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(POLL_S)
    return found


def list_replicas(service: Service, deployment: str = POLICIES) -> set[int]:
    """Process ids of the replicas of a deployment."""
    found: set[int] = set()
    for process in psutil.Process(service.process.pid).children(recursive=True):
        try:
            if f"ServeReplica:slicing:{deployment}" in process.cmdline()[0]:
                found.add(process.pid)
        except (IndexError, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def _find_recovery_s(outcomes: list[Outcome], killed_s: float) -> float:
    """Time until requests that are sent after the kill are answered, and none is lost any more."""
    lost = [outcome.ended_s for outcome in outcomes if outcome.failure]
    answered = [
        outcome.ended_s
        for outcome in outcomes
        if not outcome.failure and outcome.ended_s - outcome.latency_ms / 1e3 > killed_s
    ]
    return max([min(answered), *lost]) - killed_s


def _count_lost(outcomes: list[Outcome]) -> int:
    return sum(outcome.failure is not None for outcome in outcomes)


def _count_wrong(outcomes: list[Outcome]) -> int:
    return sum(outcome.mistake is not None for outcome in outcomes)


def _expect_none(name: str, value: int, event: str, scene: _Scene, outcomes: list[Outcome]) -> Row:
    row = compare_with_expected(name, value, "1", 0, 0, NO_REQUEST)
    return row | {"event": event, "replicas": scene.n_replicas, "requests": len(outcomes)}


def test_recovery_ends_with_the_last_lost_request_or_the_first_answer_after_the_kill():
    """Killed at 10 s: an answer to an earlier request does not count, one at 11 s does."""
    before = Outcome(10.5, 1000.0, None, None)
    lost = Outcome(10.8, 400.0, "status 500", None)
    after = Outcome(11.0, 500.0, None, None)

    assert _find_recovery_s([before, lost, after], 10.0) == pytest.approx(1.0)
    late = lost._replace(ended_s=12.0)
    assert _find_recovery_s([before, after, late], 10.0) == pytest.approx(2.0)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_roll_outs_lose_no_request_and_no_fault_makes_an_answer_wrong(
    ray_folder: str, monkeypatch: pytest.MonkeyPatch
):
    """Every answer is compared with NumPy's, in the version that may answer."""
    monkeypatch.setenv("RAY_TMPDIR", ray_folder)
    rows = list(run(replicas=[2], on_message=print))

    expected = [row for row in rows if "expected" in row]
    assert len(expected) == 7
    assert all(map(is_within_tolerance, expected)), expected
    (replaced,) = [row for row in rows if row["name"] == "serving.replacement_s"]
    assert replaced["value"] < TIMEOUT_S
