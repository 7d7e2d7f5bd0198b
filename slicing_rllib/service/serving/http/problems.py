"""Errors as problem+json (RFC 9457): status, title, and one line of detail."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import Response

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
    line = " ".join(detail.split())
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": line if len(line) <= MAX_DETAIL else f"{line[:MAX_DETAIL]} ...",
    }
    # Escapes everything beyond ASCII: names in a request may be no valid Unicode.
    content = json.dumps(body).encode("ascii")
    return Response(content, status, dict(headers or {}), "application/problem+json")
