"""A client of the stand-in without the network, for tests that make thousands of calls."""

import base64
import json
from collections.abc import Mapping
from datetime import date
from urllib.parse import parse_qs, urlencode

from msupply_dhis2.dhis2.client import Answer, Deadline, Dhis2Client
from msupply_dhis2.dhis2.models import Query
from msupply_dhis2.errors import (
    Dhis2FaultError,
    Dhis2PermanentError,
    Dhis2SlowError,
    Dhis2TooLargeError,
    Dhis2TransientError,
)
from sandbox.dhis2 import ADMIN, Metadata, StandIn, User
from sandbox.dhis2.call import Call

_ERRORS = {
    413: Dhis2TooLargeError,
    429: Dhis2TransientError,
    500: Dhis2FaultError,
    502: Dhis2TransientError,
    503: Dhis2TransientError,
    504: Dhis2SlowError,
}


class DirectClient(Dhis2Client):
    """Calls the stand-in's web API in the same thread; what it says of faults is what the real client says."""

    def __init__(self, metadata: Metadata, version: str, now: date, user: User = ADMIN) -> None:
        self.deadline = Deadline()
        self.dhis2 = StandIn(metadata, version=version, users=(user,), now=now)
        self.pushes: list[int] = []
        """How many values each push held."""
        login = f"{user.username}:{user.password.get_secret_value()}"
        self._headers = {
            "authorization": f"Basic {base64.b64encode(login.encode()).decode()}",
            "content-type": "application/json",
            "accept": "application/json",
        }

    def get(self, path: str, params: Query | None = None) -> object:
        """Read something."""
        return self._carry_out("GET", path, params or {}, b"")[1]

    def post_data_values(
        self,
        body: Mapping[str, object],
        params: Mapping[str, str] | None = None,
        *,
        read_timeout: float | None = None,
    ) -> Answer:
        """Post data values."""
        del read_timeout
        rows = body["dataValues"]
        assert isinstance(rows, list)
        self.pushes.append(len(rows))
        status, said = self._carry_out("POST", "/api/dataValueSets", params or {}, json.dumps(body).encode())
        return Answer(status, said, seconds=0.01)

    def _carry_out(self, method: str, path: str, params: Query, content: bytes) -> tuple[int, object]:
        query = urlencode(params, doseq=True)
        call = Call(
            method=method,
            target=f"{path}?{query}",
            path=path,
            query=parse_qs(query),
            headers=self._headers,
            body=content,
        )
        answer = self.dhis2._respond(call)  # noqa: SLF001 - what its server calls for each request
        if answer is None:
            raise Dhis2SlowError("The connection was cut")
        if not (answer.status == 200 or (method == "POST" and answer.status == 409)):
            raise _ERRORS.get(answer.status, Dhis2PermanentError)(f"status {answer.status}")
        return answer.status, json.loads(answer.content) if answer.content else None
