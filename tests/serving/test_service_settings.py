"""The token that callers must present."""

import pytest

from slicing_rllib.serving.service_settings import (
    TOKEN_VARIABLE,
    ServiceArguments,
    read_token,
    require_token_beyond_loopback,
)
from slicing_rllib.storage.errors import ConfigError, RunError

TOKEN = "a token of 24 characters"


def test_beyond_loopback_a_token_is_required(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    arguments = ServiceArguments(run="r")
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        with pytest.raises(ConfigError, match=f"serve: {host} can be reached"):
            require_token_beyond_loopback(arguments, host)
    for host in ("127.0.0.1", "::1", "localhost"):
        assert require_token_beyond_loopback(arguments, host).without_token
    (tmp_path / "token").write_text(TOKEN + "\n")
    with_token = ServiceArguments(run="r", token_file=str(tmp_path / "token"))
    assert not require_token_beyond_loopback(with_token, "0.0.0.0").without_token


def test_tokens_come_from_a_file_or_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    assert read_token(ServiceArguments(run="r")) == TOKEN
    (tmp_path / "short").write_text("short")
    for name, line in (("short", "at least 16 ASCII"), ("missing", "expected a file with a token")):
        with pytest.raises(RunError, match=line):
            read_token(ServiceArguments(run="r", token_file=str(tmp_path / name)))
