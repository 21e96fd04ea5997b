"""Test connection: does DHIS2 authenticate the user, and would a push go well.

Each question is asked on its own, so that one cause does not hide another: wrong settings and a database that
is out of reach are both told in one go. What a push needs beside the connection is looked at by the preflight.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from threading import TIMEOUT_MAX, Thread
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from msupply_dhis2.dhis2.client import Deadline, Dhis2Client
from msupply_dhis2.dhis2.metadata import read_user
from msupply_dhis2.dhis2.models import ReadsDhis2, User
from msupply_dhis2.domain.mapped import DatabaseAnswer, MappedNames
from msupply_dhis2.errors import (
    AwsError,
    Dhis2AuthenticationError,
    Dhis2PermanentError,
    MsupplyDhis2Error,
    SettingsError,
)
from msupply_dhis2.periods import Basis, Calendar, window
from msupply_dhis2.preflight.check import Check, failed, noted, passed, summarize
from msupply_dhis2.preflight.checklist import ask_dhis2, compare
from msupply_dhis2.preflight.facts import Facts
from msupply_dhis2.preflight.offers import Offers, read_offers
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

    ``connected``: DHIS2 authenticated the user; the checks say what else may be wrong. ``message`` is "Connection
    successful", "Authentication failed" (or that the account is disabled or locked), or why there is no connection.
    ``user`` is whom DHIS2 authenticated, or else the user of the credentials; ``data_set`` is the data set's title. The last
    successful connection, this one included, is in the configured time zone; ``not_asked`` names the checks that a failure
    has left without sense; ``offers`` is what DHIS2 has to choose from in the settings.
    """

    model_config = ConfigDict(frozen=True)

    connected: bool
    message: str
    summary: tuple[str, ...] = ()
    server: Server | None
    data_set: str | None = None
    user: str | None
    last_successful_connection: str | None
    checks: tuple[Check, ...]
    not_asked: tuple[str, ...] = ()
    offers: Offers = Offers()

    @property
    def all_well(self) -> bool:
        """Whether there is a connection and nothing else needs attention."""
        return self.connected and all(check.ok for check in self.checks)

    def summed_up(self, *more: Check) -> "ConnectionReport":
        """Return the report with its summary, and with more checks."""
        checks = (*self.checks, *more)
        summary = tuple(summarize(connected=self.connected, checks=checks, not_asked=self.not_asked))
        return self.model_copy(update={"checks": checks, "summary": summary})


def test_connection(  # noqa: PLR0913 - it is handed everything it touches, by name
    *,
    settings_reader: Callable[[], Settings],
    credentials_reader: Callable[[Settings], Dhis2Credentials],
    client_factory: Callable[[Settings, Dhis2Credentials], Dhis2Client],
    database_check: Callable[[], DatabaseAnswer],
    table: "Table | None",
    calendar: Calendar,
    clock: Callable[[], datetime],
    as_of: datetime | None,
    time_limit: float | None,
) -> ConnectionReport:
    """Test the connection to DHIS2, and what a push needs besides; also while "Use DHIS2" is off.

    The readers raise with a sentence, and so does ``database_check``, which asks in a thread, beside DHIS2. The table is
    where the last successful connection is kept. The periods are those of a run at the aware instant ``as_of``, or else
    now. After so many seconds (``time_limit``) no answer of DHIS2 or the database is waited for any longer.
    """
    test = _Test(begin(database_check), Deadline.within(time_limit))
    credentials = failure = None
    try:
        settings = test.settings(settings_reader)
        credentials = test.ask(
            "credentials",
            lambda: credentials_reader(settings),
            lambda read: f"The credentials can be read; the user is {read.user}.",
        )
        test.user = credentials.user
        client = client_factory(settings, credentials)
        client.deadline = test.deadline
        test.ask_dhis2(client, settings, as_of or clock(), calendar)
    except MsupplyDhis2Error as error:
        failure = error
        test.ask_database()
    last = clock() if failure is None else None
    if credentials is not None and table is not None:
        try:
            if last is not None:
                titles = {
                    "server": f"{test.server.name}, {test.server.version}" if test.server else None,
                    "data_set_id": settings.data_set_id if test.data_set else None,
                    "data_set": test.data_set,
                }
                record_success(table, settings.url, credentials.user, last, titles)
            last = last_success(table, settings.url, credentials.user)
        except AwsError as error:
            message = f"The table that keeps the last successful connection cannot be used: {error}"
            test.checks.append(failed("last successful connection", message))
    return ConnectionReport(
        connected=failure is None,
        message=_message(failure),
        server=test.server,
        data_set=test.data_set,
        user=test.user,
        last_successful_connection=written_in(last, calendar.time_zone) if last else None,
        checks=tuple(test.checks),
        not_asked=tuple(test.not_asked),
        offers=test.offers,
    ).summed_up()


def _message(failure: MsupplyDhis2Error | None) -> str:
    if failure is None:
        return "Connection successful"
    if isinstance(failure, Dhis2AuthenticationError):
        # The first words of every such error; the check "login" has them all.
        return str(failure).partition(". ")[0]
    if isinstance(failure, SettingsError):
        return " ".join(("Settings invalid.", *failure.faults))
    return str(failure)


def begin[Thing](work: Callable[[], Thing]) -> Future[Thing]:
    """Have work go on beside; one that is given up does not keep the process from ending."""
    future: Future[Thing] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - whoever waits for the result gets it
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future


@dataclass(slots=True)
class _Test:
    """What was found so far, and mSupply's database, which is asked from the beginning, beside the others."""

    database: Future[DatabaseAnswer]
    deadline: Deadline
    checks: list[Check] = field(default_factory=list)
    not_asked: list[str] = field(default_factory=list)
    user: str | None = None
    server: Server | None = None
    data_set: str | None = None
    offers: Offers = field(default_factory=Offers)

    def ask[Thing](self, name: str, question: Callable[[], Thing], said: Callable[[Thing], str]) -> Thing:
        """Return the answer and keep what is said of it as a check; of an error too, before it is raised."""
        try:
            answer = question()
        except MsupplyDhis2Error as error:
            self.checks.append(failed(name, str(error)))
            raise
        self.checks.append(passed(name, said(answer)))
        return answer

    def settings(self, reader: Callable[[], Settings]) -> Settings:
        """Read the settings, and find what is missing or worth knowing of them."""
        settings = self.ask("settings", reader, lambda _: "The settings can be read.")
        if faults := settings.complete_faults():
            self.checks[-1] = failed("settings", "\n".join(faults))
            # The address, if it is there, is tried all the same.
            if not settings.url:
                raise SettingsError(faults)
            return settings
        notes = list(settings.warnings())
        if not settings.use_dhis2:
            notes.insert(0, "Use DHIS2 is off: nothing is sent until you switch it on. Dry runs work.")
        if notes:
            self.checks[-1] = noted("settings", " ".join(("The settings can be read.", *notes)))
        return settings

    def ask_dhis2(self, client: Dhis2Client, settings: Settings, as_of: datetime, calendar: Calendar) -> None:
        """Log in, and if that works look whether a push would go well."""
        user = self.ask(
            "login", lambda: _log_in(client), lambda user: f"DHIS2 authenticates {user.username}."
        )
        self.user = user.username
        # The periods cannot be told where the settings are not complete.
        rows = () if settings.complete_faults() else settings.active_rows
        bases = dict.fromkeys(row.basis for row in rows)
        windows = {basis: window(basis, as_of, calendar, settings.period) for basis in bases}
        today = as_of.astimezone(calendar.time_zone).date()
        manual = window(Basis.CURRENT_DAY, as_of, calendar, settings.period) if windows else None
        facts = Facts(client, settings, user, windows, today, manual, self.checks, self.not_asked)
        ask_dhis2(facts)
        compare(facts, self.ask_database())
        self.offers = read_offers(client, facts)
        if server := facts.server:
            self.server = Server(version=server.version_text, name=server.name)
        if facts.data_set:
            self.data_set = facts.data_set.name

    def ask_database(self) -> MappedNames | None:
        """Wait for the database's answer and keep it as a check; return what is mapped."""
        try:
            answer = self.database.result(min(self.deadline.seconds_left(), TIMEOUT_MAX))
        except TimeoutError:
            message = (
                "mSupply's database, or compute, which asks it, did not answer in time. Test again. If it happens "
                "again, read the log of compute."
            )
            self.checks.append(failed("database", message))
            return None
        except MsupplyDhis2Error as error:
            self.checks.append(failed("database", str(error)))
            return None
        mapped = answer.mapped
        message = answer.message
        if mapped and mapped.skipped:
            stores = mapped.skipped_stores
            items = len(mapped.skipped) + mapped.more_skipped - stores
            of_stores = (
                ("store",) if mapped.customers is None else ("store or customer", "stores or customers")
            )
            numbers = " and ".join(
                count(number, *kind) for number, kind in ((stores, of_stores), (items, ("item",))) if number
            )
            message += f" Not sent: {numbers}."
        if mapped and (details := (*mapped.notes, *mapped.skipped)):
            self.checks.append(noted("database", message, details, mapped.more_skipped))
        else:
            self.checks.append(passed("database", message))
        return mapped


def _log_in(client: ReadsDhis2) -> User:
    answer = client.get("/api/me", {"fields": "id"})
    if not isinstance(answer, Mapping) or "id" not in answer:
        raise Dhis2PermanentError(
            "There is no DHIS2 at this address: something answers, but does not know who the user is. Check URL "
            "and its path."
        )
    return read_user(client)
