"""The load generator, against a server that answers with the body that it gets."""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from slicing_rllib.benchmarks.serving.load import LoadGenerator, last

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


def test_at_a_rate_a_slow_answer_delays_no_other_request():
    """100 requests per second for 0.2 s are 20, although every answer takes longer than that."""

    async def wait_and_echo(request: web.Request) -> web.Response:
        await asyncio.sleep(0.25)
        return await echo(request)

    outcomes = send(wait_and_echo, lambda generator: generator.send_at_rate(100.0, last(0.2)))

    assert 15 <= len(outcomes) <= 21
    assert not any(outcome.failure or outcome.mistake for outcome in outcomes)
    assert all(outcome.latency_ms >= 250.0 for outcome in outcomes)


def test_so_many_requests_are_open_and_no_more():
    n_open, most = 0, 0

    async def count(request: web.Request) -> web.Response:
        nonlocal n_open, most
        n_open += 1
        most = max(most, n_open)
        await asyncio.sleep(0.01)
        n_open -= 1
        return await echo(request)

    outcomes = send(count, lambda generator: generator.send_concurrently(3, last(0.2)))

    assert most == 3
    assert not any(outcome.failure or outcome.mistake for outcome in outcomes)


def test_errors_are_failures_and_other_answers_mistakes():
    async def fail_for_0_and_confuse_1(request: web.Request) -> web.Response:
        body = await request.read()
        return web.Response(status=500) if body == b"0" else web.Response(body=b"2")

    outcomes = send(fail_for_0_and_confuse_1, lambda g: g.send_concurrently(1, last(0.2)))

    assert outcomes[0].failure == "status 500: "
    assert [outcome.mistake for outcome in outcomes[1:3]] == ["another body", None]
