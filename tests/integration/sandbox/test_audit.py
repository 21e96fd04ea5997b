"""The audit of the dependencies, against a database of vulnerabilities of the tests' own."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sandbox import audit


class _Osv(BaseHTTPRequestHandler):
    """OSV's two questions: which packages have vulnerabilities, and what a vulnerability is."""

    vulnerable: str | None
    asked: list[str]

    def do_POST(self) -> None:
        queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        names = [query["package"]["name"] for query in queries]
        self.asked.extend(names)
        found = {"vulns": [{"id": "GHSA-test", "modified": "2026-01-01T00:00:00Z"}]}
        self._answer({"results": [found if name == self.vulnerable else {} for name in names]})

    def do_GET(self) -> None:
        self._answer(
            {"id": "GHSA-test", "modified": "2026-01-01T00:00:00Z", "summary": "Leaks.", "affected": []}
        )

    def _answer(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def osv(vulnerable: str | None = None) -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    handler = type("Handler", (_Osv,), {"vulnerable": vulnerable, "asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_all_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with osv() as (address, asked):
        assert audit.main(["--service", address]) == 0
    assert {"boto3", "psycopg", "pydantic", "pytest", "requests", "sqlalchemy"} <= set(asked)
    assert "Found no known vulnerabilities" in capsys.readouterr().out


@pytest.mark.parametrize("options", [[], ["--unless-offline"]])
def test_vulnerability_fails(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with osv(vulnerable="requests") as (address, _):
        assert audit.main(["--service", address, *options]) == audit.VULNERABLE
    said = capsys.readouterr().out
    assert "requests" in said
    assert "GHSA-test" in said


@pytest.mark.slow
def test_database_unreachable(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with osv() as (address, _):
        pass
    assert audit.main(["--service", address]) == audit.NOT_AUDITED
    assert audit.main(["--service", address, "--unless-offline"]) == 0
    assert capsys.readouterr().out.count("NOT AUDITED") == 2
