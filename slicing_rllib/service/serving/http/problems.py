"""Errors as problem+json (RFC 9457): status, title, and one line of detail."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import Response

from slicing_rllib.storage import make_printable

MAX_DETAIL = 500


class Problem(Exception):
    """A request that gets an error.

    Args:
        status: status of the answer.
        detail: one line for the caller.
        headers: further headers.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})

    def respond(self) -> Response:
        """The answer."""
        return make_problem(self.status, self.detail, self.headers)


def make_problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """An answer of type application/problem+json."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": make_printable(detail, MAX_DETAIL),
    }
    # Only ASCII, also from callers whose terminal knows no more.
    content = json.dumps(body).encode("ascii")
    return Response(content, status, dict(headers or {}), "application/problem+json")
