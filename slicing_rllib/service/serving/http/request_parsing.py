"""From the body of a request to its content, or to one line about the first mistake."""

from pydantic import ValidationError

from slicing_rllib.service.serving.decisions.request import DecisionRequest
from slicing_rllib.service.serving.http.problems import Problem


def parse_request(body: bytes) -> DecisionRequest:
    """The content of a body. Raises: Problem with one line about the first mistake."""
    try:
        return DecisionRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        status = 400 if first["type"] == "json_invalid" else 422
        raise Problem(status, f"{where}: {first['msg']}") from error
