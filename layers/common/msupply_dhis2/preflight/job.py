"""Test connection: does DHIS2 let us in, and would a push go well.

Each question is asked on its own, so that one cause does not hide another: wrong settings and a database that
is out of reach are both told in one go. What a push needs beside the connection is looked at by the preflight.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Protocol

from pydantic import BaseModel, ConfigDict

from msupply_dhis2.deadline import BackgroundTask, Deadline
from msupply_dhis2.dhis2.importer import PostsDataValues
from msupply_dhis2.dhis2.metadata_cache import KeptAnswers
from msupply_dhis2.dhis2.models import ReadsDhis2, User, read_user
from msupply_dhis2.domain.mapped import DatabaseAnswer, MappedNames
from msupply_dhis2.errors import (
    AwsError,
    Dhis2AuthenticationError,
    Dhis2Error,
    MsupplyDhis2Error,
    SettingsError,
    SourceError,
)
from msupply_dhis2.periods import Basis, Calendar, Window, window
from msupply_dhis2.preflight.check import Check, make_check
from msupply_dhis2.preflight.checklist import Preflight
from msupply_dhis2.preflight.report import summarize
from msupply_dhis2.settings import Settings
from msupply_dhis2.settings.credentials import Dhis2Credentials
from msupply_dhis2.state.connections import last_success, record_success, written_in
from msupply_dhis2.text import count

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

DETAILS_SHOWN = 10
"""How many details of a check the text shows; the report in JSON has more."""

_GREEN, _YELLOW, _RED, _PLAIN = "\033[32m", "\033[33m", "\033[31m", "\033[0m"


class Server(BaseModel):
    """The server that answered."""

    model_config = ConfigDict(frozen=True)

    version: str
    name: str


class ConnectionReport(BaseModel):
    """What the test found.

    Attributes
    ----------
    connected
        Whether DHIS2 let the user in. What else may be wrong is said by the checks.
    message
        "Connection successful", "Authentication failed" (or that the account is disabled or locked), or why
        there is no connection.
    summary
        A few lines: what needs attention, the most important first, and what is well.
    server
        The server's version and name, where it said so.
    user
        As whom DHIS2 let us in, or else the user of the credentials.
    last_successful_connection
        When DHIS2 last let this user in, this test included, in the configured time zone; ``None`` where none is on record.
    checks
        What was asked, in this order: settings, credentials, login, server, authority, data set, write access, trial
        call, period format, open periods, database, stores, org units, items, option combos, import settings,
        category options, approved data, value types, zeros, aggregation.
    not_asked
        The names of the checks that a failure has left without sense.
    """

    model_config = ConfigDict(frozen=True)

    connected: bool
    message: str
    summary: tuple[str, ...] = ()
    server: Server | None
    user: str | None
    last_successful_connection: str | None
    checks: tuple[Check, ...]
    not_asked: tuple[str, ...] = ()

    @property
    def all_well(self) -> bool:
        """Whether there is a connection and nothing else needs attention."""
        return self.connected and all(check.ok for check in self.checks)

    def with_check(self, check: Check) -> "ConnectionReport":
        """Give the report with one more check, summed up anew."""
        checks = (*self.checks, check)
        summary = summarize(connected=self.connected, checks=checks, not_asked=self.not_asked)
        return self.model_copy(update={"checks": checks, "summary": summary})


@dataclass(slots=True)
class _Findings:
    """What was found, as far as it was asked."""

    failure: MsupplyDhis2Error | None = None
    user: str | None = None
    server: Server | None = None
    last: datetime | None = None
    not_asked: list[str] = field(default_factory=list)


class TalksToDhis2(ReadsDhis2, PostsDataValues, Protocol):
    """What the test needs of a DHIS2 client."""


class _Questions:
    """Asks questions one by one and keeps each answer as a check."""

    def __init__(self) -> None:
        self.checks: list[Check] = []

    def ask[Thing](self, name: str, question: Callable[[], tuple[Thing, str]]) -> Thing | MsupplyDhis2Error:
        """Ask for a thing and what is to be said of it; give the thing, or the error that there was instead."""
        try:
            thing, message = question()
        except MsupplyDhis2Error as error:
            self.checks.append(make_check(name, ok=False, message=str(error)))
            return error
        self.checks.append(make_check(name, ok=True, message=message))
        return thing


@dataclass(frozen=True, slots=True)
class _Database:
    """The question about mSupply's database, which is asked from the beginning, beside the others."""

    answer: BackgroundTask[DatabaseAnswer]
    deadline: Deadline

    def ask(self, questions: _Questions) -> MappedNames | None:
        """Wait for the answer and keep it as a check; give what is mapped."""
        try:
            answer = self.answer.result(self.deadline.left())
        except TimeoutError:
            error: MsupplyDhis2Error = SourceError(
                "mSupply's database, or compute, which asks it, did not answer in time. Test again; if it stays so, "
                "look into the log of compute."
            )
        except MsupplyDhis2Error as raised:
            error = raised
        else:
            questions.checks.append(_about_database(answer))
            return answer.mapped
        questions.checks.append(make_check("database", ok=False, message=str(error)))
        return None


def _about_database(answer: DatabaseAnswer) -> Check:
    left_out = answer.mapped.left_out if answer.mapped else ()
    if answer.mapped is None or not left_out:
        return make_check("database", ok=True, message=answer.message)
    number = len(left_out) + answer.mapped.more_left_out
    message = f"{answer.message} Left out of pushes: {count(number, 'store or item', 'stores and items')}."
    check = make_check("database", ok=True, to_note=True, message=message, details=left_out)
    return check.model_copy(update={"more_details": check.more_details + answer.mapped.more_left_out})


def test_connection(  # noqa: PLR0913 - it is handed everything it touches, by name
    *,
    settings_reader: Callable[[], Settings],
    credentials_reader: Callable[[Settings], Dhis2Credentials],
    client_factory: Callable[[Settings, Dhis2Credentials], TalksToDhis2],
    database_check: Callable[[], DatabaseAnswer],
    table: "Table | None",
    calendar: Calendar,
    clock: Callable[[], datetime],
    as_of: datetime | None,
    time_limit: float | None,
) -> ConnectionReport:
    """Test the connection to DHIS2, and what a push needs besides.

    Works while "Use DHIS2" is off, and says that it is.

    Parameters
    ----------
    settings_reader, credentials_reader
        Give the settings, and the credentials that go with them, or raise with a sentence.
    client_factory
        Makes a client for the address in the settings and the credentials.
    database_check
        Asks mSupply's database what is mapped, or raises with a sentence. It is asked beside DHIS2, in a thread.
    table
        Where the last successful connection is kept; ``None`` where there is no such place.
    calendar
        For the time zone in which instants are written and days begin.
    clock
        Gives the present instant, aware.
    as_of
        The instant, aware, of the run whose periods are looked at; ``None``: now.
    time_limit
        Seconds after which no answer of DHIS2 or the database is waited for any longer; ``None``: any.
    """
    deadline = Deadline(time_limit)
    database = _Database(BackgroundTask(database_check), deadline)
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
            client = client_factory(settings, credentials)
            findings = _ask_dhis2(questions, client, settings, database, _Moment(as_of or clock(), calendar))
            findings.user = findings.user or credentials.user
            now = None if findings.failure else clock()
            findings.last = now
            if table is not None:
                findings.last = _remember(questions, table, settings.url, credentials.user, now)
    if findings.failure:
        database.ask(questions)
    message, connected = _message(findings.failure), findings.failure is None
    return ConnectionReport(
        connected=connected,
        message=message,
        summary=summarize(connected=connected, checks=questions.checks, not_asked=findings.not_asked),
        server=findings.server,
        user=findings.user,
        last_successful_connection=written_in(findings.last, calendar.time_zone) if findings.last else None,
        checks=tuple(questions.checks),
        not_asked=tuple(findings.not_asked),
    )


def as_text(report: ConnectionReport, *, colour: bool = False) -> str:
    """Write a report for people: the message, what is known, the summary, and each check.

    Of what is not well, or to note, the first details are shown too.

    Parameters
    ----------
    colour
        Whether the terminal shows colours: green for what is well, red for what is not, yellow for what is to note.
    """

    def coloured(text: str, check: Check) -> str:
        shade = _RED if not check.ok else _YELLOW if check.to_note else _GREEN
        return f"{shade}{text}{_PLAIN}" if colour else text

    shade = _GREEN if report.connected else _RED
    lines = [f"{shade}{report.message}{_PLAIN}" if colour else report.message]
    if report.server:
        lines.append(f"Server: {report.server.name}, version {report.server.version}")
    if report.user:
        lines.append(f"User: {report.user}")
    lines.append(f"Last successful connection: {report.last_successful_connection or 'none on record'}")
    lines += ["", *report.summary, ""]
    for check in report.checks:
        fate = "not ok" if not check.ok else "note  " if check.to_note else "ok    "
        lines.append(f"{coloured(fate, check)}  {check.name}: {check.message}")
        if check.ok and not check.to_note:
            continue
        lines += [f"          - {detail}" for detail in check.details[:DETAILS_SHOWN]]
        more = len(check.details[DETAILS_SHOWN:]) + check.more_details
        if more:
            lines.append(f"          - and {more:,} more")
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
    return settings, "The settings can be read."


def _insist_on_completeness(questions: _Questions, settings: Settings) -> SettingsError | None:
    """Find what is missing, or what to note; the address, if it is there, is tried all the same."""
    try:
        settings.require_complete()
    except SettingsError as error:
        questions.checks[-1] = make_check("settings", ok=False, message=str(error))
        return error
    notes = list(settings.warnings())
    if not settings.use_dhis2:
        notes.insert(0, "Use DHIS2 is off: nothing is sent until it is switched on. Dry runs compute.")
    if notes:
        message = " ".join(("The settings can be read.", *notes))
        questions.checks[-1] = make_check("settings", ok=True, to_note=True, message=message)
    return None


def _read_credentials(
    credentials_reader: Callable[[Settings], Dhis2Credentials], settings: Settings
) -> tuple[Dhis2Credentials, str]:
    credentials = credentials_reader(settings)
    return credentials, f"The credentials can be read; the user is {credentials.user}."


@dataclass(frozen=True, slots=True)
class _Moment:
    """The instant of the run whose periods are looked at."""

    as_of: datetime
    calendar: Calendar

    @property
    def today(self) -> date:
        return self.as_of.astimezone(self.calendar.time_zone).date()

    def windows(self, settings: Settings) -> dict[Basis, Window]:
        """Return the window of each basis that an active row uses; none where the settings are not complete."""
        if settings.complete_faults():
            return {}
        bases = dict.fromkeys(row.basis for row in settings.active_rows)
        return {basis: window(basis, self.as_of, self.calendar, settings.period) for basis in bases}


def _ask_dhis2(
    questions: _Questions, client: TalksToDhis2, settings: Settings, database: _Database, moment: _Moment
) -> _Findings:
    """Log in, and if that works look whether a push would go well."""
    # Kept, so that a question of several requests goes on where a proxy's limit broke it off.
    answers = KeptAnswers(client)
    user = questions.ask("login", lambda: _log_in(answers, database.deadline))
    if isinstance(user, MsupplyDhis2Error):
        return _Findings(failure=user)
    preflight = Preflight(
        answers, client, settings, user, moment.windows(settings), database.deadline, today=moment.today
    )
    preflight.ask_dhis2()
    questions.checks += preflight.checks
    preflight.checks.clear()
    preflight.compare(database.ask(questions))
    questions.checks += preflight.checks
    server = preflight.server
    return _Findings(
        user=user.username,
        server=Server(version=server.version_text, name=server.name) if server else None,
        not_asked=preflight.not_asked,
    )


def _log_in(client: ReadsDhis2, deadline: Deadline) -> tuple[User, str]:
    answer = deadline.ask(lambda: client.get("/api/me", {"fields": "id"}))
    if not isinstance(answer, Mapping) or "id" not in answer:
        raise Dhis2Error(
            "There is no DHIS2 at this address: something answers, but does not know who the user is. Check URL "
            "and its path."
        )
    user = deadline.ask(lambda: read_user(client))
    return user, f"DHIS2 lets {user.username} in."


def _remember(
    questions: _Questions, table: "Table", url: str, username: str, now: datetime | None
) -> datetime | None:
    """Note a success, and give the last one; a table that cannot be used is a check of its own."""
    try:
        if now is not None:
            record_success(table, url, username, now)
        return last_success(table, url, username)
    except AwsError as error:
        message = f"The table that keeps the last successful connection cannot be used: {error}"
        questions.checks.append(make_check("last successful connection", ok=False, message=message))
        return now
