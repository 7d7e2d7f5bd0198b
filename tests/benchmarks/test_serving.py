"""The load generator, against a server that echoes; and which answers of a service are wrong."""

import asyncio
import itertools
import json
import re
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from random_policies import WITH_MESSAGES
from random_policies import AnswerCheck as VersionCheck

from slicing_rllib.benchmarks.rows import SIZES
from slicing_rllib.benchmarks.serving import (
    AnswerCheck,
    LoadGenerator,
    ServedNetwork,
    configure,
    draw_weights,
    measure_network,
)
from slicing_rllib.runs.policy_evaluation import make_cell_policies

Answer = Callable[[web.Request], Awaitable[web.Response]]


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


def send(answer: Answer, use: Callable[[LoadGenerator], Awaitable[list]]) -> list:
    """The outcomes of a load on a server; the check tells which body was not echoed."""

    async def run() -> list:
        app = web.Application()
        app.router.add_post("/", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        bodies = [b"0", b"1", b"2"]
        check = lambda number, body: None if body == bodies[number] else "another body"  # noqa: E731
        try:
            port = runner.addresses[0][1]
            async with LoadGenerator(f"http://127.0.0.1:{port}/", bodies, check) as generator:
                return await use(generator)
        finally:
            await runner.cleanup()

    return asyncio.run(run())


def after(n_requests: int) -> Callable[[], bool]:
    """False `n_requests` times, then True."""
    answers = itertools.chain(itertools.repeat(False, n_requests), itertools.repeat(True))
    return lambda: next(answers)


def test_at_a_rate_an_open_request_delays_no_other():
    """The server answers the first request only when all five have arrived."""
    n_arrived, all_are_there = 0, asyncio.Event()

    async def wait_for_five(request: web.Request) -> web.Response:
        nonlocal n_arrived
        n_arrived += 1
        if n_arrived == 5:
            all_are_there.set()
        await all_are_there.wait()
        return await echo(request)

    outcomes = send(wait_for_five, lambda generator: generator.send_at_rate(100.0, after(5)))

    assert len(outcomes) == 5
    assert not any(outcome.failure or outcome.mistake for outcome in outcomes)


def test_so_many_requests_are_open_and_no_more():
    n_open, most, three_are_there = 0, 0, asyncio.Event()

    async def count(request: web.Request) -> web.Response:
        nonlocal n_open, most
        n_open += 1
        most = max(most, n_open)
        if n_open == 3:
            three_are_there.set()
        await three_are_there.wait()
        answer = await echo(request)
        n_open -= 1
        return answer

    outcomes = send(count, lambda generator: generator.send_concurrently(3, after(9)))

    assert (most, len(outcomes)) == (3, 9)
    assert not any(outcome.failure or outcome.mistake for outcome in outcomes)


def test_errors_are_failures_and_other_answers_mistakes():
    async def fail_for_0_and_confuse_1(request: web.Request) -> web.Response:
        body = await request.read()
        return web.Response(status=500) if body == b"0" else web.Response(body=b"2")

    outcomes = send(fail_for_0_and_confuse_1, lambda g: g.send_concurrently(1, after(3)))

    assert outcomes[0].failure == "status 500: "
    assert [outcome.mistake for outcome in outcomes[1:]] == ["another body", None]


def test_an_answer_of_the_benchmark_is_compared_with_numpy():
    """The answer to another request is wrong, and so is one that lacks a cell."""
    config = configure(SIZES[0])
    recorded, cells = measure_network(config, 3), config.scenario.cells
    policies = make_cell_policies(config, draw_weights(config, 1), recorded)
    check = AnswerCheck(ServedNetwork(config, recorded, policies, ""), 2)
    slices = [spec.name for spec in config.scenario.slices]
    decisions = {
        cell: {"shares": dict(zip(slices, shares[1].tolist(), strict=True)), "fallback": None}
        for cell, shares in check.shares.items()
    }

    def judge(number: int, answer: dict) -> str | None:
        return check(number, json.dumps({"decisions": answer}).encode())

    assert judge(1, decisions) is None
    assert "shares" in judge(2, decisions)
    assert judge(1, {cells[0]: decisions[cells[0]]}) == "1 cells are answered, expected 2"
    decisions[cells[0]]["fallback"] = {"reason": "stale_kpis"}
    assert judge(1, decisions) == f"{cells[0]}: fallback stale_kpis"


@pytest.fixture(scope="module")
def scene():
    """The check of two versions, and the right answer of each to request 1."""
    config = configure(SIZES[0], WITH_MESSAGES)
    recorded, cells = measure_network(config, 3), config.scenario.cells
    policies = {
        version: make_cell_policies(config, draw_weights(config, version), recorded)
        for version in (1, 2)
    }
    check = VersionCheck(policies, recorded, cells, cells)
    slices = [spec.name for spec in config.scenario.slices]

    def answer(version: int) -> dict:
        return {
            cell: {
                "shares": dict(zip(slices, check.expected[version][cell][1][1], strict=True)),
                "policy": f"quick-{cell}@{version}",
                "policy_sha256": policy.digest,
                "fallback": None,
            }
            for cell, policy in policies[version].items()
        }

    return check, answer


def judge(check: VersionCheck, decisions: dict) -> str | None:
    return check(1, json.dumps({"decisions": decisions}, default=float).encode())


def test_answers_of_either_version_are_right(scene):
    check, answer = scene
    assert [judge(check, answer(version)) for version in (1, 2)] == [None, None]


def test_an_answer_to_another_request_is_wrong(scene):
    check, answer = scene
    decisions = {"decisions": answer(1)}
    assert "shares differ" in check(2, json.dumps(decisions, default=float).encode())


@pytest.mark.parametrize(
    ("change", "mistake"),
    [
        (lambda cells: cells.pop("cell_3"), "11 cells are answered, expected 12"),
        (lambda cells: cells["cell_3"].update(policy="quick-cell_3@2"), r"versions \['1', '2'\]"),
        (lambda cells: cells["cell_3"].update(policy=None), "versions"),
        (lambda cells: cells["cell_3"].update(policy_sha256="0"), "digest is that of another"),
        (lambda cells: cells["cell_3"].update(fallback={"reason": "stale_kpis"}), "fallback stale"),
        (lambda cells: cells["cell_3"]["shares"].update(slice_1=float("nan")), "shares .*nan"),
        (lambda cells: cells["cell_3"]["shares"].update(slice_1=0.9), r"shares \[0.9"),
    ],
)
def test_an_answer_with_a_mistake_is_wrong(scene, change, mistake: str):
    check, answer = scene
    decisions = answer(1)
    change(decisions)
    assert re.search(mistake, judge(check, decisions))


def test_a_version_that_may_not_answer_is_wrong(scene):
    check, answer = scene
    check.allowed = {2}
    assert judge(check, answer(1)) == "versions ['1'], expected one of [2]"
