"""Settings of the service, from the command line or from `serveConfigV2` of KubeRay."""

import ipaddress
import os
from pathlib import Path

from pydantic import Field

from slicing_rllib.serving.release import Release, ReleaseChoice
from slicing_rllib.storage.errors import ConfigError, RunError

TOKEN_VARIABLE = "SLICING_RLLIB_SERVE_TOKEN"
LEAST_TOKEN_CHARACTERS = 16
RELEASE_FIELDS = frozenset(ReleaseChoice.model_fields)
"""Arguments that a running replica can change."""


class ServiceArguments(ReleaseChoice):
    """Arguments of the application. An unknown name is an error; a run has no versions."""

    run: str
    """A run directory, a policy library (a folder or a URI), or the folder of an export."""
    name: str = ""
    """The beginning of the names of a library's bundles that are served."""
    shadow_log: str | None = None
    """File to which each replica appends a line per cell and request with the shares of both
    versions."""
    token_file: str | None = None
    """File with the token that callers must present. Default: the environment variable
    SLICING_RLLIB_SERVE_TOKEN."""
    without_token: bool = False
    """Whether the service may run without a token."""
    max_age_s: float = Field(default=10.0, gt=0)
    """Age above which KPIs and neighbours' reports are stale."""
    max_body_bytes: int = Field(default=16 * 2**20, ge=1)
    """Largest body of a request."""
    max_requests_per_s: float = Field(default=1000.0, gt=0)
    """Requests per second that a replica accepts, with bursts of as many."""
    min_replicas: int = Field(default=1, ge=1)
    """Replicas without load."""
    max_replicas: int = Field(default=1, ge=1)
    """Replicas at full load; more than `min_replicas` turns autoscaling on."""
    poll_s: float = Field(default=1.0, gt=0)
    """Time between two looks for a new release and for files that have changed."""

    @property
    def release(self) -> Release | None:
        """The release that the arguments choose; None where the library's release decides."""
        chosen = {name: getattr(self, name) for name in RELEASE_FIELDS}
        return Release(**chosen) if any(chosen.values()) else None


def read_token(arguments: ServiceArguments) -> str | None:
    """The token that callers must present; None if there is none.

    Raises: RunError for a file that cannot be read, or a token that is too short.
    """
    if arguments.token_file is None:
        token = os.environ.get(TOKEN_VARIABLE)
    else:
        try:
            token = Path(arguments.token_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"{arguments.token_file}: expected a file with a token") from error
    if token is not None and not (len(token) >= LEAST_TOKEN_CHARACTERS and token.isascii()):
        raise RunError(f"token: expected at least {LEAST_TOKEN_CHARACTERS} ASCII characters")
    return token


def require_token_beyond_loopback(arguments: ServiceArguments, host: str) -> ServiceArguments:
    """The arguments, with leave to run without a token where only this machine can ask.

    Raises: ConfigError for an address beyond loopback without a token.
    """
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = host == "localhost"
    if read_token(arguments) is None and not is_loopback:
        raise ConfigError(
            f"serve: {host} can be reached from other machines; expected --token-file or "
            "the environment variable SLICING_RLLIB_SERVE_TOKEN"
        )
    return arguments.model_copy(update={"without_token": is_loopback})
