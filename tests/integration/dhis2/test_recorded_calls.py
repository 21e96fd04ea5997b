"""What the client makes of every answer that a recorded server gave to a push, whatever its status."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pydantic import SecretStr

from msupply_dhis2.dhis2.client import Dhis2Client
from msupply_dhis2.errors import Dhis2AuthenticationError, Dhis2Error, Dhis2FaultError, Dhis2PermanentError
from msupply_dhis2.settings.credentials import Dhis2Credentials, LoginKind
from sandbox.dhis2 import new_token
from sandbox.dhis2.answers import Answer
from sandbox.dhis2.http_server import HttpServer
from tests.support.dhis2_recordings import RECORDINGS, VERSIONS, Case, recorded_cases

pytestmark = pytest.mark.skipif(
    not RECORDINGS.is_dir(), reason="the recorded answers of real servers (../shared/dhis2) are not here"
)

ERRORS = {
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
"""What each status must become; what has none is an answer to be read."""


def recorded_pushes() -> list[object]:
    if not RECORDINGS.is_dir():
        return []
    return [
        pytest.param(case, id=f"{version}-{case.name}")
        for version in VERSIONS
        for case in recorded_cases(version)
        if case.request["method"] == "POST" and case.request["path"].endswith("/dataValueSets")
    ]


@contextmanager
def server_that_answers(case: Case) -> Iterator[str]:
    """Answer a push as was recorded, and everything else with an empty object."""
    recorded = case.response
    body = recorded["body"]
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    headers = {name: value for name, value in recorded["headers"].items() if name != "Content-Type"}
    answer = Answer(recorded["status"], content, recorded["headers"].get("Content-Type"), headers)
    server = HttpServer(
        0, lambda call: answer if call.method == "POST" else Answer(200, b"{}", "application/json")
    )
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.close_connections()
        server.server_close()


def login_of(case: Case) -> Dhis2Credentials:
    if "ApiToken" in case.request["headers"].get("Authorization", ""):
        return Dhis2Credentials(kind=LoginKind.TOKEN, token=SecretStr(new_token("any")))
    return Dhis2Credentials(kind=LoginKind.BASIC, username="pusher", password=SecretStr("right"))


@pytest.mark.parametrize("case", recorded_pushes())
def test_outcome_or_clear_error(case: Case) -> None:
    status = case.response["status"]
    error = ERRORS.get(status)
    if "Checksum validation failed" in str(case.response["body"]):
        error = Dhis2AuthenticationError
    with server_that_answers(case) as url, Dhis2Client(url, login_of(case)) as client:
        if error is None:
            assert status in {200, 409}
            assert client.post_data_values({"dataValues": []}).body == case.response["body"]
            return
        with pytest.raises(Dhis2Error) as raised:
            client.post_data_values({"dataValues": []})
    assert type(raised.value) is error
