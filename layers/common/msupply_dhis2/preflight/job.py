"""Test connection: does DHIS2 authenticate the user, and would a push go well.

Each question is asked on its own, so that one cause does not hide another: wrong settings and a database that
is out of reach are both told in one go. What a push needs beside the connection is looked at by the preflight.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from msupply_dhis2.dhis2.client import TalksToDhis2
from msupply_dhis2.dhis2.deadline import BackgroundTask, Deadline
from msupply_dhis2.dhis2.metadata import read_user
from msupply_dhis2.dhis2.metadata_cache import KeptAnswers
from msupply_dhis2.dhis2.models import User
from msupply_dhis2.dhis2.parsing import ReadsDhis2
from msupply_dhis2.domain.mapped import DatabaseAnswer, MappedNames
from msupply_dhis2.errors import (
    AwsError,
    Dhis2AuthenticationError,
    Dhis2PermanentError,
    MsupplyDhis2Error,
    SettingsError,
)
from msupply_dhis2.periods import Basis, Calendar, Window, window
from msupply_dhis2.preflight.check import Check, failed, noted, passed
from msupply_dhis2.preflight.checklist import Preflight
from msupply_dhis2.preflight.report import summarize
from msupply_dhis2.settings import Settings
from msupply_dhis2.settings.credentials import Dhis2Credentials
from msupply_dhis2.state.connections import last_success, record_success, written_in
from msupply_dhis2.text import count

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table


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
        Whether DHIS2 authenticated the user. What else may be wrong is said by the checks.
    message
        "Connection successful", "Authentication failed" (or that the account is disabled or locked), or why
        there is no connection.
    summary
        A few lines: what needs attention, the most important first, and what is well.
    server
        The server's version and name, where it said so.
    user
        Whom DHIS2 authenticated, or else the user of the credentials.
    last_successful_connection
        When DHIS2 last authenticated this user, this test included, in the configured time zone; ``None`` where none is on record.
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
        summary = tuple(summarize(connected=self.connected, checks=checks, not_asked=self.not_asked))
        return self.model_copy(update={"checks": checks, "summary": summary})


@dataclass(slots=True)
class _Findings:
    """What was found, as far as it was asked."""

    checks: list[Check] = field(default_factory=list)
    not_asked: list[str] = field(default_factory=list)
    failure: MsupplyDhis2Error | None = None
    user: str | None = None
    server: Server | None = None
    last: datetime | None = None

    def ask[Thing](self, name: str, question: Callable[[], Thing], said: Callable[[Thing], str]) -> Thing:
        """Return the answer and keep what is said of it as a check; of an error too, before it is raised."""
        try:
            answer = question()
        except MsupplyDhis2Error as error:
            self.checks.append(failed(name, str(error)))
            raise
        self.checks.append(passed(name, said(answer)))
        return answer


@dataclass(frozen=True, slots=True)
class _Database:
    """The question about mSupply's database, which is asked from the beginning, beside the others."""

    answer: BackgroundTask[DatabaseAnswer]
    deadline: Deadline

    def ask(self, checks: list[Check]) -> MappedNames | None:
        """Wait for the answer and keep it as a check; return what is mapped."""
        try:
            answer = self.answer.result(self.deadline.left())
        except TimeoutError:
            message = (
                "mSupply's database, or compute, which asks it, did not answer in time. Test again; if it stays so, "
                "look into the log of compute."
            )
            checks.append(failed("database", message))
            return None
        except MsupplyDhis2Error as error:
            checks.append(failed("database", str(error)))
            return None
        checks.append(_about_database(answer))
        return answer.mapped


def _about_database(answer: DatabaseAnswer) -> Check:
    mapped = answer.mapped
    if mapped is None or not mapped.left_out:
        return passed("database", answer.message)
    number = len(mapped.left_out) + mapped.more_left_out
    message = f"{answer.message} Left out of pushes: {count(number, 'store or item', 'stores and items')}."
    return noted("database", message).with_details(mapped.left_out, mapped.more_left_out)


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
    """Test the connection to DHIS2, and what a push needs besides; also while "Use DHIS2" is off.

    Parameters
    ----------
    settings_reader, credentials_reader
        Return the settings, and the credentials that go with them, or raise with a sentence.
    database_check
        Asks mSupply's database what is mapped, or raises with a sentence. It is asked beside DHIS2, in a thread.
    table
        Where the last successful connection is kept; ``None`` where there is no such place.
    clock
        Returns the present instant, aware.
    as_of
        The instant, aware, of the run whose periods are looked at; ``None``: now.
    time_limit
        Seconds after which no answer of DHIS2 or the database is waited for any longer; ``None``: any.
    """
    database = _Database(BackgroundTask(database_check), Deadline(time_limit))
    findings = _Findings()
    credentials = None
    try:
        settings = findings.ask("settings", settings_reader, lambda _: "The settings can be read.")
        incomplete = _insist_on_completeness(findings, settings)
        # The address, if it is there, is tried all the same.
        if incomplete and not settings.url:
            raise incomplete
        credentials = findings.ask(
            "credentials",
            lambda: credentials_reader(settings),
            lambda read: f"The credentials can be read; the user is {read.user}.",
        )
        client = client_factory(settings, credentials)
        _ask_dhis2(findings, client, settings, database, _Moment(as_of or clock(), calendar))
    except MsupplyDhis2Error as error:
        findings.failure = error
    connected = findings.failure is None
    if credentials is not None:
        findings.user = findings.user or credentials.user
        findings.last = clock() if connected else None
        if table is not None:
            findings.last = _remember(findings, table, settings.url, credentials.user)
    if not connected:
        database.ask(findings.checks)
    return ConnectionReport(
        connected=connected,
        message=_message(findings.failure),
        summary=tuple(summarize(connected=connected, checks=findings.checks, not_asked=findings.not_asked)),
        server=findings.server,
        user=findings.user,
        last_successful_connection=written_in(findings.last, calendar.time_zone) if findings.last else None,
        checks=tuple(findings.checks),
        not_asked=tuple(findings.not_asked),
    )


def _message(failure: MsupplyDhis2Error | None) -> str:
    if failure is None:
        return "Connection successful"
    if isinstance(failure, Dhis2AuthenticationError):
        # The first words of every such error; the check "login" has them all.
        return str(failure).partition(". ")[0]
    if isinstance(failure, SettingsError):
        return " ".join(("Settings invalid.", *failure.faults))
    return str(failure)


def _insist_on_completeness(findings: _Findings, settings: Settings) -> SettingsError | None:
    """Find what is missing, or worth knowing, of settings that can be read."""
    try:
        settings.require_complete()
    except SettingsError as error:
        findings.checks[-1] = failed("settings", str(error))
        return error
    notes = list(settings.warnings())
    if not settings.use_dhis2:
        notes.insert(0, "Use DHIS2 is off: nothing is sent until it is switched on. Dry runs compute.")
    if notes:
        findings.checks[-1] = noted("settings", " ".join(("The settings can be read.", *notes)))
    return None


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
    findings: _Findings, client: TalksToDhis2, settings: Settings, database: _Database, moment: _Moment
) -> None:
    """Log in, and if that works look whether a push would go well."""
    # Kept, so that a question of several requests goes on where a proxy's limit broke it off.
    answers = KeptAnswers(client)
    user = findings.ask(
        "login",
        lambda: _log_in(answers, database.deadline),
        lambda user: f"DHIS2 authenticates {user.username}.",
    )
    findings.user = user.username
    windows = moment.windows(settings)
    preflight = Preflight(answers, client, settings, user, windows, database.deadline, today=moment.today)
    preflight.ask_dhis2()
    preflight.compare(database.ask(preflight.checks))
    findings.checks += preflight.checks
    findings.not_asked += preflight.not_asked
    if server := preflight.server:
        findings.server = Server(version=server.version_text, name=server.name)


def _log_in(client: ReadsDhis2, deadline: Deadline) -> User:
    answer = deadline.ask(lambda: client.get("/api/me", {"fields": "id"}))
    if not isinstance(answer, Mapping) or "id" not in answer:
        raise Dhis2PermanentError(
            "There is no DHIS2 at this address: something answers, but does not know who the user is. Check URL "
            "and its path."
        )
    return deadline.ask(lambda: read_user(client))


def _remember(findings: _Findings, table: "Table", url: str, username: str) -> datetime | None:
    """Note a success, and return the last one; a table that cannot be used is a check of its own."""
    try:
        if findings.last is not None:
            record_success(table, url, username, findings.last)
        return last_success(table, url, username)
    except AwsError as error:
        message = f"The table that keeps the last successful connection cannot be used: {error}"
        findings.checks.append(failed("last successful connection", message))
        return findings.last
