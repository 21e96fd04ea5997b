"""What the client makes of every answer that a recorded server gave to a push, whatever its status."""

import json
import threading
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from msupply_dhis2.dhis2.client import Dhis2Client
from msupply_dhis2.errors import Dhis2AuthenticationError, Dhis2Error, Dhis2FaultError, Dhis2PermanentError
from msupply_dhis2.settings.credentials import Dhis2Credentials, LoginKind
from sandbox.dhis2 import Version, new_token
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


class Replay:
    """A server that answers a push as was recorded, and everything else with an empty object."""

    def __init__(self) -> None:
        self.recorded = Answer(200, b"{}", "application/json")
        self.server = HttpServer(
            0,
            lambda call: self.recorded if call.method == "POST" else Answer(200, b"{}", "application/json"),
        )
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer_as(self, case: Case) -> None:
        recorded = case.response
        body = recorded["body"]
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        headers = {name: value for name, value in recorded["headers"].items() if name != "Content-Type"}
        self.recorded = Answer(recorded["status"], content, recorded["headers"].get("Content-Type"), headers)


@pytest.fixture
def replay() -> Iterator[Replay]:
    it = Replay()
    threading.Thread(target=it.server.serve_forever, args=(0.01,), daemon=True).start()
    yield it
    it.server.shutdown()
    it.server.close_connections()
    it.server.server_close()


def login_of(case: Case) -> Dhis2Credentials:
    if "ApiToken" in case.request["headers"].get("Authorization", ""):
        return Dhis2Credentials(kind=LoginKind.TOKEN, token=SecretStr(new_token("any")))
    return Dhis2Credentials(kind=LoginKind.BASIC, username="pusher", password=SecretStr("right"))


def error_of(case: Case) -> type[Dhis2Error] | None:
    if "Checksum validation failed" in str(case.response["body"]):
        return Dhis2AuthenticationError
    return ERRORS.get(case.response["status"])


# All pushes of a version in one test: each takes less than it takes to announce a test, and there are hundreds.
@pytest.mark.parametrize("version", VERSIONS)
def test_outcome_or_clear_error(replay: Replay, version: Version) -> None:
    pushes = [
        case
        for case in recorded_cases(version)
        if case.request["method"] == "POST" and case.request["path"].endswith("/dataValueSets")
    ]
    assert len(pushes) > 100
    for case in pushes:
        replay.answer_as(case)
        answered: object = None
        raised: type[Exception] | None = None
        with Dhis2Client(replay.url, login_of(case)) as client:
            try:
                answered = client.post_data_values({"dataValues": []}).body
            except Dhis2Error as error:
                raised = type(error)
        assert raised is error_of(case), case.name
        if raised is None:
            assert case.response["status"] in {200, 409}, case.name
            assert answered == case.response["body"], case.name
