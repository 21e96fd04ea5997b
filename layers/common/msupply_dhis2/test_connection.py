"""Test connection: does DHIS2 let us in, may we send, and does the database answer too.

Each question is asked on its own, so that one cause does not hide another: wrong settings and a database that
is out of reach are both told in one go.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict

from msupply_dhis2.connections import last_success, record_success, written_in
from msupply_dhis2.credentials import Dhis2Credentials
from msupply_dhis2.errors import Dhis2AuthenticationError, Dhis2Error, MsupplyDhis2Error, SettingsError
from msupply_dhis2.periods import Calendar
from msupply_dhis2.settings import Scheme, Settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

_AUTHORITY = "F_DATAVALUE_ADD"
_GREEN, _RED, _PLAIN = "\033[32m", "\033[31m", "\033[0m"


class ReadsDhis2(Protocol):
    """The one thing that the test needs of a DHIS2 client."""

    def get(self, path: str, params: Mapping[str, str] | None = None) -> object:
        """Read something below the address of DHIS2."""


class Server(BaseModel):
    """The server that answered."""

    model_config = ConfigDict(frozen=True)

    version: str
    name: str


class Check(BaseModel):
    """The answer to one question."""

    model_config = ConfigDict(frozen=True)

    name: str
    ok: bool
    message: str


class ConnectionReport(BaseModel):
    """What the test found.

    Attributes
    ----------
    connected
        Whether DHIS2 let the user in. What else may be wrong is said by the checks.
    message
        "Connection successful", "Authentication failed" (or that the account is disabled or locked), or why
        there is no connection.
    server
        The server's version and name, where it said so.
    user
        As whom DHIS2 let us in, or else the user of the credentials.
    last_successful_connection
        When DHIS2 last let this user in, this test included, in the configured time zone; ``None`` where none is on record.
    checks
        What was asked, in this order: settings, credentials, login, server, authority, data set, database. A
        question that another one's failure leaves without sense is not asked.
    """

    model_config = ConfigDict(frozen=True)

    connected: bool
    message: str
    server: Server | None
    user: str | None
    last_successful_connection: str | None
    checks: tuple[Check, ...]


@dataclass(slots=True)
class _Findings:
    """What DHIS2 said, as far as it was asked."""

    failure: MsupplyDhis2Error | None = None
    user: str | None = None
    server: Server | None = None
    last: datetime | None = None


class _Questions:
    """Asks questions one by one and keeps each answer as a check."""

    def __init__(self) -> None:
        self.checks: list[Check] = []

    def ask[Thing](self, name: str, question: Callable[[], tuple[Thing, str]]) -> Thing | MsupplyDhis2Error:
        """Ask for a thing and what is to be said of it; give the thing, or the error that there was instead."""
        try:
            thing, message = question()
        except MsupplyDhis2Error as error:
            self.checks.append(Check(name=name, ok=False, message=str(error)))
            return error
        self.checks.append(Check(name=name, ok=True, message=message))
        return thing


def test_connection(
    *,
    settings_reader: Callable[[], Settings],
    credentials_reader: Callable[[Settings], Dhis2Credentials],
    client_factory: Callable[[str, Dhis2Credentials], ReadsDhis2],
    database_check: Callable[[], str],
    table: "Table | None",
    calendar: Calendar,
    clock: Callable[[], datetime],
) -> ConnectionReport:
    """Test the connection to DHIS2, and what a push needs besides.

    Works while "Use DHIS2" is off, and says that it is.

    Parameters
    ----------
    settings_reader, credentials_reader
        Give the settings, and the credentials that go with them, or raise with a sentence.
    client_factory
        Makes a client from the address and the credentials.
    database_check
        Asks whether mSupply's database answers: says what it found, or raises with a sentence.
    table
        Where the last successful connection is kept; ``None`` where there is no such place.
    calendar
        For the time zone in which instants are written.
    clock
        Gives the present instant, aware.
    """
    questions = _Questions()
    findings = _Findings()
    settings = questions.ask("settings", lambda: _read_settings(settings_reader))
    if isinstance(settings, MsupplyDhis2Error):
        findings.failure = settings
    elif (incomplete := _insist_on_completeness(questions, settings)) and not settings.url:
        findings.failure = incomplete
    else:
        credentials = questions.ask("credentials", lambda: _read_credentials(credentials_reader, settings))
        if isinstance(credentials, MsupplyDhis2Error):
            findings.failure = credentials
        else:
            client = client_factory(settings.url, credentials)
            findings = _ask_dhis2(questions, client, settings, credentials.username)
            now = None if findings.failure else clock()
            findings.last = now
            if table is not None:
                findings.last = _remember(questions, table, settings.url, credentials.username, now)
    questions.ask("database", lambda: (None, database_check()))
    return ConnectionReport(
        connected=findings.failure is None,
        message=_message(findings.failure),
        server=findings.server,
        user=findings.user,
        last_successful_connection=written_in(findings.last, calendar.time_zone) if findings.last else None,
        checks=tuple(questions.checks),
    )


def as_text(report: ConnectionReport, *, colour: bool = False) -> str:
    """Write a report for a terminal: the message, what is known, and a line for each check.

    Parameters
    ----------
    colour
        Whether the terminal shows colours: green for what is well, red for what is not.
    """

    def coloured(text: str, *, good: bool) -> str:
        return f"{_GREEN if good else _RED}{text}{_PLAIN}" if colour else text

    lines = [coloured(report.message, good=report.connected)]
    if report.server:
        lines.append(f"Server: {report.server.name}, version {report.server.version}")
    if report.user:
        lines.append(f"User: {report.user}")
    lines.append(f"Last successful connection: {report.last_successful_connection or 'none on record'}")
    lines += [
        f"{coloured('ok    ' if check.ok else 'not ok', good=check.ok)}  {check.name}: {check.message}"
        for check in report.checks
    ]
    return "\n".join(lines)


def _message(failure: MsupplyDhis2Error | None) -> str:
    if failure is None:
        return "Connection successful"
    if isinstance(failure, Dhis2AuthenticationError):
        # The first words of every such error; the check "login" has them all.
        return str(failure).partition(". ")[0]
    if isinstance(failure, SettingsError):
        return " ".join(("Settings invalid.", *failure.faults))
    return str(failure)


def _read_settings(settings_reader: Callable[[], Settings]) -> tuple[Settings, str]:
    settings = settings_reader()
    said = ["The settings can be read."]
    if not settings.use_dhis2:
        said.append("Use DHIS2 is off: nothing is computed or sent until it is switched on.")
    return settings, " ".join((*said, *settings.warnings()))


def _insist_on_completeness(questions: _Questions, settings: Settings) -> SettingsError | None:
    """Tell what is missing; the address, if it is there, is tried all the same."""
    try:
        settings.require_complete()
    except SettingsError as error:
        questions.checks[-1] = Check(name="settings", ok=False, message=str(error))
        return error
    return None


def _read_credentials(
    credentials_reader: Callable[[Settings], Dhis2Credentials], settings: Settings
) -> tuple[Dhis2Credentials, str]:
    credentials = credentials_reader(settings)
    return credentials, f"The credentials can be read; the user is {credentials.username}."


def _ask_dhis2(questions: _Questions, client: ReadsDhis2, settings: Settings, username: str) -> _Findings:
    """Log in, and if that works ask what a push needs."""
    user = questions.ask("login", lambda: _log_in(client))
    if isinstance(user, MsupplyDhis2Error):
        return _Findings(failure=user, user=username)
    server = questions.ask("server", lambda: _know_server(client))
    questions.ask("authority", lambda: _have_authority(client, user))
    if settings.data_set_id:
        questions.ask("data set", lambda: _find_data_set(client, settings, user))
    return _Findings(user=user, server=server if isinstance(server, Server) else None)


def _log_in(client: ReadsDhis2) -> tuple[str, str]:
    answer = _fields(client.get("/api/me", {"fields": "id,username"}), "/api/me")
    if "id" not in answer:
        raise Dhis2Error(
            "There is no DHIS2 at this address: something answers, but does not know who the user is. Check URL "
            "and its path."
        )
    user = str(answer.get("username") or answer["id"])
    return user, f"DHIS2 lets {user} in."


def _know_server(client: ReadsDhis2) -> tuple[Server, str]:
    answer = _fields(client.get("/api/system/info"), "/api/system/info")
    server = Server(
        version=str(answer.get("version") or "unknown"), name=str(answer.get("systemName") or "DHIS2")
    )
    return server, f"{server.name}, version {server.version}."


def _have_authority(client: ReadsDhis2, user: str) -> tuple[None, str]:
    if client.get(f"/api/me/authorization/{_AUTHORITY}") is not True:
        raise Dhis2Error(
            f"{user} has no right to add data values. Give the user a role with the authority "
            f'"Add/Update Data Value" ({_AUTHORITY}) in DHIS2\'s Users app.'
        )
    return None, f"{user} may add data values."


def _find_data_set(client: ReadsDhis2, settings: Settings, user: str) -> tuple[None, str]:
    # A filter for both schemes: an ID of a wrong shape in the address is 404 or 405, in a filter nothing found.
    by = "code" if settings.data_set_id_scheme is Scheme.CODE else "id"
    query = {
        "filter": f"{by}:eq:{settings.data_set_id}",
        "fields": "id,code,name,access[data[write]]",
        "paging": "false",
    }
    found = _fields(client.get("/api/dataSets", query), "/api/dataSets").get("dataSets")
    if not isinstance(found, list) or not found:
        raise Dhis2Error(
            f"DHIS2 has no data set whose {settings.data_set_id_scheme.value} is {settings.data_set_id}, or does "
            f"not let {user} see it. Check Data set ID and Data set ID scheme, and that the data set is shared "
            "with the user."
        )
    data_set = _fields(found[0], "/api/dataSets")
    name = str(data_set.get("name") or settings.data_set_id)
    match data_set.get("access"):
        case {"data": {"write": True}}:
            return None, f"{user} may enter data into the data set {name}."
    raise Dhis2Error(
        f"{user} may not enter data into the data set {name}. Share the data set with the user, with data access "
        '"can capture and view".'
    )


def _fields(answer: object, path: str) -> Mapping[str, object]:
    if isinstance(answer, Mapping):
        return answer
    raise Dhis2Error(
        f"There is no DHIS2 at this address: {path} answers something else. Check URL and its path."
    )


def _remember(
    questions: _Questions, table: "Table", url: str, username: str, now: datetime | None
) -> datetime | None:
    """Note a success, and give the last one; a table that cannot be used is a check of its own."""
    try:
        if now is not None:
            record_success(table, url, username, now)
        return last_success(table, url, username)
    except (BotoCoreError, ClientError) as error:
        message = f"The table that keeps the last successful connection cannot be used: {error}"
        questions.checks.append(Check(name="last successful connection", ok=False, message=message))
        return now
