"""The load generator, against a server that answers with the body that it gets."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable

from aiohttp import web

from slicing_rllib.benchmarks.serving.load import LoadGenerator

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
