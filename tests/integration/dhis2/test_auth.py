"""The three ways to log in to DHIS2, against the stand-in, and what each version says where one is refused."""

import base64
import json
import logging
import traceback
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from pydantic import SecretStr

from msupply_dhis2.dhis2.client import Dhis2Client
from msupply_dhis2.dhis2.import_summary import read_import_summary
from msupply_dhis2.domain.outcome import Counts
from msupply_dhis2.errors import (
    Dhis2AuthenticationError,
    Dhis2Error,
    Dhis2FaultError,
    Dhis2TransientError,
)
from msupply_dhis2.settings.credentials import Dhis2Credentials, LoginKind
from sandbox.dhis2 import (
    FaultKind,
    OAuth2Client,
    PersonalAccessToken,
    StandIn,
    User,
    Version,
    new_token,
    stock_metadata,
)
from tests.support.failures import failure_of
from tests.support.scripted import JSON_TYPE, scripted

PASSWORD = "mark3d-passw0rd"
SECRET = "mark3d-s3cret"
TOKEN = new_token("mark3d-t0ken")
MARKED = (PASSWORD, SECRET, TOKEN)
PUSHER = User(username="pusher", password=SecretStr(PASSWORD), authorities=("F_DATAVALUE_ADD",))
CLIENT = OAuth2Client(client="msupply", secret=SecretStr(SECRET))
BASIC = Dhis2Credentials(username="pusher", password=SecretStr(PASSWORD))
WITH_TOKEN = Dhis2Credentials(kind=LoginKind.TOKEN, token=SecretStr(TOKEN))
OAUTH2 = Dhis2Credentials(
    kind=LoginKind.OAUTH2,
    username="pusher",
    password=SecretStr(PASSWORD),
    client="msupply",
    secret=SecretStr(SECRET),
)
METADATA = stock_metadata([("KAMO", "Kamo")], [("368c74bf", "Amoxicillin")], ["stock_on_hand"])
SCHEMES = {
    "dataSetIdScheme": "CODE",
    "dataElementIdScheme": "CODE",
    "orgUnitIdScheme": "CODE",
    "categoryOptionComboIdScheme": "CODE",
}
BODY = {
    "dataSet": "STOCK_SINGLE",
    "dataValues": [{"dataElement": "368c74bf", "period": "202602", "orgUnit": "KAMO", "value": "12"}],
}
WITH_PASSWORD_GRANT = (Version.V2_37, Version.V2_40, Version.V2_41)
WITH_TOKENS = tuple(version for version in Version if version is not Version.V2_37)
NOW = datetime(2026, 3, 10, 12)  # noqa: DTZ001 - the stand-in's clock


def stand_in(
    version: Version = Version.V2_41,
    *,
    token: dict[str, Any] | None = None,
    **options: Any,  # noqa: ANN401 the stand-in's own
) -> StandIn:
    tokens = [PersonalAccessToken.model_validate({"username": "pusher", "token": TOKEN} | (token or {}))]
    usual: dict[str, Any] = {"users": (PUSHER,), "tokens": tokens, "oauth2_clients": [CLIENT], "now": NOW}
    return StandIn(METADATA, version=version, **(usual | options))


def changed(credentials: Dhis2Credentials, **fields: object) -> Dhis2Credentials:
    return credentials.model_copy(update=fields)


def refused(call: Callable[[], object]) -> Dhis2AuthenticationError:
    error = failure(call)
    assert isinstance(error, Dhis2AuthenticationError)
    assert str(error).startswith("Authentication failed")
    return error


failure = partial(failure_of, secrets=MARKED)


def push(client: Dhis2Client) -> int:
    """Push one value, perhaps once more; give how many DHIS2 has now."""
    outcome = read_import_summary(client.post_data_values(BODY, SCHEMES), 1)
    counts = Counts.of(outcome.outcomes.values())
    return counts.stored + counts.unchanged


def calls(dhis2: StandIn) -> list[str]:
    return [f"{request.method} {request.path}" for request in dhis2.requests]


# Personal access tokens


@pytest.mark.parametrize("version", WITH_TOKENS)
def test_token(version: Version) -> None:
    with stand_in(version) as dhis2, Dhis2Client(dhis2.url, WITH_TOKEN) as client:
        assert client.get("/api/me", {"fields": "username"}) == {"username": "pusher"}
        assert push(client) == 1


def test_token_first_use_fails() -> None:
    with (
        stand_in(Version.V2_43, token={"first_use_fails": True}) as dhis2,
        Dhis2Client(dhis2.url, WITH_TOKEN) as client,
    ):
        assert isinstance(failure(lambda: client.get("/api/me")), Dhis2FaultError)
        assert push(client) == 1


@pytest.mark.parametrize("version", WITH_TOKENS)
@pytest.mark.parametrize(
    ("token", "words"),
    [
        ({"expires": NOW}, ("token has expired", "30 days", "GET and POST")),
        ({"methods": ["GET"]}, ("not allowed for this kind of call", "Both GET and POST")),
        ({"addresses": ["10.0.0.1"]}, ("not allowed from this IP address", "Allowed IP addresses")),
        ({"token": new_token("another")}, ("token is unknown", "deleted")),
    ],
    ids=["expired", "method", "address", "unknown"],
)
def test_refused_token(version: Version, token: dict[str, Any], words: tuple[str, ...]) -> None:
    with stand_in(version, token=token) as dhis2, Dhis2Client(dhis2.url, WITH_TOKEN) as client:
        error = refused(lambda: push(client))
        asked = len(dhis2.requests)
    assert all(part in str(error) for part in words)
    assert asked == 1


def test_mistyped_token() -> None:
    mistyped = changed(WITH_TOKEN, token=SecretStr(TOKEN[:-1] + ("0" if TOKEN[-1] != "0" else "1")))
    for version in WITH_TOKENS:
        with stand_in(version) as dhis2, Dhis2Client(dhis2.url, mistyped) as client:
            error = refused(partial(client.get, "/api/me"))
        expected = "is unknown" if version is Version.V2_40 else "has a typing error"
        assert expected in str(error)


def test_token_unsupported() -> None:
    with stand_in(Version.V2_37) as dhis2, Dhis2Client(dhis2.url, WITH_TOKEN) as client:
        error = refused(lambda: client.get("/api/me"))
    assert "there are tokens from 2.38.1 on" in str(error)
    assert "use user name and password" in str(error)


def test_token_of_disabled_user() -> None:
    disabled = PUSHER.model_copy(update={"disabled": True})
    with stand_in(Version.V2_42, users=(disabled,)) as dhis2, Dhis2Client(dhis2.url, WITH_TOKEN) as client:
        error = refused(lambda: client.get("/api/me"))
    assert "the user of the personal access token may not log in" in str(error)


# OAuth2, up to 2.41


@pytest.mark.parametrize("version", WITH_PASSWORD_GRANT)
def test_oauth2(version: Version) -> None:
    with stand_in(version) as dhis2, Dhis2Client(dhis2.url, OAUTH2) as client:
        assert client.get("/api/me", {"fields": "username"}) == {"username": "pusher"}
        assert push(client) == 1
        assert calls(dhis2) == ["POST /uaa/oauth/token", "GET /api/me", "POST /api/dataValueSets"]


def test_client_without_secret() -> None:
    with (
        stand_in(oauth2_clients=[OAuth2Client(client="msupply")]) as dhis2,
        Dhis2Client(dhis2.url, changed(OAUTH2, secret=None)) as client,
    ):
        assert push(client) == 1


@pytest.mark.parametrize("version", WITH_PASSWORD_GRANT)
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"username": "nobody"}, "refused the user name or the password of nobody"),
        ({"password": SecretStr(PASSWORD + "x")}, "refused the user name or the password of pusher"),
        ({"secret": SecretStr(SECRET + "x")}, "the secret of the OAuth2 client was refused"),
        ({"secret": None}, "the secret of the OAuth2 client was refused"),
        ({"client": "pusher"}, "the OAuth2 client is unknown"),
    ],
    ids=["user", "password", "secret", "no secret", "client"],
)
def test_oauth2_faults(version: Version, fields: dict[str, object], words: str) -> None:
    with stand_in(version) as dhis2, Dhis2Client(dhis2.url, changed(OAUTH2, **fields)) as client:
        error = refused(lambda: push(client))
        assert words in str(error)
        assert calls(dhis2) == ["POST /uaa/oauth/token"]


def test_missing_grant_type() -> None:
    other = OAuth2Client(client="msupply", secret=SecretStr(SECRET), grant_types=("authorization_code",))
    with stand_in(oauth2_clients=[other]) as dhis2, Dhis2Client(dhis2.url, OAUTH2) as client:
        error = refused(lambda: client.get("/api/me"))
    assert "Tick Password and Refresh token" in str(error)


@pytest.mark.parametrize(
    ("user", "words"), [({"disabled": True}, "the account is disabled"), ({}, "the account is locked")]
)
def test_oauth2_closed_account(user: dict[str, object], words: str) -> None:
    with stand_in(users=(PUSHER.model_copy(update=user),), lock_after_failures=1) as dhis2:
        if not user:
            with Dhis2Client(dhis2.url, changed(BASIC, password=SecretStr("x"))) as another:
                refused(lambda: another.get("/api/me"))
        with Dhis2Client(dhis2.url, OAUTH2) as client:
            error = refused(lambda: client.get("/api/me"))
    assert words in str(error)


@pytest.mark.parametrize("version", [Version.V2_42, Version.V2_43])
def test_oauth2_without_password_grant(version: Version) -> None:
    with stand_in(version) as dhis2, Dhis2Client(dhis2.url, OAUTH2) as client:
        error = refused(lambda: push(client))
        assert calls(dhis2) == ["POST /uaa/oauth/token", "GET /api/ping"]
        assert dhis2.failed_logins.get("pusher", 0) == 0
    for words in (
        "no longer exists",
        "2.42 or newer",
        "personal access token",
        "GET and POST",
        "expiry date",
        "tick Basic authentication",
    ):
        assert words in str(error)


TOMCAT_404 = (404, {"Content-Type": "text/html"}, b"<!doctype html><title>HTTP Status 404</title>")
OWN_401 = (401, JSON_TYPE, b'{"httpStatus": "Unauthorized", "message": "Unauthorized"}')
TO_LOGIN = (302, {"Location": "/dhis-web-commons/security/login.action"}, b"")


@pytest.mark.parametrize("version", WITH_PASSWORD_GRANT)
def test_oauth2_switched_off(version: Version) -> None:
    with stand_in(version) as dhis2, Dhis2Client(dhis2.url, OAUTH2) as client:
        dhis2.oauth2_is_on = False
        error = refused(lambda: push(client))
        assert calls(dhis2) == ["POST /uaa/oauth/token", "GET /api/ping"]
        assert dhis2.failed_logins.get("pusher", 0) == 0
        dhis2.oauth2_is_on = True
        assert push(client) == 1
    for words in (
        "Authentication failed: OAuth2 is switched off.",
        "oauth2.authorization.server.enabled = on",
        "personal access token",
        "tick Basic authentication",
    ):
        assert words.lower() in str(error).lower()


@pytest.mark.parametrize(
    ("ping", "is_off"), [(OWN_401, True), (TO_LOGIN, True), (TOMCAT_404, False), ((403, {}, b"no"), False)]
)
def test_no_oauth2_at_address(
    ping: Any,  # noqa: ANN401 - a scripted answer
    is_off: bool,  # noqa: FBT001 - a parameter
) -> None:
    with scripted(TOMCAT_404, ping) as script, Dhis2Client(script.url, OAUTH2) as client:
        error = failure(lambda: client.get("/api/me"))
    assert isinstance(error, Dhis2AuthenticationError) == is_off
    assert ("OAuth2 is switched off" in str(error)) == is_off
    assert ("There is no DHIS2 at http" in str(error)) != is_off


def test_tomcat_page() -> None:
    page = (401, {"Content-Type": "text/html"}, b"<!doctype html><title>HTTP Status 401</title>")
    with scripted(page) as script, Dhis2Client(script.url, OAUTH2) as client:
        assert "the secret of the OAuth2 client was refused" in str(refused(lambda: client.get("/api/me")))


def test_oauth2_gone_by_version() -> None:
    unauthorized = (401, JSON_TYPE, b'{"httpStatus": "Unauthorized", "message": "Unauthorized"}')
    with scripted(unauthorized) as script, Dhis2Client(script.url, OAUTH2) as client:
        error = refused(lambda: client.get("/api/me"))
        assert [path for _, path, _, _ in script.requests] == ["/uaa/oauth/token", "/api/ping"]
        assert "Authorization" not in script.requests[1][2]
    assert "no longer exists" not in str(error)
    assert "passes the header Authorization" in str(error)


def test_oauth2_redirect() -> None:
    with stand_in(base_path="/hmis") as dhis2, Dhis2Client(dhis2.url, OAUTH2) as client:
        dhis2.faults.next(FaultKind.REDIRECT, times=None, location="https://elsewhere.example/")
        assert "sends elsewhere" in str(failure(lambda: client.get("/api/me")))


@pytest.mark.parametrize(
    "content",
    # What no header can hold would be shown by the error that says so.
    [b"{}", b'{"access_token": ""}', b"[]", b'{"access_token": 5}', rb'{"access_token": "mark3d\nacc3ss"}'],
)
def test_no_access_token_in_answer(content: bytes) -> None:
    with scripted((200, JSON_TYPE, content)) as script, Dhis2Client(script.url, OAUTH2) as client:
        error = failure(lambda: client.get("/api/me"))
    assert "no access token in it" in str(error)


def test_server_down() -> None:
    with stand_in() as dhis2, Dhis2Client(dhis2.url, OAUTH2) as client:
        dhis2.faults.next(FaultKind.STATUS, status=503)
        error = failure(lambda: push(client))
        assert isinstance(error, Dhis2TransientError)
        assert push(client) == 1


def test_access_token_ended_early() -> None:
    with stand_in() as dhis2, Dhis2Client(dhis2.url, OAUTH2) as client:
        push(client)
        dhis2.expire_access_tokens()
        assert push(client) == 1
        assert calls(dhis2)[2:] == [
            "POST /api/dataValueSets",
            "POST /uaa/oauth/token",
            "POST /api/dataValueSets",
        ]
        dhis2.oauth2_clients["msupply"] = CLIENT.model_copy(update={"grant_types": ("password",)})
        dhis2.expire_access_tokens()
        assert push(client) == 1
        # The refresh token was refused; the password was not.
        assert calls(dhis2)[5:] == [
            "POST /api/dataValueSets",
            "POST /uaa/oauth/token",
            "POST /uaa/oauth/token",
            "POST /api/dataValueSets",
        ]


def test_access_token_renewed_in_time() -> None:
    short = CLIENT.model_copy(update={"seconds": 1})
    with stand_in(oauth2_clients=[short]) as dhis2, Dhis2Client(dhis2.url, OAUTH2) as client:
        client.get("/api/me")
        client.get("/api/me")
        asked = calls(dhis2)
    # It lasts less than a second, of which 0 are told: each call asks anew, and none is refused.
    assert asked == ["POST /uaa/oauth/token", "GET /api/me"] * 2


def test_second_refusal_is_final() -> None:
    with stand_in() as dhis2, Dhis2Client(dhis2.url, OAUTH2) as client:
        push(client)
        dhis2.faults.next(FaultKind.UNAUTHORIZED, times=None, path="/api/dataValueSets")
        error = refused(lambda: push(client))
        assert calls(dhis2)[2:].count("POST /api/dataValueSets") == 2
    assert "refused the OAuth2 login of pusher" in str(error)


def test_changed_password_tried_once() -> None:
    with stand_in() as dhis2, Dhis2Client(dhis2.url, OAUTH2) as client:
        push(client)
        dhis2.users["pusher"] = PUSHER.model_copy(update={"password": SecretStr("another")})
        dhis2.oauth2_clients["msupply"] = CLIENT.model_copy(update={"grant_types": ("password",)})
        dhis2.expire_access_tokens()
        error = refused(lambda: push(client))
        assert dhis2.failed_logins["pusher"] == 1
    assert "refused the user name or the password of pusher" in str(error)


# Secrets


ECHOES = [
    (401, JSON_TYPE),
    (400, JSON_TYPE | {"WWW-Authenticate": "ApiToken"}),
    (403, JSON_TYPE),
    (500, JSON_TYPE),
    (503, JSON_TYPE | {"Retry-After": "5"}),
    (404, JSON_TYPE),
]


@pytest.mark.parametrize("credentials", [BASIC, WITH_TOKEN, OAUTH2], ids=lambda one: one.kind)
@pytest.mark.parametrize(("status", "headers"), ECHOES, ids=lambda one: one if isinstance(one, int) else "")
@pytest.mark.parametrize("field", ["message", "error_description"])
def test_echoed_secret(
    credentials: Dhis2Credentials,
    status: int,
    headers: dict[str, str],
    field: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    encoded = [
        base64.b64encode(f"{user}:{secret}".encode()).decode()
        for user, secret in (("pusher", PASSWORD), ("msupply", SECRET))
    ]
    own = {
        LoginKind.BASIC: [PASSWORD, encoded[0]],
        LoginKind.TOKEN: [TOKEN],
        LoginKind.OAUTH2: [PASSWORD, SECRET, encoded[1]],
    }[credentials.kind]
    granted = {"access_token": "mark3d-acc3ss", "refresh_token": "mark3d-r3fresh", "expires_in": 100}
    fine = (200, JSON_TYPE, json.dumps(granted).encode())
    later = [*own, "mark3d-acc3ss", "mark3d-r3fresh"] if credentials.kind is LoginKind.OAUTH2 else own
    for answers_before, known in ([], own), ([fine], later):
        echo = (status, headers, json.dumps({field: " and ".join(known)}).encode())
        with scripted(*answers_before, echo) as script, Dhis2Client(script.url, credentials) as client:
            errors: list[Dhis2Error] = []
            for call in (partial(client.post_data_values, BODY), partial(client.get, "/api/me")):
                try:
                    call()
                except Dhis2Error as error:
                    errors.append(error)
        assert errors
        for failed in errors:
            told = "".join(traceback.format_exception(failed)) + repr(failed) + caplog.text
            assert "***" in told
            assert "mark3d" not in told
            assert not [secret for secret in known if secret in told]


def test_oauth2_any_script() -> None:
    password = SecretStr("ពាក្យ &=+% пароль")
    user = PUSHER.model_copy(update={"password": password})
    with (
        stand_in(users=(user,)) as dhis2,
        Dhis2Client(dhis2.url, changed(OAUTH2, password=password)) as client,
    ):
        assert push(client) == 1
