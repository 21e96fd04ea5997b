"""Calls to DHIS2: against the stand-in, against recordings of real servers and against everything that breaks."""

import errno
import gzip
import ipaddress
import json
import logging
import socket
import ssl
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr

from msupply_dhis2 import __version__
from msupply_dhis2.dhis2 import client as client_module
from msupply_dhis2.dhis2.client import Deadline, Dhis2Client
from msupply_dhis2.dhis2.error_catalogue import HELD_BACK
from msupply_dhis2.dhis2.guard import LARGEST_ANSWER
from msupply_dhis2.dhis2.import_summary import read_import_summary
from msupply_dhis2.domain.outcome import Counts, OutcomeKind, ValueOutcome
from msupply_dhis2.errors import (
    Dhis2AuthenticationError,
    Dhis2BlockedError,
    Dhis2DownError,
    Dhis2Error,
    Dhis2FaultError,
    Dhis2PermanentError,
    Dhis2SlowError,
    Dhis2TooLargeError,
    Dhis2TransientError,
)
from msupply_dhis2.settings.credentials import Dhis2Credentials
from sandbox.dhis2 import ADMIN, FaultKind, StandIn, User, Version, stock_metadata
from tests.support.failures import failure_of
from tests.support.paths import SHARED
from tests.support.scripted import JSON_TYPE, scripted

RECORDINGS = SHARED / "dhis2"
PASSWORD = "correct-horse-battery"
CREDENTIALS = Dhis2Credentials(username="pusher", password=SecretStr(PASSWORD))
STORED = ValueOutcome(OutcomeKind.STORED)
PUSHER = User(username="pusher", password=SecretStr(PASSWORD), authorities=("F_DATAVALUE_ADD",))
METADATA = stock_metadata(
    [("KAMO", "Kamo"), ("OPUA", "Opua")], [("368c74bf", "Amoxicillin")], ["stock_on_hand"]
)
SCHEMES = {
    "dataSetIdScheme": "CODE",
    "dataElementIdScheme": "CODE",
    "orgUnitIdScheme": "CODE",
    "categoryOptionComboIdScheme": "CODE",
}
NOW = date(2026, 3, 10)

every_version = pytest.mark.parametrize("version", list(Version))


@contextmanager
def stand_in(version: Version = Version.V2_42, **options: Any) -> Iterator[StandIn]:  # noqa: ANN401 the stand-in's own
    with StandIn(METADATA, version=version, users=(ADMIN, PUSHER), now=NOW, **options) as dhis2:
        yield dhis2


def client_of(url: str, *, read_timeout: float = 10) -> Dhis2Client:
    client = Dhis2Client(url, CREDENTIALS, read_timeout=read_timeout)
    # Waits for no proxy that limits the rate.
    client.deadline = Deadline(lambda: 60.0, kept=60.0)
    return client


def body_of(*org_units: str) -> dict[str, object]:
    rows = [
        {"dataElement": "368c74bf", "period": "202602", "orgUnit": unit, "value": "12"} for unit in org_units
    ]
    return {"dataSet": "STOCK_SINGLE", "dataValues": rows}


failure = partial(failure_of, secrets=(PASSWORD, "Authorization"))


# DHIS2 as it should be


@every_version
def test_values_are_stored(version: Version) -> None:
    with stand_in(version) as dhis2, client_of(dhis2.url) as client:
        answer = client.post_data_values(body_of("KAMO", "OPUA"), SCHEMES)
        outcome = read_import_summary(answer, 2)
        assert (answer.status, Counts.of(outcome.outcomes.values())) == (200, Counts(stored=2))
        assert dhis2.value("368c74bf", "KAMO", "202602") == "12"


@every_version
def test_unknown_org_unit(version: Version) -> None:
    with stand_in(version) as dhis2, client_of(dhis2.url) as client:
        outcome = read_import_summary(client.post_data_values(body_of("KAMO", "NOWHERE"), SCHEMES), 2)
        stored = dhis2.value("368c74bf", "KAMO", "202602")
    assert "NOWHERE" in outcome.outcomes[1].reasons[0].text
    assert Counts.of(outcome.outcomes.values()).stored == (1 if stored else 0)


@every_version
def test_refused_login(version: Version) -> None:
    wrong = Dhis2Credentials(username="pusher", password=SecretStr(PASSWORD + "x"))
    with stand_in(version) as dhis2, Dhis2Client(dhis2.url, wrong) as client:
        error = failure(lambda: client.get("/api/me"))
        assert len(dhis2.requests) == 1
    assert isinstance(error, Dhis2AuthenticationError)
    assert str(error).startswith("Authentication failed. ")
    assert "pusher" in str(error)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_own_function_in_lambda(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with stand_in() as dhis2:
        url = dhis2.url.replace("127.0.0.1", host)
        with client_of(url) as client:
            client.get("/api/me")
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "push")
        monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
        before = len(dhis2.requests)
        with client_of(url) as client:
            error = failure(lambda: client.post_data_values(body_of("KAMO"), SCHEMES))
        assert len(dhis2.requests) == before
    assert not isinstance(error, Dhis2TransientError | Dhis2AuthenticationError)
    assert "leads to an address that belongs to AWS or to the function itself" in str(error)
    assert "Correct URL in the settings" in str(error)


@every_version
def test_disabled_account(version: Version) -> None:
    disabled = PUSHER.model_copy(update={"disabled": True})
    with StandIn(METADATA, version=version, users=(disabled,)) as dhis2, client_of(dhis2.url) as client:
        error = failure(lambda: client.get("/api/me"))
    assert isinstance(error, Dhis2AuthenticationError)
    assert str(error).startswith("Authentication failed: the account is disabled. ")


@every_version
def test_missing_authority(version: Version) -> None:
    reader = PUSHER.model_copy(update={"authorities": ()})
    with StandIn(METADATA, version=version, users=(reader,)) as dhis2, client_of(dhis2.url) as client:
        error = failure(lambda: client.post_data_values(body_of("KAMO"), SCHEMES))
    assert "F_DATAVALUE_ADD" in str(error)


@every_version
def test_wrong_context_path(version: Version) -> None:
    with stand_in(version, base_path="/hmis") as dhis2, client_of(dhis2.url + "/nope") as client:
        for call in (
            lambda: client.get("/api/me"),
            lambda: client.post_data_values(body_of("KAMO"), SCHEMES),
        ):
            error = failure(call)
            assert not isinstance(error, Dhis2TransientError)
            assert "Check URL and its path" in str(error)


@pytest.mark.parametrize("password", ["пароль", "ពាក្យសម្ងាត់", "pä:ss wörd"])
def test_password_of_any_script(password: str) -> None:
    user = PUSHER.model_copy(update={"password": SecretStr(password)})
    credentials = Dhis2Credentials(username="pusher", password=SecretStr(password))
    with StandIn(METADATA, users=(user,)) as dhis2, Dhis2Client(dhis2.url, credentials) as client:
        assert client.get("/api/me", {"fields": "username"}) == {"username": "pusher"}


def test_lost_session() -> None:
    with stand_in() as dhis2, client_of(dhis2.url) as client:
        client.get("/api/me")
        dhis2.forget_sessions()
        assert isinstance(client.get("/api/me"), dict)


def test_missing_object() -> None:
    with stand_in() as dhis2, client_of(dhis2.url) as client:
        error = failure(lambda: client.get("/api/dataSets/abcdefghij1"))
    assert "DataSet with id abcdefghij1 could not be found" in str(error)
    assert "no DHIS2" not in str(error)


@pytest.mark.parametrize(
    ("fault", "words", "transient"),
    [
        (
            {"kind": FaultKind.STATUS, "status": 500},
            "not DHIS2's (status 500, the page \"500 from a proxy",
            True,
        ),
        ({"kind": FaultKind.STATUS, "status": 403}, "Something before DHIS2", True),
        ({"kind": FaultKind.STATUS, "status": 502}, "not available now", True),
        ({"kind": FaultKind.STATUS, "status": 503}, "not available now", True),
        ({"kind": FaultKind.STATUS, "status": 504}, "gave up waiting", True),
        ({"kind": FaultKind.TOO_MANY_REQUESTS, "seconds": 7}, "Retry-After: 7", True),
        ({"kind": FaultKind.CUT}, "was cut", True),
        ({"kind": FaultKind.TRANSIENT_CONFLICT}, "broke off the import", True),
        ({"kind": FaultKind.TOO_LARGE, "size": 10}, "No. of items per payload", False),
        ({"kind": FaultKind.LOGIN_PAGE}, "what answers there is a web page", False),
        ({"kind": FaultKind.REDIRECT}, "Use https:// in URL", False),
        ({"kind": FaultKind.REDIRECT, "location": "/dhis-web-login/"}, "login page", False),
        ({"kind": FaultKind.REDIRECT, "location": "https://elsewhere.example/"}, "sends elsewhere", False),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else None,
)
def test_push_faults(fault: dict[str, Any], words: str, *, transient: bool) -> None:
    with stand_in() as dhis2, client_of(dhis2.url) as client:
        dhis2.faults.next(times=None, **fault)
        error = failure(lambda: read_import_summary(client.post_data_values(body_of("KAMO"), SCHEMES), 1))
        dhis2.faults.clear()
        assert words in str(error)
        assert isinstance(error, Dhis2TransientError) is transient
        assert not isinstance(error, Dhis2AuthenticationError)
        assert {request.method for request in dhis2.requests} == {"POST"}
        client.deadline = Deadline()
        assert read_import_summary(client.post_data_values(body_of("KAMO"), SCHEMES), 1).outcomes == {
            0: STORED
        }


def test_single_401() -> None:
    with stand_in() as dhis2, client_of(dhis2.url) as client:
        client.get("/api/me")
        dhis2.faults.next(FaultKind.UNAUTHORIZED, times=None)
        error = failure(lambda: client.post_data_values(body_of("KAMO"), SCHEMES))
        assert isinstance(error, Dhis2AuthenticationError)
        assert len(dhis2.requests) == 2


def test_own_time_limit() -> None:
    with stand_in() as dhis2, client_of(dhis2.url) as client:
        dhis2.faults.next(FaultKind.DELAY, seconds=30, after_import=True)
        client.deadline = Deadline.within(0.3)
        error = failure(lambda: client.post_data_values(body_of("KAMO"), SCHEMES))
        assert isinstance(error, Dhis2SlowError)
        assert "within 0 seconds, so this one has no answer" in str(error)
        assert error.may_still_be_applied
        asked = len(dhis2.requests)
        error = failure(lambda: client.get("/api/me"))
        assert isinstance(error, Dhis2SlowError)
        assert not error.may_still_be_applied
        assert len(dhis2.requests) == asked


def test_read_time_out() -> None:
    with stand_in() as dhis2, client_of(dhis2.url, read_timeout=0.2) as client:
        dhis2.faults.next(FaultKind.DELAY, seconds=30, after_import=True)
        error = failure(lambda: client.post_data_values(body_of("KAMO"), SCHEMES))
    assert isinstance(error, Dhis2TransientError)
    assert "did not answer within 0.2 seconds" in str(error)


def test_log_hides_password(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with stand_in() as dhis2, client_of(dhis2.url) as client:
        client.get("/api/me")
        assert repr(client) == f"Dhis2Client('{dhis2.url}')"
        assert PASSWORD not in caplog.text
        assert "Authorization" not in caplog.text


# Servers made of a few bytes


@contextmanager
def listening(talk: Callable[[socket.socket], None], context: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server that does with each connection what it is told; gives host and port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # Closing a socket does not wake up who waits in its accept.
        listener.settimeout(0.05)
        stopping = threading.Event()

        def serve() -> None:
            while not stopping.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                connection.settimeout(5)
                with connection, suppress(OSError):
                    if context is None:
                        talk(connection)
                    else:
                        with context.wrap_socket(connection, server_side=True) as secured:
                            talk(secured)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stopping.set()
            thread.join()


def saying(content: bytes) -> Callable[[socket.socket], None]:
    """Read a request, send these bytes and hang up."""

    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(content)

    return talk


def test_request_headers() -> None:
    with scripted((200, JSON_TYPE, b"{}")) as script, client_of(script.url + "/") as client:
        client.get("/api/dataSets", {"filter": "code:eq:A B&C", "fields": "id,access[data[write]]"})
        (method, path, headers, _) = script.requests[0]
    assert method == "GET"
    assert parse_qsl(path.partition("?")[2]) == [
        ("filter", "code:eq:A B&C"),
        ("fields", "id,access[data[write]]"),
    ]
    assert path.startswith("/api/dataSets?")
    assert headers["Accept"] == "application/json"
    assert headers["X-Requested-With"] == "XMLHttpRequest"
    assert headers["User-Agent"] == f"msupply-dhis2/{__version__}"


def test_ascii_json() -> None:
    with scripted((200, JSON_TYPE, b'{"a": 1}')) as script, client_of(script.url) as client:
        answer = client.post_data_values({"dataSet": "Données ស្តុក"}, {"orgUnitIdScheme": "CODE"})
        (method, path, headers, content) = script.requests[0]
    assert (method, path) == ("POST", "/api/dataValueSets?orgUnitIdScheme=CODE")
    assert headers["Content-Type"] == "application/json"
    assert content.isascii()
    assert json.loads(content) == {"dataSet": "Données ស្តុក"}
    assert (answer.status, answer.body) == (200, {"a": 1})


def test_answer_hides_cookie() -> None:
    fine = (200, {**JSON_TYPE, "Set-Cookie": "JSESSIONID=one; Path=/"}, b"{}")
    with scripted(fine) as script, client_of(script.url) as client:
        assert "JSESSIONID" not in repr(client.post_data_values(body_of("KAMO"), SCHEMES))


def test_bad_redirect() -> None:
    with scripted((302, {"Location": "http://[nowhere"}, b"")) as script, client_of(script.url) as client:
        assert "sends elsewhere" in str(failure(lambda: client.get("/api/me")))


def bomb() -> bytes:
    """Ten times as many blanks as an answer may hold: 300 kB."""
    pack = zlib.compressobj(9, wbits=31)
    return b"".join(
        [*(pack.compress(b" " * 1_000_000) for _ in range(LARGEST_ANSWER // 100_000)), pack.flush()]
    )


@pytest.mark.parametrize("status", [200, 302, 409, 500])
@pytest.mark.slow
def test_zip_bomb(status: int) -> None:
    headers = {**JSON_TYPE, "Content-Encoding": "gzip", "Location": "/login"}
    with scripted((status, headers, bomb())) as script, client_of(script.url) as client:
        tracemalloc.start()
        try:
            error = failure(lambda: client.get("/api/me"))
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert isinstance(error, Dhis2TransientError)
    assert "larger than 32 million bytes" in str(error)
    assert most < 3 * LARGEST_ANSWER


def test_largest_answer() -> None:
    combos = [{"id": f"combo{number:06}", "code": "C" * 20, "name": "N" * 30} for number in range(24)]
    element = {
        "id": "abcdefghijk",
        "code": "SOH_00000000",
        "name": "Stock on hand",
        "categoryCombo": {"categoryOptionCombos": combos},
    }
    unit = {"id": "abcdefghijk", "code": "OU_000000", "name": "N" * 50, "path": "/abcdefghijk" * 6}
    content = json.dumps(
        {"dataSetElements": [element] * 5_000, "organisationUnits": [unit] * 10_000}
    ).encode()
    assert len(content) > LARGEST_ANSWER / 3
    with scripted((200, JSON_TYPE, content)) as script, client_of(script.url) as client:
        assert client.get("/api/dataSets") == json.loads(content)


@pytest.mark.parametrize(
    "begin",
    [b"", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\nX-Long: ", b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n"],
    ids=["status", "first line", "header", "body"],
)
def test_slow_trickle(begin: bytes) -> None:
    given_up = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(begin)
        while not given_up.wait(0.05):
            connection.sendall(b" ")

    with listening(drip) as address, client_of(f"http://{address}", read_timeout=0.3) as client:
        try:
            error = failure(lambda: client.post_data_values(body_of("KAMO"), SCHEMES))
        finally:
            given_up.set()
    assert isinstance(error, Dhis2SlowError)
    assert "did not answer within 0.3 seconds" in str(error)


@pytest.mark.parametrize("nested", [b"[" * 900 + b"]" * 900, b'{"a":' * 3_000 + b"1" + b"}" * 3_000])
def test_nested_answer(nested: bytes) -> None:
    template = b"""{"message": %(it)s, "response": {"status": "WARNING", "description": %(it)s,
        "importCount": {"imported": 0, "updated": 0, "ignored": 1, "deleted": 0},
        "conflicts": [{"value": %(it)s, "object": %(it)s, "errorCode": %(it)s, "indexes": [0]}]}}"""
    with scripted((409, JSON_TYPE, template % {b"it": nested})) as script, client_of(script.url) as client:
        (outcome,) = read_import_summary(client.post_data_values(body_of("KAMO")), 1).outcomes.values()
    assert outcome.kind is OutcomeKind.REJECTED
    assert len(outcome.reasons[0].text) < 2_000


@pytest.mark.parametrize("half", [rb"\ud800", rb"\uDC00", b"\xed\xa0\x80"], ids=["first", "second", "raw"])
def test_half_character(half: bytes) -> None:
    content = b'{"name": "Opua %s", "whole": "\\ud83d\\ude00", "value": 1.50}' % half
    with scripted((200, JSON_TYPE, content)) as script, client_of(script.url) as client:
        assert client.get("/api/me") == {"name": "Opua \ufffd", "whole": "\U0001f600", "value": 1.5}


TOMCAT = (
    b'<!doctype html><html lang="en"><head><title>HTTP Status %(status)d \xe2\x80\x93 It</title></head><body>'
    b"<h1>HTTP Status %(status)d \xe2\x80\x93 It</h1><hr /><h3>Apache Tomcat/9.0.98</h3></body></html>"
)
JETTY = b'{"servlet": "dispatcher", "message": "It", "url": "/api/me", "status": "%(status)d"}'
FIREWALL = (
    b"<html><head><TITLE>Access\n denied &amp; noted</TITLE><style>p { color: red }</style></head><body>"
    b"<h1>Access denied &amp; noted</h1><p>Your request was blocked.<br>Ray ID 8f0</p></body></html>"
)
PLAIN = b"Not Acceptable!"
GATEWAY = b'{"message": "Forbidden"}'


@pytest.mark.parametrize("answered_before", [False, True])
@pytest.mark.parametrize(
    ("status", "content", "words"),
    [
        *(
            (status, content, "Something before DHIS2")
            for status in (400, 403, 405, 406, 418, 501)
            for content in (FIREWALL, PLAIN, GATEWAY, b"")
        ),
        (500, FIREWALL, "or a firewall or proxy before it, failed"),
        (520, PLAIN, "or a firewall or proxy before it, failed"),
        (503, FIREWALL, "not available now"),
        (500, TOMCAT, "failed (status 500"),
        (400, TOMCAT, "did not take the request"),
        (403, JETTY, "F_DATAVALUE_ADD"),
    ],
)
def test_foreign_answer(status: int, content: bytes, words: str, *, answered_before: bool) -> None:
    kind = {"Server": "shield/1"} if content.startswith(b"{") else {"Content-Type": "x", "Server": "shield/1"}
    answer = (status, kind, content % {b"status": status} if content in (TOMCAT, JETTY) else content)
    fine = [(200, JSON_TYPE, b"{}")] if answered_before else []
    for post in (False, True):
        with scripted(*fine, answer) as script, client_of(script.url) as client:
            if answered_before:
                client.get("/api/me")
            error = failure(
                partial(client.post_data_values, body_of("KAMO")) if post else partial(client.get, "/api/me")
            )
        assert words in str(error)
        assert ", server " in str(error)
        assert isinstance(error, Dhis2BlockedError) is (words == "Something before DHIS2")
        if content in (FIREWALL, PLAIN, GATEWAY):
            assert isinstance(error, Dhis2TransientError)
            assert "F_DATAVALUE_ADD" not in str(error)
            assert "no DHIS2" not in str(error)
        if content is FIREWALL:
            assert '"Access denied & noted: Your request was blocked. Ray ID 8f0", server ' in str(error)
            assert "shield/1" in str(error)


@pytest.mark.parametrize(
    ("status", "headers", "content", "at_first", "later"),
    [
        (404, {}, FIREWALL, "no DHIS2 at", "Something before DHIS2"),
        (404, {}, TOMCAT, "no DHIS2 at", "not available now"),
        (404, {}, JETTY, "no DHIS2 at", "not available now"),
        (200, {}, FIREWALL, "no DHIS2 at", "Something before DHIS2"),
        (200, {"Content-Type": "text/plain"}, PLAIN, "damaged on the way", "Something before DHIS2"),
        (200, JSON_TYPE, b'{"a', "damaged on the way", "damaged on the way"),
        (302, {"Location": "https://maintenance.example/"}, b"", "sends elsewhere", "Something before DHIS2"),
    ],
)
def test_answered_before(
    status: int, headers: dict[str, str], content: bytes, at_first: str, later: str
) -> None:
    answer = (status, headers, content % {b"status": status} if content in (TOMCAT, JETTY) else content)
    with scripted(answer) as script, client_of(script.url) as client:
        assert at_first in str(failure(lambda: client.get("/api/me")))
    with scripted((200, JSON_TYPE, b"{}"), answer) as script, client_of(script.url) as client:
        client.get("/api/me")
        error = failure(lambda: client.get("/api/me"))
        assert later in str(error)
        assert isinstance(error, Dhis2TransientError)
        if status != 302:
            assert later in str(failure(lambda: client.post_data_values(body_of("KAMO"))))


@pytest.mark.parametrize("secret", [PASSWORD, quote(PASSWORD, safe=""), "&#99;orrect-horse-battery"])
@pytest.mark.parametrize("before", [0, 9_990])
def test_echoed_password(secret: str, before: int) -> None:
    page = f"<title>No, {secret}</title>{'<br>' * (before // 4)}<b>{secret}</b> {secret}".encode()
    with scripted((403, {"Server": PASSWORD}, page)) as script, client_of(script.url) as client:
        assert "***" in str(failure(lambda: client.get("/api/me")))


def test_cookie_dropped_on_redirect() -> None:
    login = (302, {"Location": "/dhis-web-login/", "Set-Cookie": "JSESSIONID=other; Path=/"}, b"")
    fine = (200, {**JSON_TYPE, "Set-Cookie": "JSESSIONID=one; Path=/"}, b"{}")
    with scripted(fine, fine, login, fine) as script, client_of(script.url) as client:
        client.get("/api/me")
        client.get("/api/me")
        client.get("/api/me")
        cookies = [headers.get("Cookie") for _, _, headers, _ in script.requests]
        logins = [headers.get("Authorization", "")[:5] for _, _, headers, _ in script.requests]
    assert cookies == [None, "JSESSIONID=one", "JSESSIONID=one", None]
    assert logins == ["Basic"] * 4


def test_redirect_not_followed() -> None:
    with (
        scripted((200, JSON_TYPE, b"{}")) as other,
        scripted((307, {"Location": other.url + "/api/me"}, b"")) as script,
        client_of(script.url) as client,
    ):
        error = failure(lambda: client.get("/api/me"))
        assert not other.requests
        assert len(script.requests) == 1
    assert "status 307" in str(error)


def test_echoed_secret() -> None:
    content = json.dumps({"message": f"cannot read {PASSWORD}\n\x1b[31m of pusher"}).encode()
    with scripted((500, JSON_TYPE, content)) as script, client_of(script.url) as client:
        error = failure(lambda: client.get("/api/me"))
    assert '"cannot read *** [31m of pusher"' in str(error)


@pytest.mark.parametrize("password", ["Value", "#2", "ERROR", "process", "description"])
def test_password_within_outcome(password: str) -> None:
    conflict = {"value": "Value #2 is damaged", "errorCode": "E7619", "indexes": [-1]}
    summary = {
        "importCount": {"imported": 0, "updated": 0, "ignored": 3, "deleted": 0},
        "status": "ERROR",
        "description": "The import process completed with errors",
        "conflicts": [conflict],
    }
    credentials = CREDENTIALS.model_copy(update={"password": SecretStr(password)})
    with (
        scripted((409, JSON_TYPE, json.dumps(summary).encode())) as script,
        Dhis2Client(script.url, credentials) as client,
    ):
        outcome = read_import_summary(client.post_data_values(body_of("KAMO", "OPUA", "TAKA")), 3)
    assert [each.reasons[0].code for each in outcome.outcomes.values()] == [HELD_BACK, HELD_BACK, "E7619"]
    assert outcome.outcomes[2].reasons[0].text == "Value #2 is damaged".replace(password, "***")


def test_password_within_abort() -> None:
    summary = {
        "importCount": {"imported": 0, "updated": 0, "ignored": 0, "deleted": 0},
        "status": "WARNING",
        "description": "The import process failed: java.lang.NullPointerException",
    }
    credentials = CREDENTIALS.model_copy(update={"password": SecretStr("process")})
    with (
        scripted((409, JSON_TYPE, json.dumps(summary).encode())) as script,
        Dhis2Client(script.url, credentials) as client,
    ):
        answer = client.post_data_values(body_of("KAMO"))
    error = failure(lambda: read_import_summary(answer, 1))
    assert isinstance(error, Dhis2TransientError)
    assert "The import *** failed" in str(error)


def test_load_balancer_cookie() -> None:
    cookies = "SERVERID=2; Path=/"
    content = json.dumps({"message": "status 2 of server 2"}).encode()
    with (
        scripted((500, {**JSON_TYPE, "Set-Cookie": cookies}, content)) as script,
        client_of(script.url) as client,
    ):
        assert '"status 2 of server 2"' in str(failure(lambda: client.get("/api/me")))


def test_locked_account() -> None:
    content = b'{"httpStatus": "Unauthorized", "message": "Account temporarily locked"}'
    with scripted((401, JSON_TYPE, content)) as script, client_of(script.url) as client:
        error = failure(lambda: client.get("/api/me"))
    assert isinstance(error, Dhis2AuthenticationError)
    assert str(error).startswith("Authentication failed: the account is locked. ")


@pytest.mark.parametrize(
    ("content_type", "content", "words"),
    [
        ("text/html", b"<!doctype html><title>Welcome</title>", "what answers there is a web page"),
        ("text/plain", b"  <html>", "what answers there is a web page"),
        ("application/json", b'{"response": {"stat', "damaged on the way"),
        ("application/json", b"", "damaged on the way"),
        ("application/json", b"\xff\xfe\xfa", "damaged on the way"),
        ("application/json", b"[" * 100_000, "damaged on the way"),
    ],
    ids=["page", "page by its looks", "half", "nothing", "no text", "too deep"],
)
def test_not_json(content_type: str, content: bytes, words: str) -> None:
    with scripted((200, {"Content-Type": content_type}, content)) as script, client_of(script.url) as client:
        assert words in str(failure(lambda: client.get("/api/me")))
        assert words in str(failure(lambda: client.post_data_values(body_of("KAMO"), SCHEMES)))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "was cut"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{", "was cut"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", "was cut"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "not what DHIS2 answers"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", "damaged on the way"),
    ],
    ids=["nothing", "half a body", "half a chunk", "another protocol", "broken gzip"],
)
def test_broken_answer(content: bytes, words: str) -> None:
    with listening(saying(content)) as address, client_of(f"http://{address}") as client:
        error = failure(lambda: client.get("/api/me"))
    assert isinstance(error, Dhis2TransientError)
    assert words in str(error)


def test_connect_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "CONNECT_TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        waiting = []
        for _ in range(8):
            # The queue of an idle listener is soon full; from then on the kernel drops what comes, as a
            # firewall does.
            one = socket.socket()
            one.settimeout(0)
            one.connect_ex(address)
            waiting.append(one)
        try:
            with client_of(f"http://127.0.0.1:{address[1]}") as client:
                error = failure(lambda: client.get("/api/me"))
        finally:
            for one in waiting:
                one.close()
    assert isinstance(error, Dhis2TransientError)
    assert "within 0.3 seconds" in str(error)
    assert "firewall" in str(error)


def test_refused_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = failure(lambda: client_of(f"http://127.0.0.1:{port}").get("/api/me"))
    assert isinstance(error, Dhis2TransientError)
    assert not error.may_still_be_applied
    assert "refused the connection" in str(error)


def test_unknown_host() -> None:
    error = failure(lambda: client_of("https://dhis2.invalid/hmis").get("/api/me"))
    assert "The server name of https://dhis2.invalid/hmis is not known" in str(error)
    assert "Check URL" in str(error)


def test_no_route(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_way(*_: object, **__: object) -> None:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr("urllib3.util.connection.create_connection", no_way)
    error = failure(lambda: client_of("http://192.0.2.1").get("/api/me"))
    assert isinstance(error, Dhis2TransientError)
    # It may have been found out after the call was sent.
    assert error.may_still_be_applied
    assert "no network route to the server" in str(error)


def test_unusable_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    error = failure(lambda: client_of("http://dhis2.invalid").get("/api/me"))
    assert "HTTP_PROXY" in str(error)


@pytest.mark.parametrize("url", ["ftp://dhis2.example.org", "dhis2.example.org", "http://", "http://a b"])
def test_not_an_address(url: str) -> None:
    error = failure(lambda: client_of(url).get("/api/me"))
    assert not isinstance(error, Dhis2TransientError)
    assert "is not an address that can be called" in str(error)


# Compression


LONG = {
    "dataSet": "STOCK_SINGLE",
    "dataValues": [
        {"dataElement": "368c74bf", "period": f"2025{month:02}", "orgUnit": unit, "value": "12"}
        for month in range(1, 13)
        for unit in ("KAMO", "OPUA")
    ],
}


def plain_length(body: Mapping[str, object]) -> int:
    return len(json.dumps(body, separators=(",", ":")))


def pushed(client: Dhis2Client, body: Mapping[str, object] = LONG) -> int:
    outcome = read_import_summary(client.post_data_values(body, SCHEMES), 24)
    counts = Counts.of(outcome.outcomes.values())
    return counts.stored + counts.unchanged


@every_version
def test_long_body_compressed(version: Version) -> None:
    with stand_in(version) as dhis2, client_of(dhis2.url) as client:
        answer = client.post_data_values(LONG, SCHEMES)
        assert read_import_summary(answer, 24).outcomes == dict.fromkeys(range(24), STORED)
        assert dhis2.value("368c74bf", "OPUA", "202512") == "12"
        assert dhis2.requests[-1].gzip
        assert client.compresses
    with scripted((200, JSON_TYPE, b"{}")) as script, client_of(script.url) as client:
        client.post_data_values(LONG)
        (_, _, headers, content) = script.requests[0]
    assert headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(content)) == LONG
    assert int(headers["Content-Length"]) == len(content) < plain_length(LONG) / 5


def test_short_body_plain() -> None:
    with scripted((200, JSON_TYPE, b"{}")) as script, client_of(script.url) as client:
        client.post_data_values(body_of("KAMO"))
        (_, _, headers, content) = script.requests[0]
    assert "Content-Encoding" not in headers
    assert len(content) == plain_length(body_of("KAMO"))


@every_version
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": FaultKind.GZIP_REFUSED},
        {"kind": FaultKind.GZIP_REFUSED, "status": 400},
    ],
    ids=["415", "400"],
)
def test_compression_not_understood(version: Version, fault: dict[str, Any]) -> None:
    with stand_in(version) as dhis2, client_of(dhis2.url) as client:
        dhis2.faults.next(times=None, **fault)
        assert pushed(client) == 24
        assert pushed(client) == 24
        assert len(dhis2.requests) == 3
        assert not client.compresses
        client.post_data_values(LONG, SCHEMES)
        assert not dhis2.requests[-1].gzip


def test_plain_fails_too() -> None:
    with stand_in(Version.V2_43) as dhis2, client_of(dhis2.url) as client:
        dhis2.faults.next(FaultKind.POISON, times=None, holds="OPUA")
        for _ in range(4):
            assert isinstance(failure(lambda: client.post_data_values(LONG, SCHEMES)), Dhis2FaultError)
        assert client.compresses
        dhis2.faults.clear()
        client.post_data_values(LONG, SCHEMES)
        assert dhis2.requests[-1].gzip


@every_version
@pytest.mark.parametrize("understood_before", [False, True])
def test_damaged_bodies(version: Version, *, understood_before: bool) -> None:
    with stand_in(version) as dhis2, client_of(dhis2.url) as client:
        if understood_before:
            assert pushed(client) == 24
        dhis2.faults.next(FaultKind.GZIP_DAMAGED, times=None)
        for _ in range(2):
            assert client.compresses
            assert isinstance(failure(lambda: pushed(client)), Dhis2TransientError)
            assert pushed(client) == 24
        assert not client.compresses
        assert pushed(client) == 24


@pytest.mark.parametrize("version", [Version.V2_42, Version.V2_43])
def test_server_fault_not_sent_twice(version: Version) -> None:
    with stand_in(version) as dhis2, client_of(dhis2.url) as client:
        dhis2.faults.next(FaultKind.TRANSIENT_CONFLICT)
        assert isinstance(failure(lambda: pushed(client)), Dhis2TransientError)
        assert len(dhis2.requests) == 1
        assert pushed(client) == 24
        client.post_data_values(LONG, SCHEMES)
        assert dhis2.requests[-1].gzip
        assert client.compresses


def test_refused_login_keeps_compression() -> None:
    with stand_in() as dhis2, client_of(dhis2.url) as client:
        dhis2.faults.next(FaultKind.UNAUTHORIZED, times=None)
        assert isinstance(failure(lambda: pushed(client)), Dhis2AuthenticationError)
        assert len(dhis2.requests) == 1


# What a smaller call, or waiting, may fix


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"kind": FaultKind.TOO_LARGE, "size": 10}, Dhis2TooLargeError),
        ({"kind": FaultKind.STATUS, "status": 504}, Dhis2SlowError),
        ({"kind": FaultKind.STATUS, "status": 524}, Dhis2SlowError),
        ({"kind": FaultKind.STATUS, "status": 408}, Dhis2SlowError),
        ({"kind": FaultKind.DELAY, "seconds": 5}, Dhis2SlowError),
        ({"kind": FaultKind.STATUS, "status": 500}, Dhis2FaultError),
        ({"kind": FaultKind.STATUS, "status": 502}, Dhis2DownError),
        ({"kind": FaultKind.STATUS, "status": 522}, Dhis2DownError),
        ({"kind": FaultKind.CUT}, Dhis2TransientError),
    ],
    ids=lambda value: f"{value['kind']} {value.get('status', '')}" if isinstance(value, dict) else "",
)
def test_error_classes(fault: dict[str, Any], kind: type[Dhis2Error]) -> None:
    with stand_in() as dhis2, client_of(dhis2.url) as client:
        dhis2.faults.next(**fault)
        error = failure(lambda: client.post_data_values(body_of("KAMO"), SCHEMES, read_timeout=0.3))
    assert type(error) is kind


@pytest.mark.parametrize(
    ("fault", "may_still_be_applied"),
    [
        ({"kind": FaultKind.DELAY, "seconds": 5}, True),
        ({"kind": FaultKind.CUT}, True),
        ({"kind": FaultKind.STATUS, "status": 500}, True),
        ({"kind": FaultKind.STATUS, "status": 502}, True),
        ({"kind": FaultKind.STATUS, "status": 503}, True),
        ({"kind": FaultKind.STATUS, "status": 504}, True),
        ({"kind": FaultKind.TOO_MANY_REQUESTS, "seconds": 1}, False),
        ({"kind": FaultKind.TOO_LARGE, "size": 10}, False),
        ({"kind": FaultKind.UNAUTHORIZED}, False),
        ({"kind": FaultKind.REDIRECT}, False),
    ],
    ids=lambda value: f"{value['kind']} {value.get('status', '')}" if isinstance(value, dict) else None,
)
def test_rejected_cannot_land(fault: dict[str, Any], *, may_still_be_applied: bool) -> None:
    with stand_in() as dhis2, client_of(dhis2.url) as client:
        dhis2.faults.next(**fault)
        error = failure(lambda: client.post_data_values(body_of("KAMO"), SCHEMES, read_timeout=0.3))
    assert isinstance(error, Dhis2Error)
    assert error.may_still_be_applied is may_still_be_applied


def test_call_time_out() -> None:
    with stand_in() as dhis2, client_of(dhis2.url, read_timeout=0.1) as client:
        dhis2.faults.next(FaultKind.DELAY, seconds=0.4)
        answer = client.post_data_values(body_of("KAMO"), SCHEMES, read_timeout=10)
        assert read_import_summary(answer, 1).outcomes == {0: STORED}
        assert 0.4 < answer.seconds < 5


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "120"}, 120),
        ({"Retry-After": " 0 "}, 0),
        ({"Retry-After": "Tue, 10 Mar 2026 12:02:00 GMT", "Date": "Tue, 10 Mar 2026 12:00:00 GMT"}, 120),
        ({"Retry-After": "Tue, 10 Mar 2026 11:00:00 GMT", "Date": "Tue, 10 Mar 2026 12:00:00 GMT"}, 0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "Tue, 99 Mar 2026"}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after(status: int, headers: dict[str, str], seconds: float | None) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    content = f"HTTP/1.1 {status} Busy\r\n{lines}Content-Length: 0\r\n\r\n".encode()
    with listening(saying(content)) as address, client_of(f"http://{address}") as client:
        error = failure(lambda: client.post_data_values(body_of("KAMO")))
    assert isinstance(error, Dhis2TransientError)
    assert error.retry_after == seconds


def test_retry_after_date() -> None:
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    content = f"HTTP/1.1 503 Busy\r\nRetry-After: {then}\r\nContent-Length: 0\r\n\r\n".encode()
    with listening(saying(content)) as address, client_of(f"http://{address}") as client:
        error = failure(lambda: client.get("/api/me"))
    assert isinstance(error, Dhis2TransientError)
    assert error.retry_after == pytest.approx(90, abs=15)


def test_cookie_dropped_on_refusal() -> None:
    fine = (200, {**JSON_TYPE, "Set-Cookie": "JSESSIONID=one; Path=/"}, b"{}")
    refused = (401, {**JSON_TYPE, "Set-Cookie": "JSESSIONID=other; Path=/"}, b"{}")
    with scripted(fine, refused, fine) as script, client_of(script.url) as client:
        client.get("/api/me")
        failure(lambda: client.get("/api/me"))
        client.get("/api/me")
        cookies = [headers.get("Cookie") for _, _, headers, _ in script.requests]
    assert cookies == [None, "JSESSIONID=one", None]


# Certificates


_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


class Authority:
    """A certificate authority for the length of a test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name.from_rfc4514_string("CN=Test authority")
        usage = {name: name == "key_cert_sign" for name in _USAGES}
        certificate = (
            self._build(self._name, self._name, self._key, self._key, ca=True)
            .add_extension(x509.KeyUsage(**usage), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / "authority.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    @staticmethod
    def _build(
        subject: x509.Name,
        issuer: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        issuer_key: ec.EllipticCurvePrivateKey,
        *,
        ca: bool,
        age: int = 1,
    ) -> x509.CertificateBuilder:
        start = datetime.now(UTC) - timedelta(days=age)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
            )
        )

    def server(
        self, *, self_signed: bool = False, age: int = 1, address: str = "127.0.0.1"
    ) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name.from_rfc4514_string("CN=dhis2")
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        issuer, issuer_key = (subject, key) if self_signed else (self._name, self._key)
        certificate = (
            self._build(subject, issuer, key, issuer_key, ca=False, age=age)
            .add_extension(names, critical=False)
            .sign(issuer_key, hashes.SHA256())
        )
        file = self._folder / "server.pem"
        file.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


FINE = saying(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")


@pytest.mark.parametrize(
    ("certificate", "trusted", "words"),
    [
        ({"self_signed": True}, True, "is self-signed"),
        ({"age": 400}, True, "has expired"),
        ({"address": "192.0.2.1"}, True, "is for another server name"),
        ({}, False, "an authority that is not trusted"),
    ],
    ids=["self-signed", "expired", "another name", "unknown authority"],
)
def test_bad_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certificate: dict[str, Any], words: str, *, trusted: bool
) -> None:
    authority = Authority(tmp_path)
    if trusted:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.file))
    with listening(FINE, authority.server(**certificate)) as address:
        error = failure(lambda: client_of(f"https://{address}").get("/api/me"))
    assert words in str(error)


def test_good_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.file))
    with listening(FINE, authority.server()) as address, client_of(f"https://{address}") as client:
        assert client.get("/api/me") == {}


def test_own_authority(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own = authority.file.read_text()
    with listening(FINE, authority.server()) as address:
        with Dhis2Client(f"https://{address}", CREDENTIALS, ca_certificate=own) as client:
            assert client.get("/api/me") == {}
        with Dhis2Client(f"https://{address}", CREDENTIALS) as without:
            assert "dhis2_ca_certificate" in str(failure(lambda: without.get("/api/me")))


def test_own_authority_adds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [tmp_path / "public", tmp_path / "own"]
    for folder in folders:
        folder.mkdir()
    public, own = map(Authority, folders)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(public.file))
    for authority in (public, own):
        with (
            listening(FINE, authority.server()) as address,
            Dhis2Client(f"https://{address}", CREDENTIALS, ca_certificate=own.file.read_text()) as client,
        ):
            assert client.get("/api/me") == {}


@pytest.mark.parametrize(
    ("certificate", "words"),
    [({"age": 400}, "has expired"), ({"address": "192.0.2.1"}, "is for another server name")],
)
def test_own_authority_other_faults(tmp_path: Path, certificate: dict[str, Any], words: str) -> None:
    authority = Authority(tmp_path)
    own = authority.file.read_text()
    with (
        listening(FINE, authority.server(**certificate)) as address,
        Dhis2Client(f"https://{address}", CREDENTIALS, ca_certificate=own) as client,
    ):
        assert words in str(failure(lambda: client.get("/api/me")))


def test_self_signed_certificate(tmp_path: Path) -> None:
    context = Authority(tmp_path).server(self_signed=True)
    own = (tmp_path / "server.pem").read_text().partition("-----BEGIN PRIVATE KEY")[0]
    with (
        listening(FINE, context) as address,
        Dhis2Client(f"https://{address}", CREDENTIALS, ca_certificate=own) as client,
    ):
        assert client.get("/api/me") == {}


def test_https_to_http_port() -> None:
    with scripted((200, JSON_TYPE, b"{}")) as script:
        error = failure(lambda: client_of(script.url.replace("http:", "https:")).get("/api/me"))
    assert "does not speak https" in str(error)


# What real servers said


def recorded() -> list[Any]:
    if not RECORDINGS.is_dir():
        return []
    cases = []
    for file in sorted(RECORDINGS.glob("*.jsonl")):
        for line in file.read_text().splitlines():
            case = json.loads(line)
            if case["request"]["path"].endswith(("/api/me", "/dataValueSets")) and case["response"]["status"]:
                cases.append(pytest.param(case, id=f"{file.stem}-{case['case']}"))
    return cases


@pytest.mark.skipif(
    not RECORDINGS.is_dir(), reason="the recordings of real DHIS2 servers are not beside the repository"
)
def test_recorded_answers() -> None:
    cases = [case.values[0] for case in recorded()]
    answers = []
    for case in cases:
        response = case["response"]
        body = response["body"]
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        headers = {name: value for name, value in response["headers"].items() if name != "Content-Length"}
        answers.append((response["status"], headers, content))
    expected: dict[int, type[Dhis2Error]] = {
        301: Dhis2PermanentError,
        302: Dhis2PermanentError,
        400: Dhis2PermanentError,
        401: Dhis2AuthenticationError,
        403: Dhis2PermanentError,
        404: Dhis2PermanentError,
        405: Dhis2PermanentError,
        415: Dhis2PermanentError,
        500: Dhis2FaultError,
    }
    with scripted(*answers) as script:
        for case, (status, _, content) in zip(cases, answers, strict=True):
            with client_of(script.url) as client:
                if status in {200, 409} and content.startswith((b"{", b"[")):
                    answer = client.post_data_values(body_of("KAMO"), SCHEMES)
                    assert (answer.status, answer.body) == (status, case["response"]["body"])
                else:
                    error = failure(partial(client.post_data_values, body_of("KAMO"), SCHEMES))
                    assert type(error) is expected.get(status, Dhis2TransientError), case["case"]
    assert len(script.requests) == len(cases) > 400
