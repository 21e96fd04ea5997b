"""The console lets in the browser that opened the printed address, and nobody else."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from cli.console.app import make_app
from cli.console.local_state import LocalState
from cli.console.security import Security
from cli.local import Systems
from tests.support.console import ADDRESS, PORT, TOKEN, browser


@pytest.fixture
def stranger(settings: Path) -> TestClient:
    app = make_app(LocalState(Systems(settings, "sqlite:///none.sqlite")), port=PORT, token=TOKEN)
    return TestClient(app, base_url=ADDRESS, headers={"origin": ADDRESS})


@pytest.mark.parametrize(
    "path", ["/", "/tab", "/static/console.css", "/?token=", "/?token=another", "/tab?token=the-token"]
)
def test_token_required(stranger: TestClient, path: str) -> None:
    answer = stranger.get(path)
    assert answer.status_code == 403
    assert "Open the address that" in answer.text or "open the address that" in answer.text


def test_token_becomes_cookie(
    stranger: TestClient,
) -> None:
    answer = stranger.get(f"/?token={TOKEN}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert stranger.get("/tab").status_code == 200
    stranger.cookies.clear()
    assert stranger.get(f"/?token={TOKEN}").status_code == 403


def test_same_address_again(settings: Path) -> None:
    assert browser(settings).open(f"/?token={TOKEN}").status == 200


@pytest.mark.parametrize(
    "host", ["evil.example.org", f"evil.example.org:{PORT}", "127.0.0.1", "127.0.0.1:1", "", f"[::1]:{PORT}"]
)
def test_other_host(settings: Path, host: str) -> None:
    known = browser(settings).client
    for path in ("/tab", f"/?token={TOKEN}"):
        assert known.get(path, headers={"host": host}).status_code == 421


@pytest.mark.parametrize(
    "origin", ["https://evil.example.org", "null", "", "http://127.0.0.1:8080", f"http://localhost:{PORT}"]
)
def test_other_origin(settings: Path, origin: str) -> None:
    before = settings.read_text()
    officer = browser(settings)
    form = officer.open("/tab").form("/tab").values
    for path in ("/tab", "/tab/save", "/tab/review"):
        answer = officer.client.post(path, data=form, headers={"origin": origin})
        assert answer.status_code == 403
    del officer.client.headers["origin"]
    assert officer.client.post("/tab/save", data=form).status_code == 403
    assert settings.read_text() == before


@pytest.mark.parametrize("path", ["/tab", "/static/htmx.min.js", "/nowhere"])
def test_response_headers(settings: Path, path: str) -> None:
    answer = browser(settings).client.get(path)
    assert answer.headers.items() >= Security.HEADERS.items()
    assert answer.headers["content-security-policy"].startswith("default-src 'self';")


def test_pages_obey_policy(settings: Path) -> None:
    source = browser(settings).open("/tab").source
    assert "style=" not in source
    assert " on" + "click" not in source
    assert source.count("<script") == source.count('<script src="/static/') == 1


def test_path_outside_static_files(settings: Path) -> None:
    assert browser(settings).open("/static/%2e%2e/words.py").status == 404
