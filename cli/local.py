"""The three jobs in one process, without AWS: what ``preview``, ``push`` and ``test-connection`` do on this machine."""

import json
import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.announcement import CHARTS, Tell, about_charts, insist_on_open, tell_days
from cli.comparison import HeldValues, Line, Preview
from cli.explanation import with_held
from cli.metadata.existing import read_last_analytics
from cli.options import OptionError, not_utf8
from cli.sender import Follow, Refusals, Sender, go_on, tell_refusals
from msupply_dhis2.compute.event import ComputeEvent, instant_of_run, parse_compute_event, rows_asked_for
from msupply_dhis2.compute.job import ComputeJob
from msupply_dhis2.compute.mapped import check_database, export_mapping
from msupply_dhis2.compute.result import ComputeResult, Status
from msupply_dhis2.compute.sharding import whole_run
from msupply_dhis2.compute.values import OrgUnitValues
from msupply_dhis2.dhis2.client import Dhis2Client
from msupply_dhis2.dhis2.held import parse_held, read_held
from msupply_dhis2.dhis2.metadata import read_user
from msupply_dhis2.domain.batch import Batch
from msupply_dhis2.domain.choices import DatabaseTrust
from msupply_dhis2.domain.log_record import LogRecord
from msupply_dhis2.domain.mapped import DatabaseAnswer
from msupply_dhis2.domain.outcome import Counts
from msupply_dhis2.errors import (
    CredentialsError,
    Dhis2Error,
    MsupplyDhis2Error,
    SettingsError,
)
from msupply_dhis2.explain import job as explaining
from msupply_dhis2.explain.explanation import Explanation
from msupply_dhis2.periods import Basis, Calendar, Window, parse_time_zone, window
from msupply_dhis2.preflight import job as preflight
from msupply_dhis2.preflight.access import check_data_set, check_server
from msupply_dhis2.preflight.facts import Facts
from msupply_dhis2.preflight.periods import check_periods
from msupply_dhis2.push.job import Dhis2Session
from msupply_dhis2.settings import Settings, parse_settings
from msupply_dhis2.settings.credentials import (
    DatabaseAddress,
    Dhis2Credentials,
    parse_database_address,
    parse_dhis2_credentials,
)
from msupply_dhis2.source import open_source
from msupply_dhis2.source.base import Source
from msupply_dhis2.source.connection import verification_of

if TYPE_CHECKING:
    from msupply_dhis2.domain.data_value import DataValue


type Watch = Callable[[OrgUnitValues, int], None]
"""Takes the values of an org unit as soon as they are computed, and how many org units there are."""


@dataclass(frozen=True)
class Systems:
    """The systems that the options name; each is read or opened when it is needed."""

    settings_file: Path
    source: str
    dhis2_url: str | None = None
    credentials_file: Path | None = None
    time_zone: str = "UTC"

    @cached_property
    def now(self) -> datetime:
        """The instant of the command."""
        return datetime.now(UTC)

    @cached_property
    def calendar(self) -> Calendar:
        """The days of the time zone."""
        return Calendar(parse_time_zone(self.time_zone))

    def settings(self) -> Settings:
        """Read the settings."""
        return parse_settings(_text_of(self.settings_file, "--settings"), url=self.dhis2_url)

    @cached_property
    def login(self) -> tuple[str, str]:
        """The login of DHIS2 as it was given, and where: a file, or what was typed on a terminal."""
        if self.credentials_file is not None:
            return _text_of(self.credentials_file, "--credentials"), f"--credentials: {self.credentials_file}"
        if not sys.stdin.isatty():
            raise OptionError("Give --credentials FILE. Without a terminal the command cannot ask for them.")
        sys.stderr.write("DHIS2 user name: ")
        sys.stderr.flush()
        answers = {"username": input(), "password": getpass("DHIS2 password: ")}
        return json.dumps(answers), "The login that you typed"

    def credentials(self, settings: Settings) -> Dhis2Credentials:
        """Read the login of DHIS2, or ask for it on a terminal."""
        text, given = self.login
        with _told_as(given, '{"username": "…", "password": "…"} or {"token": "…"}'):
            return parse_dhis2_credentials(text, settings)

    def database(self, settings: Settings | None) -> tuple[DatabaseAddress, DatabaseTrust]:
        """Return the address of mSupply's database and how it is trusted."""
        with _told_as(
            "--source", "sqlite:///folder/file.sqlite or postgresql://user:password@host:5432/database"
        ):
            address = parse_database_address(self.source)
        return address, settings.database_trust if settings else DatabaseTrust()

    def open_database(self, settings: Settings | None) -> AbstractContextManager[Source]:
        """Open one snapshot of mSupply's database."""
        address, trust = self.database(settings)
        return open_source(address, calendar=self.calendar, trust=trust)

    def event(self, document: object) -> ComputeEvent:
        """Read the event.

        Raises
        ------
        OptionError
            It asks for what only a stack is asked.
        """
        asked = parse_compute_event(document)
        if asked.check_database:
            raise OptionError(
                "--event: check_database is for a stack. On this machine test-connection asks the database."
            )
        return asked

    def as_of(self, event: ComputeEvent) -> datetime:
        """Return the instant of the run."""
        return instant_of_run(event, self.now, self.calendar)


def systems_of(named: Mapping[str, Any]) -> Systems:
    """Return the systems that the options name."""
    return Systems(
        named["settings"],
        named["source"],
        named["dhis2_url"],
        named["credentials"],
        named["timezone"] or "UTC",
    )


@contextmanager
def _told_as(given: str, form: str) -> Iterator[None]:
    """Tell a fault of what an option gives under the option's name: on this machine there is no secret."""
    try:
        yield
    except CredentialsError as error:
        raise OptionError(f"{given} {error.fault}. It takes {form}.") from error


_WORDS = (
    (r"the secret with the address of mSupply's database; `make credentials` asks for it again", "--source"),
    (r"the secret with the address of mSupply's database", "--source"),
    (r"make credentials( OAUTH2=yes)?", "--credentials"),
)
"""What the functions' sentences name of a stack, and what it is on this machine."""


def in_words_of_options(sentence: str) -> str:
    """Return a sentence of the functions as it is true on this machine."""
    for word, option in _WORDS:
        sentence = re.sub(word, option, sentence)
    return sentence


@contextmanager
def told_by_options() -> Iterator[None]:
    """Tell what fails on this machine in the words of its options."""
    try:
        yield
    except MsupplyDhis2Error as error:
        raise OptionError(in_words_of_options(str(error))) from error


def _text_of(file: Path, option: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise OptionError(f"{option}: {file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise OptionError(f"{option}: {not_utf8(file, error)}") from error


def _windows_of(systems: Systems, event: ComputeEvent, settings: Settings) -> dict[Basis, Window]:
    """Return the window of each basis that an event asks for; none for months that are over."""
    if event.months is not None or settings.complete_faults():
        return {}
    bases = dict.fromkeys(basis for _, basis in rows_asked_for(event, settings))
    return {basis: window(basis, systems.as_of(event), systems.calendar, settings.period) for basis in bases}


def _insist_on_open(
    client: Dhis2Client, settings: Settings, event: ComputeEvent, windows: Mapping[Basis, Window], tell: Tell
) -> None:
    """Ask DHIS2, before anything is computed, whether it would refuse the periods."""
    facts = Facts(
        client=client,
        settings=settings,
        user=read_user(client),
        windows=windows,
        now=next(iter(windows.values())).as_of,
        manual=windows.get(Basis.CURRENT_DAY),
    )
    facts.tell("server", check_server(facts))
    facts.tell("data set", check_data_set(facts))
    check_periods(facts)
    faults = (check.message for check in facts.checks if not check.ok)
    insist_on_open(event, facts.checks, tell, next(faults, ""))


def _compute(
    systems: Systems,
    event: ComputeEvent,
    settings: Settings,
    *,
    watch: Watch,
    send: Callable[[Batch], None] | None = None,
) -> ComputeResult:
    job = ComputeJob(
        settings=settings,
        calendar=systems.calendar,
        open_database=lambda: systems.open_database(settings),
        send=send,
        watch=watch,
    )
    return job.run(whole_run(event, systems.as_of(event)))


def preview(
    systems: Systems,
    event: Mapping[str, object],
    *,
    tell: Tell = lambda _, __: None,
    watch: Watch = lambda _, __: None,
) -> Preview:
    """Compute the values that an event asks for; nothing is sent."""
    values: list[DataValue] = []

    def keep(computed: OrgUnitValues, org_units: int) -> None:
        watch(computed, org_units)
        values.extend(computed.values)

    asked = systems.event({**event, "dry_run": True})
    settings = systems.settings()
    tell_days(asked, _windows_of(systems, asked, settings), tell)
    result = _compute(systems, asked, settings, watch=keep)
    return Preview(tuple(values), result)


@dataclass(frozen=True, slots=True)
class Pushed:
    """What became of the values of a push.

    What was ``given_up``, and what was ``not_sent`` because somebody stopped the push, is not among the counts; what was refused is.
    """

    result: ComputeResult
    counts: Counts
    given_up: int
    refusals: Refusals
    not_sent: int = 0

    @property
    def is_sent(self) -> bool:
        """Whether there was anything to send, and it may be sent."""
        return self.result.status is Status.SENT

    @property
    def all_well(self) -> bool:
        """Whether DHIS2 has every value."""
        return not self.is_sent or self.result.values == self.counts.stored + self.counts.unchanged

    def record(self) -> dict[str, object]:
        """Return the counts by their names."""
        result, counts = self.result, self.counts
        return {
            "run_id": result.run_id,
            "as_of": result.as_of.isoformat() if result.as_of else None,
            "stores": result.stores,
            **({"customers": result.customers} if result.customers else {}),
            "items": result.items,
            "values": result.values,
            "batches": result.batches,
            "sent": counts.sent,
            "stored": counts.stored,
            "unchanged": counts.unchanged,
            "rejected": counts.rejected,
            "unaccounted": counts.unaccounted,
            "given_up": self.given_up,
        }


def push(
    systems: Systems,
    event: Mapping[str, object],
    *,
    tell: Tell = lambda _, __: None,
    watch: Watch = lambda _, __: None,
    follow: Follow = go_on,
    log: Callable[[LogRecord], None] = lambda _: None,
) -> Pushed:
    """Compute the values that an event asks for, and send them; ``log`` takes a line about each call to DHIS2."""
    settings = systems.settings()
    asked = systems.event(event)
    windows = _windows_of(systems, asked, settings)
    tell_days(asked, windows, tell)
    with ExitStack() as opened:

        def connect() -> Dhis2Session:
            client = Dhis2Client.of(settings, systems.credentials(settings), tell=log)
            return Dhis2Session(opened.enter_context(client))

        def tell_here(message: str, level: int) -> None:
            tell(in_words_of_options(message), level)

        sender = Sender(connect, settings, tell_here, follow)
        if windows and asked.sends and not asked.is_off(settings):
            _insist_on_open(sender.session.client, settings, asked, windows, tell)
        try:
            with sender:
                result = _compute(systems, asked, settings, send=sender.send, watch=watch)
        except (MsupplyDhis2Error, KeyboardInterrupt):
            tell_refusals(sender.refusals, tell)
            tell(f"So far: {sender.counts.sentence()}, {sender.given_up:,} given up.", logging.WARNING)
            raise
        if sender.counts.stored:
            tell(_about_charts(sender.session.client), logging.INFO)
    return Pushed(result, sender.counts, sender.given_up, sender.refusals, sender.not_sent)


def _about_charts(client: Dhis2Client) -> str:
    try:
        return about_charts(read_last_analytics(client))
    except Dhis2Error as error:
        # The values are stored, whatever DHIS2 says of its charts.
        return f"{CHARTS} When it last did so is not known: {error}"


def explain(systems: Systems, asked: Mapping[str, object]) -> Explanation:
    """Explain a value of mSupply's database; where a login of DHIS2 is given, also what DHIS2 holds of it."""
    question = explaining.parse_question({"explain": asked})
    settings = systems.settings()
    settings.require_complete()
    with systems.open_database(settings) as source:
        explanation = explaining.explain(
            question, settings=settings, calendar=systems.calendar, source=source, now=systems.now
        )
    if systems.credentials_file is None:
        return explanation
    return with_held(explanation, lambda asked: held(systems, asked).values)


def mapping(systems: Systems) -> list[Line]:
    """Return which stores and items are sent: the lines of an export of the mapping."""
    settings = systems.settings()
    lines: list[Line] = []
    export_mapping(lambda: systems.open_database(settings), settings, lines.append)
    return lines


def held(systems: Systems, asked: Mapping[str, object]) -> HeldValues:
    """Return what DHIS2 holds of what a question names."""
    settings = systems.settings()
    with Dhis2Client.of(settings, systems.credentials(settings)) as client:
        values, left_out = read_held(parse_held({"held": asked}), client, settings, None)
        return HeldValues(list(values), left_out)


def test_connection(systems: Systems, event: Mapping[str, object]) -> preflight.ConnectionReport:
    """Log in to DHIS2, and look whether everything is there that the event needs."""

    def database() -> DatabaseAnswer:
        try:
            settings = systems.settings()
        except SettingsError:
            # Told by the test itself; here they must not hide the database's own fault.
            settings = None
        address, trust = systems.database(settings)
        result = check_database(
            lambda: systems.open_database(settings), settings, verification_of(address, trust)
        )
        return DatabaseAnswer(message=result.message, mapped=result.mapped)

    report = preflight.test_connection(
        settings_reader=systems.settings,
        credentials_reader=systems.credentials,
        client_factory=Dhis2Client.of,
        database_check=database,
        table=None,
        calendar=systems.calendar,
        clock=lambda: datetime.now(UTC),
        as_of=systems.as_of(systems.event(event)),
        time_limit=None,
    )
    checks = (
        check.model_copy(update={"message": in_words_of_options(check.message)}) for check in report.checks
    )
    return report.model_copy(update={"checks": tuple(checks)})
