"""A bounded load generator: requests at a fixed rate, or a fixed number of them at a time."""

import asyncio
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple

import aiohttp

TIMEOUT_S = 30.0
MOST_OPEN = 64
"""Requests that may be open at a time; further ones wait, which counts as latency."""
PAUSE_S = 0.05
"""Time between a failed request and the next one in its place."""
HEADERS = {"Content-Type": "application/json"}

CheckAnswer = Callable[[int, bytes], str | None]
"""From the number of a body and the answer to what is wrong with the answer; None if nothing is."""
IsOver = Callable[[], bool]


class Outcome(NamedTuple):
    """What became of one request."""

    ended_s: float
    """Time of the answer, by `time.perf_counter`."""
    latency_ms: float
    """From the time at which the request was due until its answer had arrived."""
    failure: str | None
    """Why there was no answer; None if there was one."""
    mistake: str | None
    """What is wrong with the answer; None if nothing is."""


class LoadGenerator:
    """Sends bodies in turn to one address, on connections that stay open.

    Args:
        url: address that the bodies are posted to.
        bodies: JSON bodies.
        check: tells what is wrong with an answer.
    """

    def __init__(self, url: str, bodies: Sequence[bytes], check: CheckAnswer) -> None:
        self._url, self._bodies, self._check = url, bodies, check
        self._sent = 0

    async def __aenter__(self) -> "LoadGenerator":
        self._session = aiohttp.ClientSession(
            headers=HEADERS,
            connector=aiohttp.TCPConnector(limit=MOST_OPEN),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def send_concurrently(self, n_open: int, is_over: IsOver) -> list[Outcome]:
        """Keeps `n_open` requests open, each followed by the next one, until `is_over`."""
        outcomes: list[Outcome] = []

        async def send_in_turn() -> None:
            while not is_over():
                outcomes.append(await self._send(time.perf_counter()))
                if outcomes[-1].failure:
                    await asyncio.sleep(PAUSE_S)

        await asyncio.gather(*(send_in_turn() for _ in range(n_open)))
        return outcomes

    async def send_at_rate(self, rate_per_s: float, is_over: IsOver) -> list[Outcome]:
        """Sends requests at fixed times, whether or not earlier ones are answered."""
        tasks: list[asyncio.Task[Outcome]] = []
        started = time.perf_counter()
        while not is_over():
            due = started + len(tasks) / rate_per_s
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.create_task(self._send(due)))
        return list(await asyncio.gather(*tasks))

    async def _send(self, due: float) -> Outcome:
        number = self._sent % len(self._bodies)
        self._sent += 1
        try:
            async with self._session.post(self._url, data=self._bodies[number]) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            return _conclude(due, f"{type(error).__name__}: {error}", None)
        if answer.status != 200:
            line = content.decode(errors="replace")[:200]
            return _conclude(due, f"status {answer.status}: {line}", None)
        outcome = _conclude(due, None, None)
        return outcome._replace(mistake=self._check(number, content))


def last(seconds: float) -> IsOver:
    """True once `seconds` have passed since this call."""
    end = time.perf_counter() + seconds
    return lambda: time.perf_counter() >= end


def _conclude(due: float, failure: str | None, mistake: str | None) -> Outcome:
    now = time.perf_counter()
    return Outcome(now, 1e3 * (now - due), failure, mistake)
