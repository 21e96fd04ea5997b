"""What a connection really leads to decides, however the address of DHIS2 is written."""

import socket
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from msupply_dhis2.dhis2 import guard
from msupply_dhis2.dhis2.client import Dhis2Client
from msupply_dhis2.errors import Dhis2Error, Dhis2TransientError
from msupply_dhis2.settings.credentials import Dhis2Credentials
from msupply_dhis2.settings.urls import is_public
from tests.support.scripted import JSON_TYPE, Script, scripted

LOGIN = Dhis2Credentials(username="pusher", password=SecretStr("x"))


@pytest.fixture
def within_lambda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "push")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)


@pytest.fixture
def server() -> Iterator[Script]:
    """What must not be asked: a server on the function's own loopback."""
    with scripted((200, JSON_TYPE, b'{"id": "x"}')) as script:
        yield script


def ask(url: str) -> object:
    with Dhis2Client(url, LOGIN) as client:
        return client.get("/api/me")


@pytest.mark.usefixtures("within_lambda")
@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost", "dhis2@127.0.0.1"]
)
def test_address_spellings(host: str, server: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"http://{host}:{urlsplit(server.url).port}"
    with pytest.raises(Dhis2Error, match="belongs to AWS or to the function itself"):
        ask(url)
    assert server.requests == []
    # It is the guard that keeps it away: outside Lambda it is reached.
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME")
    assert ask(url) == {"id": "x"}


@pytest.mark.usefixtures("within_lambda")
def test_name_resolved_each_time(server: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = socket.getaddrinfo

    def rebound(host: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - as socket has them
        return looked_up("127.0.0.1" if host == "dhis2.example.org" else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    with pytest.raises(Dhis2Error, match="belongs to AWS or to the function itself"):
        ask(f"http://dhis2.example.org:{urlsplit(server.url).port}")
    assert server.requests == []


def test_redirect_not_followed() -> None:
    with (
        scripted((200, JSON_TYPE, b"{}")) as other,
        scripted((302, {"Location": f"{other.url}/latest"}, b"")) as dhis2,
    ):
        with pytest.raises(Dhis2Error, match="status 302"):
            ask(dhis2.url)
        assert dhis2.requests
        assert other.requests == []
        assert ip_address(str(urlsplit(other.url).hostname)).is_loopback


def test_no_clear_text_login(server: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing in a test may go out to the internet: the loopback stands for it.
    monkeypatch.setattr(guard, "is_public", lambda address: address == "127.0.0.1")
    with Dhis2Client(server.url, LOGIN) as client, pytest.raises(Dhis2TransientError) as refused:
        client.get("/api/me")
    assert "Begin URL with https://" in str(refused.value)
    assert "(allow_plain_http)" in str(refused.value)
    assert server.requests == []
    with Dhis2Client(server.url, LOGIN, allow_plain_http=True) as client:
        assert client.get("/api/me") == {"id": "x"}


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.31.0.9", False),
        ("192.168.1.4", False),
        ("169.254.10.1", False),
        ("100.64.0.1", False),
        ("::1", False),
        ("fd12:3456::1", False),
        ("fe80::1%eth0", False),
        ("::ffff:10.0.0.1", False),
        ("172.32.0.1", True),
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::8.8.8.8", True),
    ],
)
def test_public_or_private(address: str, *, public: bool) -> None:
    assert is_public(address) is public
