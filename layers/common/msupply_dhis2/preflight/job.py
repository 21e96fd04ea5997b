"""Test connection: does DHIS2 authenticate the user, and would a push go well.

Each question is asked on its own, so that one cause does not hide another: wrong settings and a database that is out of
reach are both told in one go.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime
from threading import TIMEOUT_MAX, Thread
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from msupply_dhis2.dhis2.client import Deadline, Dhis2Client
from msupply_dhis2.dhis2.metadata import list_data_sets, read_user
from msupply_dhis2.dhis2.models import Identified
from msupply_dhis2.domain.mapped import DatabaseAnswer, MappedNames
from msupply_dhis2.errors import (
    AwsError,
    Dhis2AuthenticationError,
    Dhis2Error,
    MsupplyDhis2Error,
    SettingsError,
    SourceError,
)
from msupply_dhis2.periods import Basis, Calendar, window
from msupply_dhis2.preflight import access, data_elements, option_combos
from msupply_dhis2.preflight.check import Check, Findings, failed, noted, passed, summarize
from msupply_dhis2.preflight.counterparts import compare_items, compare_stores
from msupply_dhis2.preflight.facts import Facts, Use, uses_by_prefix, uses_of_mapped
from msupply_dhis2.preflight.periods import check_periods
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


class Offers(BaseModel):
    """What DHIS2 has to choose from in the settings, by UID, code and name; nothing where it could not be read."""

    model_config = ConfigDict(frozen=True)

    data_sets: tuple[Identified, ...] = ()
    option_combos: tuple[Identified, ...] = ()
    period_types: tuple[str, ...] = ()


class ConnectionReport(BaseModel):
    """What the test found.

    ``connected``: DHIS2 authenticated the user; the checks say what else may be wrong. ``message`` is "Connection
    successful", "Authentication failed" or the like, or why there is no connection. ``user`` is whom DHIS2 authenticated, or
    else the user of the credentials. The last successful connection, this one included, is in the configured time zone.
    ``not_asked`` names the checks that a failure has left without sense.
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
    findings, database, deadline = Findings(), begin(database_check), Deadline.within(time_limit)
    credentials = facts = failure = None
    offers = Offers()
    try:
        settings = findings.ask("settings", settings_reader, _about_settings)
        # The address, if it is there, is tried all the same.
        if not settings.url:
            raise SettingsError(settings.complete_faults())
        credentials = findings.ask(
            "credentials",
            lambda: credentials_reader(settings),
            lambda read: passed(f"The credentials can be read; the user is {read.user}."),
        )
        client = client_factory(settings, credentials)
        client.deadline = deadline
        facts = _log_in(client, settings, as_of or clock(), calendar, findings)
        _ask_dhis2(facts)
        _compare(facts, _ask_database(database, deadline, findings))
        offers = _read_offers(facts)
    except MsupplyDhis2Error as error:
        failure = error
        _ask_database(database, deadline, findings)
    server, data_set = (facts.server, facts.data_set) if facts else (None, None)
    last = clock() if failure is None else None
    if credentials is not None and table is not None:
        try:
            if last is not None:
                titles = {
                    "server": f"{server.name}, {server.version_text}" if server else None,
                    "data_set_id": settings.data_set_id if data_set else None,
                    "data_set": data_set.name if data_set else None,
                }
                record_success(table, settings.url, credentials.user, last, titles)
            last = last_success(table, settings.url, credentials.user)
        except AwsError as error:
            message = f"The table that keeps the last successful connection cannot be used: {error}"
            findings.tell("last successful connection", failed(message))
    return ConnectionReport(
        connected=failure is None,
        message=_message(failure),
        server=Server(version=server.version_text, name=server.name) if server else None,
        data_set=data_set.name if data_set else None,
        user=facts.user.username if facts else credentials.user if credentials else None,
        last_successful_connection=written_in(last, calendar.time_zone) if last else None,
        checks=tuple(findings.checks),
        not_asked=tuple(findings.not_asked),
        offers=offers,
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


def _about_settings(settings: Settings) -> Check:
    if faults := settings.complete_faults():
        return failed("\n".join(faults))
    notes = list(settings.warnings())
    if not settings.use_dhis2:
        notes.insert(0, "Use DHIS2 is off: nothing is sent until you switch it on. Dry runs work.")
    return (noted if notes else passed)(" ".join(("The settings can be read.", *notes)))


def _about_database(answer: DatabaseAnswer) -> Check:
    message, mapped = answer.message, answer.mapped
    if mapped is None or not (mapped.notes or mapped.skipped):
        return passed(message)
    if mapped.skipped:
        stores = mapped.skipped_stores
        items = len(mapped.skipped) + mapped.more_skipped - stores
        of_stores = ("store",) if mapped.customers is None else ("store or customer", "stores or customers")
        numbers = ((stores, of_stores), (items, ("item",)))
        message += f" Not sent: {' and '.join(count(number, *kind) for number, kind in numbers if number)}."
    return noted(message, (*mapped.notes, *mapped.skipped), mapped.more_skipped)


def _log_in(
    client: Dhis2Client, settings: Settings, as_of: datetime, calendar: Calendar, findings: Findings
) -> Facts:
    """Log in, and return what is known then. The periods cannot be told where the settings are not complete."""
    user = findings.ask(
        "login", lambda: read_user(client), lambda user: passed(f"DHIS2 authenticates {user.username}.")
    )
    rows = () if settings.complete_faults() else settings.active_rows
    bases = dict.fromkeys(row.basis for row in rows)
    return Facts(
        checks=findings.checks,
        not_asked=findings.not_asked,
        client=client,
        settings=settings,
        user=user,
        windows={basis: window(basis, as_of, calendar, settings.period) for basis in bases},
        now=as_of.astimezone(calendar.time_zone).replace(tzinfo=None),
        manual=window(Basis.CURRENT_DAY, as_of, calendar, settings.period) if rows else None,
    )


def _ask_database(
    database: Future[DatabaseAnswer], deadline: Deadline, findings: Findings
) -> MappedNames | None:
    """Wait for the database's answer and keep it as a check; return what is mapped."""

    def answer() -> DatabaseAnswer:
        try:
            return database.result(min(deadline.seconds_left(), TIMEOUT_MAX))
        except TimeoutError as error:
            raise SourceError(
                "mSupply's database, or compute, which asks it, did not answer in time. Test again. If it happens "
                "again, read the log of compute."
            ) from error

    with suppress(MsupplyDhis2Error):
        return findings.ask("database", answer, _about_database).mapped
    return None


def _ask_dhis2(facts: Facts) -> None:
    """Check what DHIS2 alone decides: version, authority, data set, periods."""
    facts.tell("server", access.check_server(facts))
    facts.tell("authority", access.check_authority(facts))
    facts.tell("data set", access.check_data_set(facts))
    facts.tell("write access", access.check_write_access(facts))
    # Without the authority a call would be refused for that alone, which the authority's check says.
    if facts.user.may(access.ADD_DATA_VALUES) or not facts.settings.data_set_id:
        facts.tell("trial call", access.check_trial(facts))
    check_periods(facts)


def _compare(facts: Facts, mapped: MappedNames | None) -> None:
    """Check how what mSupply has mapped fits what DHIS2 has set up.

    Where the database did not tell, data elements and option combos are looked at by themselves.
    """
    data_set, settings = facts.data_set, facts.settings
    uses: tuple[Use, ...] = ()
    if mapped is None or not facts.windows:
        facts.not_asked += ["stores", "items"]
        if data_set is not None:
            facts.tell("org unit reach", access.check_reach(facts, data_set.org_units))
    else:
        compare_stores(facts, mapped)
        uses = uses_of_mapped(settings, mapped, compare_items(facts, mapped))
    if data_set is None or not facts.windows:
        facts.not_asked += ["option combos", "category options"]
    else:
        uses = uses or uses_by_prefix(settings, data_set)
        facts.tell("option combos", option_combos.check_combos(facts, data_set, uses))
        access.note_import_settings(facts)
        used = option_combos.used_combos(settings, data_set, uses)
        options = option_combos.check_category_options(facts, data_set, used) if used else None
        facts.tell("category options", options)
        if workflow := data_set.workflow:
            facts.tell(
                "approved data", access.check_approved(facts, workflow, used) if facts.periods else None
            )
    facts.tell("value types", data_elements.check_value_types(facts, uses))
    facts.tell("zeros", data_elements.check_zeros(facts, uses))
    facts.tell("aggregation", data_elements.check_aggregation(uses))


def _read_offers(facts: Facts) -> Offers:
    """Read the data sets; the option combos are those of the chosen one and of its data elements."""
    try:
        listed = list_data_sets(facts.client)
    except Dhis2Error:
        # The checks tell what cannot be read; without this nothing is missing but a choice.
        return Offers()
    chosen = (facts.data_set, *facts.data_set.data_elements) if facts.data_set else ()
    return Offers(
        data_sets=_offers(listed),
        option_combos=_offers(combo for each in chosen for combo in each.option_combos),
        period_types=tuple(sorted({data_set.period_type for data_set in listed})),
    )


def _offers(things: Iterable[Identified]) -> tuple[Identified, ...]:
    unique = {thing.id: thing for thing in things}
    return tuple(sorted(unique.values(), key=lambda thing: thing.name.casefold()))


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
